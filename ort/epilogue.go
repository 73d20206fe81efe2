package ort

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/optimize-hcl/optimize/tensor"
)

// The Go binding cannot return an output whose element type has no Go type (half and
// 8-bit floats, 4-bit integers), nor a scalar. A model with such outputs gets an
// epilogue: a Cast to float32, which is exact for all of them, and an Unsqueeze that
// adds an axis. Protobuf merges a message with what follows it, so the epilogue is
// appended to the model's bytes and nothing of the model is rewritten.

const epiloguePrefix = "optimize.epilogue/"

// fetch tells how an output of the model comes out of the session.
type fetch struct {
	name  string // the name in the session
	cast  bool   // it was cast to F32 and goes back to Info.DType
	outer bool   // it has an axis of 1 in front that the model's output lacks
}

// planFetch decides for one output. An output of unknown rank may be a scalar.
func planFetch(v valueInfo) fetch {
	f := fetch{name: v.Name, cast: !native(v.DType), outer: !v.ranked || len(v.Shape) == 0}
	if f.cast || f.outer {
		f.name = epiloguePrefix + v.Name
	}
	return f
}

// epilogue returns the bytes to append to a model, or none.
func epilogue(s *graphSignature, outputs []valueInfo, fetches []fetch) []byte {
	var g []byte
	axis := epiloguePrefix + "axis"
	axisMade := false
	for i, f := range fetches {
		if !f.cast && !f.outer {
			continue
		}
		from := outputs[i].Name
		element := outputs[i].element
		if f.cast {
			to := f.name
			if f.outer {
				to += "/cast"
			}
			g = field(g, 1, node("Cast", []string{from}, to, intAttr("to", 1)))
			from, element = to, 1
		}
		if f.outer && s.opset >= 13 {
			if !axisMade {
				g = field(g, 1, node("Constant", nil, axis, axisAttr()))
				axisMade = true
			}
			g = field(g, 1, node("Unsqueeze", []string{from, axis}, f.name, nil))
		} else if f.outer {
			g = field(g, 1, node("Unsqueeze", []string{from}, f.name, intsAttr("axes", 0)))
		}
		var tensorType, value []byte
		tensorType = protowire.AppendTag(tensorType, 1, protowire.VarintType)
		tensorType = protowire.AppendVarint(tensorType, uint64(element))
		value = field(value, 1, []byte(f.name))
		value = field(value, 2, field(nil, 1, tensorType))
		g = field(g, 12, value)
	}
	if g == nil {
		return nil
	}
	return field(nil, 7, g)
}

func field(b []byte, num protowire.Number, content []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, content)
}

func node(op string, in []string, out string, attr []byte) []byte {
	var b []byte
	for _, name := range in {
		b = field(b, 1, []byte(name))
	}
	b = field(b, 2, []byte(out))
	b = field(b, 3, []byte(out))
	b = field(b, 4, []byte(op))
	if attr != nil {
		b = field(b, 5, attr)
	}
	return b
}

func attribute(name string, kind uint64) []byte {
	b := field(nil, 1, []byte(name))
	b = protowire.AppendTag(b, 20, protowire.VarintType)
	return protowire.AppendVarint(b, kind)
}

func intAttr(name string, v uint64) []byte {
	b := protowire.AppendTag(attribute(name, 2), 3, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func intsAttr(name string, v uint64) []byte {
	b := protowire.AppendTag(attribute(name, 7), 8, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

// axisAttr is the value of a Constant: the axis 0 as I64 [1].
func axisAttr() []byte {
	var t []byte
	t = protowire.AppendTag(t, 1, protowire.VarintType) // dims
	t = protowire.AppendVarint(t, 1)
	t = protowire.AppendTag(t, 2, protowire.VarintType) // data_type INT64
	t = protowire.AppendVarint(t, 7)
	t = field(t, 9, make([]byte, 8))
	return field(attribute("value", 4), 5, t)
}

// native tells whether the binding has a Go type for the element type.
func native(d tensor.DType) bool {
	switch d {
	case tensor.F16, tensor.BF16, tensor.F8E4M3, tensor.F8E5M2, tensor.U4, tensor.I4:
		return false
	}
	return true
}
