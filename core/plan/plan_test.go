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
	if p.Summarize(); p.Summary.Run != 2 || p.Summary.Cached != 1 || p.Summary.Pending != 0 || p.Summary.Unknown != 2 {
		t.Errorf("%+v", p.Summary)
	}
	if got := p.Missing(); len(got) != 1 || got[0] != m {
		t.Errorf("missing: %v", got)
	}
}
