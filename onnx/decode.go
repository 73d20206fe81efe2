package onnx

import (
	"unsafe"
)

// Parse reads a model. It copies neither strings nor weights: b belongs to the
// model from now on and must not change. Data in external files is not loaded;
// ReadFile does that. An error is a *ParseError.
func Parse(b []byte) (*Model, error) {
	if len(b) == 0 {
		return nil, &ParseError{Reason: "it is empty"}
	}
	m, err := parseModel(b)
	if err != nil {
		return nil, err
	}
	if m.Graph == nil {
		return nil, &ParseError{Reason: "it holds no graph"}
	}
	return m, nil
}

func parseModel(b []byte) (*Model, error) {
	r := reader{b: b, session: newSession(len(b))}
	m := &Model{raw: b}
	for r.next() {
		var err error
		switch r.key {
		case 1<<3 | wireVarint:
			m.IRVersion = int64(r.v)
		case 2<<3 | wireBytes:
			m.ProducerName = r.str()
		case 3<<3 | wireBytes:
			m.ProducerVersion = r.str()
		case 4<<3 | wireBytes:
			m.Domain = r.str()
		case 5<<3 | wireVarint:
			m.ModelVersion = int64(r.v)
		case 6<<3 | wireBytes:
			m.DocString = r.str()
		case 7<<3 | wireBytes:
			if m.Graph != nil {
				r.fail("it holds two graphs")
				break
			}
			m.Graph, err = r.graph("graph", -1)
		case 8<<3 | wireBytes:
			m.Opsets, err = r.opset(m.Opsets)
		case 14<<3 | wireBytes:
			m.Metadata, err = r.pair(m.Metadata, "metadata_props")
		case 25<<3 | wireBytes:
			m.Functions = append(room(&r, m.Functions), r.data)
		default:
			m.unknown = r.unknown(m.unknown)
		}
		if err != nil {
			return nil, err
		}
	}
	return m, r.err
}

func (r *reader) opset(to []Opset) ([]Opset, error) {
	s, err := r.sub()
	if err != nil {
		return nil, err
	}
	var o Opset
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			o.Domain = s.str()
		case 2<<3 | wireVarint:
			o.Version = int64(s.v)
		default:
			o.unknown = s.unknown(o.unknown)
		}
	}
	if s.err != nil {
		return nil, within(s.err, "opset_import", len(to))
	}
	return append(room(r, to), o), r.err
}

func (r *reader) pair(to []StringPair, field string) ([]StringPair, error) {
	s, err := r.sub()
	if err != nil {
		return nil, err
	}
	var p StringPair
	var unknown []byte
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			p.Key = s.str()
		case 2<<3 | wireBytes:
			p.Value = s.str()
		default:
			unknown = s.unknown(unknown)
			p.unknown = stringOf(unknown)
		}
	}
	if s.err != nil {
		return nil, within(s.err, field, len(to))
	}
	return append(room(r, to), p), within(r.err, field, len(to))
}

func (r *reader) graph(field string, index int) (*Graph, error) {
	if !r.spend(1, unsafe.Sizeof(Graph{})) {
		return nil, r.err
	}
	s, err := r.sub()
	if err != nil {
		return nil, err
	}
	count := s.counts()
	nodes, inits, values := count[1], count[5], count[11]+count[12]+count[13]
	g := &Graph{}
	// One allocation for all nodes and one for all tensors: it is what makes a
	// graph of twenty thousand nodes cheap for the garbage collector.
	nodeSlab, tensorSlab, valueSlab := slab[Node](&s, nodes), slab[Tensor](&s, inits), slab[ValueInfo](&s, values)
	g.inits = slab[*Tensor](&s, inits)[:0]
	g.inputs, g.outputs, g.values = slab[*ValueInfo](&s, count[11])[:0], slab[*ValueInfo](&s, count[12])[:0], slab[*ValueInfo](&s, count[13])[:0]
	if s.err != nil {
		return nil, within(s.err, field, index)
	}
	value := func(to []*ValueInfo, name string) ([]*ValueInfo, error) {
		v := &valueSlab[0]
		valueSlab = valueSlab[1:]
		err := s.valueInfo(v)
		return append(to, v), within(err, name, len(to))
	}
	for s.next() {
		var err error
		switch s.key {
		case 1<<3 | wireBytes:
			n := &nodeSlab[g.count]
			err = within(s.node(n), "node", g.count)
			n.graph, n.prev = g, g.tail
			if g.tail == nil {
				g.head = n
			} else {
				g.tail.next = n
			}
			g.tail = n
			g.count++
		case 2<<3 | wireBytes:
			g.Name = s.str()
		case 5<<3 | wireBytes:
			t := &tensorSlab[len(g.inits)]
			g.inits = append(g.inits, t)
			err = within(s.tensor(t), "initializer", len(g.inits)-1)
		case 10<<3 | wireBytes:
			extra(&s, &g.rare).doc = s.str()
		case 11<<3 | wireBytes:
			g.inputs, err = value(g.inputs, "input")
		case 12<<3 | wireBytes:
			g.outputs, err = value(g.outputs, "output")
		case 13<<3 | wireBytes:
			g.values, err = value(g.values, "value_info")
		case 15<<3 | wireBytes:
			x := extra(&s, &g.rare)
			x.sparse = append(room(&s, x.sparse), s.data)
			x.sparseNames = append(room(&s, x.sparseNames), sparseName(s.data))
		case 16<<3 | wireBytes:
			x := extra(&s, &g.rare)
			x.metadata, err = s.pair(x.metadata, "metadata_props")
		default:
			x := extra(&s, &g.rare)
			x.unknown = s.unknown(x.unknown)
		}
		if err != nil {
			return nil, within(err, field, index)
		}
	}
	if s.err != nil {
		return nil, within(s.err, field, index)
	}
	return g, nil
}

// sparseName returns the name that a SparseTensorProto defines: its values'.
func sparseName(b []byte) string {
	r := reader{b: b, session: &session{}}
	for r.next() {
		if r.key == 1<<3|wireBytes {
			v := reader{b: r.data, session: r.session}
			for v.next() {
				if v.key == 8<<3|wireBytes {
					return v.str()
				}
			}
		}
	}
	return ""
}

func (r *reader) valueInfo(v *ValueInfo) error {
	s, err := r.sub()
	if err != nil {
		return err
	}
	v.raw = stringOf(s.b)
	for s.next() {
		var err error
		switch s.key {
		case 1<<3 | wireBytes:
			v.name = s.str()
		case 2<<3 | wireBytes:
			if v.Type != nil {
				s.fail("a value has two types")
				break
			}
			v.Type, err = s.typeProto()
		case 3<<3 | wireBytes:
			extra(&s, &v.rare).doc = s.str()
		case 4<<3 | wireBytes:
			x := extra(&s, &v.rare)
			x.metadata, err = s.pair(x.metadata, "metadata_props")
		default:
			x := extra(&s, &v.rare)
			x.unknown = s.unknown(x.unknown)
		}
		if err != nil {
			return err
		}
	}
	return s.err
}

func (r *reader) typeProto() (*Type, error) {
	if !r.spend(1, unsafe.Sizeof(Type{})) {
		return nil, r.err
	}
	s, err := r.sub()
	if err != nil {
		return nil, err
	}
	t := &Type{}
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes, 4<<3 | wireBytes, 5<<3 | wireBytes, 7<<3 | wireBytes, 8<<3 | wireBytes, 9<<3 | wireBytes:
			if t.Kind != KindNone {
				return nil, within(&ParseError{Offset: int64(s.base + s.start), Reason: "a type is of two kinds"}, "type", -1)
			}
			t.Kind = TypeKind(s.key >> 3)
			if t.Kind != KindTensor {
				extra(&s, &t.rare).other = s.data
			} else if err := s.tensorType(t); err != nil {
				return nil, within(err, "type.tensor_type", -1)
			}
		case 6<<3 | wireBytes:
			extra(&s, &t.rare).denotation = s.str()
		default:
			x := extra(&s, &t.rare)
			x.unknown = s.unknown(x.unknown)
		}
	}
	return t, within(s.err, "type", -1)
}

func (r *reader) tensorType(t *Type) error {
	s, err := r.sub()
	if err != nil {
		return err
	}
	for s.next() {
		switch s.key {
		case 1<<3 | wireVarint:
			t.Elem = DataType(s.v)
		case 2<<3 | wireBytes:
			if t.HasShape {
				s.fail("a type has two shapes")
				break
			}
			t.HasShape = true
			if err := s.shape(t); err != nil {
				return within(err, "shape", -1)
			}
		default:
			x := extra(&s, &t.rare)
			x.tensorUnk = s.unknown(x.tensorUnk)
		}
	}
	return s.err
}

func (r *reader) shape(t *Type) error {
	s, err := r.sub()
	if err != nil {
		return err
	}
	t.Shape = []Dim{} // not nil: a shape without axes is that of a scalar
	for s.next() {
		if s.key != 1<<3|wireBytes {
			x := extra(&s, &t.rare)
			x.shapeUnk = s.unknown(x.shapeUnk)
			continue
		}
		d, err := s.sub()
		if err != nil {
			return err
		}
		dim := Dim{Value: -1}
		for d.next() {
			switch d.key {
			case 1<<3 | wireVarint:
				dim.Value, dim.Param = max(int64(d.v), -1), ""
			case 2<<3 | wireBytes:
				dim.Value, dim.Param = -1, d.str()
			case 3<<3 | wireBytes:
				extra(&d, &dim.rare).denotation = d.str()
			default:
				x := extra(&d, &dim.rare)
				x.unknown = d.unknown(x.unknown)
			}
		}
		if d.err != nil {
			return within(d.err, "dim", len(t.Shape))
		}
		t.Shape = append(room(&s, t.Shape), dim)
	}
	return s.err
}
