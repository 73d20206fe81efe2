package onnx

import (
	"math"
	"slices"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

func (r *reader) node(n *Node) error {
	s, err := r.sub()
	if err != nil {
		return err
	}
	n.raw = stringOf(s.b)
	count := s.counts()
	in, out, attrs := count[1], count[2], count[5]
	n.inputs, n.outputs = take(&s, &s.session.names, in)[:0], take(&s, &s.session.names, out)[:0]
	slab := take(&s, &s.session.attrs, attrs)
	n.attrs = take(&s, &s.session.attrPtrs, attrs)[:0]
	if s.err != nil {
		return s.err
	}
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
			for _, g := range a.Graphs() {
				g.owner, n.subgraphs = n, true
			}
		case 6<<3 | wireBytes:
			extra(&s, &n.rare).doc = s.str()
		case 7<<3 | wireBytes:
			n.Domain = s.str()
		case 8<<3 | wireBytes:
			extra(&s, &n.rare).overload = s.str()
		case 9<<3 | wireBytes:
			x := extra(&s, &n.rare)
			x.metadata, err = s.pair(x.metadata, "metadata_props")
		default:
			x := extra(&s, &n.rare)
			x.unknown = s.unknown(x.unknown)
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
	a.raw = stringOf(s.b)
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
			x := extra(&s, &a.rare)
			x.floats, guess = append(room(&s, x.floats), math.Float32frombits(uint32(s.v))), AttrFloats
		case 7<<3 | wireBytes:
			err = s.packedFloats(a)
			guess = AttrFloats
		case 8<<3 | wireVarint:
			a.Ints, guess = s.ints(a.Ints), AttrInts
		case 8<<3 | wireBytes:
			a.Ints, err = s.packedInts(a.Ints)
			guess = AttrInts
		case 9<<3 | wireBytes:
			x := extra(&s, &a.rare)
			x.strings, guess = append(room(&s, x.strings), s.data), AttrStrings
		case 10<<3 | wireBytes:
			var t *Tensor
			x := extra(&s, &a.rare)
			t, err = s.newTensor("tensors", len(x.tensors))
			x.tensors, guess = append(room(&s, x.tensors), t), AttrTensors
		case 11<<3 | wireBytes:
			err = s.subgraph(a, "graphs", len(a.Graphs()))
			guess = AttrGraphs
		case 13<<3 | wireBytes:
			extra(&s, &a.rare).doc = s.str()
		case 20<<3 | wireVarint:
			a.Type = AttributeType(s.v)
		case 21<<3 | wireBytes:
			extra(&s, &a.rare).ref = s.str()
		default:
			x := extra(&s, &a.rare)
			x.unknown = s.unknown(x.unknown)
		}
		if err != nil {
			return err
		}
	}
	if a.Type == AttrUndefined {
		a.Type = guess
	}
	if gs := a.Graphs(); s.err == nil && len(gs) > 0 && a.Type != AttrGraphs && (a.Type != AttrGraph || len(gs) > 1) {
		s.fail("an attribute holds graphs that are not of its type")
	}
	return s.err
}

func (r *reader) subgraph(a *Attribute, field string, index int) error {
	g, err := r.graph(field, index)
	if err == nil {
		x := extra(r, &a.rare)
		x.graphs = append(room(r, x.graphs), g)
	}
	return err
}

func (r *reader) packedFloats(a *Attribute) error {
	if len(r.data)%4 != 0 {
		r.fail("a list of floats is not a multiple of 4 bytes long")
		return r.err
	}
	x := extra(r, &a.rare)
	all := slab[float32](r, len(x.floats)+len(r.data)/4)
	at := copy(all, x.floats)
	for b := r.data; at < len(all); b = b[4:] {
		v, _ := protowire.ConsumeFixed32(b)
		all[at] = math.Float32frombits(v)
		at++
	}
	x.floats = all
	return r.err
}

// ints appends the number just read and those that follow it in the same field, as
// they do when a list is not packed.
func (r *reader) ints(to []int64) []int64 {
	if to == nil {
		// Counted first: most lists are short, and share an allocation with others.
		to = take(r, &r.session.ints, r.run())[:0]
	}
	to = append(room(r, to), int64(r.v))
	key := byte(r.key) // the lists of integers have fields 1, 3 and 8: one byte
	for r.pos+1 < len(r.b) && r.b[r.pos] == key && len(to) < cap(to) {
		r.start = r.pos
		r.pos++
		v, ok := r.varint()
		if !ok {
			break
		}
		to = append(to, int64(v))
	}
	return to
}

// run counts the field just read and those that follow it under the same key of one byte.
func (r *reader) run() int {
	n, key := 1, byte(r.key)
	for pos := r.pos; pos+1 < len(r.b) && r.b[pos] == key; n++ {
		for pos++; pos < len(r.b) && r.b[pos] >= 0x80; pos++ {
		}
		pos++
	}
	return n
}

func (r *reader) packedInts(to []int64) ([]int64, error) {
	count := len(to)
	for _, b := range r.data {
		if b < 0x80 {
			count++
		}
	}
	all := slab[int64](r, count)
	if r.err != nil {
		return nil, r.err
	}
	at := copy(all, to)
	for b := r.data; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			r.fail("a list of numbers is cut off")
			return nil, r.err
		}
		all[at] = int64(v)
		at++
		b = b[n:]
	}
	return all, nil
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
	t.raw = stringOf(s.b)
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
			s.numbers(t, protowire.AppendFixed32(s.session.number[:0], uint32(s.v)))
		case 5<<3 | wireVarint, 7<<3 | wireVarint, 11<<3 | wireVarint:
			s.numbers(t, protowire.AppendVarint(s.session.number[:0], s.v))
		case 10<<3 | wireFixed64:
			s.numbers(t, protowire.AppendFixed64(s.session.number[:0], s.v))
		case 4<<3 | wireBytes, 5<<3 | wireBytes, 7<<3 | wireBytes, 10<<3 | wireBytes, 11<<3 | wireBytes:
			s.numbers(t, s.data)
		case 6<<3 | wireBytes:
			x := extra(&s, &t.rare)
			x.strings = append(room(&s, x.strings), s.data)
		case 8<<3 | wireBytes:
			t.name = s.str()
		case 9<<3 | wireBytes:
			t.Raw, t.hasRaw = s.data, true
		case 12<<3 | wireBytes:
			extra(&s, &t.rare).doc = s.str()
		case 13<<3 | wireBytes:
			x := extra(&s, &t.rare)
			x.external, err = s.pair(x.external, "external_data")
		case 14<<3 | wireVarint:
			t.location = int32(s.v)
		case 16<<3 | wireBytes:
			x := extra(&s, &t.rare)
			x.metadata, err = s.pair(x.metadata, "metadata_props")
		default:
			x := extra(&s, &t.rare)
			x.unknown = s.unknown(x.unknown)
		}
		if err != nil {
			return err
		}
	}
	return s.err
}

// numbers appends packed numbers to the tensor's list of the field just read. The usual
// single part is not copied.
func (r *reader) numbers(t *Tensor, packed []byte) {
	num, list := uint8(r.key>>3), &t.list
	if t.listNum == 0 {
		t.listNum = num
	}
	if t.listNum != num {
		x := extra(r, &t.rare)
		i := slices.IndexFunc(x.more, func(f typedField) bool { return f.num == num })
		if i < 0 {
			i = len(x.more)
			x.more = append(x.more, typedField{num: num})
		}
		list = &x.more[i].data
	}
	if *list == nil && r.key&7 != wireBytes {
		*list = slab[byte](r, 16)[:0] // packed is not the model's
	}
	*list = r.join(*list, packed)
}
