package evaluate

import (
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/tensor"
)

// TestNames holds the lists of names against what is computed: the language refers to metrics by these lists alone.
func TestNames(t *testing.T) {
	for _, name := range Quality {
		g := &grader{spec: Spec{Subjects: make([]Subject, 2)}, hits: map[int][]bool{0: {true, false}, 1: {true, true}}}
		_, err := func() (e metrics.Estimate, err error) {
			defer func() { _ = recover() }() // files that are none: the name was found
			return g.metric(name, 1, &tensor.Shards{}, nil, nil)
		}()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (&grader{}).metric("nothing", 0, nil, nil, nil); err == nil {
		t.Error("a metric that is none was computed")
	}
	for name := range quantiles {
		if !slices.Contains(Latency, name) {
			t.Errorf("%s is measured and not listed", name)
		}
	}
	if len(quantiles)+1 != len(Latency) || !slices.Contains(Latency, "speedup") {
		t.Errorf("listed: %v", Latency)
	}
}
