package onnx

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// TooLargeError says that a model does not fit into one protobuf message, which
// ends at 2 GiB. WriteFileExternal writes such a model.
type TooLargeError struct{ Size int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the model takes %d bytes and one ONNX file holds at most %d: write its weights to a file of their own", e.Size, math.MaxInt32)
}

// Marshal returns the model as bytes, which must not be changed: a model that was
// not changed gives the very slice it was parsed from. What was not touched in a
// changed one is written as it was read. A model over 2 GiB is a *TooLargeError.
func (m *Model) Marshal() ([]byte, error) {
	chunks, size, err := m.encode()
	if err != nil {
		return nil, err
	}
	if len(chunks) == 1 {
		return chunks[0], nil
	}
	out := make([]byte, 0, size)
	for _, c := range chunks {
		out = append(out, c...)
	}
	return out, nil
}

// Size returns how many bytes the model takes when it is written to one file, also
// where it is too large for one. It copies no weights.
func (m *Model) Size() int64 {
	_, size, err := m.encode()
	var large *TooLargeError
	if errors.As(err, &large) {
		size = large.Size
	}
	return int64(size)
}

// encode returns the pieces of the message in order; weights are referred to.
func (m *Model) encode() (chunks [][]byte, size int, err error) {
	if m.unchanged() {
		return [][]byte{m.raw}, len(m.raw), nil
	}
	m.completeInputs()
	var w writer
	w.model(m)
	if w.size > math.MaxInt32 {
		return nil, 0, &TooLargeError{w.size}
	}
	return w.list(), w.size, nil
}

// completeInputs lists initializers among the inputs where the IR version demands
// that.
func (m *Model) completeInputs() {
	if m.IRVersion >= 4 || m.IRVersion <= 0 || m.Graph == nil {
		return
	}
	for t := range m.Graph.Initializers() {
		if !m.Graph.IsInput(t.name) {
			m.Graph.AddInput(NewValueInfo(t.name, t.DataType, FixedDims(t.Dims...)))
		}
	}
}

func backwards[T any](s []T, write func(*T)) {
	for i := len(s) - 1; i >= 0; i-- {
		write(&s[i])
	}
}

// Everything below writes the last field first: see writer.

func (w *writer) model(m *Model) {
	w.bytes(m.unknown)
	backwards(m.Functions, func(f *[]byte) { w.bytesField(25, *f) })
	w.pairs(14, m.Metadata)
	backwards(m.Opsets, func(o *Opset) {
		at := w.size
		w.bytes(o.unknown)
		w.intField(2, o.Version)
		w.textField(1, o.Domain)
		w.end(8, at)
	})
	if m.Graph != nil {
		at := w.size
		w.graph(m.Graph)
		w.end(7, at)
	}
	w.textField(6, m.DocString)
	w.nonzeroField(5, m.ModelVersion)
	w.textField(4, m.Domain)
	w.textField(3, m.ProducerVersion)
	w.textField(2, m.ProducerName)
	w.nonzeroField(1, m.IRVersion)
}

func (w *writer) pairs(num int, pairs []StringPair) {
	backwards(pairs, func(p *StringPair) {
		at := w.size
		w.string(p.unknown)
		w.stringField(2, p.Value)
		w.stringField(1, p.Key)
		w.end(num, at)
	})
}

func (w *writer) graph(g *Graph) {
	rare := rareOf(g.rare)
	w.bytes(rare.unknown)
	w.pairs(16, rare.metadata)
	backwards(rare.sparse, func(b *[]byte) { w.bytesField(15, *b) })
	values := func(num int, vs []*ValueInfo) {
		backwards(vs, func(v **ValueInfo) {
			at := w.size
			w.valueInfo(*v)
			w.end(num, at)
		})
	}
	values(13, g.values)
	values(12, g.outputs)
	values(11, g.inputs)
	w.textField(10, rare.doc)
	backwards(g.inits, func(t **Tensor) {
		if *t != nil {
			w.tensorField(5, *t)
		}
	})
	w.textField(2, g.Name)
	for n := g.tail; n != nil; n = n.prev {
		at := w.size
		w.node(n)
		w.end(1, at)
	}
}

func (w *writer) node(n *Node) {
	if w.sameNode(n) {
		w.bytes(bytesOf(n.raw))
		return
	}
	rare := rareOf(n.rare)
	w.bytes(rare.unknown)
	w.pairs(9, rare.metadata)
	w.textField(8, rare.overload)
	w.textField(7, n.Domain)
	w.textField(6, rare.doc)
	backwards(n.attrs, func(a **Attribute) {
		at := w.size
		w.attribute(*a)
		w.end(5, at)
	})
	w.textField(4, n.OpType)
	w.textField(3, n.Name)
	backwards(n.outputs, func(s *string) { w.stringField(2, *s) })
	backwards(n.inputs, func(s *string) { w.stringField(1, *s) })
}

func (w *writer) attribute(a *Attribute) {
	if w.sameAttribute(a) {
		w.bytes(bytesOf(a.raw))
		return
	}
	rare := rareOf(a.rare)
	w.bytes(rare.unknown)
	w.textField(21, rare.ref)
	w.nonzeroField(20, int64(a.Type))
	w.textField(13, rare.doc)
	if rare.ref == "" {
		w.attributeValue(a)
	}
	w.stringField(1, a.Name)
}

func (w *writer) attributeValue(a *Attribute) {
	switch a.Type {
	case AttrFloat:
		w.fixed32Field(2, math.Float32bits(a.F))
	case AttrInt:
		w.intField(3, a.I)
	case AttrString:
		w.bytesField(4, a.S)
	case AttrTensor:
		if a.T != nil {
			w.tensorField(5, a.T)
		}
	case AttrGraph, AttrGraphs:
		num := 6
		if a.Type == AttrGraphs {
			num = 11
		}
		for _, g := range slices.Backward(a.Graphs()) {
			at := w.size
			w.graph(g)
			w.end(num, at)
		}
	case AttrFloats:
		backwards(a.Floats(), func(f *float32) { w.fixed32Field(7, math.Float32bits(*f)) })
	case AttrInts:
		backwards(a.Ints, func(i *int64) { w.intField(8, *i) })
	case AttrStrings:
		backwards(a.Strings(), func(s *[]byte) { w.bytesField(9, *s) })
	case AttrTensors:
		backwards(a.Tensors(), func(t **Tensor) { w.tensorField(10, *t) })
	}
}

func (w *writer) tensorField(num int, t *Tensor) {
	at := w.size
	w.tensor(t)
	w.end(num, at)
}

func (w *writer) tensor(t *Tensor) {
	if w.sameTensor(t) {
		w.bytes(bytesOf(t.raw))
		return
	}
	rare := rareOf(t.rare)
	w.bytes(rare.unknown)
	w.pairs(16, rare.metadata)
	w.nonzeroField(14, int64(t.location))
	w.pairs(13, rare.external)
	w.textField(12, rare.doc)
	w.blobField(11, t.typed(11))
	w.blobField(10, t.typed(10))
	if t.hasData() {
		w.bytesField(9, t.Raw)
	}
	w.textField(8, t.name)
	w.blobField(7, t.typed(7))
	backwards(rare.strings, func(s *[]byte) { w.bytesField(6, *s) })
	w.blobField(5, t.typed(5))
	w.blobField(4, t.typed(4))
	w.nonzeroField(2, int64(t.DataType))
	backwards(t.Dims, func(d *int64) { w.intField(1, *d) })
}

func (w *writer) valueInfo(v *ValueInfo) {
	if w.sameValue(v) {
		w.bytes(bytesOf(v.raw))
		return
	}
	rare := rareOf(v.rare)
	w.bytes(rare.unknown)
	w.pairs(4, rare.metadata)
	w.textField(3, rare.doc)
	if v.Type != nil {
		at := w.size
		w.typeProto(v.Type)
		w.end(2, at)
	}
	w.textField(1, v.name)
}

func (w *writer) typeProto(t *Type) {
	rare := rareOf(t.rare)
	w.bytes(rare.unknown)
	w.textField(6, rare.denotation)
	switch t.Kind {
	case KindNone:
	case KindTensor:
		at := w.size
		w.bytes(rare.tensorUnk)
		if t.HasShape {
			shape := w.size
			w.bytes(rare.shapeUnk)
			backwards(t.Shape, func(d *Dim) {
				dim := w.size
				w.dim(d)
				w.end(1, dim)
			})
			w.end(2, shape)
		}
		w.nonzeroField(1, int64(t.Elem))
		w.end(1, at)
	default:
		w.bytesField(int(t.Kind), rare.other)
	}
}

func (w *writer) dim(d *Dim) {
	rare := rareOf(d.rare)
	w.bytes(rare.unknown)
	w.textField(3, rare.denotation)
	if d.Value >= 0 {
		w.intField(1, d.Value)
	} else {
		w.textField(2, d.Param)
	}
}
