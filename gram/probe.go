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
}

// probe is a model whose only outputs are sums.
type probe struct {
	m       *onnx.Model
	opset   int64
	outputs [][3]string // of each tap: Gram, sum, sum of magnitudes
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
	if t.Conv != nil {
		v = p.patches(t, v)
		gram := p.sum(p.node("MatMul", []string{v, p.node("Transpose", []string{v}, onnx.IntsAttr("perm", 0, 1, 3, 2))}), 0)
		// The same sum of ones: how many patches there were.
		g := max(t.Groups, 1)
		p.outputs = append(p.outputs, [3]string{p.output(gram, g, t.K, t.K), p.output(p.sum(v, 0, 3), g, t.K), p.output(p.sum(p.node("Abs", []string{v}), 0, 3), g, t.K)})
		p.rows(v, 4)
		return
	}
	v = p.node("Reshape", []string{v, p.ints(-1, int64(t.K))})
	gram := p.node("MatMul", []string{p.node("Transpose", []string{v}, onnx.IntsAttr("perm", 1, 0)), v})
	p.outputs = append(p.outputs, [3]string{p.output(gram, t.K, t.K), p.output(p.sum(v, 0), t.K), p.output(p.sum(p.node("Abs", []string{v}), 0), t.K)})
	p.rows(v, 2)
}

// rows gives the shape of the x as an output, of rank axes.
func (p *probe) rows(v string, rank int) {
	shape := p.node("Cast", []string{p.node("Shape", []string{v})}, onnx.IntAttr("to", int64(onnx.Float)))
	name := p.m.Graph.UniqueName(rowsName(p.outputs[len(p.outputs)-1]))
	p.m.Graph.AppendNode(onnx.NewNode("Identity", "", p.m.Graph.UniqueName("gram_node"), []string{shape}, []string{name}))
	p.output(name, rank)
}

func rowsName(o [3]string) string { return o[0] + "_rows" }

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

// add adds what one batch gave.
func (s *Stat) add(got map[string]tensor.Tensor, names [3]string, threads int) error {
	h, err := tensor.View[float32](got[names[0]])
	if err != nil {
		return err
	}
	if len(h) != len(s.Gram) {
		return fmt.Errorf("%d sums came back, not %d", len(h), len(s.Gram))
	}
	for i, dst := range [][]float64{s.Sum, s.Abs} {
		v, err := tensor.View[float32](got[names[i+1]])
		if err != nil {
			return err
		}
		if len(v) != len(dst) {
			return fmt.Errorf("%d sums came back, not %d", len(v), len(dst))
		}
		for j, x := range v {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return ErrNotFinite
			}
			dst[j] += float64(x)
		}
	}
	solve.Parallel(threads, len(h), 1<<14, func(from, to int) {
		dst := s.Gram[from:to]
		for i, v := range h[from:to] {
			dst[i] += v
		}
	})
	shape, err := tensor.View[float32](got[rowsName(names)])
	if err != nil {
		return err
	}
	// [rows, K], or [samples, groups, K, places]
	rows := float64(shape[0])
	if len(shape) == 4 {
		rows *= float64(shape[3])
	}
	s.Rows += rows
	return nil
}
