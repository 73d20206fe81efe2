package quantize

import (
	"testing"
	"unsafe"
)

// TestDetached: no text of the facts lies where those of the model lay.
func TestDetached(t *testing.T) {
	name := []byte("node")
	alias := unsafe.String(&name[0], len(name))
	f := detached(Float16Facts{LeastAgreedOutput: alias, NodesFloat: []string{alias}, WeightLosses: []string{}, Casts: 3}).(Float16Facts)
	copy(name, "gone")
	if f.LeastAgreedOutput != "node" || f.NodesFloat[0] != "node" || f.WeightLosses == nil || f.Casts != 3 {
		t.Errorf("%+v", f)
	}
}
