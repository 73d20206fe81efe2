package mil

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// decoder reads a specification. What a model of this package cannot hold is noted as odd, for the lint.
type decoder struct {
	odd   []error
	depth int
}

// maxDepth bounds how deep messages lie in each other.
const maxDepth = 24

func (d *decoder) oddf(format string, args ...any) {
	d.odd = append(d.odd, fmt.Errorf(format, args...))
}

// field is one field of a message: a number, or bytes.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	n     uint64
	bytes []byte
}

// fields calls f for each field of a message.
func (d *decoder) fields(b []byte, f func(field) error) error {
	if d.depth++; d.depth > maxDepth {
		return errors.New("its messages lie too deep in each other")
	}
	defer func() { d.depth-- }()
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		x := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			x.n, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			x.n = uint64(v)
		case protowire.Fixed64Type:
			x.n, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			x.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}

// entry reads an entry of a map with keys of text.
func (d *decoder) entry(b []byte) (key string, value []byte, err error) {
	err = d.fields(b, func(f field) error {
		switch f.num {
		case 1:
			key = string(f.bytes)
		case 2:
			value = f.bytes
		}
		return nil
	})
	return key, value, err
}

// Unmarshal reads a specification that holds an ML Program of one function. odd tells of what it holds beside what a Model
// does, or in another way; a specification of something else is an error.
func Unmarshal(spec []byte) (m *Model, odd []error, err error) {
	d := &decoder{}
	m = &Model{}
	version, program := uint64(0), false
	var description []byte
	err = d.fields(spec, func(f field) error {
		switch f.num {
		case 1:
			version = f.n
		case 2:
			description = f.bytes
		case 202:
			if program {
				return errors.New("it holds two models")
			}
			program = true
			return d.readPipeline(f.bytes, m)
		case 502:
			program = true
			return d.program(f.bytes, m)
		default:
			d.oddf("the specification has a field %d", f.num)
		}
		return nil
	})
	if err == nil {
		if m.Detector != nil {
			err = d.pipelineDescription(description, m)
		} else {
			err = d.description(description, m)
		}
	}
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("the specification cannot be read: %w", err)
	case !program:
		return nil, nil, fmt.Errorf("the specification (version %d) holds no ML Program", version)
	}
	if version != uint64(m.SpecVersion()) {
		d.oddf("the specification's version is %d, and that of %s is %d", version, OpsetName(m.Main.Opset), m.SpecVersion())
	}
	return m, d.odd, nil
}

func (d *decoder) program(b []byte, m *Model) error {
	version, functions := uint64(0), 0
	err := d.fields(b, func(f field) error {
		switch f.num {
		case 1:
			version = f.n
		case 2:
			name, body, err := d.entry(f.bytes)
			if err != nil {
				return err
			}
			if functions++; name != "main" {
				d.oddf("the program has a function %q", name)
				return nil
			}
			return d.function(body, &m.Main)
		default:
			d.oddf("the program has a field %d", f.num)
		}
		return nil
	})
	if version != 1 {
		d.oddf("the program's version is %d", version)
	}
	if functions != 1 {
		d.oddf("the program has %d functions", functions)
	}
	return err
}

func (d *decoder) function(b []byte, fn *Function) error {
	opset, blocks := "", 0
	err := d.fields(b, func(f field) error {
		switch f.num {
		case 1:
			in, err := d.named(f.bytes)
			fn.Inputs = append(fn.Inputs, in)
			return err
		case 2:
			opset = string(f.bytes)
			if n, err := fmt.Sscanf(opset, "CoreML%d", &fn.Opset); n != 1 || err != nil || OpsetName(fn.Opset) != opset {
				return fmt.Errorf("the operator set is %q", opset)
			}
		case 3:
			key, body, err := d.entry(f.bytes)
			if err != nil {
				return err
			}
			if blocks++; key != opset {
				d.oddf("the function is of %q, and has a block of %q", opset, key)
			}
			return d.block(body, fn)
		default:
			d.oddf("the function has a field %d", f.num)
		}
		return nil
	})
	if blocks != 1 {
		d.oddf("the function has %d blocks", blocks)
	}
	return err
}

func (d *decoder) block(b []byte, fn *Function) error {
	return d.fields(b, func(f field) error {
		switch f.num {
		case 2:
			fn.Outputs = append(fn.Outputs, string(f.bytes))
		case 3:
			op := &Operation{}
			fn.Ops = append(fn.Ops, op)
			return d.operation(f.bytes, op)
		default:
			d.oddf("the block has a field %d", f.num)
		}
		return nil
	})
}

func (d *decoder) operation(b []byte, op *Operation) error {
	name, named := "", false
	err := d.fields(b, func(f field) error {
		switch f.num {
		case 1:
			op.Type = string(f.bytes)
		case 2:
			key, body, err := d.entry(f.bytes)
			if err != nil {
				return err
			}
			a := Arg{Key: key}
			err = d.fields(body, func(f field) error { return d.binding(f.bytes, &a) })
			op.Inputs = append(op.Inputs, a)
			return err
		case 3:
			out, err := d.named(f.bytes)
			op.Outputs = append(op.Outputs, out)
			return err
		case 5:
			key, body, err := d.entry(f.bytes)
			if err != nil {
				return err
			}
			v, err := d.value(body)
			if err != nil {
				return err
			}
			if key == "name" {
				if named = v.DataType == String && len(v.Texts) == 1; named {
					name = v.Texts[0]
				}
				return nil
			}
			op.Attrs = append(op.Attrs, Attr{Key: key, Value: v})
		default:
			d.oddf("%s has a field %d", op.Type, f.num)
		}
		return nil
	})
	if len(op.Outputs) == 0 {
		op.Name = name
	}
	if !named {
		d.oddf("%s %s has no attribute name", op.Type, op.Called())
	}
	return err
}

func (d *decoder) binding(b []byte, a *Arg) error {
	return d.fields(b, func(f field) error {
		if f.num == 1 {
			a.Names = append(a.Names, string(f.bytes))
			return nil
		}
		v, err := d.value(f.bytes)
		a.Value = &v
		return err
	})
}

func (d *decoder) named(b []byte) (n Named, err error) {
	err = d.fields(b, func(f field) (err error) {
		if f.num == 1 {
			n.Name = string(f.bytes)
			return nil
		}
		n.Type, err = d.valueType(f.bytes)
		return err
	})
	return n, err
}

func (d *decoder) valueType(b []byte) (t Type, err error) {
	err = d.fields(b, func(f field) (err error) {
		switch f.num {
		case 1:
			t, err = d.tensorType(f.bytes)
			return err
		case 2:
			return d.fields(f.bytes, func(f field) error {
				if f.num == 1 {
					x, err := d.valueType(f.bytes)
					t.DataType = x.DataType
					return err
				}
				n, err := d.dimension(f.bytes)
				t.Strings = int(n)
				return err
			})
		case 4:
			t.Dictionary = true
			return nil
		case 5:
			return d.fields(f.bytes, func(f field) (err error) {
				t, err = d.valueType(f.bytes)
				t.State = true
				return err
			})
		}
		return fmt.Errorf("a type has a field %d", f.num)
	})
	return t, err
}

func (d *decoder) tensorType(b []byte) (t Type, err error) {
	rank := uint64(0)
	err = d.fields(b, func(f field) error {
		switch f.num {
		case 1:
			t.DataType = DataType(f.n)
		case 2:
			rank = f.n
		case 3:
			n, err := d.dimension(f.bytes)
			t.Shape = append(t.Shape, n)
			return err
		default:
			d.oddf("a type of tensors has a field %d", f.num)
		}
		return nil
	})
	if err == nil && rank != uint64(len(t.Shape)) {
		d.oddf("a tensor's rank is %d, and it has %d axes", rank, len(t.Shape))
	}
	return t, err
}

func (d *decoder) dimension(b []byte) (n int64, err error) {
	n = -1
	err = d.fields(b, func(f field) error {
		if f.num != 1 {
			return nil // unknown
		}
		n = 0
		return d.fields(f.bytes, func(f field) error {
			n = int64(f.n)
			return nil
		})
	})
	return n, err
}
