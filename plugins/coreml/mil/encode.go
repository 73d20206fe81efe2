package mil

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// message appends protobuf fields. Zero values are written where a reader distinguishes them from absence.
type message []byte

func (m *message) number(field protowire.Number, v uint64) {
	*m = protowire.AppendVarint(protowire.AppendTag(*m, field, protowire.VarintType), v)
}

func (m *message) bytes(field protowire.Number, b []byte) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, field, protowire.BytesType), b)
}

func (m *message) text(field protowire.Number, s string) {
	*m = protowire.AppendString(protowire.AppendTag(*m, field, protowire.BytesType), s)
}

func (m *message) sub(field protowire.Number, fill func(*message)) {
	var c message
	fill(&c)
	m.bytes(field, c)
}

// entry is one of a map with keys of text.
func (m *message) entry(field protowire.Number, key string, fill func(*message)) {
	m.sub(field, func(e *message) { e.text(1, key); e.sub(2, fill) })
}

// Marshal writes the specification: the bytes of model.mlmodel (Model.proto).
func (m *Model) Marshal() []byte {
	if m.Detector != nil {
		return m.pipeline()
	}
	var out message
	out.number(1, uint64(m.SpecVersion()))
	out.sub(2, m.description)
	out.sub(502, func(p *message) { // MIL.proto: Program
		p.number(1, 1)
		p.entry(2, "main", m.Main.encode)
	})
	return out
}

func (f *Function) encode(m *message) {
	for _, in := range f.Inputs {
		m.sub(1, in.encode)
	}
	m.text(2, OpsetName(f.Opset))
	m.entry(3, OpsetName(f.Opset), func(b *message) {
		for _, o := range f.Outputs {
			b.text(2, o)
		}
		for _, op := range f.Ops {
			b.sub(3, op.encode)
		}
	})
}

func (n Named) encode(m *message) {
	m.text(1, n.Name)
	m.sub(2, n.Type.encode)
}

func (op *Operation) encode(m *message) {
	m.text(1, op.Type)
	for _, a := range op.Inputs {
		m.entry(2, a.Key, func(arg *message) {
			for _, n := range a.Names {
				arg.sub(1, func(b *message) { b.text(1, n) })
			}
			if a.Value != nil {
				arg.sub(1, func(b *message) { b.sub(2, a.Value.encode) })
			}
		})
	}
	for _, o := range op.Outputs {
		m.sub(3, o.encode)
	}
	name := Text(op.Called())
	m.entry(5, "name", name.encode)
	for _, a := range op.Attrs {
		m.entry(5, a.Key, a.Value.encode)
	}
}

// Called is the operation's name.
func (op *Operation) Called() string {
	if len(op.Outputs) > 0 {
		return op.Outputs[0].Name
	}
	return op.Name
}

// encode writes a ValueType.
func (t Type) encode(m *message) {
	switch {
	case t.State:
		m.sub(5, func(s *message) { s.sub(1, Type{DataType: t.DataType, Shape: t.Shape}.encode) })
		return
	case t.Dictionary:
		m.sub(4, func(d *message) {
			d.sub(1, Type{DataType: String}.encode)
			d.sub(2, Type{DataType: float64Type}.encode)
		})
		return
	case t.Strings > 0:
		m.sub(2, func(l *message) {
			l.sub(1, Type{DataType: String}.encode)
			l.sub(2, func(d *message) { d.sub(1, func(c *message) { c.number(1, uint64(t.Strings)) }) })
		})
		return
	}
	m.sub(1, func(x *message) {
		x.number(1, uint64(t.DataType))
		if len(t.Shape) > 0 {
			x.number(2, uint64(len(t.Shape)))
		}
		for _, d := range t.Shape {
			x.sub(3, func(dim *message) {
				if d < 0 {
					dim.sub(2, func(*message) {})
				} else {
					dim.sub(1, func(c *message) { c.number(1, uint64(d)) })
				}
			})
		}
	})
}

func (v *Value) encode(m *message) {
	m.sub(2, v.Type.encode)
	if v.Blob {
		m.sub(5, func(b *message) { b.text(1, weightsReference); b.number(2, v.Offset) })
		return
	}
	m.sub(3, func(im *message) {
		if v.Strings > 0 {
			im.sub(3, func(l *message) {
				for _, s := range v.Texts {
					one := Value{Type: Type{DataType: String}, Texts: []string{s}}
					l.sub(1, one.encode)
				}
			})
			return
		}
		im.sub(1, v.tensor)
	})
}

// tensor writes a TensorValue. Types without a list of their own go as bytes.
func (v *Value) tensor(m *message) {
	switch v.DataType {
	case String:
		m.sub(4, func(r *message) {
			for _, s := range v.Texts {
				r.text(1, s)
			}
		})
	case Bool:
		m.sub(3, func(r *message) { r.bytes(1, v.Data) })
	case Float32:
		m.sub(1, func(r *message) { r.bytes(1, v.Data) })
	case Int32:
		m.sub(2, func(r *message) {
			var p []byte
			for i := 0; i+4 <= len(v.Data); i += 4 {
				p = protowire.AppendVarint(p, uint64(int64(int32(le.Uint32(v.Data[i:])))))
			}
			r.bytes(1, p)
		})
	case Int64:
		m.sub(5, func(r *message) {
			var p []byte
			for i := 0; i+8 <= len(v.Data); i += 8 {
				p = protowire.AppendVarint(p, le.Uint64(v.Data[i:]))
			}
			r.bytes(1, p)
		})
	default:
		m.sub(7, func(r *message) { r.bytes(1, v.Data) })
	}
}

func (m *Model) description(d *message) {
	for _, f := range m.Inputs {
		d.sub(1, f.encode)
	}
	for _, f := range m.Outputs {
		d.sub(10, f.encode)
	}
	if m.Label != "" {
		d.text(11, m.Label)
		d.text(12, m.Chances)
	}
	for _, f := range m.States {
		d.sub(13, func(s *message) {
			s.text(1, f.Name)
			s.sub(3, func(t *message) { t.sub(8, func(x *message) { x.sub(1, f.array) }) })
		})
	}
	m.metadata(d)
}

func (m *Model) metadata(d *message) {
	d.sub(100, func(md *message) {
		for i, s := range []string{m.Metadata.Description, m.Metadata.Version, m.Metadata.Author, m.Metadata.Licence} {
			if s != "" {
				md.text(protowire.Number(i+1), s)
			}
		}
		for _, k := range slices.Sorted(maps.Keys(m.Metadata.User)) {
			md.sub(100, func(e *message) { e.text(1, k); e.text(2, m.Metadata.User[k]) })
		}
	})
}

// featureTypes are the numbers of ArrayFeatureType's element types.
var featureTypes = map[DataType]uint64{Float32: 65568, Float16: 65552, Int32: 131104}

func (f *Feature) encode(m *message) {
	m.text(1, f.Name)
	if f.Doc != "" {
		m.text(2, f.Doc)
	}
	m.sub(3, func(t *message) {
		switch {
		case f.Text:
			t.sub(3, func(*message) {})
		case f.Dictionary:
			t.sub(6, func(d *message) { d.sub(2, func(*message) {}) })
		case f.Image != 0:
			t.sub(4, f.image)
		default:
			t.sub(5, f.array)
		}
	})
}

func (f *Feature) array(a *message) {
	fixed := !slices.Contains(f.Type.Shape, -1)
	if fixed {
		a.bytes(1, packed(f.Type.Shape))
	}
	a.number(2, featureTypes[f.Type.DataType])
	switch {
	case len(f.Enumerated) > 0:
		a.sub(21, func(e *message) {
			for _, s := range f.Enumerated {
				e.sub(1, func(x *message) { x.bytes(1, packed(s)) })
			}
		})
	case f.Upper != nil:
		a.sub(31, func(r *message) {
			for i := range f.Upper {
				sizeRange(r, 1, f.Lower[i], f.Upper[i])
			}
		})
	}
}

func (f *Feature) image(m *message) {
	s := f.Type.Shape
	m.number(1, uint64(s[3]))
	m.number(2, uint64(s[2]))
	m.number(3, uint64(f.Image))
	switch {
	case len(f.Enumerated) > 0:
		m.sub(21, func(e *message) {
			for _, s := range f.Enumerated {
				e.sub(1, func(x *message) { x.number(1, uint64(s[3])); x.number(2, uint64(s[2])) })
			}
		})
	case f.Upper != nil:
		m.sub(31, func(r *message) {
			sizeRange(r, 1, f.Lower[3], f.Upper[3])
			sizeRange(r, 2, f.Lower[2], f.Upper[2])
		})
	}
}

func sizeRange(m *message, field protowire.Number, low, high int64) {
	m.sub(field, func(r *message) {
		r.number(1, uint64(low))
		r.number(2, uint64(high)) // -1, a range without end, is a varint of ten bytes
	})
}

func packed(s []int64) (p []byte) {
	for _, d := range s {
		p = protowire.AppendVarint(p, uint64(d))
	}
	return p
}
