package ort

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	engine "github.com/yalue/onnxruntime_go"
)

// Provider is an execution provider of the engine with its settings: [CUDA],
// [TensorRT], [CoreML], [OpenVINO], [DirectML], [QNN], [XNNPACK], or any by [Named].
// A library has those that it was built with; [Providers] tells.
type Provider interface {
	// Provider returns the provider's name without "ExecutionProvider" and its settings in the engine's own words.
	Provider() (name string, settings map[string]string)
}

// Named is a provider by its name ("CUDA", "OpenVINO", ...; in any case, with or
// without "ExecutionProvider") with settings in the engine's own words.
type Named struct {
	Name     string
	Settings map[string]string
}

// Provider returns the two fields.
func (n Named) Provider() (string, map[string]string) { return n.Name, n.Settings }

// settings collects what was set: a zero value leaves a setting to the engine.
type settings map[string]string

func (s settings) text(key, v string) {
	if v != "" {
		s[key] = v
	}
}

func (s settings) number(key string, v int64) {
	if v != 0 {
		s[key] = strconv.FormatInt(v, 10)
	}
}

// on writes a switch in the provider's spelling of yes.
func (s settings) on(key string, v bool, yes string) {
	if v {
		s[key] = yes
	}
}

// and adds what the type has no field for; it wins.
func (s settings) and(more map[string]string) map[string]string {
	maps.Copy(s, more)
	return s
}

// CUDA is NVIDIA's GPU through CUDA and cuDNN: the wheel onnxruntime-gpu.
type CUDA struct {
	Device      int               // number of the GPU
	MemoryLimit int64             // bytes that the arena may take; 0: all
	NoTF32      bool              // multiply float32 in full precision
	NHWC        bool              // prefer the layout with channels last
	CUDAGraph   bool              // record the kernels once and replay them; shapes must stay
	Settings    map[string]string // any other, in the engine's words
}

// Provider returns the settings.
func (c CUDA) Provider() (string, map[string]string) {
	s := settings{"device_id": strconv.Itoa(c.Device)}
	s.number("gpu_mem_limit", c.MemoryLimit)
	s.on("use_tf32", c.NoTF32, "0")
	s.on("prefer_nhwc", c.NHWC, "1")
	s.on("enable_cuda_graph", c.CUDAGraph, "1")
	return "CUDA", s.and(c.Settings)
}

// TensorRT is NVIDIA's GPU through TensorRT: the wheel onnxruntime-gpu and TensorRT's own libraries.
type TensorRT struct {
	Device         int               // number of the GPU
	FP16, INT8     bool              // let it choose kernels of lower precision
	WorkspaceLimit int64             // bytes for the choice of kernels; 0: TensorRT's own bound
	CacheDir       string            // keep built engines and timings there; empty: build each time
	Settings       map[string]string // any other, in the engine's words
}

// Provider returns the settings.
func (t TensorRT) Provider() (string, map[string]string) {
	s := settings{"device_id": strconv.Itoa(t.Device)}
	s.on("trt_fp16_enable", t.FP16, "1")
	s.on("trt_int8_enable", t.INT8, "1")
	s.number("trt_max_workspace_size", t.WorkspaceLimit)
	if t.CacheDir != "" {
		s["trt_engine_cache_enable"], s["trt_engine_cache_path"] = "1", t.CacheDir
		s["trt_timing_cache_enable"], s["trt_timing_cache_path"] = "1", t.CacheDir
	}
	return "TensorRT", s.and(t.Settings)
}

// CoreML is Apple's accelerators, in the library for macOS.
type CoreML struct {
	NeuralNetwork bool              // the older format in place of an ML program
	Units         string            // "ALL", "CPUOnly", "CPUAndGPU", "CPUAndNeuralEngine"; empty: all
	StaticShapes  bool              // take only nodes whose shapes are fixed
	CacheDir      string            // keep compiled models there
	Settings      map[string]string // any other, in the engine's words
}

// Provider returns the settings.
func (c CoreML) Provider() (string, map[string]string) {
	s := settings{"ModelFormat": "MLProgram"}
	s.on("ModelFormat", c.NeuralNetwork, "NeuralNetwork")
	s.text("MLComputeUnits", c.Units)
	s.on("RequireStaticInputShapes", c.StaticShapes, "1")
	s.text("ModelCacheDirectory", c.CacheDir)
	return "CoreML", s.and(c.Settings)
}

// OpenVINO is Intel's CPUs, GPUs and NPUs: the wheel onnxruntime-openvino.
type OpenVINO struct {
	Device    string            // "CPU", "GPU", "GPU.1", "NPU", "AUTO:GPU,CPU"; empty: CPU
	Precision string            // "FP32", "FP16", "ACCURACY"; empty: the device's own
	Threads   int               // 0: OpenVINO's choice
	Streams   int               // 0: one
	CacheDir  string            // keep compiled models there
	Settings  map[string]string // any other, in the engine's words
}

// Provider returns the settings.
func (o OpenVINO) Provider() (string, map[string]string) {
	s := settings{"device_type": "CPU"}
	s.text("device_type", o.Device)
	s.text("precision", o.Precision)
	s.number("num_of_threads", int64(o.Threads))
	s.number("num_streams", int64(o.Streams))
	s.text("cache_dir", o.CacheDir)
	return "OpenVINO", s.and(o.Settings)
}

// DirectML is any GPU on Windows: the wheel onnxruntime-directml.
type DirectML struct {
	Device int // number of the GPU
}

// Provider returns the settings.
func (d DirectML) Provider() (string, map[string]string) {
	return "DML", map[string]string{"device_id": strconv.Itoa(d.Device)}
}

// QNN is Qualcomm's NPUs: the wheel onnxruntime-qnn.
type QNN struct {
	Backend  string            // path of QnnHtp, QnnGpu or QnnCpu's library; empty: QnnHtp beside the engine's
	Mode     string            // "burst", "balanced", "power_saver", ...; empty: the default
	Settings map[string]string // any other, in the engine's words
}

// Provider returns the settings.
func (q QNN) Provider() (string, map[string]string) {
	s := settings{}
	s.text("backend_path", q.Backend)
	s.text("htp_performance_mode", q.Mode)
	return "QNN", s.and(q.Settings)
}

// XNNPACK is a library of CPU kernels for phones.
type XNNPACK struct {
	Threads int // 0: one
}

// Provider returns the settings.
func (x XNNPACK) Provider() (string, map[string]string) {
	s := settings{}
	s.number("intra_op_num_threads", int64(x.Threads))
	return "XNNPACK", s
}

// installs tells what brings each provider, by its name in lower case.
var installs = map[string]string{
	"cuda":     "the wheel onnxruntime-gpu, with CUDA and cuDNN",
	"tensorrt": "the wheel onnxruntime-gpu, with CUDA and TensorRT",
	"coreml":   "ONNX Runtime for macOS",
	"openvino": "the wheel onnxruntime-openvino",
	"dml":      "the wheel onnxruntime-directml, on Windows",
	"qnn":      "the wheel onnxruntime-qnn",
	"xnnpack":  "a library built with XNNPACK",
}

const providerSuffix = "ExecutionProvider"

// ProviderError tells that the library lacks a provider, or that it cannot be used here.
type ProviderError struct {
	Name   string   // without "ExecutionProvider"
	Has    []string // what the library was built with, likewise
	Reason string   // the engine's words, when it has the provider but cannot use it
}

func (e *ProviderError) Error() string {
	lib, _ := Loaded()
	install := installs[strings.ToLower(e.Name)]
	if e.Reason != "" {
		s := fmt.Sprintf("the execution provider %s cannot be used: %s", e.Name, e.Reason)
		if install != "" {
			s += ". Check its settings, and that its device is here; it needs " + install
		}
		return s
	}
	s := fmt.Sprintf("ONNX Runtime %s at %s has no execution provider %s; it has %s", lib.Version, lib.Path, e.Name, quoted(e.Has))
	if install != "" {
		s += ". It comes with " + install + ": install that and let " + EnvLibrary + " name its library"
	}
	return s
}

// Providers lists the execution providers that the loaded library was built with,
// without "ExecutionProvider", sorted. That one is listed does not say that this
// machine has what it needs.
func Providers() ([]string, error) {
	lib, ok := Loaded()
	if !ok {
		return nil, errNotLoaded
	}
	all, err := availableProviders(lib.Path)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i] = strings.TrimSuffix(all[i], providerSuffix)
	}
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return all, nil
}

// ProviderNamed is a provider by its name in any case, with or without "ExecutionProvider", with the defaults of its
// type here: [OpenVINO] on the CPU, [CoreML] as an ML program, and so on. The settings, in the engine's own words, win.
func ProviderNamed(name string, settings map[string]string) Provider {
	switch strings.ToLower(strings.TrimSuffix(name, providerSuffix)) {
	case "cuda":
		return CUDA{Settings: settings}
	case "tensorrt":
		return TensorRT{Settings: settings}
	case "coreml":
		return CoreML{Settings: settings}
	case "openvino":
		return OpenVINO{Settings: settings}
	}
	return Named{Name: name, Settings: settings}
}

// CheckProviders tells whether the loaded library has these providers and whether they can be set up here with their
// settings, as far as the engine tells without a model: a library that one needs is looked for, a model is not compiled.
func CheckProviders(o Options) (err error) {
	if _, ok := Loaded(); !ok {
		return errNotLoaded
	}
	opts, err := sessionOptions(Options{Providers: o.Providers}, false)
	if err != nil {
		return err
	}
	return opts.Destroy()
}

// findProvider gives a name the library's own spelling.
func findProvider(name string) (string, error) {
	has, err := Providers()
	if err != nil {
		return "", err
	}
	name = strings.TrimSuffix(name, providerSuffix)
	if name == "" {
		return "", fmt.Errorf("an execution provider without a name was asked for; the library has %s", quoted(has))
	}
	if strings.EqualFold(name, "DirectML") {
		name = "DML"
	}
	for _, h := range has {
		if strings.EqualFold(h, name) {
			return h, nil
		}
	}
	return "", &ProviderError{Name: name, Has: has}
}

// appendProvider adds a provider to a session's options.
func appendProvider(opts *engine.SessionOptions, p Provider) error {
	if p == nil {
		return errors.New("an execution provider is nil")
	}
	asked, set := p.Provider()
	name, err := findProvider(asked)
	if err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(set)) {
		if k == "" || strings.ContainsRune(k+set[k], 0) {
			return fmt.Errorf("the setting %q of the execution provider %s cannot be given to the engine", k, name)
		}
	}
	switch name {
	case "CPU":
		if len(set) > 0 {
			return fmt.Errorf("the execution provider CPU takes no settings, but %s was given", quoted(slices.Sorted(maps.Keys(set))))
		}
		return nil // it is always there, behind the others
	case "CUDA":
		err = withCUDA(opts, set)
	case "TensorRT", "Tensorrt":
		err = withTensorRT(opts, set)
	case "CoreML":
		err = opts.AppendExecutionProviderCoreMLV2(set)
	case "OpenVINO":
		err = opts.AppendExecutionProviderOpenVINO(set)
	case "Dml", "DML":
		err = withDirectML(opts, set)
	default:
		err = opts.AppendExecutionProvider(name, set)
	}
	if err != nil {
		return &ProviderError{Name: name, Reason: clean(err.Error())}
	}
	return nil
}

func withCUDA(opts *engine.SessionOptions, set map[string]string) (err error) {
	c, err := engine.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Destroy()) }()
	if err := c.Update(set); err != nil {
		return err
	}
	return opts.AppendExecutionProviderCUDA(c)
}

func withTensorRT(opts *engine.SessionOptions, set map[string]string) (err error) {
	t, err := engine.NewTensorRTProviderOptions()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Destroy()) }()
	if err := t.Update(set); err != nil {
		return err
	}
	return opts.AppendExecutionProviderTensorRT(t)
}

func withDirectML(opts *engine.SessionOptions, set map[string]string) error {
	device := 0
	for _, k := range slices.Sorted(maps.Keys(set)) {
		n, err := strconv.Atoi(set[k])
		if k != "device_id" || err != nil {
			return fmt.Errorf("it takes device_id, a number, but %s = %q was given", k, set[k])
		}
		device = n
	}
	// DirectML does not plan memory ahead.
	return errors.Join(opts.SetMemPattern(false), opts.AppendExecutionProviderDirectML(device))
}
