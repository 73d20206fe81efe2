package quantize

import (
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// narrowestTable is the length of a row from which on a scale a row costs little beside its integers. Tables of
// shorter rows are positions, sizes and the like.
const narrowestTable = 16

// table returns what a Gather looks up, or why it stays in float.
func (l *dynamicLowering) table(n *onnx.Node, take bool) (*onnx.Tensor, *refusal) {
	t := n.Graph().Constant(n.Input(0))
	if t == nil || !t.DataType.DType().IsFloat() {
		return nil, &refusal{"what it looks up is no float table", false}
	}
	axis := n.IntAttr("axis", 0)
	switch {
	case len(t.Dims) != 2 || t.Dims[0] < 2 || t.Dims[1] < narrowestTable:
		return nil, &refusal{fmt.Sprintf("its table has the shape %v: too little to save", t.Dims), false}
	case !take:
		return nil, &refusal{reasonTables, true}
	case t.DataType != onnx.Float:
		return nil, &refusal{fmt.Sprintf("its table is of type %s, not FLOAT", t.DataType), true}
	case axis != 0 && axis != -2:
		return nil, &refusal{"it looks up columns, and scales belong to rows", true}
	}
	// A table that something else reads as floats would be there twice.
	for _, c := range definer(n.Graph(), n.Input(0)).Consumers(n.Input(0)) {
		if !c.Is("Gather") || len(c.Subgraphs()) > 0 {
			return nil, &refusal{fmt.Sprintf("its table is read by %s %q too, in float", c.OpType, nodeName(c)), true}
		}
	}
	return t, nil
}

// definer returns the graph, here or further out, that a value belongs to.
func definer(g *onnx.Graph, value string) *onnx.Graph {
	for g.Initializer(value) == nil && g.Producer(value) == nil && g.Owner() != nil {
		g = g.Owner().Graph()
	}
	return g
}

// lowerTable looks integers up, and their rows' scales, and multiplies: what comes out is float, as it was.
func (l *dynamicLowering) lowerTable(n *onnx.Node, t *onnx.Tensor) error {
	w, ok := l.tables[t]
	if !ok {
		data, err := t.Tensor()
		if err != nil {
			return fmt.Errorf("table of node %q: %w", nodeName(n), err)
		}
		rows, length := int(t.Dims[0]), int(t.Dims[1])
		q, scales := make([]int8, rows*length), make([]float32, rows)
		if err := quantizeRows(data.Data, rows, length, q, scales, l.used); err != nil {
			return fmt.Errorf("table %q of node %q: %w: integers cannot stand for it", t.Name(), nodeName(n), err)
		}
		w = [2]string{l.graph.UniqueName(t.Name() + "_quantized"), l.graph.UniqueName(t.Name() + "_scale")}
		l.graph.AddInitializer(onnx.NewTensor(w[0], tensor.Of(t.Dims, q)))
		l.graph.AddInitializer(floats(w[1], []int64{int64(rows), 1}, scales))
		l.tables[t] = w
	}
	g, name, out := n.Graph(), nodeName(n), n.Output(0)
	put := func(op string, inputs []string, attrs ...*onnx.Attribute) string {
		node := l.graph.UniqueName(name + "/" + op)
		output := l.graph.UniqueName(node + "_output")
		g.InsertBefore(n, onnx.NewNode(op, "", node, inputs, []string{output}, attrs...))
		return output
	}
	codes := put("Cast", []string{put("Gather", []string{w[0], n.Input(1)})}, onnx.IntAttr("to", int64(onnx.Float)))
	scale := put("Gather", []string{w[1], n.Input(1)})
	last := n.Prev()
	g.RemoveNode(n)
	g.InsertAfter(last, onnx.NewNode("Mul", "", l.graph.UniqueName(name+"/Mul"), []string{codes, scale}, []string{out}))
	return nil
}

// quantizeRows rounds a row-major table of little-endian float32 to integers from -127 to 127, each row on a scale of
// its own. The table is read in pieces, and each is let go: it may lie unaligned in a file, and be most of a model.
func quantizeRows(raw []byte, rows, length int, q []int8, scales []float32, used func([]byte)) error {
	const piece = 1 << 17 // elements that are worth a look at a time
	s := Scheme{DType: tensor.I8, QMin: -127, QMax: 127}
	step := max(1, piece/length)
	pieces := (rows + step - 1) / step
	errs := make([]error, pieces)
	parallel(pieces, step*length, func(from, to int) {
		for p := from; p < to; p++ {
			r0, r1 := p*step, min(rows, (p+1)*step)
			part := raw[r0*length*4 : r1*length*4]
			v, err := tensor.View[float32](tensor.Tensor{DType: tensor.F32, Shape: []int64{int64(r1 - r0), int64(length)}, Data: part})
			if err != nil {
				errs[p] = err
				return
			}
			for r := r0; r < r1; r++ {
				row, out := v[(r-r0)*length:(r-r0+1)*length], q[r*length:(r+1)*length]
				var m float32
				for i, x := range row {
					a := abs(x)
					if !(a <= maxFloat32) {
						errs[p] = &nonFiniteError{r*length + i, x}
						return
					}
					m = max(m, a)
				}
				sc := s.weightScales([]float32{m})[0]
				scales[r] = sc
				for i, x := range row {
					out[i] = round8(x/sc, -127, 127)
				}
			}
			if used != nil {
				used(part)
			}
		}
	})
	for _, err := range errs { // the first in order, whoever found one first
		if err != nil {
			return err
		}
	}
	return nil
}
