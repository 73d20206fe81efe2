package weights

import (
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/tensor"
)

// form is a way to write a weight: operations whose last one gives it.
type form struct {
	// name is what a report calls it: the operation that decompresses, and the type of what is stored.
	name  string
	build func(*sink) []*mil.Operation
}

// bytes is what the form takes in a package: its blobs with their headers and padding, and the messages of its operations.
func (f form) bytes(at int64) int64 {
	s := sink{at: at}
	n := int64(0)
	for _, op := range f.build(&s) {
		n += int64(op.EncodedSize())
	}
	return n + s.blobs
}

// sink takes the blobs of a form: it writes them, or without a file counts them.
type sink struct {
	file  *mil.Weights
	at    int64 // a likely offset, for the size of the messages
	blobs int64
	err   error
}

// blob adds a constant. Its bytes are made only where they are written.
func (s *sink) blob(t mil.Type, data func() []byte) mil.Value {
	n := mil.BlobSize(t.DataType, t.Elements())
	s.blobs += n
	if s.file == nil {
		s.at += n
		return mil.Value{Type: t, Blob: true, Offset: uint64(s.at)}
	}
	if s.err != nil {
		return mil.Value{Type: t}
	}
	v, err := s.file.Add(t, data())
	s.err = err
	return v
}

// arg is an argument of an operation that decompresses: a constant, or the name of what another one gives.
type arg struct {
	key   string
	value mil.Value
	name  string
}

// source is a weight while a form is looked for.
type source struct {
	typ   mil.Type  // of what the program reads: fp16 or fp32
	f     []float32 // the elements
	half  []byte    // the elements in half precision, where they were made
	opset int
	name  string    // of the weight in the program
	spare [2]string // names that are free, for what stands between two operations
	of    string
}

func (x *source) elements() int64 { return int64(len(x.f)) }

// op is an operation that decompresses. Before CoreML8 its arguments are attributes, from there on inputs.
func (x *source) op(kind string, outs []mil.Named, args ...arg) *mil.Operation {
	o := &mil.Operation{Type: kind, Outputs: outs, Of: x.of}
	for _, a := range args {
		switch {
		case a.name != "":
			o.Inputs = append(o.Inputs, mil.Arg{Key: a.key, Names: []string{a.name}})
		case x.opset < 8:
			o.Attrs = append(o.Attrs, mil.Attr{Key: a.key, Value: a.value})
		default:
			o.Inputs = append(o.Inputs, mil.Arg{Key: a.key, Value: &a.value})
		}
	}
	return o
}

// bytes are the elements in the type of the program.
func (x *source) bytes() []byte {
	if x.typ.DataType == mil.Float16 {
		return x.halves()
	}
	return rawOf(x.f)
}

func (x *source) halves() []byte {
	if x.half == nil {
		x.half = mil.Halves(x.f)
	}
	return x.half
}

// out is the weight as what an operation gives.
func (x *source) out() []mil.Named { return []mil.Named{{Name: x.name, Type: x.typ}} }

// dense writes the elements as they are.
func (x *source) dense() form {
	return form{"const, " + x.typ.DataType.String(), func(s *sink) []*mil.Operation {
		v := s.blob(x.typ, x.bytes)
		return []*mil.Operation{{Type: "const", Outputs: x.out(), Of: x.of, Attrs: []mil.Attr{{Key: "val", Value: v}}}}
	}}
}

// cast writes the elements in half precision where that holds each of them as it is, and the program wants single.
func (x *source) cast() []form {
	if x.typ.DataType != mil.Float32 || !allHalf(x.f) {
		return nil
	}
	return []form{{"constexpr_cast, fp16", func(s *sink) []*mil.Operation {
		v := s.blob(mil.Type{DataType: mil.Float16, Shape: x.typ.Shape}, x.halves)
		return []*mil.Operation{x.op("constexpr_cast", x.out(), arg{key: "source_val", value: v}, arg{key: "output_dtype", value: mil.Text("fp32")})}
	}}}
}

const (
	// leastElements is how many elements a weight must have for a form to be looked for in its floats. Apple's own tools
	// leave smaller ones alone, too.
	leastElements = 2048
	// leastRank: Apple's tools compress no vectors, because of a fault of Core ML's with them.
	leastRank = 2
)

// choose gives the form that takes the fewest bytes; of equals the first, which is the plainest. The values that it gives
// are the elements, rounded to half precision where the program wants that (and -0 becomes 0). Where elements are written as
// integers and scales it is the scales that are rounded, as Apple's tools do.
func (x *source) choose(st *Steps, at int64) form {
	best := x.dense()
	least := best.bytes(at)
	try := func(forms []form) {
		for _, f := range forms {
			if n := f.bytes(at); n < least {
				best, least = f, n
			}
		}
	}
	if x.opset < 6 || len(x.typ.Shape) < leastRank || x.elements() == 0 {
		return best
	}
	if st != nil {
		try(x.stepForms(st, false))
	}
	if x.elements() < leastElements {
		return best
	}
	try(x.cast())
	var zeros bool
	if x.typ.DataType == mil.Float16 {
		zeros = valueForms(x, view[uint16](tensor.U16, x.halves()), &least, try)
	} else {
		zeros = valueForms(x, view[uint32](tensor.U32, x.bytes()), &least, try)
	}
	if st == nil && least > mil.BlobSize(mil.Uint1, x.elements()) {
		st = findSteps(x.typ.Shape, x.f)
		if st != nil {
			try(x.stepForms(st, false))
		}
	}
	if st != nil && zeros {
		try(x.stepForms(st, true))
	}
	return best
}

// valueForms tries the forms that hold the values themselves: tables of few, and what is left without zeros. It tells
// whether leaving zeros out can be of use.
func valueForms[T word](x *source, v []T, least *int64, try func([]form)) bool {
	try(tables(x, v, nil, 0, *least))
	kept := countKept(v)
	if kept == 0 || kept == len(v) || mil.BlobSize(mil.Uint1, int64(len(v))) >= *least {
		return false
	}
	mask := maskOf(v)
	try([]form{sparse(x, v, mask, kept)})
	if x.opset >= 8 {
		try(tables(x, v, mask, kept, *least))
	}
	return true
}
