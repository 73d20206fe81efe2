package onnx

import (
	"bytes"
	"math"
	"slices"
)

// The functions here compare a message with the one its bytes stand for, to find
// out whether it may be written as it was read. Slices that still alias those
// bytes compare in constant time, so weights cost nothing.

// unchanged tells whether the whole model says what the bytes it was read from say.
func (m *Model) unchanged() bool {
	if m.raw == nil || m.Graph == nil || !m.Graph.sameSize(m.raw) {
		return false
	}
	was, err := parseModel(m.raw)
	return err == nil && m.IRVersion == was.IRVersion && m.ModelVersion == was.ModelVersion &&
		m.ProducerName == was.ProducerName && m.ProducerVersion == was.ProducerVersion &&
		m.Domain == was.Domain && m.DocString == was.DocString &&
		slices.EqualFunc(m.Opsets, was.Opsets, func(a, b Opset) bool {
			return a.Domain == b.Domain && a.Version == b.Version && bytes.Equal(a.unknown, b.unknown)
		}) &&
		slices.EqualFunc(m.Functions, was.Functions, bytes.Equal) && equalPairs(m.Metadata, was.Metadata) &&
		bytes.Equal(m.unknown, was.unknown) && equalGraphs(m.Graph, was.Graph)
}

// sameSize compares the graph with a model's bytes by the number of its nodes and
// initializers alone, which most changes change: it spares the whole parse.
func (g *Graph) sameSize(model []byte) bool {
	r := reader{b: model, session: &session{}}
	for r.next() {
		if r.key == 7<<3|wireBytes {
			count := (&reader{b: r.data, session: r.session}).counts()
			return count[1] == g.count && count[5] == g.NumInitializers()
		}
	}
	return false
}

// The parts of a changed model are compared one by one, with what is parsed anew
// from their own bytes and forgotten again.

func (w *writer) sameNode(n *Node) bool {
	was := &w.was.node
	*was = Node{}
	return n.raw != "" && w.reread(n.raw, func(r *reader) error { return r.node(was) }) && equalNodes(n, was)
}

func (w *writer) sameTensor(t *Tensor) bool {
	was := &w.was.tensor
	*was = Tensor{}
	return t.raw != "" && w.reread(t.raw, func(r *reader) error { return r.tensor(was) }) && equalTensors(t, was)
}

func (w *writer) sameAttribute(a *Attribute) bool {
	was := &w.was.attribute
	*was = Attribute{}
	return a.raw != "" && w.reread(a.raw, func(r *reader) error { return r.attribute(was) }) && equalAttributes(a, was)
}

func (w *writer) sameValue(v *ValueInfo) bool {
	was := &w.was.value
	*was = ValueInfo{}
	return v.raw != "" && w.reread(v.raw, func(r *reader) error { return r.valueInfo(was) }) && equalValues(v, was)
}

func (w *writer) reread(raw string, parse func(*reader) error) bool {
	w.scratch.reset()
	b := bytesOf(raw)
	w.was.reader = reader{b: b, data: b, pos: len(b), session: &w.scratch}
	return parse(&w.was.reader) == nil
}

func equalPairs(a, b []StringPair) bool {
	return slices.EqualFunc(a, b, func(a, b StringPair) bool {
		return a.Key == b.Key && a.Value == b.Value && a.unknown == b.unknown
	})
}

func equalGraphs(a, b *Graph) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := rareOf(a.rare), rareOf(b.rare)
	if a.Name != b.Name || x.doc != y.doc || a.count != b.count ||
		a.NumInitializers() != b.NumInitializers() || !bytes.Equal(x.unknown, y.unknown) ||
		!equalPairs(x.metadata, y.metadata) || !slices.EqualFunc(x.sparse, y.sparse, bytes.Equal) ||
		!slices.EqualFunc(a.inputs, b.inputs, equalValues) || !slices.EqualFunc(a.outputs, b.outputs, equalValues) ||
		!slices.EqualFunc(a.values, b.values, equalValues) {
		return false
	}
	i := 0
	for t := range a.Initializers() {
		if !equalTensors(t, b.inits[i]) { // b was just parsed: it has no holes
			return false
		}
		i++
	}
	m := b.head
	for n := a.head; n != nil; n, m = n.next, m.next {
		if !equalNodes(n, m) {
			return false
		}
	}
	return true
}

func equalNodes(a, b *Node) bool {
	return a.OpType == b.OpType && a.Name == b.Name && a.Domain == b.Domain &&
		slices.Equal(a.inputs, b.inputs) && slices.Equal(a.outputs, b.outputs) &&
		slices.EqualFunc(a.attrs, b.attrs, equalAttributes) &&
		equalRare(a.rare, b.rare, func(a, b *nodeRare) bool {
			return a.overload == b.overload && a.doc == b.doc && equalPairs(a.metadata, b.metadata) && bytes.Equal(a.unknown, b.unknown)
		})
}

// equalRare compares what is behind two pointers; behind none there is nothing.
func equalRare[T any](a, b *T, equal func(a, b *T) bool) bool {
	if a == b {
		return true
	}
	x, y := rareOf(a), rareOf(b)
	return equal(&x, &y)
}

func equalAttributes(a, b *Attribute) bool {
	return a.Name == b.Name && a.Type == b.Type && a.I == b.I && sameBits(a.F, b.F) && bytes.Equal(a.S, b.S) &&
		equalTensors(a.T, b.T) && slices.Equal(a.Ints, b.Ints) &&
		equalRare(a.rare, b.rare, func(a, b *attrRare) bool {
			return a.ref == b.ref && a.doc == b.doc && slices.EqualFunc(a.floats, b.floats, sameBits) &&
				slices.EqualFunc(a.strings, b.strings, bytes.Equal) && slices.EqualFunc(a.tensors, b.tensors, equalTensors) &&
				slices.EqualFunc(a.graphs, b.graphs, equalGraphs) && bytes.Equal(a.unknown, b.unknown)
		})
}

// sameBits compares as bytes would be: a NaN equals itself, -0 is not 0.
func sameBits(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }

func equalTensors(a, b *Tensor) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.name == b.name && a.DataType == b.DataType && a.hasData() == b.hasData() && a.location == b.location &&
		slices.Equal(a.Dims, b.Dims) && bytes.Equal(a.Raw, b.Raw) && a.listNum == b.listNum && bytes.Equal(a.list, b.list) &&
		equalRare(a.rare, b.rare, func(a, b *tensorRare) bool {
			return slices.EqualFunc(a.strings, b.strings, bytes.Equal) &&
				slices.EqualFunc(a.more, b.more, func(a, b typedField) bool { return a.num == b.num && bytes.Equal(a.data, b.data) }) &&
				equalPairs(a.external, b.external) && equalPairs(a.metadata, b.metadata) &&
				a.doc == b.doc && bytes.Equal(a.unknown, b.unknown)
		})
}

func equalValues(a, b *ValueInfo) bool {
	return a.name == b.name && equalTypes(a.Type, b.Type) && equalRare(a.rare, b.rare, func(a, b *valueRare) bool {
		return a.doc == b.doc && equalPairs(a.metadata, b.metadata) && bytes.Equal(a.unknown, b.unknown)
	})
}

func equalTypes(a, b *Type) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Kind == b.Kind && a.Elem == b.Elem && a.HasShape == b.HasShape &&
		slices.EqualFunc(a.Shape, b.Shape, func(a, b Dim) bool {
			return a.Value == b.Value && a.Param == b.Param && equalRare(a.rare, b.rare, func(a, b *dimRare) bool {
				return a.denotation == b.denotation && bytes.Equal(a.unknown, b.unknown)
			})
		}) &&
		equalRare(a.rare, b.rare, func(a, b *typeRare) bool {
			return a.denotation == b.denotation && bytes.Equal(a.other, b.other) && bytes.Equal(a.unknown, b.unknown) &&
				bytes.Equal(a.tensorUnk, b.tensorUnk) && bytes.Equal(a.shapeUnk, b.shapeUnk)
		})
}
