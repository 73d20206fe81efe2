package groups

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// Mask writes into the model what removing a selection means, without removing anything: wherever a node sums over
// channels, those that would leave are multiplied by 0. Its outputs are those of the model that Cut makes, but for
// rounding.
func (a *Analysis) Mask(sel *Selection) error {
	c := a.cutter(sel)
	shapes, err := onnx.InferOwnShapes(a.Model)
	if err != nil {
		return err
	}
	for _, k := range a.s.contractions {
		kept := c.kept(k.label)
		if kept == nil {
			continue
		}
		x := k.node.Input(k.input)
		elem, dims, _ := shapes.Of(a.original(x))
		if elem == onnx.Undefined {
			return fmt.Errorf("%s: the type of %q cannot be inferred", k.node.Label(), x)
		}
		mask, err := zeroOne(len(k.label), kept, len(dims)-k.axis, elem)
		if err != nil {
			return err
		}
		name := c.graph.UniqueName(x + "_mask")
		c.graph.AddInitializer(onnx.NewTensor(name, mask))
		out := c.graph.UniqueName(x + "_masked")
		c.graph.InsertBefore(k.node, onnx.NewNode("Mul", "", out, []string{x, name}, []string{out}))
		a.masked()[out] = a.original(x)
		k.node.SetInput(k.input, out)
	}
	return a.maskRecurrent(c)
}

func (a *Analysis) masked() map[string]string {
	if a.costs.masked == nil {
		a.costs.masked = map[string]string{}
	}
	return a.costs.masked
}

// original is the value that a mask was put on.
func (a *Analysis) original(x string) string {
	if o, ok := a.masked()[x]; ok {
		return o
	}
	return x
}

// maskRecurrent makes zeros of what a recurrent node reads of its own numbers that would leave.
func (a *Analysis) maskRecurrent(c *cutter) error {
	for _, u := range a.s.uses {
		if gates[u.node.OpType] == 0 || u.input != 2 || u.axis != 2 || u.role != In {
			continue
		}
		l := u.con.axes[2]
		if !c.cuts(l) {
			continue
		}
		x, err := c.graph.Initializer(u.con.name).Tensor()
		if err != nil {
			return err
		}
		x.Data = slices.Clone(x.Data)
		size := x.DType.Bits() / 8
		for i := 0; i < len(x.Data); i += size {
			if !c.stays(l[i/size%len(l)]) {
				clear(x.Data[i : i+size])
			}
		}
		c.graph.AddInitializer(onnx.NewTensor(u.con.name, x))
	}
	return nil
}

// zeroOne is a vector of n numbers, 1 at the places that stay, with as many axes of one index behind it as make rank.
func zeroOne(n int, kept []int, rank int, elem onnx.DataType) (tensor.Tensor, error) {
	shape := slices.Repeat([]int64{1}, max(rank, 1))
	shape[0] = int64(n)
	d := elem.DType()
	var one []byte
	switch d {
	case tensor.F32:
		one = []byte{0, 0, 0x80, 0x3f}
	case tensor.F16:
		one = []byte{0, 0x3c}
	case tensor.BF16:
		one = []byte{0x80, 0x3f}
	case tensor.F64:
		one = []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}
	default:
		return tensor.Tensor{}, fmt.Errorf("a value of type %s cannot be masked", d)
	}
	t := tensor.Tensor{DType: d, Shape: shape, Data: make([]byte, n*len(one))}
	for _, i := range kept {
		copy(t.Data[i*len(one):], one)
	}
	return t, nil
}
