package quantize

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

// Prediction is the document optimize.coverage/v1 that the rules of a target foretell: what runs in integers there,
// and for every node that does not, why. The engine's own graph, where one can be asked, is the proof.
type Prediction struct {
	Schema    string          `json:"schema"`
	Engine    string          `json:"engine"`
	Predicted bool            `json:"predicted"`
	Layers    []LayerCount    `json:"layers"`
	Ops       []OpCount       `json:"ops"`
	Nodes     []NodePredicted `json:"nodes"`
	ShareMACs float64         `json:"share_macs"` // of the multiply-accumulates, in integers
}

// LayerCount tells how many nodes of an operator that multiplies with weights compute in one precision.
type LayerCount struct {
	Op        string `json:"op"`
	Precision string `json:"precision"`
	Count     int    `json:"count"`
	Total     int    `json:"total"` // of the operator, in any precision
}

// OpCount counts the nodes of one operator and precision.
type OpCount struct {
	Op        string `json:"op"`
	Precision string `json:"precision"`
	Count     int    `json:"count"`
}

// NodePredicted is one node; Reason says why it is not in integers.
type NodePredicted struct {
	Name      string `json:"name"`
	Op        string `json:"op"`
	Precision string `json:"precision"`
	Reason    string `json:"reason,omitempty"`
}

// inspectTargets are the rows of the table as targets of `optimize inspect --for`.
func inspectTargets() []sdk.Target {
	var out []sdk.Target
	for i := range Targets {
		t := &Targets[i]
		name := t.Name
		if name == "coreml" {
			name = "coreml-int8" // the plugin coreml tells what of a model it lowers under the name alone
		}
		out = append(out, sdk.Target{Name: name, Formats: []string{"onnx"}, Doc: t.Doc + " Foretold by its rules: a float model as quantize_static would lower it, a quantized one as it is.",
			Inspect: func(_ context.Context, a sdk.Artifact) (any, error) { return predictFile(a.Path, t) }})
	}
	return append(out, sdk.Target{Name: "auto", Formats: []string{"onnx"}, Doc: "The target that quantize_static takes on this machine.",
		Inspect: func(_ context.Context, a sdk.Artifact) (any, error) {
			t, err := resolveTarget("auto", ThisCPU())
			if err != nil {
				return nil, sdk.CodeError("quantize/no-target", "this machine has no target", err.Error())
			}
			return predictFile(a.Path, t)
		}})
}

// predictFile foretells what a target makes of a model.
func predictFile(path string, t *Target) (*Prediction, error) {
	m, err := onnx.ReadFile(path)
	if err != nil {
		return nil, sdk.CodeError("quantize/bad-model", "the model cannot be read", err.Error())
	}
	if err := onnx.Check(m); err != nil {
		return nil, sdk.CodeError("quantize/bad-model", "the model is not valid ONNX", err.Error())
	}
	if quantizedNode(m.Graph) != nil {
		shapes, err := onnx.InferShapes(m)
		if err != nil {
			return nil, sdk.CodeError("quantize/bad-model", "the shapes in the model do not fit together", err.Error())
		}
		total, macs := countWork(m, shapes)
		return predict(m.Graph, t, nil, total, macs), nil
	}
	shapes, err := prepare(m, t.MinOpset)
	if err != nil {
		return nil, err
	}
	p := place(m, shapes, t, StaticConfig{}.options(m, shapes, t))
	reasons := map[*onnx.Node]string{}
	for n, r := range p.refused {
		reasons[n] = r.reason
	}
	// The ranges are unknown and do not matter, but for a clamp that calibration may fold.
	r := ranges{}
	for _, v := range p.values {
		r[v] = Range{-1, 1}
	}
	if _, err := lowerStatic(m, p, t, r, true); err != nil {
		return nil, err
	}
	return predict(m.Graph, t, reasons, p.macTotal, p.macs), nil
}

// predict walks a graph of Q and DQ. reasons are those that are known already.
func predict(g *onnx.Graph, t *Target, reasons map[*onnx.Node]string, total int64, macs map[*onnx.Node]int64) *Prediction {
	d := &Prediction{Schema: "optimize.coverage/v1", Engine: t.Name + " (foretold)", Predicted: true,
		Layers: []LayerCount{}, Ops: []OpCount{}, Nodes: []NodePredicted{}}
	f := &foretell{graph: g, target: t}
	ops, layers, all := map[[2]string]int{}, map[[2]string]int{}, map[string]int{}
	var quantized int64
	for n := range g.AllNodes() {
		if n.Is("QuantizeLinear") || n.Is("DequantizeLinear") || n.Is("Constant") {
			continue
		}
		reason := f.reason(n)
		if r := reasons[n]; r != "" {
			reason = r
		}
		precision := "int8"
		if reason != "" {
			precision = "fp32"
		} else {
			quantized += macs[n]
		}
		d.Nodes = append(d.Nodes, NodePredicted{Name: nodeName(n), Op: n.OpType, Precision: precision, Reason: reason})
		ops[[2]string{n.OpType, precision}]++
		if macs[n] > 0 || recurrent[n.OpType] {
			layers[[2]string{n.OpType, precision}]++
			all[n.OpType]++
		}
	}
	for k, n := range ops {
		d.Ops = append(d.Ops, OpCount{k[0], k[1], n})
	}
	for k, n := range layers {
		d.Layers = append(d.Layers, LayerCount{k[0], k[1], n, all[k[0]]})
	}
	slices.SortFunc(d.Ops, func(a, b OpCount) int { return cmp.Or(cmp.Compare(a.Op, b.Op), cmp.Compare(a.Precision, b.Precision)) })
	slices.SortFunc(d.Layers, func(a, b LayerCount) int {
		return cmp.Or(cmp.Compare(a.Op, b.Op), cmp.Compare(a.Precision, b.Precision))
	})
	d.ShareMACs = share(quantized, total)
	return d
}

// foretell applies the rules by which engines fuse Q and DQ.
type foretell struct {
	graph  *onnx.Graph
	target *Target
}

// reason says why a node does not run in integers; empty when it does.
func (f *foretell) reason(n *onnx.Node) string {
	if f.integer(n) {
		return ""
	}
	rule, known := f.target.Ops[n.OpType]
	if !known || n.Domain != "" && n.Domain != "ai.onnx" {
		return f.target.Name + " has no 8-bit operator for it"
	}
	switch rule.Role {
	case RoleClamp:
		return f.clamp(n)
	case RolePass:
		// It runs on whatever arrives: integers where a DequantizeLinear can move over it, or none need to.
		if f.graph.Producer(n.Input(0)) != nil && f.reads(n.Input(0)) == "" || f.target.Placement == PlaceInputs && f.wanted(n.Output(0)) {
			return ""
		}
		return "its operand is in float"
	case RoleConv, RoleMatrix:
		if why := f.reads(n.Input(0)); why != "" {
			return "its first operand " + why
		}
		if why := f.weight(n.Input(1)); why != "" {
			return "its weight " + why
		}
		if bias := n.Input(2); n.Is("Gemm") && bias != "" && !f.target.FloatBias && f.reads(bias) == "is not quantized" && f.writes(n) != "" {
			return "its bias is in float"
		}
	case RoleJoin:
		if len(n.Inputs()) > 1 && f.target.Residual == ResidualSkip && n.Is("Add") {
			if f.reads(n.Input(0)) != "" && f.reads(n.Input(1)) != "" {
				return "neither operand is quantized"
			}
			return ""
		}
		if product := f.product(n); product != nil {
			return f.reason(product)
		}
		for i, v := range n.Inputs() {
			if why := f.reads(v); why != "" {
				return fmt.Sprintf("operand %d %s", i, why)
			}
		}
	}
	if f.target.Placement == PlaceOutputs && rule.Role != RoleMatrix {
		return f.writes(n)
	}
	return ""
}

// product returns the MatMul whose bias a node adds, on a target that makes one layer of the two; nil for another node.
func (f *foretell) product(n *onnx.Node) *onnx.Node {
	if !f.target.Everywhere || !n.Is("Add") || len(n.Inputs()) != 2 {
		return nil
	}
	for i, v := range n.Inputs() {
		bias := n.Input(1 - i)
		if dq := f.graph.Producer(bias); dq != nil && dq.Is("DequantizeLinear") {
			bias = dq.Input(0)
		}
		if p := f.graph.Producer(v); p != nil && p.Is("MatMul") && f.graph.NumConsumers(v) == 1 && f.graph.Initializer(bias) != nil {
			return p
		}
	}
	return nil
}

// integer tells whether an operator computes in integers by its name.
func (f *foretell) integer(n *onnx.Node) bool {
	return n.OpType != "QuantizeLinear" && n.OpType != "DequantizeLinear" && n.OpType != "DynamicQuantizeLinear" && isQuantizedOp(n.OpType)
}

// reads says why an operand does not arrive as integers that the engine takes.
func (f *foretell) reads(value string) string {
	dq := f.graph.Producer(value)
	if dq == nil || !dq.Is("DequantizeLinear") {
		return "is not quantized"
	}
	scale, zero := f.graph.Constant(dq.Input(1)), f.graph.Constant(dq.Input(2))
	if scale == nil || scale.Elements() != 1 {
		return "has no single scale"
	}
	if f.target.Activation.DType.String() == "I8" && f.target.Activation.Symmetric && !isZero(zero) {
		return "has a zero point, and symmetric integers are demanded"
	}
	if f.graph.Constant(dq.Input(0)) != nil {
		return ""
	}
	if f.signedTwice(zero, dq.Input(0)) {
		return "is signed and read twice, which the engine does not turn into unsigned integers"
	}
	return ""
}

// signedTwice: ONNX Runtime on x86 turns S8 into U8 only where one node reads the integers. It gives each reader a
// DequantizeLinear of its own first.
func (f *foretell) signedTwice(zero *onnx.Tensor, integers string) bool {
	if zero == nil || zero.DataType != onnx.Int8 || !slices.Equal(f.target.Arch, x86) {
		return false
	}
	readers := 0
	for _, dq := range f.graph.Consumers(integers) {
		readers += f.graph.NumConsumers(dq.Output(0))
		if f.graph.IsOutput(dq.Output(0)) {
			readers++
		}
	}
	return readers > 1
}

// movedOver are operators that ONNX Runtime moves a QuantizeLinear over, upwards.
var movedOver = []string{"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice"}

// weight says why a constant operand does not serve.
func (f *foretell) weight(value string) string {
	dq := f.graph.Producer(value)
	if dq == nil || !dq.Is("DequantizeLinear") {
		return "is not quantized"
	}
	zero := f.graph.Constant(dq.Input(2))
	if (f.target.Engine == "openvino" || f.target.Activation.Symmetric) && f.graph.Constant(dq.Input(0)) != nil {
		if q := f.graph.Constant(dq.Input(0)); q.DataType != onnx.Int8 || !isZero(zero) {
			return "is not signed and symmetric, which is demanded"
		}
	}
	return ""
}

// writes says why a node's output does not leave as integers: what follows must be one QuantizeLinear, behind a clamp
// that saturation replaces at most, or one that the engine fuses.
func (f *foretell) writes(n *onnx.Node) string {
	v := n.Output(0)
	for {
		if f.graph.IsOutput(v) {
			return "its result is an output of the model in float"
		}
		c := f.graph.Consumers(v)
		switch {
		case len(c) != 1:
			return "its result is read in float too"
		case c[0].Is("QuantizeLinear"):
			if f.signedTwice(f.graph.Constant(c[0].Input(2)), c[0].Output(0)) {
				return "its result is signed and read twice, which the engine does not turn into unsigned integers"
			}
			return ""
		case c[0].Input(0) == v && slices.Contains(movedOver, c[0].OpType):
			v = c[0].Output(0)
		case (c[0].Is("Relu") || c[0].Is("Clip")) && (f.target.Clamp == ClampInside || f.clamp(c[0]) == ""):
			v = c[0].Output(0)
		default:
			return fmt.Sprintf("its result goes to %s %q in float", c[0].OpType, nodeName(c[0]))
		}
	}
}

// clamp says why a Relu or Clip is a node of its own.
func (f *foretell) clamp(n *onnx.Node) string {
	if f.target.Clamp == ClampInside || f.target.Placement == PlaceInputs {
		if made := f.graph.Producer(n.Input(0)); made != nil && !made.Is("DequantizeLinear") {
			return ""
		}
	}
	c := f.graph.Consumers(n.Output(0))
	for len(c) == 1 && slices.Contains(movedOver, c[0].OpType) {
		c = f.graph.Consumers(c[0].Output(0))
	}
	if len(c) == 1 && c[0].Is("QuantizeLinear") {
		zero := f.graph.Constant(c[0].Input(2))
		if zero != nil && zero.DataType == onnx.Uint8 && isZero(zero) && n.Is("Relu") {
			return ""
		}
	}
	return "it is no saturation of the integers behind it"
}

// wanted tells whether a value leads to a QuantizeLinear, which then moves up.
func (f *foretell) wanted(value string) bool {
	for _, c := range f.graph.Consumers(value) {
		if c.Is("QuantizeLinear") || f.target.Ops[c.OpType].Role == RolePass && f.wanted(c.Output(0)) {
			return true
		}
	}
	return false
}

// isZero tells whether all zero points are 0; none at all means so.
func isZero(t *onnx.Tensor) bool {
	if t == nil {
		return true
	}
	v, err := t.Ints()
	return err == nil && !slices.ContainsFunc(v, func(z int64) bool { return z != 0 })
}
