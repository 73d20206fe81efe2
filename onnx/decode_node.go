package onnx

import (
	"math"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

func (r *reader) node(n *Node) error {
	s, err := r.sub()
	if err != nil {
		return err
	}
	n.raw = s.b
	count := s.counts()
	in, out, attrs := count[1], count[2], count[5]
	if !s.spend(in+out, unsafe.Sizeof("")) || !s.spend(attrs, unsafe.Sizeof(Attribute{})+8) {
		return s.err
	}
	n.inputs, n.outputs = s.session.names.take(in)[:0], s.session.names.take(out)[:0]
	slab := s.session.attrs.take(attrs)
	n.attrs = s.session.attrPtrs.take(attrs)[:0]
	for s.next() {
		var err error
		switch s.key {
		case 1<<3 | wireBytes:
			n.inputs = append(n.inputs, s.str())
		case 2<<3 | wireBytes:
			n.outputs = append(n.outputs, s.str())
		case 3<<3 | wireBytes:
			n.Name = s.str()
		case 4<<3 | wireBytes:
			n.OpType = s.str()
		case 5<<3 | wireBytes:
			a := &slab[len(n.attrs)]
			n.attrs = append(n.attrs, a)
			err = within(s.attribute(a), "attribute", len(n.attrs)-1)
			for _, g := range a.graphs {
				g.owner, n.subgraphs = n, true
			}
		case 6<<3 | wireBytes:
			n.DocString = s.str()
		case 7<<3 | wireBytes:
			n.Domain = s.str()
		case 8<<3 | wireBytes:
			n.Overload = s.str()
		case 9<<3 | wireBytes:
			n.Metadata, err = s.pair(n.Metadata, "metadata_props")
		default:
			n.unknown = s.unknown(n.unknown)
		}
		if err != nil {
			return err
		}
	}
	return s.err
}

func (r *reader) attribute(a *Attribute) error {
	s, err := r.sub()
	if err != nil {
		return err
	}
	a.raw = s.b
	guess := AttrUndefined // of IR version 1, which wrote no types
	for s.next() {
		var err error
		switch s.key {
		case 1<<3 | wireBytes:
			a.Name = s.str()
		case 2<<3 | wireFixed32:
			a.F, guess = math.Float32frombits(uint32(s.v)), AttrFloat
		case 3<<3 | wireVarint:
			a.I, guess = int64(s.v), AttrInt
		case 4<<3 | wireBytes:
			a.S, guess = s.data, AttrString
		case 5<<3 | wireBytes:
			if a.T != nil {
				s.fail("an attribute has two tensors for one")
				break
			}
			a.T, err = s.newTensor("t", -1)
			guess = AttrTensor
		case 6<<3 | wireBytes:
			err = s.subgraph(a, "g", -1)
			guess = AttrGraph
		case 7<<3 | wireFixed32:
			a.Floats, guess = append(a.Floats, math.Float32frombits(uint32(s.v))), AttrFloats
		case 7<<3 | wireBytes:
			err = s.packedFloats(a)
			guess = AttrFloats
		case 8<<3 | wireVarint:
			a.Ints, guess = s.ints(a.Ints), AttrInts
		case 8<<3 | wireBytes:
			a.Ints, err = s.packedInts(a.Ints)
			guess = AttrInts
		case 9<<3 | wireBytes:
			if s.spend(1, unsafe.Sizeof(s.data)) {
				a.Strings, guess = append(a.Strings, s.data), AttrStrings
			}
		case 10<<3 | wireBytes:
			var t *Tensor
			t, err = s.newTensor("tensors", len(a.Tensors))
			a.Tensors, guess = append(a.Tensors, t), AttrTensors
		case 11<<3 | wireBytes:
			err = s.subgraph(a, "graphs", len(a.graphs))
			guess = AttrGraphs
		case 13<<3 | wireBytes:
			a.DocString = s.str()
		case 20<<3 | wireVarint:
			a.Type = AttributeType(s.v)
		case 21<<3 | wireBytes:
			a.RefName = s.str()
		default:
			a.unknown = s.unknown(a.unknown)
		}
		if err != nil {
			return err
		}
	}
	if a.Type == AttrUndefined {
		a.Type = guess
	}
	if s.err == nil && len(a.graphs) > 0 && a.Type != AttrGraphs && (a.Type != AttrGraph || len(a.graphs) > 1) {
		s.fail("an attribute holds graphs that are not of its type")
	}
	return s.err
}

func (r *reader) subgraph(a *Attribute, field string, index int) error {
	g, err := r.graph(field, index)
	if err == nil {
		a.graphs = append(a.graphs, g)
	}
	return err
}

func (r *reader) packedFloats(a *Attribute) error {
	if len(r.data)%4 != 0 {
		r.fail("a list of floats is not a multiple of 4 bytes long")
		return r.err
	}
	for b := r.data; len(b) > 0; b = b[4:] {
		v, _ := protowire.ConsumeFixed32(b)
		a.Floats = append(a.Floats, math.Float32frombits(v))
	}
	return nil
}

// ints appends the number just read and those that follow it in the same field, as
// they do when a list is not packed.
func (r *reader) ints(to []int64) []int64 {
	run := append(r.session.run[:0], int64(r.v))
	key := byte(r.key) // the lists of integers have fields 1 and 8: one byte
	for r.pos+1 < len(r.b) && r.b[r.pos] == key {
		r.start = r.pos
		r.pos++
		v, ok := r.varint()
		if !ok {
			break
		}
		run = append(run, int64(v))
	}
	r.session.run = run
	if !r.spend(len(run), 8) {
		return nil
	}
	if to != nil {
		return append(to, run...)
	}
	out := r.session.ints.take(len(run))
	copy(out, run)
	return out
}

func (r *reader) packedInts(to []int64) ([]int64, error) {
	if !r.spend(len(r.data), 8) {
		return nil, r.err
	}
	for b := r.data; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			r.fail("a list of numbers is cut off")
			return nil, r.err
		}
		to = append(to, int64(v))
		b = b[n:]
	}
	return to, nil
}

func (r *reader) newTensor(field string, index int) (*Tensor, error) {
	if !r.spend(1, unsafe.Sizeof(Tensor{})) {
		return nil, r.err
	}
	t := new(Tensor)
	return t, within(r.tensor(t), field, index)
}

func (r *reader) tensor(t *Tensor) error {
	s, err := r.sub()
	if err != nil {
		return err
	}
	t.raw = s.b
	for s.next() {
		var err error
		switch s.key {
		case 1<<3 | wireVarint:
			t.Dims = s.ints(t.Dims)
		case 1<<3 | wireBytes:
			t.Dims, err = s.packedInts(t.Dims)
		case 2<<3 | wireVarint:
			t.DataType = DataType(s.v)
		case 4<<3 | wireFixed32:
			t.floats = protowire.AppendFixed32(t.floats, uint32(s.v))
		case 4<<3 | wireBytes:
			t.floats = concat(t.floats, s.data)
		case 5<<3 | wireVarint:
			t.int32s = protowire.AppendVarint(t.int32s, s.v)
		case 5<<3 | wireBytes:
			t.int32s = concat(t.int32s, s.data)
		case 6<<3 | wireBytes:
			if s.spend(1, unsafe.Sizeof(s.data)) {
				t.Strings = append(t.Strings, s.data)
			}
		case 7<<3 | wireVarint:
			t.int64s = protowire.AppendVarint(t.int64s, s.v)
		case 7<<3 | wireBytes:
			t.int64s = concat(t.int64s, s.data)
		case 8<<3 | wireBytes:
			t.name = s.str()
		case 9<<3 | wireBytes:
			t.Raw, t.hasRaw = s.data, true
		case 10<<3 | wireFixed64:
			t.doubles = protowire.AppendFixed64(t.doubles, s.v)
		case 10<<3 | wireBytes:
			t.doubles = concat(t.doubles, s.data)
		case 11<<3 | wireVarint:
			t.uint64s = protowire.AppendVarint(t.uint64s, s.v)
		case 11<<3 | wireBytes:
			t.uint64s = concat(t.uint64s, s.data)
		case 12<<3 | wireBytes:
			t.DocString = s.str()
		case 13<<3 | wireBytes:
			t.External, err = s.pair(t.External, "external_data")
		case 14<<3 | wireVarint:
			t.location = int32(s.v)
		case 16<<3 | wireBytes:
			t.Metadata, err = s.pair(t.Metadata, "metadata_props")
		default:
			t.unknown = s.unknown(t.unknown)
		}
		if err != nil {
			return err
		}
	}
	return s.err
}

// concat joins the parts of a packed field; the usual single one is not copied.
func concat(a, b []byte) []byte {
	if a == nil {
		return b
	}
	return append(a, b...)
}
