package plan

import "testing"

func TestPluginOf(t *testing.T) {
	for in, want := range map[string]string{"quantize_static": "quantize", "openvino": "openvino", "a_b_c": "a", "": ""} {
		if got := PluginOf(in); got != want {
			t.Errorf("PluginOf(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPlanCounts(t *testing.T) {
	m := Missing{What: "ONNX Runtime", Command: "optimize init"}
	p := &Plan{Actions: []*Action{
		{Kind: "step", Status: Run, Missing: []Missing{m}}, {Kind: "step", Status: Cached}, {Kind: "evaluate", Status: Run, Missing: []Missing{m}}, {Kind: "model", Status: Read},
	}}
	if got := p.Count(Run, "step", "evaluate"); got != 2 {
		t.Errorf("%d run", got)
	}
	if got := p.Count(Run, "step"); got != 1 {
		t.Errorf("%d steps run", got)
	}
	if got := p.Missing(); len(got) != 1 || got[0] != m {
		t.Errorf("missing: %v", got)
	}
}
