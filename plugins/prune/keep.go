package prune

import (
	"errors"
	"fmt"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/prune/layer"
	"github.com/optimize-hcl/optimize/sdk"
)

// keeper knows which nodes the user wants left alone, and which of the patterns fit none.
type keeper struct {
	patterns []string
	used     []bool
}

func newKeeper(patterns []string) *keeper { return &keeper{patterns, make([]bool, len(patterns))} }

// why names the pattern that keeps a node, "" when none does.
func (k *keeper) why(name string) string {
	why := ""
	for i, p := range k.patterns {
		if sdk.MatchName(p, name) {
			if k.used[i] = true; why == "" {
				why = fmt.Sprintf("keep has %q", p)
			}
		}
	}
	return why
}

// warn tells of patterns that no node fits.
func (k *keeper) warn(j job) {
	for i, p := range k.patterns {
		if !k.used[i] {
			j.warn(sdk.Diagnostic{Severity: sdk.SeverityWarning, Path: []any{"keep", sdk.Index(i)}, Summary: fmt.Sprintf("no node that could be pruned is called %q", p),
				Detail: "Names are those that optimize inspect lists; * stands for any characters and ? for one."})
		}
	}
}

func validateKeep(patterns []string) sdk.Diagnostics {
	var ds sdk.Diagnostics
	for i, p := range patterns {
		if p == "" {
			ds = append(ds, sdk.Diagnostic{Path: []any{"keep", sdk.Index(i)}, Summary: "an empty pattern keeps nothing", Detail: "Write a node's name, or a part of it with *, such as \"stem/*\"."})
		}
	}
	return ds
}

// quantizedOps are operators whose weights are integers already.
var quantizedOps = map[string]bool{
	"DequantizeLinear": true, "QLinearConv": true, "QLinearMatMul": true, "ConvInteger": true, "MatMulInteger": true, "DynamicQuantizeMatMul": true,
	"QGemm": true, "QLinearAdd": true, "MatMulNBits": true, "MatMulBnb4": true, "GatherBlockQuantized": true, "DynamicQuantizeLSTM": true,
}

// floatOnly refuses a model that is quantized.
func floatOnly(m *onnx.Model) error {
	for n := range m.Graph.AllNodes() {
		if quantizedOps[n.OpType] {
			return sdk.AttrError("model", "the model is quantized already",
				fmt.Sprintf("Node %q is a %s: integers hold codes, whose scales were chosen for the weights as they are. Prune the float model, and quantize what comes out: zeros stay zero.", layer.NodeName(n), n.OpType))
		}
	}
	return nil
}

func nothingToPrune(kept []layer.Kept) error {
	detail := "It has no Conv, Gemm or MatMul with a constant float weight."
	for i, k := range kept {
		if i == 0 {
			detail = "Every node with a constant float weight is left alone:"
		}
		if i == 5 {
			detail += fmt.Sprintf("\n%d more", len(kept)-i)
			break
		}
		detail += "\n" + k.String()
	}
	return sdk.AttrError("model", "the model has no weights that can be pruned", detail)
}

// dataError points at the argument that an error of measuring is about.
func dataError(argument string, err error) error {
	var in *ort.InputError
	var engine *ort.Error
	switch {
	case errors.As(err, &in):
		return sdk.AttrError(argument, "the dataset does not fit the model", err.Error())
	case errors.As(err, &engine):
		return sdk.AttrError("model", "the model failed during calibration", err.Error())
	case errors.Is(err, gram.ErrNotFinite):
		return sdk.AttrError(argument, "calibration met values that are no numbers", err.Error())
	}
	return err
}
