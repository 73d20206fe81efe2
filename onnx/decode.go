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
			if r.spend(1, unsafe.Sizeof(Opset{})) {
				m.Opsets, err = r.opset(m.Opsets)
			}
		case 14<<3 | wireBytes:
			m.Metadata, err = r.pair(m.Metadata, "metadata_props")
		case 25<<3 | wireBytes:
			if r.spend(1, unsafe.Sizeof(r.data)) {
				m.Functions = append(m.Functions, r.data)
			}
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
	return append(to, o), nil
}

func (r *reader) pair(to []StringPair, field string) ([]StringPair, error) {
	if !r.spend(1, unsafe.Sizeof(StringPair{})) {
		return nil, r.err
	}
	s, err := r.sub()
	if err != nil {
		return nil, err
	}
	var p StringPair
	for s.next() {
		switch s.key {
		case 1<<3 | wireBytes:
			p.Key = s.str()
		case 2<<3 | wireBytes:
			p.Value = s.str()
		default:
			p.unknown = s.unknown(p.unknown)
		}
	}
	if s.err != nil {
		return nil, within(s.err, field, len(to))
	}
	return append(to, p), nil
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
	if !s.spend(nodes, unsafe.Sizeof(Node{})) || !s.spend(inits, unsafe.Sizeof(Tensor{})+8) || !s.spend(values, unsafe.Sizeof(ValueInfo{})+8) {
		return nil, within(s.err, field, index)
	}
	// One allocation for all nodes and one for all tensors: it is what makes a
	// graph of twenty thousand nodes cheap for the garbage collector.
	nodeSlab := make([]Node, nodes)
	tensorSlab := make([]Tensor, inits)
	valueSlab := make([]ValueInfo, values)
	g.inits = make([]*Tensor, 0, inits)
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
			g.DocString = s.str()
		case 11<<3 | wireBytes:
			g.inputs, err = value(g.inputs, "input")
		case 12<<3 | wireBytes:
			g.outputs, err = value(g.outputs, "output")
		case 13<<3 | wireBytes:
			g.values, err = value(g.values, "value_info")
		case 15<<3 | wireBytes:
			if s.spend(1, unsafe.Sizeof(s.data)+16) {
				g.sparse = append(g.sparse, s.data)
				g.sparseNames = append(g.sparseNames, sparseName(s.data))
			}
		case 16<<3 | wireBytes:
			g.Metadata, err = s.pair(g.Metadata, "metadata_props")
		default:
			g.unknown = s.unknown(g.unknown)
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
	v.raw = s.b
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
			v.DocString = s.str()
		case 4<<3 | wireBytes:
			v.Metadata, err = s.pair(v.Metadata, "metadata_props")
		default:
			v.unknown = s.unknown(v.unknown)
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
				t.other = s.data
			} else if err := s.tensorType(t); err != nil {
				return nil, within(err, "type.tensor_type", -1)
			}
		case 6<<3 | wireBytes:
			t.Denotation = s.str()
		default:
			t.unknown = s.unknown(t.unknown)
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
			t.tensorUnk = s.unknown(t.tensorUnk)
		}
	}
	return s.err
}

func (r *reader) shape(t *Type) error {
	s, err := r.sub()
	if err != nil {
		return err
	}
	n := s.counts()[1]
	if !s.spend(n, unsafe.Sizeof(Dim{})) {
		return s.err
	}
	t.Shape = make([]Dim, 0, n)
	for s.next() {
		if s.key != 1<<3|wireBytes {
			t.shapeUnk = s.unknown(t.shapeUnk)
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
				dim.Denotation = d.str()
			default:
				dim.unknown = d.unknown(dim.unknown)
			}
		}
		if d.err != nil {
			return within(d.err, "dim", len(t.Shape))
		}
		t.Shape = append(t.Shape, dim)
	}
	return s.err
}
