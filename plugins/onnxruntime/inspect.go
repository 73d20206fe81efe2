package onnxruntime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
	"github.com/optimize-hcl/optimize/tensor"
)

// inspect needs no library: it reads the model only.
func inspect(_ context.Context, a sdk.Artifact) (any, error) {
	path, err := onnx.ModelFile(a.Path)
	if err != nil {
		return nil, sdk.CodeError(codeBadModel, "the model cannot be read", sentence(err.Error())+" Check the path.")
	}
	a.Path = path
	st, err := os.Stat(a.Path)
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", a.Path)
	}
	if err != nil {
		return nil, sdk.CodeError(codeBadModel, "the model cannot be read", sentence(err.Error())+" Check the path.")
	}
	if st.Size() == 0 {
		return nil, sdk.CodeError(codeBadModel, "the model is empty", fmt.Sprintf("%s has no bytes. Export it again.", a.Path))
	}
	b, err := os.ReadFile(a.Path)
	if err != nil {
		return nil, sdk.CodeError(codeBadModel, "the model cannot be read", sentence(err.Error()))
	}
	// Weights in other files stay there: their types and shapes are in the model.
	m, err := onnx.Parse(b)
	if err == nil && m.Graph == nil {
		err = errors.New("it holds no graph")
	}
	if err != nil {
		return nil, sdk.CodeError(codeBadModel, "the model cannot be read", fmt.Sprintf("%s: %s Check that the file is a whole ONNX model.", a.Path, sentence(err.Error())))
	}
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, sdk.CodeError(codeBadModel, "the model's graph is not valid", fmt.Sprintf("%s: %s", a.Path, sentence(err.Error())))
	}
	macs, _ := onnx.CountMACs(m, shapes)
	d := &engine.Inspection{
		Schema: "optimize.inspect/v1", Format: formatONNX,
		Size: st.Size(), Parameters: onnx.CountParameters(m), MACs: macs,
		Opset: m.Opset(onnx.DefaultDomain), IRVersion: m.IRVersion,
		Producer: strings.TrimSpace(m.ProducerName + " " + m.ProducerVersion),
		Inputs:   values(m.Graph.Feeds()), Outputs: values(m.Graph.Outputs()),
		Ops: map[string]int{}, Weights: map[string]int64{},
	}
	for n := range m.Graph.AllNodes() {
		d.Ops[n.OpType]++
		d.Quantized = d.Quantized || quantizedOp(n.OpType)
	}
	ends := map[string]int64{} // of the files of weights, as far as the model asks for them
	for t := range m.AllTensors() {
		if bits := t.DataType.Bits(); bits > 0 {
			// Sparse and string tensors have no bytes of their own to count.
			d.Weights[dtypeName(t.DataType)] += (t.Elements()*int64(bits) + 7) / 8
		}
		if t.IsExternal() {
			file, end := externalEnd(t)
			ends[file] = max(ends[file], end)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(ends)) {
		st, err := os.Stat(filepath.Join(filepath.Dir(a.Path), file))
		if !filepath.IsLocal(file) || err != nil || !st.Mode().IsRegular() || st.Size() < ends[file] {
			d.Missing = append(d.Missing, file)
			continue
		}
		d.Size += st.Size()
	}
	return d, nil
}

// externalEnd tells in which file a tensor's data lies, and where it ends there.
func externalEnd(t *onnx.Tensor) (file string, end int64) {
	var offset, length int64
	for _, e := range t.External() {
		switch e.Key {
		case "location":
			file = e.Value
		case "offset":
			offset, _ = strconv.ParseInt(e.Value, 10, 64)
		case "length":
			length, _ = strconv.ParseInt(e.Value, 10, 64)
		}
	}
	return file, offset + length
}

func quantizedOp(op string) bool {
	return integerOp(op) || op == "QuantizeLinear" || op == "DequantizeLinear" || op == "DynamicQuantizeLinear" || op == "MatMulNBits"
}

func values(from []*onnx.ValueInfo) []engine.ValueInspected {
	out := make([]engine.ValueInspected, 0, len(from))
	for _, v := range from {
		x := engine.ValueInspected{Name: v.Name(), DType: "?"}
		if t := v.Type; t != nil {
			x.DType = dtypeName(t.Elem)
			if t.HasShape {
				x.Shape = []any{}
			}
			for _, d := range t.Shape {
				switch {
				case d.Fixed():
					x.Shape = append(x.Shape, d.Value)
				case d.Param != "":
					x.Shape = append(x.Shape, d.Param)
				default:
					x.Shape = append(x.Shape, "?")
				}
			}
		}
		out = append(out, x)
	}
	return out
}

// dtypeName is the safetensors spelling, or ONNX's own for what that lacks.
func dtypeName(d onnx.DataType) string {
	if t := d.DType(); t != tensor.Invalid {
		return t.String()
	}
	return d.String()
}
