package lower_test

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// operand is an input of the node of a case.
type operand struct {
	value tensor.Tensor
	// constant makes it an initializer; otherwise it is an input of the model.
	constant bool
	// positive tells that a bool is made in the model, as value > 0: a package has no bools among its inputs.
	positive bool
	absent   bool
}

// fill makes numbers between low and high, the same in every run.
func fill(low, high float64, shape ...int64) tensor.Tensor {
	n, h := int64(1), fnv.New64a()
	for _, d := range shape {
		n *= d
		_, _ = h.Write([]byte{byte(d), byte(low * 7), byte(high * 5)})
	}
	rng := rand.New(rand.NewPCG(h.Sum64(), uint64(n)))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(low + (high-low)*rng.Float64())
	}
	return tensor.Of(shape, v)
}

// x is an input of numbers between -2 and 2, w such a weight.
func x(shape ...int64) operand { return operand{value: fill(-2, 2, shape...)} }
func w(shape ...int64) operand { return operand{value: fill(-1, 1, shape...), constant: true} }

// other is an input like x with other numbers.
func other(shape ...int64) operand { return operand{value: fill(-2.5, 2.5, shape...)} }

// between is an input of numbers of a range.
func between(low, high float64, shape ...int64) operand {
	return operand{value: fill(low, high, shape...)}
}

// weights are constants of a range.
func weights(low, high float64, shape ...int64) operand {
	return operand{value: fill(low, high, shape...), constant: true}
}

// floats are given numbers, ints whole ones; both are constants, given makes inputs of them.
func floats(shape []int64, v ...float32) operand {
	return operand{value: tensor.Of(shape, v), constant: true}
}

func ints(v ...int64) operand {
	return operand{value: tensor.Of([]int64{int64(len(v))}, v), constant: true}
}

func intsOf(shape []int64, v ...int64) operand {
	return operand{value: tensor.Of(shape, v), constant: true}
}

func scalarInt(v int64) operand { return intsOf([]int64{}, v) }

func scalar(v float32) operand { return floats([]int64{}, v) }

func given(o operand) operand {
	o.constant = false
	return o
}

// truths is a bool that the model makes of an input.
func truths(shape ...int64) operand { return operand{value: fill(-1, 1.1, shape...), positive: true} }

// numbers32 is an input of int32.
func numbers32(low, high int, shape ...int64) operand {
	f := fill(float64(low), float64(high), shape...)
	v, _ := tensor.View[float32](f)
	out := make([]int32, len(v))
	for i, x := range v {
		out[i] = int32(x)
	}
	return operand{value: tensor.Of(shape, out)}
}

// indices is an input of int64 from low up to, but not with, high.
func indices(low, high int, shape ...int64) operand {
	v, _ := tensor.View[int32](numbers32(low, high, shape...).value)
	out := make([]int64, len(v))
	for i, x := range v {
		out[i] = int64(x)
	}
	return operand{value: tensor.Of(shape, out)}
}

var none = operand{absent: true}

// opCase is a model of one node.
type opCase struct {
	name   string // of the operator and what is special
	op     string
	domain string
	opset  int64
	in     []operand
	outs   int
	attrs  []*onnx.Attribute
	kinds  []onnx.DataType               // of the outputs, where the operator is of a domain whose types are not inferred; Float without
	build  func(*testing.T, *onnx.Model) // in place of all that: a model of more than one node
	feeds  []operand                     // what build's inputs are given
	// tolerance of half precision in place of 1e-2, where an operator is steep.
	half float64
}

// node makes a case: "Op" or "domain:Op", and after a space what is special.
func node(name string, opset int64, in ...operand) opCase {
	op, _, _ := strings.Cut(name, " ")
	c := opCase{name: name, op: op, opset: opset, in: in, outs: 1}
	if d, o, ok := strings.Cut(op, ":"); ok {
		c.domain, c.op = d, o
	}
	return c
}

func (c opCase) with(attrs ...*onnx.Attribute) opCase { c.attrs = attrs; return c }
func (c opCase) outputs(n int) opCase                 { c.outs = n; return c }
func (c opCase) gives(kinds ...onnx.DataType) opCase {
	c.kinds, c.outs = kinds, len(kinds)
	return c
}
func (c opCase) loose(tolerance float64) opCase { c.half = tolerance; return c }

// weightsGiven makes inputs of the weights of a recurrent layer.
func (c opCase) weightsGiven() opCase {
	c.in[1], c.in[2] = given(c.in[1]), given(c.in[2])
	return c
}

var (
	ai  = onnx.IntAttr
	ais = onnx.IntsAttr
	af  = onnx.FloatAttr
	afs = onnx.FloatsAttr
	as  = onnx.StringAttr
)

// sample is a model and what its inputs are given.
type sample struct {
	model  *onnx.Model
	inputs []tensor.Named
}

// model makes the case's model. Bools that it gives are cast to float.
func (c opCase) model(t *testing.T) sample {
	t.Helper()
	m := onnx.NewModel("case", c.opset)
	if c.domain != "" {
		m.Opsets = append(m.Opsets, onnx.Opset{Domain: c.domain, Version: 1})
	}
	s := sample{model: m}
	put := func(name string, o operand) {
		s.inputs = append(s.inputs, tensor.Named{Name: name, Tensor: o.value})
		m.Graph.AddInput(onnx.NewValueInfo(name, onnx.DataTypeOf(o.value.DType), onnx.FixedDims(o.value.Shape...)))
	}
	if c.build != nil {
		for i, o := range c.feeds {
			put("x"+strconv.Itoa(i), o)
		}
		c.build(t, m)
	} else {
		var names []string
		for i, o := range c.in {
			name := "x" + strconv.Itoa(i)
			switch {
			case o.absent:
				name = ""
			case o.constant:
				m.Graph.AddInitializer(onnx.NewTensor(name, o.value))
			case o.positive:
				put(name, o)
				m.Graph.AddInitializer(onnx.NewTensor(name+"_zero", tensor.Of([]int64{}, []float32{0})))
				m.Graph.AppendNode(onnx.NewNode("Greater", "", "", []string{name, name + "_zero"}, []string{name + "_bool"}))
				name += "_bool"
			default:
				put(name, o)
			}
			names = append(names, name)
		}
		outs := make([]string, c.outs)
		for i := range outs {
			outs[i] = "y" + strconv.Itoa(i)
		}
		m.Graph.AppendNode(onnx.NewNode(c.op, c.domain, "node", names, outs, c.attrs...))
		give(t, m, c.kinds, outs...)
	}
	return s
}

// give makes values the outputs of a model.
func give(t *testing.T, m *onnx.Model, kinds []onnx.DataType, outs ...string) {
	t.Helper()
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outs {
		elem, dims, ok := shapes.Of(o)
		if !ok {
			elem = onnx.Float
			if i < len(kinds) {
				elem = kinds[i]
			}
		}
		if elem == onnx.Bool {
			m.Graph.AppendNode(onnx.NewNode("Cast", "", "", []string{o}, []string{o + "_float"}, ai("to", int64(onnx.Float))))
			o, elem = o+"_float", onnx.Float
		}
		m.Graph.AddOutput(onnx.NewValueInfo(o, elem, dims))
	}
}

// appendNode adds a node to a model.
func appendNode(m *onnx.Model, op string, in []string, out string, attrs ...*onnx.Attribute) {
	m.Graph.AppendNode(onnx.NewNode(op, "", op+"_"+out, in, []string{out}, attrs...))
}

var inf, nan = math.Inf(1), math.NaN()

// bools are a constant.
func bools(v ...bool) operand {
	b := make([]byte, len(v))
	for i := range v {
		if v[i] {
			b[i] = 1
		}
	}
	return operand{value: tensor.Tensor{DType: tensor.Bool, Shape: []int64{int64(len(v))}, Data: b}, constant: true}
}

// intsOf32 are constants 0, 1, 2, ... of int32.
func intsOf32(shape ...int64) operand {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	v := make([]int32, n)
	for i := range v {
		v[i] = int32(i)
	}
	return operand{value: tensor.Of(shape, v), constant: true}
}

// permuted are indices of rows, each once in a column.
func permuted(rows, columns int64) operand {
	v := make([]int64, 0, rows*columns)
	for r := range rows {
		for c := range columns {
			v = append(v, (r+c+1)%rows)
		}
	}
	return operand{value: tensor.Of([]int64{rows, columns}, v)}
}

// int32Scalar is a constant scalar.
func int32Scalar(v int32) operand {
	return operand{value: tensor.Of([]int64{}, []int32{v}), constant: true}
}
