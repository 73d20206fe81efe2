package coreml

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/lower"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
)

// Foretold is the document optimize.coverage/v1 of a model for Core ML: what would be lowered, and for what cannot be, why.
type Foretold struct {
	engine.Coverage
	Predicted bool           `json:"predicted"`
	Nodes     []NodeForetold `json:"nodes"`
}

// NodeForetold is one node; Reason says why it cannot be lowered.
type NodeForetold struct {
	Name      string `json:"name"`
	Op        string `json:"op"`
	Precision string `json:"precision"`
	Reason    string `json:"reason,omitempty"`
}

// usual are the sizes that axes have which a model leaves open and a command line does not tell: one sample, and this along
// the other axes of a picture or of a text.
const (
	usualPicture = 224
	usualLength  = 64
)

// inspectFor tells what the step would make of a model, with axes that are open taken for usual sizes.
func inspectFor(ctx context.Context, a sdk.Artifact) (_ any, err error) {
	m, unmap, err := onnx.MapFile(a.Path)
	if err != nil {
		return nil, sdk.CodeError(codeModel, "the model cannot be read", sentence(err.Error()))
	}
	defer func() { err = errors.Join(err, unmap()) }()
	if err := onnx.Check(m); err != nil {
		return nil, sdk.CodeError(codeModel, "the model is not valid ONNX", sentence(err.Error()))
	}
	shapes, assumed := usualShapes(m)
	if err := onnx.FixInputs(m, shapes, nil); err != nil {
		return nil, sdk.CodeError(codeShape, "the model's inputs cannot be fixed", sentence(err.Error()))
	}
	if _, err := prepareGraph(m, onnx.DefaultMaxGrowth); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	const target = "iOS17"
	name := "coreml " + target + " (foretold"
	if len(assumed) > 0 {
		name += " for " + strings.Join(assumed, ", ")
	}
	_, problems := lower.Lower(m, lower.Options{Opset: opsetOf(target), Half: true})
	return foretell(m, problems, name+")"), nil
}

// usualShapes gives open axes of inputs usual sizes, and tells which.
func usualShapes(m *onnx.Model) (map[string][]int64, []string) {
	shapes := map[string][]int64{}
	var told []string
	params := map[string]int64{}
	for _, v := range m.Graph.Feeds() {
		if v.Type == nil || !v.Type.HasShape || !slices.ContainsFunc(v.Type.Shape, func(d onnx.Dim) bool { return !d.Fixed() || d.Value == 0 }) {
			continue
		}
		s := make([]int64, len(v.Type.Shape))
		for i, d := range v.Type.Shape {
			switch known := params[d.Param]; {
			case d.Fixed() && d.Value > 0:
				s[i] = d.Value
				continue
			case d.Param != "" && d.Param != "?" && known > 0:
				s[i] = known
			case i == 0:
				s[i] = 1
			case len(s) == 4:
				s[i] = usualPicture
			default:
				s[i] = usualLength
			}
			if d.Param != "" {
				params[d.Param] = s[i]
			}
		}
		shapes[v.Name()] = s
		told = append(told, fmt.Sprintf("%s %v", v.Name(), s))
	}
	return shapes, told
}

// foretell makes the document: of a node that is lowered, what it computes in.
func foretell(m *onnx.Model, problems []lower.Problem, name string) *Foretold {
	reasons := map[string]string{}
	for _, p := range problems {
		reasons[p.Node] = p.Reason
	}
	shapes, err := onnx.InferShapes(m)
	d := &Foretold{Coverage: engine.Coverage{Schema: "optimize.coverage/v1", Engine: name, Layers: []engine.LayerCoverage{}, Ops: []engine.OpCoverage{}}, Predicted: true, Nodes: []NodeForetold{}}
	ops, layers, total := map[[2]string]int{}, map[[2]string]int{}, map[string]int{}
	for n := range m.Graph.Nodes() {
		// The document outlives the mapped file.
		label := n.Label()
		x := NodeForetold{Name: strings.Clone(cmp.Or(n.Name, n.Output(0))), Op: strings.Clone(n.OpType), Precision: "fp16", Reason: reasons[label]}
		delete(reasons, label)
		if err == nil {
			switch elem, _, ok := shapes.Of(n.Output(0)); {
			case !ok:
			case elem == onnx.Bool:
				x.Precision = "bool"
			case elem == onnx.Int64, elem == onnx.Int32:
				x.Precision = "int32"
			}
		}
		if x.Reason != "" {
			x.Precision = "unknown"
		}
		d.Nodes = append(d.Nodes, x)
		ops[[2]string{x.Op, x.Precision}]++
		if slices.Contains([]string{"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"}, x.Op) {
			layers[[2]string{x.Op, x.Precision}]++
			total[x.Op]++
		}
	}
	// What is left is of inputs and outputs.
	for _, p := range problems {
		if reasons[p.Node] != "" {
			d.Nodes = append(d.Nodes, NodeForetold{Name: p.Node, Op: p.Op, Precision: "unknown", Reason: p.Reason})
		}
	}
	for k, n := range ops {
		d.Ops = append(d.Ops, engine.OpCoverage{Op: k[0], Precision: k[1], Count: n})
	}
	for k, n := range layers {
		d.Layers = append(d.Layers, engine.LayerCoverage{Op: k[0], Precision: k[1], Count: n, Total: total[k[0]]})
	}
	slices.SortFunc(d.Ops, func(a, b engine.OpCoverage) int {
		return cmp.Or(cmp.Compare(a.Op, b.Op), cmp.Compare(a.Precision, b.Precision))
	})
	slices.SortFunc(d.Layers, func(a, b engine.LayerCoverage) int {
		return cmp.Or(cmp.Compare(a.Op, b.Op), cmp.Compare(a.Precision, b.Precision))
	})
	return d
}
