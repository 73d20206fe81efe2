package ort

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

func TestProviderSettings(t *testing.T) {
	for _, c := range []struct {
		p    Provider
		name string
		want map[string]string
	}{
		{CUDA{}, "CUDA", map[string]string{"device_id": "0"}},
		{CUDA{Device: 1, MemoryLimit: 1 << 30, NoTF32: true, NHWC: true, CUDAGraph: true, Settings: map[string]string{"device_id": "2", "a": "b"}}, "CUDA",
			map[string]string{"device_id": "2", "gpu_mem_limit": "1073741824", "use_tf32": "0", "prefer_nhwc": "1", "enable_cuda_graph": "1", "a": "b"}},
		{TensorRT{FP16: true, INT8: true, WorkspaceLimit: 5, CacheDir: "d"}, "TensorRT", map[string]string{"device_id": "0", "trt_fp16_enable": "1", "trt_int8_enable": "1",
			"trt_max_workspace_size": "5", "trt_engine_cache_enable": "1", "trt_engine_cache_path": "d", "trt_timing_cache_enable": "1", "trt_timing_cache_path": "d"}},
		{CoreML{}, "CoreML", map[string]string{"ModelFormat": "MLProgram"}},
		{CoreML{NeuralNetwork: true, Units: "CPUOnly", StaticShapes: true, CacheDir: "d"}, "CoreML",
			map[string]string{"ModelFormat": "NeuralNetwork", "MLComputeUnits": "CPUOnly", "RequireStaticInputShapes": "1", "ModelCacheDirectory": "d"}},
		{OpenVINO{}, "OpenVINO", map[string]string{"device_type": "CPU"}},
		{OpenVINO{Device: "GPU", Precision: "FP16", Threads: 2, Streams: 3, CacheDir: "d"}, "OpenVINO",
			map[string]string{"device_type": "GPU", "precision": "FP16", "num_of_threads": "2", "num_streams": "3", "cache_dir": "d"}},
		{DirectML{Device: 3}, "DML", map[string]string{"device_id": "3"}},
		{QNN{Backend: "b", Mode: "burst"}, "QNN", map[string]string{"backend_path": "b", "htp_performance_mode": "burst"}},
		{XNNPACK{Threads: 4}, "XNNPACK", map[string]string{"intra_op_num_threads": "4"}},
		{Named{"ACL", nil}, "ACL", nil},
	} {
		name, got := c.p.Provider()
		if name != c.name || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%T: %s %v", c.p, name, got)
		}
	}
}

func TestProviders(t *testing.T) {
	needLibrary(t)
	has, err := Providers()
	if err != nil || !slices.Contains(has, "CPU") {
		t.Fatal(has, err)
	}
	again, err := Providers()
	if err != nil || !slices.Equal(has, again) {
		t.Fatal(again, err)
	}
	x, y := []vi{{"x", 1, []int64{2}}}, []vi{{"y", 1, []int64{2}}}
	model := build(13, x, y, node("Neg", []string{"x"}, "y", nil))
	for _, p := range []Provider{CUDA{}, TensorRT{}, CoreML{}, OpenVINO{}, DirectML{}, QNN{}, Named{Name: "MIGraphXExecutionProvider"}} {
		name, _ := p.Provider()
		if slices.Contains(has, name) {
			continue // this library has it
		}
		_, err := NewSession(model, Options{Threads: 1, Providers: []Provider{p}})
		var none *ProviderError
		if !errors.As(err, &none) || !slices.Equal(none.Has, has) {
			t.Fatalf("%T: %v", p, err)
		}
		oneLine(t, err, `it has "`)
		if _, ok := p.(Named); !ok {
			oneLine(t, err, EnvLibrary)
		}
	}
	for _, p := range []struct {
		p    Provider
		want string
	}{
		{nil, "nil"},
		{Named{}, "without a name"},
		{Named{"CPU", map[string]string{"a": "b"}}, `takes no settings, but "a"`},
		{Named{"CPU", map[string]string{"a": "\x00"}}, "cannot be given"},
	} {
		_, err := NewSession(model, Options{Threads: 1, Providers: []Provider{p.p}})
		oneLine(t, err, p.want)
	}
	out, err := open1(t, model, Options{Threads: 1, Providers: []Provider{Named{Name: "cpuExecutionProvider"[:3]}}}).
		Run(map[string]tensor.Tensor{"x": floats([]int64{2}, 1, 2)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	check(t, out["y"], tensor.F32, []int64{2}, []float32{-1, -2})
}
