package gram

import (
	"errors"
	"fmt"
	"math"

	"github.com/optimize-hcl/optimize/gram/solve"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// Tap asks for one layer's input.
type Tap struct {
	Value string
	K     int // elements that an output multiplies: the last axis of Value, or a convolution's channels and kernel
	// Of a convolution, else 0 and nil. Its x are the patches that the kernel covers, in the order of the weight's axes.
	Groups int
	Conv   *onnx.Node
	Weight []int64 // the shape of its weight
	// Target, if any, is a value of as many rows as there are x, such as what the layer gives in another model: its
	// products with x are summed too. Its channels are the last axis, or axis 1 of a convolution.
	Target string
	// Select are the channels of Target that count, in this order; nil: all. N is how many there are.
	Select []int64
	N      int
	// Moments asks for the sums of the K channels (axis 1) of Value and of their squares, and for nothing else.
	Moments bool
}

// outputs are the names of what the probe gives for one tap; "" where it was not asked for.
type outputs struct{ gram, sum, abs, square, cross, target, targetSquare, rows string }

// probe is a model whose only outputs are sums.
type probe struct {
	m       *onnx.Model
	opset   int64
	outputs []outputs
}

func newProbe(m *onnx.Model) *probe {
	g := m.Graph
	for len(g.Outputs()) > 0 {
		g.RemoveOutput(g.Outputs()[0].Name())
	}
	return &probe{m: m, opset: m.Opset(onnx.DefaultDomain)}
}

func (p *probe) node(op string, inputs []string, attrs ...*onnx.Attribute) string {
	g := p.m.Graph
	out := g.UniqueName("gram_" + op)
	g.AppendNode(onnx.NewNode(op, "", g.UniqueName("gram_node"), inputs, []string{out}, attrs...))
	return out
}

func (p *probe) ints(v ...int64) string {
	name := p.m.Graph.UniqueName("gram_ints")
	p.m.Graph.AddInitializer(onnx.NewInt64s(name, v, int64(len(v))))
	return name
}

// sum reduces axes and drops them; ReduceSum takes its axes as an input since opset 13.
func (p *probe) sum(v string, axes ...int64) string {
	if p.opset >= 13 {
		return p.node("ReduceSum", []string{v, p.ints(axes...)}, onnx.IntAttr("keepdims", 0))
	}
	return p.node("ReduceSum", []string{v}, onnx.IntsAttr("axes", axes...), onnx.IntAttr("keepdims", 0))
}

// output makes v an output of a shape that is known beforehand, so that the engine can be told where to write it.
func (p *probe) output(v string, dims ...int) string {
	shape := make([]onnx.Dim, len(dims))
	for i, d := range dims {
		shape[i] = onnx.Dim{Value: int64(d)}
	}
	p.m.Graph.AddOutput(onnx.NewValueInfo(v, onnx.Float, shape))
	return v
}

// add appends the nodes that sum one value up.
func (p *probe) add(t Tap) {
	v := p.node("Cast", []string{t.Value}, onnx.IntAttr("to", int64(onnx.Float)))
	var o outputs
	switch {
	case t.Moments:
		v = p.node("Reshape", []string{v, p.ints(0, 0, -1)})
		o.sum = p.output(p.sum(v, 0, 2), t.K)
		o.square = p.output(p.sum(p.node("Mul", []string{v, v}), 0, 2), t.K)
		o.rows = p.rows(v, 3)
	case t.Conv != nil:
		v = p.patches(t, v)
		g := max(t.Groups, 1)
		back := p.node("Transpose", []string{v}, onnx.IntsAttr("perm", 0, 1, 3, 2))
		o.gram = p.output(p.sum(p.node("MatMul", []string{v, back}), 0), g, t.K, t.K)
		o.sum = p.output(p.sum(v, 0, 3), g, t.K)
		o.abs = p.output(p.sum(p.node("Abs", []string{v}), 0, 3), g, t.K)
		if t.Target != "" {
			y := p.node("Reshape", []string{p.chosen(t, 1), p.ints(0, int64(g), int64(t.N/g), -1)})
			o.cross = p.output(p.sum(p.node("MatMul", []string{y, back}), 0), g, t.N/g, t.K)
			o.target = p.output(p.sum(y, 0, 3), g, t.N/g)
			o.targetSquare = p.output(p.sum(p.node("Mul", []string{y, y}), 0, 3), g, t.N/g)
		}
		o.rows = p.rows(v, 4)
	default:
		v = p.node("Reshape", []string{v, p.ints(-1, int64(t.K))})
		o.gram = p.output(p.node("MatMul", []string{p.node("Transpose", []string{v}, onnx.IntsAttr("perm", 1, 0)), v}), t.K, t.K)
		o.sum = p.output(p.sum(v, 0), t.K)
		o.abs = p.output(p.sum(p.node("Abs", []string{v}), 0), t.K)
		if t.Target != "" {
			y := p.node("Reshape", []string{p.chosen(t, -1), p.ints(-1, int64(t.N))})
			o.cross = p.output(p.node("MatMul", []string{p.node("Transpose", []string{y}, onnx.IntsAttr("perm", 1, 0)), v}), t.N, t.K)
			o.target = p.output(p.sum(y, 0), t.N)
			o.targetSquare = p.output(p.sum(p.node("Mul", []string{y, y}), 0), t.N)
		}
		o.rows = p.rows(v, 2)
	}
	p.outputs = append(p.outputs, o)
}

// chosen are the channels of a tap's target that count, along axis.
func (p *probe) chosen(t Tap, axis int64) string {
	y := p.node("Cast", []string{t.Target}, onnx.IntAttr("to", int64(onnx.Float)))
	if t.Select == nil {
		return y
	}
	return p.node("Gather", []string{y, p.ints(t.Select...)}, onnx.IntAttr("axis", axis))
}

// rows gives the shape of the x as an output, of rank axes.
func (p *probe) rows(v string, rank int) string {
	return p.output(p.node("Cast", []string{p.node("Shape", []string{v})}, onnx.IntAttr("to", int64(onnx.Float))), rank)
}

// patches lays out what a convolution's kernel covers: [samples, groups, K, places]. A depthwise convolution with
// kernels that are 1 at one place and 0 elsewhere copies that place of every patch, whatever strides and pads are.
func (p *probe) patches(t Tap, v string) string {
	g := p.m.Graph
	perGroup, kernel := t.Weight[1], t.Weight[2:]
	size := int64(1)
	for _, k := range kernel {
		size *= k
	}
	channels := perGroup * int64(t.Groups)
	ones := make([]float32, channels*size*size)
	for c := range channels {
		for i := range size {
			ones[(c*size+i)*size+i] = 1
		}
	}
	name := g.UniqueName("gram_places")
	g.AddInitializer(onnx.NewFloats(name, ones, append([]int64{channels * size, 1}, kernel...)...))
	attrs := []*onnx.Attribute{onnx.IntAttr("group", channels), onnx.IntsAttr("kernel_shape", kernel...)}
	for _, a := range []string{"pads", "strides", "dilations", "auto_pad"} {
		if at := t.Conv.Attr(a); at != nil {
			c := *at
			attrs = append(attrs, &c)
		}
	}
	v = p.node("Conv", []string{v, name}, attrs...)
	return p.node("Reshape", []string{v, p.ints(0, int64(t.Groups), int64(t.K), -1)})
}

func (p *probe) marshal() ([]byte, error) {
	if err := p.m.Graph.TopoSort(); err != nil {
		return nil, err
	}
	p.m.Graph.Prune()
	return p.m.Marshal()
}

// ErrNotFinite says that an activation holds what is no number.
var ErrNotFinite = errors.New("it holds a NaN or an infinity: look at those samples, or keep the node that reads it in float")

// newStat has room for the sums of a tap.
func newStat(t Tap) *Stat {
	if t.Moments {
		return &Stat{Groups: 1, K: t.K, Sum: make([]float64, t.K), Square: make([]float64, t.K)}
	}
	g := max(t.Groups, 1)
	s := &Stat{Groups: g, K: t.K, Gram: make([]float32, g*t.K*t.K), Sum: make([]float64, g*t.K), Abs: make([]float64, g*t.K)}
	if t.Target != "" {
		s.Cross, s.Target, s.TargetSquare = make([]float32, t.N*t.K), make([]float64, t.N), make([]float64, t.N)
	}
	return s
}

// add adds what one batch gave.
func (s *Stat) add(got map[string]tensor.Tensor, o outputs, threads int) error {
	for _, x := range []struct {
		name string
		dst  []float32
	}{{o.gram, s.Gram}, {o.cross, s.Cross}} {
		if x.name == "" {
			continue
		}
		h, err := tensor.View[float32](got[x.name])
		if err != nil {
			return err
		}
		if len(h) != len(x.dst) {
			return fmt.Errorf("%d sums came back, not %d", len(h), len(x.dst))
		}
		solve.Parallel(threads, len(h), 1<<14, func(from, to int) {
			dst := x.dst[from:to]
			for i, v := range h[from:to] {
				dst[i] += v
			}
		})
	}
	for _, x := range []struct {
		name string
		dst  []float64
	}{{o.sum, s.Sum}, {o.abs, s.Abs}, {o.square, s.Square}, {o.target, s.Target}, {o.targetSquare, s.TargetSquare}} {
		if x.name == "" {
			continue
		}
		v, err := tensor.View[float32](got[x.name])
		if err != nil {
			return err
		}
		if len(v) != len(x.dst) {
			return fmt.Errorf("%d sums came back, not %d", len(v), len(x.dst))
		}
		for j, e := range v {
			if math.IsNaN(float64(e)) || math.IsInf(float64(e), 0) {
				return ErrNotFinite
			}
			x.dst[j] += float64(e)
		}
	}
	shape, err := tensor.View[float32](got[o.rows])
	if err != nil {
		return err
	}
	// [rows, K], [samples, channels, places], or [samples, groups, K, places]
	rows := float64(shape[0])
	if len(shape) > 2 {
		rows *= float64(shape[len(shape)-1])
	}
	s.Rows += rows
	return nil
}
