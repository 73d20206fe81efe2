package calibrate

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
)

// tap is a tensor to look at.
type tap struct {
	name string
	// bytes that its values take in one run, and what is kept of it.
	bytes, kept int64
	// output is where the values come out as float32: name, or a Cast of it; the input itself when it is fed.
	output string
	// shape that the values have in one run, nil where it depends on the data or is not known.
	shape []int64
}

// taps are the tensors of the job, with their sizes when batch samples are run at a time.
func (j *Job) taps(batch int64) ([]*tap, *onnx.Shapes, error) {
	g := j.Model.Graph
	shapes, err := j.shapesFor(batch)
	if err != nil {
		return nil, nil, sdk.AttrError("model", "the shapes in the model do not fit together", err.Error())
	}
	var out []*tap
	seen := map[string]bool{}
	for _, name := range j.Tensors {
		if seen[name] {
			continue
		}
		seen[name] = true
		if g.Producer(name) == nil && !g.IsInput(name) {
			return nil, nil, fmt.Errorf("calibration: the model has no tensor %q", name)
		}
		t := &tap{name: name, output: name, bytes: unknownBytes}
		if elem, dims, ok := shapes.Of(name); ok {
			if !elem.DType().IsFloat() {
				return nil, nil, fmt.Errorf("calibration: tensor %q holds %s, of which no range is learnt", name, elem)
			}
			size, fixed := int64(4), make([]int64, 0, len(dims))
			for _, d := range dims {
				if d.Fixed() {
					size *= max(d.Value, 1)
					fixed = append(fixed, d.Value)
				}
			}
			t.bytes = size
			if len(fixed) == len(dims) {
				t.shape = fixed
			}
			if j.PerChannel {
				if axis := j.channelAxis(name, len(dims)); axis >= 0 && dims[axis].Fixed() {
					t.kept = dims[axis].Value * 64
					if j.Options.Method.Histograms() {
						t.kept = dims[axis].Value * histogramBytes(channelHalf)
					}
				}
			}
		}
		if j.histograms() {
			t.kept += histogramBytes(tensorHalf)
		}
		out = append(out, t)
	}
	return out, shapes, nil
}

// unknownBytes stands for a tensor whose size is not known before the model runs.
const unknownBytes = 4 << 20

// shapesFor infers the shapes for inputs as the data has them.
func (j *Job) shapesFor(batch int64) (*onnx.Shapes, error) {
	fields := map[string][]int64{}
	for _, f := range j.Data.Fields() {
		fields[f.Name] = append([]int64{batch}, f.Shape...)
		if d, ok := j.Data.(*singles); ok && slices.Contains(d.whole, f.Name) {
			fields[f.Name] = f.Shape
		}
	}
	var restore []func()
	for _, in := range j.Model.Graph.Feeds() {
		shape, ok := fields[in.Name()]
		if !ok || in.Type == nil {
			continue
		}
		t, dims, had := in.Type, in.Type.Shape, in.Type.HasShape
		restore = append(restore, func() { t.Shape, t.HasShape = dims, had })
		t.Shape, t.HasShape = onnx.FixedDims(shape...), true
	}
	defer func() {
		for _, r := range restore {
			r()
		}
	}()
	return onnx.InferShapes(j.Model)
}

// channelAxis is the axis of the channels of a tensor of so many axes: 1 beside operators that convolve, pool or
// normalize images, else the last; -1 when there is none.
func (j *Job) channelAxis(name string, rank int) int {
	if rank < 2 {
		return -1
	}
	g := j.Model.Graph
	near := g.Consumers(name)
	if p := g.Producer(name); p != nil {
		near = append(slices.Clone(near), p)
	}
	for _, n := range near {
		if slices.Contains(spatialOps, n.OpType) {
			return 1
		}
	}
	if rank == 4 || rank == 5 {
		for _, n := range near {
			if n.OpType == "MatMul" || n.OpType == "Softmax" {
				return rank - 1
			}
		}
		return 1
	}
	return rank - 1
}

var spatialOps = []string{"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool",
	"BatchNormalization", "InstanceNormalization", "GroupNormalization", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "PRelu", "LRN"}

// split puts taps together, in order, so that what a run returns and what is kept of channels stay within the limit.
func split(taps []*tap, limit int64) [][]*tap {
	var out [][]*tap
	var sum int64
	for _, t := range taps {
		size := t.bytes + t.kept
		if len(out) == 0 || sum+size > limit {
			out, sum = append(out, nil), 0
		}
		out[len(out)-1] = append(out[len(out)-1], t)
		sum += size
	}
	return out
}

// open loads the model with the taps, and the states, as its only outputs. The model is as before afterwards.
func (j *Job) open(taps []*tap, shapes *onnx.Shapes, threads int) (*ort.Session, error) {
	g := j.Model.Graph
	outputs := slices.Clone(g.Outputs())
	var added []*onnx.Node
	defer func() {
		for _, n := range slices.Backward(added) {
			g.RemoveNode(n)
		}
		for _, o := range slices.Clone(g.Outputs()) {
			g.RemoveOutput(o.Name())
		}
		for _, o := range outputs {
			g.AddOutput(o)
		}
	}()
	for _, o := range outputs {
		g.RemoveOutput(o.Name())
	}
	for _, t := range taps {
		if g.IsInput(t.name) {
			continue // what is fed is known
		}
		elem, dims, ok := shapes.Of(t.name)
		t.output = t.name
		if !ok || elem != onnx.Float {
			// The engine gives halves and doubles as what the counting loops take.
			t.output = g.UniqueName("calibration_tap")
			cast := onnx.NewNode("Cast", "", g.UniqueName("calibration_cast"), []string{t.name}, []string{t.output}, onnx.IntAttr("to", int64(onnx.Float)))
			g.AppendNode(cast)
			added = append(added, cast)
		}
		open := make([]onnx.Dim, len(dims)) // only the rank is stated: sizes may depend on the data
		for i := range open {
			open[i].Value = -1
		}
		info := onnx.NewValueInfo(t.output, onnx.Float, nil)
		if ok {
			info.Type.Shape, info.Type.HasShape = open, true
		}
		g.AddOutput(info)
	}
	for _, out := range j.stateOutputs() {
		if g.IsOutput(out) {
			continue
		}
		for _, o := range outputs {
			if o.Name() == out {
				g.AddOutput(o)
			}
		}
	}
	return j.session(threads)
}

// session loads the model as it is now, over a file where it is too large for one message.
func (j *Job) session(threads int) (*ort.Session, error) {
	o := ort.Options{Threads: threads, Optimize: true, Arena: true}
	b, err := j.Model.Marshal()
	var s *ort.Session
	var large *onnx.TooLargeError
	switch {
	case errors.As(err, &large) && j.ScratchDir != "":
		path := filepath.Join(j.ScratchDir, "calibration.onnx")
		if err := j.Model.WriteFileExternal(path, 1024); err != nil {
			return nil, fmt.Errorf("cannot write the calibration graph: %w", err)
		}
		s, err = ort.NewSessionFile(path, o)
	case err != nil:
		return nil, fmt.Errorf("cannot write the calibration graph: %w", err)
	default:
		s, err = ort.NewSession(b, o)
	}
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be run for calibration", err.Error())
	}
	return s, nil
}
