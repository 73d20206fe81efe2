package lower_test

import (
	"testing"

	"github.com/optimize-hcl/optimize/plugins/coreml/lower"
)

// TestEveryRuleHasACase: a rule that nothing is held against does not come in.
func TestEveryRuleHasACase(t *testing.T) {
	type key struct{ domain, op string }
	have := map[key]bool{}
	for _, c := range cases() {
		have[key{c.domain, c.op}] = true
	}
	count, seen := 0, map[key]bool{}
	for _, r := range lower.Rules() {
		k := key{r.Domain, r.Op}
		if !have[k] {
			t.Errorf("%s %s has no case", r.Domain, r.Op)
		}
		if r.Covers == "" || r.Covers[len(r.Covers)-1] != '.' {
			t.Errorf("%s %s says what it covers as %q", r.Domain, r.Op, r.Covers)
		}
		if !seen[k] {
			seen[k] = true
			count++
		}
	}
	t.Logf("%d operators", count)
	if count < 110 {
		t.Errorf("%d operators are lowered", count)
	}
}
