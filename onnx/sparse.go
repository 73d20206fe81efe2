package onnx

import (
	"fmt"
	"slices"
)

// sparseTensor is a SparseTensorProto: the elements that are not zero and where they
// are, as a number counted row by row or one for each axis.
type sparseTensor struct {
	values, indices *Tensor
	dims            []int64
}

func parseSparse(b []byte) (*sparseTensor, error) {
	r := reader{b: b, session: newSession(len(b))}
	s := &sparseTensor{}
	for r.next() {
		var err error
		switch r.key {
		case 1<<3 | wireBytes:
			s.values, err = r.newTensor("values", -1)
		case 2<<3 | wireBytes:
			s.indices, err = r.newTensor("indices", -1)
		case 3<<3 | wireVarint:
			s.dims = r.ints(s.dims)
		case 3<<3 | wireBytes:
			s.dims, err = r.packedInts(s.dims)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, r.err
}

// dense writes all elements; more than maxBytes of them are an error.
func (s *sparseTensor) dense(maxBytes int64) (*Tensor, error) {
	if s.values == nil || s.indices == nil || len(s.values.Dims) != 1 {
		return nil, fmt.Errorf("a sparse tensor lacks its values or their places")
	}
	v, err := plainOf(s.values)
	if err != nil {
		return nil, fmt.Errorf("sparse tensor %q: elements of type %s cannot be spread", s.values.name, s.values.DataType)
	}
	out := &Tensor{name: s.values.name, DataType: v.elem, Dims: slices.Clone(s.dims)}
	size := out.Bytes()
	if size < 0 || size > maxBytes {
		return nil, fmt.Errorf("sparse tensor %q of shape %v would take more than %d bytes", out.name, s.dims, maxBytes)
	}
	at, err := s.indices.Ints()
	if err != nil {
		return nil, fmt.Errorf("sparse tensor %q: %w", out.name, err)
	}
	rank := 0 // of an index: 0 counts row by row
	if len(s.indices.Dims) == 2 {
		rank = len(s.dims)
		if s.indices.Dims[1] != int64(rank) {
			return nil, fmt.Errorf("sparse tensor %q of shape %v has places of %d numbers", out.name, s.dims, s.indices.Dims[1])
		}
	}
	if int64(len(at)) != v.count()*int64(max(rank, 1)) {
		return nil, fmt.Errorf("sparse tensor %q has %d values and places for %d", out.name, v.count(), len(at)/max(rank, 1))
	}
	data, strides, w := make([]byte, size), stridesOf(s.dims), int64(v.width)
	for i := range v.count() {
		place := int64(0)
		if rank == 0 {
			place = at[i]
		}
		for k := range rank {
			j := at[int(i)*rank+k]
			if j < 0 || j >= s.dims[k] {
				place = -1
				break
			}
			place += j * strides[k]
		}
		if place < 0 || place >= size/w {
			return nil, fmt.Errorf("sparse tensor %q of shape %v has a value outside of it", out.name, s.dims)
		}
		copy(data[place*w:], v.data[i*w:(i+1)*w])
	}
	out.setRaw(data)
	return out, nil
}

// SparseToDense turns sparse initializers and the sparse values of Constant nodes into
// plain tensors, in subgraphs too: few runtimes and no other pass here take them. It
// returns how many there were. One that would take more than maxBytes is an error;
// those before it are plain by then.
func SparseToDense(m *Model, maxBytes int64) (int, error) {
	count := 0
	convert := func(g *Graph) error {
		for len(g.sparseNames()) > 0 {
			t, err := denseOf(g.rare.sparse[0], maxBytes)
			if err != nil {
				return err
			}
			setRare(&g.rare, func(r *graphRare) { r.sparse, r.sparseNames = r.sparse[1:], r.sparseNames[1:] })
			g.AddInitializer(t)
			count++
		}
		return nil
	}
	if err := convert(m.Graph); err != nil {
		return count, err
	}
	for n := range m.Graph.AllNodes() {
		for _, g := range n.Subgraphs() {
			if err := convert(g); err != nil {
				return count, err
			}
		}
		a := n.Attr("sparse_value")
		if a == nil || !n.Is("Constant") || a.Type != AttrSparseTensor {
			continue
		}
		unknown := rareOf(a.rare).unknown
		r := reader{b: unknown, session: newSession(len(unknown))}
		for r.next() {
			if r.key != 22<<3|wireBytes {
				continue
			}
			t, err := denseOf(r.data, maxBytes)
			if err != nil {
				return count, fmt.Errorf("%s: %w", n.Label(), err)
			}
			n.RemoveAttr("sparse_value")
			n.SetAttr(TensorAttr("value", t))
			count++
			break
		}
	}
	return count, nil
}

func denseOf(b []byte, maxBytes int64) (*Tensor, error) {
	s, err := parseSparse(b)
	if err != nil {
		return nil, err
	}
	return s.dense(maxBytes)
}
