package onnxruntime

import (
	"errors"
	"reflect"
	"testing"

	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
	"github.com/optimize-hcl/optimize/tensor"
)

func TestEngineOptions(t *testing.T) {
	plain := ort.Options{Threads: 3, Optimize: true, Arena: true, Prepack: true}
	for _, c := range []struct {
		given map[string]string
		want  func(*ort.Options)
	}{
		{nil, func(*ort.Options) {}},
		{map[string]string{"threads": "2", "spin": "true", "optimize": "false", "arena": "false", "prepack": "false", "fallback": "true"}, func(o *ort.Options) {
			*o = ort.Options{Threads: 2, Spin: true}
		}},
		{map[string]string{"providers": ""}, func(*ort.Options) {}},
		{map[string]string{"providers": "openvino, CUDAExecutionProvider,ACL", "fallback": "false", "OpenVINO.device_type": "GPU", "OpenVINO.a.b": "c", "CUDA.device_id": "1"}, func(o *ort.Options) {
			o.NoFallback = true
			o.Providers = []ort.Provider{
				ort.OpenVINO{Settings: map[string]string{"device_type": "GPU", "a.b": "c"}}, ort.CUDA{Settings: map[string]string{"device_id": "1"}}, ort.Named{Name: "ACL"},
			}
		}},
	} {
		want := plain
		c.want(&want)
		got, err := engineOptions(c.given, 3)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %+v, %v; want %+v", c.given, got, err, want)
		}
	}
	for _, c := range []struct {
		given map[string]string
		at    string
		says  []string
	}{
		{map[string]string{"device": "gpu"}, "device", []string{`no option "device"`, "providers (", "threads ("}},
		{map[string]string{"threads": "0"}, "threads", []string{"at least 1", `"0"`}},
		{map[string]string{"threads": "many"}, "threads", []string{`"many"`}},
		{map[string]string{"spin": "perhaps"}, "spin", []string{"neither true nor false", `"perhaps"`}},
		{map[string]string{"threads.x": "1"}, "threads", []string{`no option "threads.x"`}},
		{map[string]string{"OpenVINO.device_type": "CPU"}, "OpenVINO", []string{"not among the providers", `providers = ["OpenVINO"]`}},
		{map[string]string{"providers": "CUDA,cuda"}, "providers", []string{"named twice"}},
		{map[string]string{"fallback": "false"}, "fallback", []string{"nothing to run the model on"}},
	} {
		_, err := engineOptions(c.given, 3)
		says(t, err, c.says...)
		var d sdk.Diagnostic
		if !errors.As(err, &d) || !reflect.DeepEqual(d.Path, []any{c.at}) || d.Code != codeOption {
			t.Errorf("%v: %+v", c.given, d)
		}
	}
}

// TestProvidersOfASession has the engine run a sample to tell what ran where: here all of it on the CPU.
func TestProvidersOfASession(t *testing.T) {
	needLibrary(t)
	open := func(options map[string]string) (sdk.RuntimeSession, error) {
		return host{}.Open(t.Context(), sdk.OpenRequest{Artifact: sdk.Artifact{Path: recipe(t, "digits.onnx")}, Threads: 1, Options: options})
	}
	_, err := open(map[string]string{"providers": "Abacus"})
	says(t, err, "the execution provider Abacus cannot be used", `it has "`, `"CPU"`)
	_, err = host{}.Probe(t.Context(), sdk.ProbeRequest{Options: map[string]string{"providers": "Abacus"}})
	says(t, err, "the execution provider Abacus cannot be used", `"CPU"`)
	_, err = host{}.Probe(t.Context(), sdk.ProbeRequest{Options: map[string]string{"providers": "CPU", "CPU.fast": "true"}})
	says(t, err, "cannot be used", "takes no settings", `"fast"`)

	p, err := host{}.Probe(t.Context(), sdk.ProbeRequest{Options: map[string]string{"providers": "CPU", "threads": "2"}, Threads: 7})
	if err != nil || p.Fingerprint["threads"] != "2" || p.Fingerprint["providers"] == "" {
		t.Fatal(p, err)
	}
	s, err := open(map[string]string{"providers": "CPU"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if d := s.Info().Facts["device"]; d != "cpu" {
		t.Errorf("device %q", d)
	}
	if _, err := s.Coverage(t.Context()); err == nil {
		t.Error("coverage of a session that never ran")
	}
	images, _ := digitImages(t, 3)
	data := shards(t, 9, tensor.Named{Name: "input", Tensor: images})
	if _, err := s.Predict(t.Context(), sdk.PredictRequest{Dataset: data, Output: t.TempDir() + "/out.safetensors", Batch: 2}); err != nil {
		t.Fatal(err)
	}
	doc, err := s.Coverage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := doc.(*engine.Coverage)
	if len(c.Layers) != 2 || c.Layers[0] != (engine.LayerCoverage{Op: "Conv", Precision: "fp32", Count: 9, Total: 9}) || len(c.Nodes) < 10 {
		t.Errorf("%+v", c)
	}
	for _, o := range c.Ops {
		if o.Provider != "CPU" || o.Precision != "fp32" {
			t.Errorf("%+v", o)
		}
	}
}

func TestProfiledCoverage(t *testing.T) {
	float := []ort.ProfiledTensor{{Type: "float"}}
	c := profiledCoverage(&ort.Profile{Nodes: []ort.NodeProfile{
		{Name: "OpenVINOExecutionProvider_OpenVINO-EP-subgraph_1_0", Op: "OpenVINO-EP-subgraph_1", Provider: "OpenVINOExecutionProvider", Outputs: float},
		{Name: "OpenVINOExecutionProvider_OpenVINO-EP-subgraph_2_0", Op: "OpenVINO-EP-subgraph_2", Provider: "OpenVINOExecutionProvider", Outputs: float},
		{Name: "s", Op: "Softmax", Provider: "CPUExecutionProvider", Outputs: float},
		{Name: "q", Op: "QLinearConv", Provider: "CPUExecutionProvider", Outputs: []ort.ProfiledTensor{{Type: "uint8"}}},
	}}, "e")
	want := []engine.OpCoverage{
		{Op: "QLinearConv", Precision: "int8", Count: 1, Provider: "CPU"}, {Op: "Softmax", Precision: "fp32", Count: 1, Provider: "CPU"},
		{Op: "OpenVINO-EP-subgraph", Precision: "unknown", Count: 2, Provider: "OpenVINO"},
	}
	if !reflect.DeepEqual(c.Ops, want) || len(c.Layers) != 1 || len(c.Nodes) != 4 {
		t.Errorf("%+v", c)
	}
}
