package openvino

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/optimize-hcl/optimize/plugins/openvino/ir"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
	"github.com/optimize-hcl/optimize/tensor"
)

// inspect needs no library: it reads the text of an IR only.
func inspect(_ context.Context, a sdk.Artifact) (any, error) {
	bad := func(err error, hint string) error {
		return sdk.CodeError(codeModel, "the model cannot be read", sentence(err.Error())+" "+hint)
	}
	text, weights, err := ir.Files(a.Path)
	if err != nil {
		return nil, bad(err, "Check the path.")
	}
	n, err := ir.ReadFile(text)
	if err != nil {
		return nil, bad(err, "Check that the file is a whole IR, and write it again if it was damaged.")
	}
	d := &engine.Inspection{Schema: "optimize.inspect/v1", Format: formatIR, IRVersion: int64(n.Version),
		Inputs: []engine.ValueInspected{}, Outputs: []engine.ValueInspected{}, Weights: map[string]int64{}}
	for _, f := range []string{text, weights} {
		st, err := os.Stat(f)
		if err != nil {
			return nil, bad(err, fmt.Sprintf("The weights of %s lie beside it, in a file of the same name that ends in .bin.", text))
		}
		d.Size += st.Size()
	}
	if w := n.Writer(); w != "" {
		d.Producer = "OpenVINO " + w
	}
	c := n.Count()
	d.Parameters, d.MACs, d.Ops, d.Quantized = c.Parameters, c.MACs, c.Ops, c.Quantized
	for t, bytes := range c.Weights {
		d.Weights[dtypeName(t)] += bytes
	}
	for _, v := range n.Inputs() {
		d.Inputs = append(d.Inputs, inspected(v))
	}
	for _, v := range n.Outputs() {
		d.Outputs = append(d.Outputs, inspected(v))
	}
	return d, nil
}

func inspected(v ir.Value) engine.ValueInspected {
	x := engine.ValueInspected{DType: dtypeName(v.Type)}
	if len(v.Names) > 0 {
		x.Name = v.Names[0]
	}
	if v.Shape != nil {
		x.Shape = []any{}
	}
	for _, n := range v.Shape {
		if n < 0 {
			x.Shape = append(x.Shape, "?")
		} else {
			x.Shape = append(x.Shape, n)
		}
	}
	return x
}

// dtypeName is the safetensors spelling, or OpenVINO's own in capitals for what that lacks.
func dtypeName(t string) string {
	switch t {
	case "boolean":
		return tensor.Bool.String()
	case "f8e4m3":
		return tensor.F8E4M3.String()
	case "f8e5m2":
		return tensor.F8E5M2.String()
	case "":
		return "?"
	}
	return strings.ToUpper(t)
}
