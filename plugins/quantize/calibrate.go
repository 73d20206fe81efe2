package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// Outputs of the calibration graph: one entry per tapped value.
const (
	tapMin = "calibration_min"
	tapMax = "calibration_max"
	// The sum tells a NaN, which minimum and maximum may swallow: a kernel that compares skips what does not compare.
	tapSum = "calibration_sum"
)

// ranges is what calibration learns.
type ranges map[string]Range

// calibration is one run over a dataset.
type calibration struct {
	model   *onnx.Model
	shapes  *onnx.Shapes
	values  []string
	data    *tensor.Shards
	batch   int64 // 0: chosen
	threads int
	// progress is called after each batch with the number of samples done; nil is allowed.
	progress func(done, total int64)
}

// run returns the smallest and largest value of each tensor over the whole dataset. Activations never leave the
// engine: the graph reduces them, and only the reductions come back.
func (c *calibration) run(ctx context.Context) (ranges, error) {
	ctx, span := sdk.StartSpan(ctx, "calibrate")
	defer span.End()
	inputs, fixed, err := matchInputs(c.model.Graph.Feeds(), c.data)
	if err != nil {
		return nil, err
	}
	batch := c.batch
	if batch == 0 {
		batch = c.chooseBatch()
	}
	if fixed > 0 {
		batch = fixed
	}
	total := c.data.Samples()
	batch = min(batch, total)

	b, err := c.tapped()
	if err != nil {
		return nil, fmt.Errorf("cannot write the calibration graph: %w", err)
	}
	s, err := ort.NewSession(b, ort.Options{Threads: c.threads, Optimize: true, Arena: true})
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be run for calibration", err.Error())
	}
	defer s.Close()

	lo, hi := make([]float32, len(c.values)), make([]float32, len(c.values))
	for i := range c.values {
		lo[i], hi[i] = float32(math.Inf(1)), float32(math.Inf(-1))
	}
	for done := int64(0); done < total; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(batch, total-done)
		start := done
		if fixed > 0 {
			// A model that takes just k samples gets the last k again: seeing a sample twice moves no bound.
			n, start = fixed, min(done, total-fixed)
		}
		all, err := c.data.Batch(start, n)
		if err != nil {
			return nil, sdk.AttrError("calibration", "the dataset cannot be read", err.Error())
		}
		feed := make(map[string]tensor.Tensor, len(inputs))
		for _, name := range inputs {
			feed[name] = all[name]
		}
		out, err := s.Run(feed, []string{tapMin, tapMax, tapSum})
		if err != nil {
			return nil, c.runError(err)
		}
		if err := c.merge(out, lo, hi, start, n); err != nil {
			return nil, err
		}
		done = start + n
		if c.progress != nil {
			c.progress(done, total)
		}
	}
	r := make(ranges, len(c.values))
	for i, v := range c.values {
		r[v] = Range{lo[i], hi[i]}
	}
	return r, nil
}

func (c *calibration) runError(err error) error {
	var in *ort.InputError
	if errors.As(err, &in) {
		return sdk.AttrError("calibration", "the dataset does not fit the model", err.Error())
	}
	return sdk.AttrError("model", "the model failed during calibration", err.Error())
}

// merge widens the bounds by one batch and refuses values that are no numbers.
func (c *calibration) merge(out map[string]tensor.Tensor, lo, hi []float32, start, n int64) error {
	var got [3][]float32
	for i, name := range []string{tapMin, tapMax, tapSum} {
		v, err := tensor.View[float32](out[name])
		if err != nil {
			return fmt.Errorf("calibration: %s: %w", name, err)
		}
		if len(v) != len(c.values) {
			return fmt.Errorf("calibration: %d ranges came back for %d tensors", len(v), len(c.values))
		}
		got[i] = v
	}
	for i, v := range c.values {
		mn, mx, sum := got[0][i], got[1][i], float64(got[2][i])
		if r := (Range{mn, mx}); math.IsNaN(sum) || !r.Finite() {
			return c.nonFinite(v, r, start, n)
		}
		lo[i], hi[i] = min(lo[i], mn), max(hi[i], mx)
	}
	return nil
}

func (c *calibration) nonFinite(value string, r Range, start, n int64) error {
	if err := nonFiniteConstant(c.model.Graph); err != nil {
		return err
	}
	what := "NaN"
	if !math.IsNaN(float64(r.Min)) && !math.IsNaN(float64(r.Max)) && !r.Finite() {
		what = "an infinity"
	}
	where := fmt.Sprintf("samples %d to %d", start, start+n-1)
	if n == 1 {
		where = fmt.Sprintf("sample %d", start)
	}
	if p := c.model.Graph.Producer(value); p != nil {
		return sdk.AttrError("calibration", fmt.Sprintf("calibration met %s", what),
			fmt.Sprintf("Tensor %q, made by node %q (%s), holds %s for %s. A range with it in gives no scale: look at those samples, or keep the nodes around it in float with keep_float.",
				value, nodeName(p), p.OpType, what, where))
	}
	return sdk.AttrError("calibration", fmt.Sprintf("the dataset holds %s", what),
		fmt.Sprintf("Model input %q holds %s in %s: remove those samples or correct the scale, mean and std of the dataset.", value, what, where))
}

// nonFiniteConstant finds a weight that holds no numbers: then the data are not to blame.
func nonFiniteConstant(g *onnx.Graph) error {
	for n := range g.Nodes() {
		for _, in := range n.Inputs() {
			t := g.Initializer(in)
			if t == nil || t.DataType != onnx.Float {
				continue
			}
			v, err := t.Float32s()
			if err != nil {
				return sdk.AttrError("model", "a constant cannot be read", err.Error())
			}
			// The bound of a Clip or the filling of a mask may well be infinite; a NaN never is meant.
			for i, x := range v {
				if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) && t.Elements() > 1 {
					return sdk.AttrError("model", "the model holds a weight that is no number",
						fmt.Sprintf("Element %d of %q, which node %q (%s) reads, is %v.", i, in, nodeName(n), n.OpType, x))
				}
			}
		}
	}
	return nil
}

// tapped returns the model with reductions of each value as its only outputs. The model is as before afterwards.
func (c *calibration) tapped() ([]byte, error) {
	g := c.model.Graph
	outputs := slices.Clone(g.Outputs())
	var added []*onnx.Node
	add := func(n *onnx.Node) {
		g.AppendNode(n)
		added = append(added, n)
	}
	flat := g.UniqueName("calibration_flat")
	g.AddInitializer(onnx.NewInt64s(flat, []int64{-1}, 1))
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
		g.RemoveInitializer(flat)
	}()
	for _, o := range outputs {
		g.RemoveOutput(o.Name())
	}
	// ReduceSum takes its axes as an input since opset 13, the other two since 18; without axes all are reduced.
	for _, tap := range []struct{ op, out string }{{"ReduceMin", tapMin}, {"ReduceMax", tapMax}, {"ReduceSum", tapSum}} {
		parts := make([]string, len(c.values))
		for i, v := range c.values {
			r := g.UniqueName("calibration_reduced")
			parts[i] = g.UniqueName("calibration_part")
			add(onnx.NewNode(tap.op, "", g.UniqueName("calibration_node"), []string{v}, []string{r}, onnx.IntAttr("keepdims", 1)))
			add(onnx.NewNode("Reshape", "", g.UniqueName("calibration_node"), []string{r, flat}, []string{parts[i]}))
		}
		add(onnx.NewNode("Concat", "", g.UniqueName("calibration_node"), parts, []string{tap.out}, onnx.IntAttr("axis", 0)))
		g.AddOutput(onnx.NewValueInfo(tap.out, onnx.Float, onnx.FixedDims(int64(len(c.values)))))
	}
	return c.model.Marshal()
}

const (
	// batchMost is the number of samples at a time beyond which the time per sample does not fall.
	batchMost = 8
	// batchBytes bounds the activations of one run, all of them together, if one sample allows it.
	batchBytes = 16 << 20
)

// chooseBatch takes a few samples at a time, fewer when their activations are large.
func (c *calibration) chooseBatch() int64 {
	var bytes float64
	for n := range c.model.Graph.Nodes() {
		for _, v := range n.Outputs() {
			if v == "" {
				continue
			}
			elem, dims, ok := c.shapes.Of(v)
			if !ok {
				continue
			}
			size := float64(elem.Bits()) / 8
			for _, d := range dims {
				if d.Fixed() {
					size *= float64(max(d.Value, 1))
				}
			}
			bytes += size
		}
	}
	return int64(min(max(batchBytes/max(bytes, 1), 1), batchMost))
}

// matchInputs checks that the dataset has what the model takes, field by field, and returns the names of the inputs
// and the number of samples that the model takes at a time, 0 when any.
func matchInputs(feeds []*onnx.ValueInfo, data *tensor.Shards) (names []string, fixed int64, err error) {
	fields := map[string]tensor.Field{}
	for _, f := range data.Fields() {
		if f.Name != tensor.LabelName {
			fields[f.Name] = f
		}
	}
	for _, in := range feeds {
		names = append(names, in.Name())
	}
	mismatch := func(format string, args ...any) error {
		return sdk.AttrError("calibration", "the dataset does not fit the model",
			fmt.Sprintf(format, args...)+" The model takes "+describeInputs(feeds)+"; the dataset has "+describeFields(data.Fields())+".")
	}
	if data.Samples() == 0 {
		return nil, 0, sdk.AttrError("calibration", "the dataset has no samples", "Calibration needs at least one; a few dozen are enough.")
	}
	for _, in := range feeds {
		f, ok := fields[in.Name()]
		if !ok {
			return nil, 0, mismatch("No field goes to input %q: an input block in the dataset names it.", in.Name())
		}
		delete(fields, in.Name())
		t := in.Type
		if t == nil || t.Kind != onnx.KindTensor {
			return nil, 0, sdk.AttrError("model", "the model takes an input that is no tensor", fmt.Sprintf("Input %q cannot be fed from a dataset.", in.Name()))
		}
		if want := t.Elem.DType(); want != f.DType {
			return nil, 0, mismatch("Input %q takes %s and its field holds %s: scale or dtype in the dataset's input block converts.", in.Name(), want, f.DType)
		}
		if !t.HasShape {
			continue
		}
		if len(t.Shape) == 0 {
			return nil, 0, mismatch("Input %q is a scalar, without an axis for samples.", in.Name())
		}
		if !fits(t.Shape[1:], f.Shape) {
			return nil, 0, mismatch("The shapes of input %q and its field differ.", in.Name())
		}
		if n := t.Shape[0]; n.Fixed() {
			if fixed > 0 && fixed != n.Value {
				return nil, 0, sdk.AttrError("model", "the model's inputs take different numbers of samples", "It takes "+describeInputs(feeds)+".")
			}
			fixed = n.Value
			if fixed == 0 || fixed > data.Samples() {
				return nil, 0, mismatch("The model takes %d samples at a time and there are %d.", fixed, data.Samples())
			}
		}
	}
	if len(fields) > 0 {
		for _, f := range data.Fields() {
			if _, surplus := fields[f.Name]; surplus {
				return nil, 0, mismatch("The model has no input for field %q.", f.Name)
			}
		}
	}
	return names, fixed, nil
}

func fits(want []onnx.Dim, got []int64) bool {
	return slices.EqualFunc(want, got, func(w onnx.Dim, g int64) bool { return !w.Fixed() || w.Value == g })
}

func describeInputs(feeds []*onnx.ValueInfo) string {
	parts := make([]string, len(feeds))
	for i, in := range feeds {
		var dims []string
		elem, shape := "?", "of unknown shape"
		if t := in.Type; t != nil {
			elem = t.Elem.DType().String()
			if t.HasShape {
				for _, d := range t.Shape {
					switch {
					case d.Fixed():
						dims = append(dims, fmt.Sprint(d.Value))
					case d.Param != "":
						dims = append(dims, d.Param)
					default:
						dims = append(dims, "?")
					}
				}
				shape = "[" + strings.Join(dims, ", ") + "]"
			}
		}
		parts[i] = fmt.Sprintf("%q %s %s", in.Name(), elem, shape)
	}
	return list(parts)
}

func describeFields(fields []tensor.Field) string {
	var parts []string
	for _, f := range fields {
		dims := []string{"N"}
		for _, d := range f.Shape {
			dims = append(dims, fmt.Sprint(d))
		}
		parts = append(parts, fmt.Sprintf("%q %s [%s]", f.Name, f.DType, strings.Join(dims, ", ")))
	}
	return list(parts)
}

func list(parts []string) string {
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
