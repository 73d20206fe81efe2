package coreml

import (
	"context"
	"errors"
	"strings"

	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
	"github.com/optimize-hcl/optimize/tensor"
)

// inspect tells what is in a package, without running it: nothing of Apple's is needed.
func inspect(_ context.Context, a sdk.Artifact) (_ any, err error) {
	p, err := mil.ReadPackage(a.Path)
	if err != nil {
		return nil, sdk.CodeError(codeModel, "the package cannot be read", sentence(err.Error())+" A package is a folder with Manifest.json that holds an ML Program.")
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	m := p.Model
	d := &engine.Inspection{Schema: "optimize.inspect/v1", Format: formatPackage, Size: p.Size, IRVersion: int64(m.SpecVersion()),
		Inputs: []engine.ValueInspected{}, Outputs: []engine.ValueInspected{}, Ops: map[string]int{}, Weights: map[string]int64{}}
	for _, f := range m.Inputs {
		d.Inputs = append(d.Inputs, inspected(f))
	}
	for _, f := range m.Outputs {
		d.Outputs = append(d.Outputs, inspected(f))
	}
	if t := m.Detector; t != nil {
		d.Outputs = nil
		for i, name := range mil.DetectorOutputs() {
			d.Outputs = append(d.Outputs, engine.ValueInspected{Name: name, DType: tensor.F32.String(), Shape: []any{"?", []int{len(t.Labels), 4}[i]}})
		}
		d.Ops["nonMaximumSuppression"]++
	}
	seen := map[uint64]bool{}
	types, truths := map[string]mil.Type{}, map[string]bool{}
	for _, in := range m.Main.Inputs {
		types[in.Name] = in.Type
	}
	for _, op := range m.Main.Ops {
		for _, o := range op.Outputs {
			types[o.Name] = o.Type
		}
		for _, v := range values(op) {
			if !v.Blob || seen[v.Offset] {
				continue
			}
			seen[v.Offset] = true
			d.Weights[dtypeName(v.DataType)] += (v.Elements()*int64(v.DataType.Bits()) + 7) / 8
		}
		switch {
		case op.Type == "const" && len(op.Outputs) == 1:
			if v := values(op); len(v) == 1 && v[0].DataType == mil.Bool && len(v[0].Data) == 1 {
				truths[op.Outputs[0].Name] = v[0].Data[0] != 0
			}
			if t := op.Outputs[0].Type; len(op.Attrs) > 0 && op.Attrs[0].Value.Blob && t.DataType.Float() {
				d.Parameters += t.Elements()
			}
			continue
		case strings.HasPrefix(op.Type, "constexpr_") && len(op.Outputs) > 0:
			last := op.Outputs[len(op.Outputs)-1].Type
			if op.Type != "constexpr_lut_to_sparse" && op.Type != "constexpr_sparse_blockwise_shift_scale" {
				d.Parameters += max(last.Elements(), 0)
			}
			d.Quantized = d.Quantized || op.Type != "constexpr_sparse_to_dense" && op.Type != "constexpr_cast"
		case op.Type == "quantize", op.Type == "dequantize":
			d.Quantized = true
		}
		d.Ops[op.Type]++
		d.MACs += macs(op, types, truths)
	}
	return d, nil
}

// values are the constants that an operation holds itself.
func values(op *mil.Operation) (vs []mil.Value) {
	for _, a := range op.Attrs {
		vs = append(vs, a.Value)
	}
	for _, a := range op.Inputs {
		if a.Value != nil {
			vs = append(vs, *a.Value)
		}
	}
	return vs
}

// macs counts the multiply-accumulates of an operation; an open axis counts as 1.
func macs(op *mil.Operation, types map[string]mil.Type, truths map[string]bool) int64 {
	arg := func(key string) (s []int64) {
		for _, a := range op.Inputs {
			if a.Key == key && len(a.Names) == 1 {
				return types[a.Names[0]].Shape
			}
		}
		return nil
	}
	truth := func(key string) bool {
		for _, a := range op.Inputs {
			if a.Key == key && len(a.Names) == 1 {
				return truths[a.Names[0]]
			}
		}
		return false
	}
	size := func(s []int64) int64 {
		n := int64(1)
		for _, d := range s {
			n *= max(d, 1)
		}
		return n
	}
	if len(op.Outputs) == 0 {
		return 0
	}
	out, w := op.Outputs[0].Type.Shape, arg("weight")
	switch op.Type {
	case "conv":
		if len(w) > 1 {
			return size(out) * size(w[1:])
		}
	case "conv_transpose":
		if len(w) > 1 {
			return size(arg("x")) * size(w[1:])
		}
	case "linear":
		if len(w) == 2 {
			return size(out) * w[1]
		}
	case "matmul":
		if x := arg("x"); len(x) > 0 {
			inner := x[len(x)-1]
			if len(x) > 1 && truth("transpose_x") {
				inner = x[len(x)-2]
			}
			return size(out) * max(inner, 1)
		}
	}
	return 0
}

func inspected(f mil.Feature) engine.ValueInspected {
	x := engine.ValueInspected{Name: f.Name, DType: dtypeName(f.Type.DataType), Shape: []any{}}
	switch {
	case f.Text:
		return engine.ValueInspected{Name: f.Name, DType: "STRING", Shape: []any{}}
	case f.Dictionary:
		return engine.ValueInspected{Name: f.Name, DType: "DICTIONARY"}
	}
	for i, n := range f.Type.Shape {
		open := n < 0 || f.Upper != nil && f.Lower[i] != f.Upper[i]
		for _, s := range f.Enumerated {
			open = open || s[i] != n
		}
		if open {
			x.Shape = append(x.Shape, "?")
		} else {
			x.Shape = append(x.Shape, n)
		}
	}
	return x
}

// dtypeName is the safetensors spelling, or MIL's own in capitals for what that lacks.
func dtypeName(t mil.DataType) string {
	switch t {
	case mil.Bool:
		return tensor.Bool.String()
	case mil.Float32:
		return tensor.F32.String()
	case mil.Float16:
		return tensor.F16.String()
	case mil.Int8:
		return tensor.I8.String()
	case mil.Uint8:
		return tensor.U8.String()
	case mil.Int32:
		return tensor.I32.String()
	}
	return strings.ToUpper(t.String())
}
