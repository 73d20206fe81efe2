package lower

import (
	"strconv"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// names gives legal names, each once.
type names struct {
	taken map[string]bool
	next  map[string]int
}

func newNames() *names { return &names{taken: map[string]bool{}, next: map[string]int{}} }

// fresh is a legal name like s that nothing has.
func (n *names) fresh(s string) string {
	base := mil.Identifier(s)
	if len(base) > 120 {
		base = base[:120]
	}
	if !n.taken[base] {
		n.taken[base] = true
		return base
	}
	for {
		k := n.next[base]
		n.next[base] = k + 1
		name := base + "_" + strconv.Itoa(k)
		if !n.taken[name] {
			n.taken[name] = true
			return name
		}
	}
}
