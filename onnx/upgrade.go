package onnx

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/tensor"
)

// The versions of the standard operators that UpgradeOpset goes between.
const (
	minOpset = 6
	maxOpset = 25
)

// UpgradeError says why a model cannot be brought to another opset. Node and Op are
// empty when it is not one node's fault.
type UpgradeError struct {
	Node, Op string
	From, To int64
	Reason   string
}

func (e *UpgradeError) Error() string {
	where := ""
	if e.Op != "" {
		where = fmt.Sprintf(": %s %q", e.Op, e.Node)
	}
	return fmt.Sprintf("cannot upgrade the model from opset %d to %d%s: %s", e.From, e.To, where, e.Reason)
}

// UpgradeOpset brings the model's standard operators to a later version: it
// rewrites the nodes whose meaning changed on the way, so that the model computes
// what it did, and raises the IR version to what the opset came with. A node that
// cannot be rewritten is an *UpgradeError, and nothing is changed then. Operators of
// other domains stay as they are.
func (m *Model) UpgradeOpset(to int64) error {
	from := m.Opset(DefaultDomain)
	fail := func(n *Node, reason string) error {
		e := &UpgradeError{From: from, To: to, Reason: reason}
		if n != nil {
			e.Op, e.Node = n.OpType, n.Name
			if n.Name == "" {
				e.Node = n.Output(0)
			}
		}
		return e
	}
	switch {
	case from == to:
		return nil
	case from == 0:
		return fail(nil, "it does not import the standard operators")
	case to < from:
		return fail(nil, "an opset cannot be lowered")
	case from < minOpset:
		return fail(nil, fmt.Sprintf("opsets before %d are not supported: export the model again with a later one", minOpset))
	case to > maxOpset:
		return fail(nil, fmt.Sprintf("opsets after %d are not known here", maxOpset))
	}
	for n := range m.Graph.AllNodes() {
		for v := from + 1; v <= to && canonicalDomain(n.Domain) == ""; v++ {
			if check := upgradeChecks[v][n.OpType]; check != nil {
				if reason := check(n); reason != "" {
					return fail(n, reason)
				}
			}
		}
	}
	shapes, err := InferShapes(m)
	if err != nil {
		return fail(nil, err.Error())
	}
	m.RaiseIR(max(irForOpset(to), 4)) // from 4 on a new initializer need not be an input
	u := &upgrader{shapes}
	for v := from + 1; v <= to; v++ {
		for n := range m.Graph.AllNodes() {
			if canonicalDomain(n.Domain) != "" {
				continue
			}
			if rewrite := upgradeRewrites[v][n.OpType]; rewrite != nil {
				rewrite(u, n)
			}
		}
	}
	m.SetOpset(DefaultDomain, to)
	return nil
}

var broadcastOps = []string{"Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"}

// upgradeChecks holds, by the opset that changed an operator, what cannot be
// rewritten. A check looks only at what rewrites for earlier opsets leave alone.
var upgradeChecks = map[int64]map[string]func(n *Node) string{
	7: {
		"PRelu": func(n *Node) string {
			if t := n.graph.Constant(n.Input(1)); t == nil || t.Elements() != 1 && len(t.Dims) == 1 {
				return "its slope is meant per channel, which opset 7 reads along the last axis"
			}
			return ""
		},
		"BatchNormalization": trainsBefore7,
		"Dropout":            trainsBefore7,
		"Upsample":           func(*Node) string { return "its scales in opset 6 have no equal" },
	},
	9: {
		"BatchNormalization": func(n *Node) string {
			if n.IntAttr("spatial", 1) == 0 {
				return "spatial = 0 was removed in opset 9"
			}
			return ""
		},
		"Scan": func(*Node) string { return "Scan takes other inputs from opset 9 on" },
	},
	14: {
		"BatchNormalization": func(n *Node) string {
			for _, s := range n.outputs[min(1, len(n.outputs)):] {
				if s != "" && (n.graph.IsOutput(s) || len(n.graph.Consumers(s)) > 0) {
					return "it trains, and its running statistics are used: export the model for inference"
				}
			}
			return ""
		},
	},
	24: {
		"Attention": func(n *Node) string {
			if n.Output(3) != "" {
				return "its scores (the fourth output) are taken at another point from opset 24 on"
			}
			return ""
		},
	},
	21: {
		"GroupNormalization": func(*Node) string {
			return "its scale and bias are per group before opset 21 and per channel from then on"
		},
	},
}

func trainsBefore7(n *Node) string {
	if n.IntAttr("is_test", 0) == 0 {
		return "it trains (is_test = 0): export the model for inference"
	}
	return ""
}

func init() {
	for _, op := range broadcastOps {
		upgradeChecks[7][op] = func(n *Node) string {
			if n.Attr("axis") != nil && n.IntAttr("broadcast", 0) != 0 {
				return "it broadcasts from an axis in the middle, which opset 7 removed"
			}
			return ""
		}
		upgradeRewrites[7][op] = dropAttrs("axis", "broadcast")
	}
	for _, op := range []string{"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
		"ReduceMin", "ReduceProd", "ReduceSumSquare"} {
		upgradeRewrites[18][op] = attrToInput("axes", 1)
	}
}

// upgrader rewrites nodes to the meaning that an opset gave them.
type upgrader struct{ shapes *Shapes }

type rewrite = func(u *upgrader, n *Node)

// upgradeRewrites holds, by opset, the operators that change their form in it.
var upgradeRewrites = map[int64]map[string]rewrite{
	7: {
		"BatchNormalization": dropAttrs("is_test"),
		"Dropout":            dropAttrs("is_test"),
		"Gemm":               dropAttrs("broadcast"),
		"GRU":                dropAttrs("output_sequence"),
		"LSTM":               dropAttrs("output_sequence"),
		"RNN":                dropAttrs("output_sequence"),
	},
	9: {
		"BatchNormalization": dropAttrs("spatial"),
		"Upsample": func(_ *upgrader, n *Node) {
			if a := n.Attr("scales"); a != nil {
				n.moveToInput("scales", 1, tensor.Of([]int64{int64(len(a.Floats()))}, a.Floats()))
			}
		},
	},
	10: {
		"Slice": func(u *upgrader, n *Node) {
			for i, attr := range []string{"starts", "ends", "axes"} {
				attrToInput(attr, i+1)(u, n)
			}
		},
		"TopK": func(_ *upgrader, n *Node) {
			n.moveToInput("k", 1, tensor.Of([]int64{1}, []int64{n.IntAttr("k", 0)}))
		},
		// The two were the same until Resize got its modes in opset 11.
		"Upsample": func(_ *upgrader, n *Node) { n.OpType = "Resize" },
	},
	11: {
		"Clip": func(u *upgrader, n *Node) {
			for i, attr := range []string{"min", "max"} {
				if n.Attr(attr) != nil {
					n.moveToInput(attr, i+1, u.scalarLike(n.Input(0), n.FloatAttr(attr, 0)))
				}
			}
		},
		"Pad": func(u *upgrader, n *Node) {
			attrToInput("pads", 1)(u, n)
			if v := n.FloatAttr("value", 0); v != 0 {
				n.moveToInput("value", 2, u.scalarLike(n.Input(0), v))
			}
			n.RemoveAttr("value")
		},
		"Resize": func(_ *upgrader, n *Node) {
			n.SetInputs(n.Input(0), "", n.Input(1))
			n.moveToInput("", 1, tensor.Of([]int64{0}, []float32{}))
			n.SetAttr(StringAttr("coordinate_transformation_mode", "asymmetric"))
			n.SetAttr(StringAttr("nearest_mode", "floor"))
		},
		"Scatter": func(_ *upgrader, n *Node) { n.OpType = "ScatterElements" },
	},
	12: {
		"Dropout": func(_ *upgrader, n *Node) {
			if n.Attr("ratio") != nil {
				n.moveToInput("ratio", 1, tensor.Of([]int64{}, []float32{n.FloatAttr("ratio", 0.5)}))
			}
		},
	},
	13: {
		"ReduceSum":  attrToInput("axes", 1),
		"Split":      attrToInput("split", 1),
		"Squeeze":    attrToInput("axes", 1),
		"Unsqueeze":  attrToInput("axes", 1),
		"Softmax":    flattenedSoftmax,
		"LogSoftmax": flattenedSoftmax,
		"Hardmax":    flattenedSoftmax,
	},
	14: {
		"BatchNormalization": func(_ *upgrader, n *Node) {
			if len(n.outputs) > 1 {
				n.SetOutputs(n.outputs[0])
			}
		},
	},
	16: {
		"RoiAlign": func(_ *upgrader, n *Node) {
			n.SetAttr(StringAttr("coordinate_transformation_mode", "output_half_pixel"))
		},
	},
	18: {
		"Split": func(_ *upgrader, n *Node) {
			if n.Input(1) == "" && n.Attr("num_outputs") == nil {
				n.SetAttr(IntAttr("num_outputs", int64(len(n.outputs))))
			}
		},
	},
	20: {
		"GridSample": func(_ *upgrader, n *Node) {
			switch n.StringAttr("mode", "") {
			case "bilinear":
				n.SetAttr(StringAttr("mode", "linear"))
			case "bicubic":
				n.SetAttr(StringAttr("mode", "cubic"))
			}
		},
		"DFT": func(_ *upgrader, n *Node) {
			n.moveToInput("axis", 2, tensor.Of([]int64{}, []int64{n.IntAttr("axis", 1)}))
		},
	},
}

func dropAttrs(names ...string) rewrite {
	return func(_ *upgrader, n *Node) {
		for _, name := range names {
			n.RemoveAttr(name)
		}
	}
}

// attrToInput is for a list of integers that became an input.
func attrToInput(attr string, i int) rewrite {
	return func(_ *upgrader, n *Node) {
		if a := n.Attr(attr); a != nil {
			n.moveToInput(attr, i, tensor.Of([]int64{int64(len(a.Ints))}, slices.Clone(a.Ints)))
		}
	}
}

// moveToInput makes a constant the node's input i, in place of an attribute.
func (n *Node) moveToInput(attr string, i int, value tensor.Tensor) {
	suffix := attr
	if suffix == "" {
		suffix = "empty"
	}
	name := n.graph.UniqueName(n.Output(0) + "_" + suffix)
	n.graph.AddInitializer(NewTensor(name, value))
	n.SetInput(i, name)
	n.RemoveAttr(attr)
}

// scalarLike makes a scalar of the element type of a value, float where unknown.
func (u *upgrader) scalarLike(value string, v float32) tensor.Tensor {
	if elem, _, _ := u.shapes.Of(value); elem != Float {
		if t, err := tensor.FromFloat32(elem.DType(), []int64{}, []float32{v}); err == nil {
			return t
		}
	}
	return tensor.Of([]int64{}, []float32{v})
}

// flattenedSoftmax: until opset 12 the operator ran over all axes from the given one
// on, since opset 13 over that axis alone. Where that is not the same, the input is
// flattened around it.
func flattenedSoftmax(u *upgrader, n *Node) {
	at := n.IntAttr("axis", 1)
	if _, shape, _ := u.shapes.Of(n.Input(0)); shape != nil {
		if k, ok := axis(at, len(shape)); ok {
			if d := product(shape[k+1:]); d.Fixed() && d.Value == 1 {
				n.SetAttr(IntAttr("axis", int64(k)))
				return
			}
		}
	}
	g, in, out := n.graph, n.Input(0), n.Output(0)
	shape, flat, soft := g.UniqueName(out+"_shape"), g.UniqueName(out+"_flat"), g.UniqueName(out+"_soft")
	g.InsertBefore(n, NewNode("Shape", "", g.UniqueName(n.Name+"_shape"), []string{in}, []string{shape}))
	g.InsertBefore(n, NewNode("Flatten", "", g.UniqueName(n.Name+"_flatten"), []string{in}, []string{flat}, IntAttr("axis", at)))
	n.SetInput(0, flat)
	n.SetOutput(0, soft)
	n.SetAttr(IntAttr("axis", -1))
	g.InsertAfter(n, NewNode("Reshape", "", g.UniqueName(n.Name+"_reshape"), []string{soft, shape}, []string{out}))
}
