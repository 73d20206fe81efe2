package ort

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	engine "github.com/yalue/onnxruntime_go"

	"github.com/optimize-hcl/optimize/tensor"
)

// Options say how a session runs. The zero value computes on as many threads as
// there are cores, in the model's own graph, with little memory held between runs.
type Options struct {
	Threads            int      // threads that share one operator; 0: as many as there are cores
	Optimize           bool     // let the engine rewrite the graph (fusions, layouts)
	OptimizedModelPath string   // where to write the graph that the engine runs, its large weights in PATH.data; empty: nowhere
	ExternalDataDir    string   // where weights outside a model given as bytes lie
	Outputs            []string // what to compute of the model's outputs; empty: all
	Spin               bool     // let idle threads wait busily: lower latency, a core burnt per thread
	// Arena keeps memory for the next run, which makes repeated runs faster. Without it a session holds less between
	// runs, but over many runs with large values glibc's allocator may come to hold more than an arena does: what was
	// freed is in pieces that do not fit again.
	Arena   bool
	Prepack bool // keep a second copy of weights in the layout the kernels like: faster, more memory

	// Providers run what they can of the model, the first in the list before the next;
	// the CPU runs the rest. Empty: the CPU runs all. What runs where, [ProfileFile] tells.
	Providers []Provider
	// NoFallback makes a node that none of Providers takes an error, instead of running it on the CPU.
	NoFallback bool
	// ProfilePath is where what the engine measures is written when the session is closed,
	// for [ReadProfile]; empty: nothing is measured. Measuring costs time. Runs of a [Bound]
	// are measured only for a model that needs no conversions.
	ProfilePath string

	profilePrefix string // what the engine is told
}

// Info describes an input or output of a model.
type Info struct {
	Name  string
	DType tensor.DType
	Shape []int64  // -1 where dynamic; empty of a scalar, nil when the model does not state its rank
	Axes  []string // names of dynamic axes, "" for others; nil when none has one
}

// Session is a model, loaded. It may be used by several goroutines at once.
type Session struct {
	mu      sync.RWMutex // read-held by runs, so that Close waits for them
	run     *engine.DynamicAdvancedSession
	reload  func(epilogue bool) (*engine.DynamicAdvancedSession, error)
	inputs  []Info
	outputs []Info
	feeds   []feed
	fetches []fetch
	altered bool // an epilogue was appended
	profile *profileFile
}

// NewSession loads a model from its bytes, which the engine copies. Weights in
// external files are looked for in Options.ExternalDataDir; such a model must state
// the element types of its outputs. A model that the engine
// refuses gives an [*Error].
func NewSession(model []byte, o Options) (*Session, error) {
	return open(bytes.NewReader(model), int64(len(model)), o, func() ([]byte, error) { return model, nil }, "")
}

// NewSessionFile loads a model file; weights in external files lie beside it.
func NewSessionFile(path string, o Options) (_ *Session, err error) {
	st, err := os.Stat(path) // first: to open a pipe would wait for who writes to it
	if err != nil {
		return nil, fmt.Errorf("the model cannot be read: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("the model %s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the model cannot be read: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if o.ExternalDataDir == "" {
		o.ExternalDataDir = filepath.Dir(path)
	}
	s, err := open(f, st.Size(), o, func() ([]byte, error) { return os.ReadFile(path) }, path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// open reads the model's signature and loads it: from path when there is one and the
// model needs no epilogue, so that its bytes are not held twice, else from bytes.
func open(r io.ReaderAt, size int64, o Options, read func() ([]byte, error), path string) (_ *Session, err error) {
	if _, ok := Loaded(); !ok {
		return nil, errNotLoaded
	}
	if size == 0 {
		return nil, errors.New("the model is empty (0 bytes); an ONNX model is expected")
	}
	sig, err := scanSignature(r, size)
	if err != nil {
		return nil, fmt.Errorf("this is not a whole ONNX model: %w", err)
	}
	s := &Session{}
	inputs := slices.DeleteFunc(slices.Clone(sig.inputs), func(v valueInfo) bool { return sig.initialized[v.Name] })
	outputs, err := choose(sig.outputs, o.Outputs)
	if err != nil {
		return nil, err
	}
	if len(inputs) == 0 {
		return nil, errors.New("the model has no inputs, so it cannot be run on data")
	}
	var edits []edit
	var prologue []byte
	load := func(extra []byte, names []string) (*engine.DynamicAdvancedSession, error) {
		return load(o, path, read, edits, extra, feedNames(s.feeds), names)
	}
	if slices.ContainsFunc(append(inputs, outputs...), func(v valueInfo) bool { return v.kind == "" && v.element == 0 }) {
		if err := ask(o, path, read, inputs, outputs); err != nil {
			return nil, err
		}
	}
	for _, v := range inputs {
		if err := supported("input", v); err != nil {
			return nil, err
		}
		s.inputs = append(s.inputs, v.Info)
	}
	if s.feeds, edits, prologue, err = planFeeds(inputs); err != nil {
		return nil, err
	}
	plain := make([]string, len(outputs))
	adapted := make([]string, len(outputs))
	for i, v := range outputs {
		if err := supported("output", v); err != nil {
			return nil, err
		}
		f := planFetch(v)
		s.outputs = append(s.outputs, v.Info)
		s.fetches = append(s.fetches, f)
		plain[i], adapted[i] = v.Name, f.name
	}
	extra := epilogue(sig, outputs, s.fetches)
	s.altered = extra != nil
	s.reload = func(epilogue bool) (*engine.DynamicAdvancedSession, error) {
		if epilogue {
			return load(slices.Concat(prologue, extra), adapted)
		}
		return load(prologue, plain)
	}
	if o.ProfilePath != "" {
		if s.profile, err = newProfileFile(o.ProfilePath); err != nil {
			return nil, err
		}
		o.profilePrefix = s.profile.prefix()
	}
	s.run, err = s.reload(s.altered)
	o.profilePrefix = "" // a second session of Bind would write into the same folder
	if err != nil {
		return nil, errors.Join(err, s.profile.drop())
	}
	if !s.altered {
		s.reload = nil // lets go of the model's bytes
	}
	return s, nil
}

// externalFrom is the size in bytes from which weights of an optimized model are written beside it.
const externalFrom = 1 << 20

func supported(what string, v valueInfo) error {
	if v.kind != "" {
		return fmt.Errorf("%s %q of the model is a %s; only tensors can be used%s", what, v.Name, v.kind, wayAround(what))
	}
	if v.DType == tensor.Invalid {
		if v.element == 8 {
			return fmt.Errorf("%s %q of the model holds strings; only numbers can be used%s", what, v.Name, wayAround(what))
		}
		return fmt.Errorf("%s %q of the model has element type %d of ONNX, which is not supported%s", what, v.Name, v.element, wayAround(what))
	}
	return nil
}

func wayAround(what string) string {
	switch what {
	case "output":
		return ". Ask for the other outputs, or convert it at the end of the model"
	case "input":
		return ". Convert it outside the model"
	}
	return ""
}

func choose(all []valueInfo, names []string) ([]valueInfo, error) {
	if len(all) == 0 {
		return nil, errors.New("the model has no outputs")
	}
	if len(names) == 0 {
		return slices.Clone(all), nil
	}
	var out []valueInfo
	for _, n := range names {
		i := slices.IndexFunc(all, func(v valueInfo) bool { return v.Name == n })
		if i < 0 {
			return nil, fmt.Errorf("the model has no output %q; it has %s", n, quoted(inputNames(all)))
		}
		out = append(out, all[i])
	}
	return out, nil
}

func inputNames(v []valueInfo) []string {
	names := make([]string, len(v))
	for i := range v {
		names[i] = v[i].Name
	}
	return names
}

func quoted(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", n)
	}
	return b.String()
}

// ask lets the engine infer what the model does not state, at the price of loading it once more.
func ask(o Options, path string, read func() ([]byte, error), inputs, outputs []valueInfo) (err error) {
	o.Optimize, o.OptimizedModelPath, o.Providers, o.NoFallback = false, "", nil, false
	opts, err := sessionOptions(o, path == "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opts.Destroy()) }()
	var in, out []engine.InputOutputInfo
	if path != "" {
		in, out, err = engine.GetInputOutputInfoWithOptions(path, opts)
	} else {
		// The binding takes no options here, so external weights are not found this way.
		var model []byte
		if model, err = read(); err == nil {
			in, out, err = engine.GetInputOutputInfoWithONNXData(model)
		}
	}
	if err != nil {
		return newError("load the model", err)
	}
	fill := func(to []valueInfo, from []engine.InputOutputInfo) {
		for i := range to {
			for _, f := range from {
				if f.Name != to[i].Name || to[i].element != 0 {
					continue
				}
				to[i].element = int64(f.DataType)
				to[i].DType = elementTypes[to[i].element]
				if f.OrtValueType != engine.ONNXTypeTensor {
					to[i].kind = "value of another kind than a tensor"
				}
				// No axes may mean a scalar or an unknown rank: it stays unranked.
				if len(f.Dimensions) > 0 && !to[i].ranked {
					to[i].Shape, to[i].ranked = []int64(f.Dimensions), true
				}
			}
		}
	}
	fill(inputs, in)
	fill(outputs, out)
	return nil
}

func sessionOptions(o Options, fromBytes bool) (*engine.SessionOptions, error) {
	if o.Threads < 0 {
		return nil, fmt.Errorf("the number of threads must be 0 or more, but it is %d", o.Threads)
	}
	opts, err := engine.NewSessionOptions()
	if err != nil {
		return nil, newError("prepare a session", err)
	}
	level := engine.GraphOptimizationLevel(engine.GraphOptimizationLevelDisableAll)
	if o.Optimize {
		level = engine.GraphOptimizationLevelEnableAll
	}
	flag := func(key string, on bool) error {
		v := "0"
		if on {
			v = "1"
		}
		return opts.AddSessionConfigEntry(key, v)
	}
	err = errors.Join(
		opts.SetLogSeverityLevel(engine.LoggingLevelFatal),
		opts.SetIntraOpNumThreads(o.Threads),
		opts.SetInterOpNumThreads(1),
		opts.SetGraphOptimizationLevel(level),
		opts.SetCpuMemArena(o.Arena),
		// Patterns plan memory for shapes seen before; they need the arena.
		opts.SetMemPattern(o.Arena),
		flag("session.intra_op.allow_spinning", o.Spin),
		flag("session.inter_op.allow_spinning", o.Spin),
		flag("session.disable_prepacking", !o.Prepack),
	)
	if err == nil && o.OptimizedModelPath != "" {
		// Large weights go to a file beside it: a model over 2 GB could not be written otherwise.
		err = errors.Join(
			opts.SetOptimizedModelFilePath(o.OptimizedModelPath),
			opts.AddSessionConfigEntry("session.optimized_model_external_initializers_file_name", filepath.Base(o.OptimizedModelPath)+".data"),
			opts.AddSessionConfigEntry("session.optimized_model_external_initializers_min_size_in_bytes", strconv.Itoa(externalFrom)),
		)
	}
	if err == nil && o.profilePrefix != "" {
		err = opts.EnableProfiling(o.profilePrefix)
	}
	if err == nil && o.NoFallback {
		err = flag("session.disable_cpu_ep_fallback", true)
	}
	if err == nil && fromBytes && o.ExternalDataDir != "" {
		err = opts.AddSessionConfigEntry("session.model_external_initializers_file_folder_path", o.ExternalDataDir)
	}
	if err != nil {
		return nil, errors.Join(newError("prepare a session", err), opts.Destroy())
	}
	for _, p := range o.Providers {
		if err := appendProvider(opts, p); err != nil {
			return nil, errors.Join(err, opts.Destroy())
		}
	}
	return opts, nil
}

func load(o Options, path string, read func() ([]byte, error), edits []edit, extra []byte, in, out []string) (_ *engine.DynamicAdvancedSession, err error) {
	fromBytes := path == "" || extra != nil
	opts, err := sessionOptions(o, fromBytes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, opts.Destroy()) }()
	var s *engine.DynamicAdvancedSession
	if !fromBytes {
		s, err = engine.NewDynamicAdvancedSession(path, in, out, opts)
	} else {
		var model []byte
		if model, err = read(); err != nil {
			return nil, fmt.Errorf("the model cannot be read: %w", err)
		}
		if extra != nil {
			// Clipped, so that the caller's slice is never written behind its end.
			model = append(slices.Clip(model), extra...)
			for _, e := range edits {
				copy(model[e.at:], e.bytes)
			}
		}
		s, err = engine.NewDynamicAdvancedSessionWithONNXData(model, in, out, opts)
	}
	if err != nil {
		return nil, loadRefused(o, err)
	}
	return s, nil
}

// loadRefused says which providers left nodes to the CPU when that is forbidden; the engine does not.
func loadRefused(o Options, err error) error {
	if o.NoFallback && strings.Contains(err.Error(), "fallback to CPU EP has been explicitly disabled") {
		var asked []string
		for _, p := range o.Providers {
			name, _ := p.Provider()
			asked = append(asked, name)
		}
		return &Error{Action: "load the model", Message: "the model has nodes that the execution providers " + quoted(asked) + " do not take, or their device is not here, and running nodes on the CPU is forbidden"}
	}
	return newError("load the model", err)
}

// Inputs describes what [Session.Run] takes, in the model's order.
func (s *Session) Inputs() []Info { return slices.Clone(s.inputs) }

// Outputs describes what the session computes, in the model's order.
func (s *Session) Outputs() []Info { return slices.Clone(s.outputs) }

var errClosed = errors.New("the session is closed")

// Close frees the model once the runs under way have ended. A second Close does nothing.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return nil
	}
	err := s.run.Destroy()
	if err == nil {
		err = s.profile.finish()
	} else {
		err = errors.Join(err, s.profile.drop())
	}
	s.run, s.reload, s.profile = nil, nil, nil
	return err
}
