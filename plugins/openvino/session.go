package openvino

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/openvino/ir"
	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
	"github.com/optimize-hcl/optimize/tensor"
)

// readModel is a model as OpenVINO read it, with the names that its inputs and outputs have in its file. OpenVINO itself
// tells but one name of a tensor that has several, and seldom the one that counts.
type readModel struct {
	model *ov.Model
	path  string
	in    []sdk.TensorInfo
	out   []sdk.TensorInfo
}

// readArtifact reads an ONNX model or an IR.
func readArtifact(a sdk.Artifact) (*readModel, error) {
	var in, out [][]string // names, the first the one to use
	var path string
	var err error
	switch format := a.Format; {
	case format == formatIR, format == "" && strings.HasSuffix(strings.ToLower(a.Path), ".xml"):
		if path, _, err = ir.Files(a.Path); err == nil {
			in, out, err = irNames(path)
		}
	case format == formatONNX, format == "":
		if path, err = onnx.ModelFile(a.Path); err == nil {
			in, out, err = onnxNames(path)
		}
	default:
		return nil, sdk.CodeError("openvino/format", fmt.Sprintf("the runtime openvino cannot run the format %q", format),
			fmt.Sprintf("It runs %q and %q. Name another runtime for this artifact.", formatIR, formatONNX))
	}
	if err != nil {
		return nil, badModel(err)
	}
	m, err := ov.Read(path)
	if err != nil {
		return nil, badModel(fmt.Errorf("%s: %w", path, err))
	}
	r := &readModel{model: m, path: path}
	if err := r.describe(in, out); err != nil {
		m.Close()
		return nil, err
	}
	return r, nil
}

func badModel(err error) error {
	hint := " Check that the file is a whole model of standard operators, and export it again if it was damaged."
	if errors.Is(err, os.ErrNotExist) {
		hint = " Check the path."
	}
	return sdk.CodeError(codeModel, "the model cannot be loaded", sentence(err.Error())+hint)
}

func irNames(path string) (in, out [][]string, err error) {
	n, err := ir.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	for _, v := range n.Inputs() {
		in = append(in, v.Names)
	}
	for _, v := range n.Outputs() {
		out = append(out, v.Names)
	}
	return in, out, nil
}

// onnxNames reads what lies in the file itself; weights beside it are not needed.
func onnxNames(path string) (in, out [][]string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	m, err := onnx.Parse(b)
	if err == nil && m.Graph == nil {
		err = errors.New("it holds no graph")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s is no whole ONNX model: %w", path, err)
	}
	for _, v := range m.Graph.Feeds() {
		in = append(in, []string{v.Name()})
	}
	for _, v := range m.Graph.Outputs() {
		out = append(out, []string{v.Name()})
	}
	return in, out, nil
}

// describe joins OpenVINO's ports with the names of the file: both have the model's order.
func (r *readModel) describe(in, out [][]string) error {
	inputs, outputs, err := r.model.Ports()
	if err != nil {
		return badModel(fmt.Errorf("%s: %w", r.path, err))
	}
	if r.in, err = described("input", inputs, in); err == nil {
		r.out, err = described("output", outputs, out)
	}
	if err == nil && len(r.in) == 0 {
		err = errors.New("the model has no inputs, so it cannot be run on data")
	}
	if err != nil {
		return badModel(fmt.Errorf("%s: %w", r.path, err))
	}
	return nil
}

func described(what string, ports []ov.Port, names [][]string) ([]sdk.TensorInfo, error) {
	infos := make([]sdk.TensorInfo, len(ports))
	for i, p := range ports {
		name := p.Name
		if len(names) == len(ports) && len(names[i]) > 0 {
			name = names[i][0]
		}
		if name == "" {
			return nil, fmt.Errorf("%s %d has no name", what, i+1)
		}
		if slices.ContainsFunc(infos[:i], func(o sdk.TensorInfo) bool { return o.Name == name }) {
			return nil, fmt.Errorf("two of its %ss have the name %q", what, name)
		}
		d, ok := p.Type.DType()
		if !ok {
			return nil, fmt.Errorf("%s %q holds %s, which is no type of whole bytes: convert it in the model", what, name, p.Type)
		}
		infos[i] = sdk.TensorInfo{Name: name, DType: d, Shape: p.Lengths()}
	}
	return infos, nil
}

// session is a model made ready for a device. The SDK calls one method at a time.
type session struct {
	engine.Session
	compiled *ov.Compiled
	run      *ov.Run
	info     sdk.SessionInfo
	version  string
	// blob is the file that was loaded in place of compiling, or empty; unmap ends its mapping.
	blob  string
	unmap func() error
}

// begin finishes a session whose model is compiled.
func (s *session) begin(r *readModel, o options) (err error) {
	if s.run, err = s.compiled.NewRun(); err != nil {
		return runError(err)
	}
	s.info = sdk.SessionInfo{Inputs: r.in, Outputs: r.out, Facts: s.tell(o)}
	side := 1
	if o.throughput {
		if side = s.number("OPTIMAL_NUMBER_OF_INFER_REQUESTS"); side < 1 {
			side = 1
		}
		s.info.Facts["streams"] = fmt.Sprint(side)
	}
	s.Session = engine.NewSession(pluginName, &driven{session: s, in: r.in, out: r.out, side: side})
	return nil
}

// tell asks the compiled model what it really runs on: a hint is not a promise.
func (s *session) tell(o options) map[string]string {
	f := map[string]string{"runtime": pluginName, "runtime_version": s.version, "device": strings.ToLower(o.device), "hint": "latency"}
	if o.throughput {
		f["hint"] = "throughput"
	}
	if s.blob != "" {
		f["compiled"] = s.blob
	}
	if v, err := s.compiled.Property("EXECUTION_DEVICES"); err == nil && v != "" {
		f["device"] = strings.ToLower(strings.ReplaceAll(strings.TrimSpace(v), " ", ","))
	}
	for fact, key := range map[string]string{"precision": "INFERENCE_PRECISION_HINT", "threads": "INFERENCE_NUM_THREADS", "dynamic_quantization": "DYNAMIC_QUANTIZATION_GROUP_SIZE"} {
		if v, err := s.compiled.Property(key); err == nil && v != "" {
			f[fact] = v
		}
	}
	return f
}

func (s *session) number(key string) (n int) {
	if v, err := s.compiled.Property(key); err == nil {
		_, _ = fmt.Sscan(v, &n)
	}
	return n
}

// Info describes the model and what it runs on.
func (s *session) Info() sdk.SessionInfo { return s.info }

// Close frees the model.
func (s *session) Close() error {
	err := s.Release()
	return errors.Join(err, s.free())
}

// free lets go of the model, and of the file that it was loaded from.
func (s *session) free() error {
	if s.run != nil {
		s.run.Close()
	}
	s.compiled.Close()
	if s.unmap != nil {
		return s.unmap()
	}
	return nil
}

// runError says that a run failed.
func runError(err error) error {
	return sdk.CodeError("openvino/run-failed", "the model failed while it ran", sentence(err.Error()))
}

// driven is a session as [engine.Session] drives it.
type driven struct {
	session *session
	in, out []sdk.TensorInfo
	side    int // runs side by side
}

func (m *driven) Inputs() []sdk.TensorInfo  { return m.in }
func (m *driven) Outputs() []sdk.TensorInfo { return m.out }

// ordered gives tensors in the order of the model's inputs.
func (m *driven) ordered(in map[string]tensor.Tensor) []tensor.Tensor {
	out := make([]tensor.Tensor, len(m.in))
	for i, v := range m.in {
		out[i] = in[v.Name]
	}
	return out
}

func (m *driven) Run(in map[string]tensor.Tensor, outputs []string) (map[string]tensor.Tensor, error) {
	r := m.session.run
	err := r.Bind(m.ordered(in))
	if err == nil {
		err = r.Do()
	}
	if err != nil {
		return nil, runError(err)
	}
	out := make(map[string]tensor.Tensor, len(outputs))
	for i, v := range m.out {
		if !slices.Contains(outputs, v.Name) {
			continue
		}
		if out[v.Name], err = r.Output(i); err != nil {
			return nil, runError(err)
		}
	}
	return out, nil
}

// Bind makes as many runs ready as go side by side, all of one batch.
func (m *driven) Bind(in map[string]tensor.Tensor) (engine.Bound, error) {
	b := &bound{}
	for range m.side {
		r, err := m.session.compiled.NewRun()
		if err != nil {
			return nil, errors.Join(runError(err), b.Close())
		}
		b.runs = append(b.runs, r)
		if err := r.Bind(m.ordered(in)); err != nil {
			return nil, errors.Join(runError(err), b.Close())
		}
	}
	b.begin()
	// The first run makes room for what is between layers.
	if err := b.Do(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// bound is a batch in its place. All but the first run have a thread of their own that waits for its turn.
type bound struct {
	runs   []*ov.Run
	start  []chan struct{}
	done   chan error
	ending sync.WaitGroup
}

func (b *bound) begin() {
	b.done = make(chan error, len(b.runs))
	for _, r := range b.runs[1:] {
		start := make(chan struct{})
		b.start = append(b.start, start)
		b.ending.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for range start {
				b.done <- r.Do()
			}
		})
	}
}

func (b *bound) Runs() int { return len(b.runs) }

func (b *bound) Do() error {
	for _, c := range b.start {
		c <- struct{}{}
	}
	err := b.runs[0].Do()
	for range b.start {
		err = errors.Join(err, <-b.done)
	}
	if err != nil {
		return runError(err)
	}
	return nil
}

func (b *bound) Close() error {
	for _, c := range b.start {
		close(c)
	}
	b.ending.Wait()
	for _, r := range b.runs {
		r.Close()
	}
	return nil
}

// Coverage reads the graph that the device runs.
func (s *session) Coverage(context.Context) (any, error) {
	n, err := s.executed()
	if err != nil {
		return nil, err
	}
	return coverage(n, pluginName+" "+s.version), nil
}
