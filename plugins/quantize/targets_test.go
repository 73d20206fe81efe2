package quantize

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// residual is a network with what the rules of the targets are about: a first layer of three channels, a skip
// connection, a pool, a joint of two branches, a layer of few channels, a head.
func residual(b *builder) {
	x := b.input("x", 3, 8, 8)
	r1 := b.relu("r1", b.conv("c1", x, 3, 16))
	r2 := b.relu("r2", b.conv("c2", r1, 16, 16))
	r3 := b.relu("r3", b.node("Add", "add", []string{b.conv("c3", r2, 16, 16), r1}))
	p := b.node("MaxPool", "pool", []string{r3}, onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("strides", 2, 2))
	cat := b.node("Concat", "cat", []string{b.relu("r4", b.conv("c4", p, 16, 8)), b.conv("c5", p, 16, 16)}, onnx.IntAttr("axis", 1))
	g := b.node("GlobalAveragePool", "gap", []string{b.relu("r6", b.conv("c6", cat, 24, 32))})
	f := b.node("Flatten", "flat", []string{g})
	b.output(b.node("Softmax", "out", []string{b.node("Gemm", "fc", []string{f, b.random("fc.w", 0.3, 32, 10), b.random("fc.b", 0.3, 10)})}, onnx.IntAttr("axis", 1)))
}

// operand says how a node reads a value: "float", "u8 z0", "s8 z*" of an activation, "s8/16" of a constant with
// 16 scales.
func operand(t *testing.T, g *onnx.Graph, value string) string {
	t.Helper()
	dq := g.Producer(value)
	if dq == nil || !dq.Is("DequantizeLinear") {
		return "float"
	}
	if q := g.Initializer(dq.Input(0)); q != nil {
		short := map[onnx.DataType]string{onnx.Int8: "s8", onnx.Uint8: "u8", onnx.Int32: "s32"}[q.DataType]
		return fmt.Sprintf("%s/%d", short, g.Initializer(dq.Input(1)).Elements())
	}
	q := g.Producer(dq.Input(0))
	zp := g.Initializer(q.Input(2))
	z, err := zp.Ints()
	if err != nil {
		t.Fatal(err)
	}
	short := map[onnx.DataType]string{onnx.Int8: "s8", onnx.Uint8: "u8"}[zp.DataType]
	switch z[0] {
	case 0, 128, -128:
		return fmt.Sprintf("%s z%d", short, z[0])
	}
	return short + " z*"
}

// form writes what became of each of the network's own nodes, one line each.
func form(t *testing.T, m *onnx.Model) []string {
	t.Helper()
	g := m.Graph
	var lines []string
	for n := range g.Nodes() {
		if n.Is("QuantizeLinear") || n.Is("DequantizeLinear") {
			continue
		}
		var in []string
		for _, v := range n.Inputs() {
			in = append(in, operand(t, g, v))
		}
		out := "float"
		if c := g.Consumers(n.Output(0)); len(c) == 1 && c[0].Is("QuantizeLinear") && !g.IsOutput(n.Output(0)) {
			out = "Q"
		}
		lines = append(lines, fmt.Sprintf("%s %s(%s) %s", nodeName(n), n.OpType, strings.Join(in, ", "), out))
	}
	return lines
}

// targetForms is what section by section the backends ask for, written by hand: the form of each node of residual.
var targetForms = []struct {
	target string
	opset  int64
	nodes  []string
	float  []string
}{
	{
		// S8 in and out of every convolution, a pair on both sides of a Relu, both operands and the output of the Add.
		target: "onnxruntime-arm64", opset: 13,
		nodes: []string{
			"c1 Conv(s8 z0, s8/16, s32/16) Q", "r1 Relu(s8 z0) Q",
			"c2 Conv(s8 z0, s8/16, s32/16) Q", "r2 Relu(s8 z0) Q",
			"c3 Conv(s8 z0, s8/16, s32/16) Q", "add Add(s8 z0, s8 z0) Q", "r3 Relu(s8 z0) Q", "pool MaxPool(s8 z0) Q",
			"c4 Conv(s8 z0, s8/8, s32/8) Q", "r4 Relu(s8 z0) Q", "c5 Conv(s8 z0, s8/16, s32/16) Q", "cat Concat(s8 z0, s8 z0) Q",
			"c6 Conv(s8 z0, s8/32, s32/32) Q", "r6 Relu(s8 z0) Q", "gap GlobalAveragePool(s8 z0) Q", "flat Flatten(s8 z0) Q",
			"fc Gemm(s8 z0, s8/10, s32/10) float", "out Softmax(float) float",
		},
	},
	{
		// T1 zero points are 0; T3 inputs only; T4 the skip operand only; T5 nothing between Conv and Relu; T6 nothing
		// around MaxPool and Concat; T7 float biases; T8 c4 has 8 outputs.
		target: "tensorrt", opset: 19,
		nodes: []string{
			"c1 Conv(s8 z0, s8/16, float) float", "r1 Relu(float) Q",
			"c2 Conv(s8 z0, s8/16, float) float", "r2 Relu(float) Q",
			"c3 Conv(s8 z0, s8/16, float) float", "add Add(float, s8 z0) float", "r3 Relu(float) float", "pool MaxPool(float) float",
			"c4 Conv(float, float, float) float", "r4 Relu(float) float", "c5 Conv(s8 z0, s8/16, float) float", "cat Concat(float, float) Q",
			"c6 Conv(s8 z0, s8/32, float) float", "r6 Relu(float) Q", "gap GlobalAveragePool(s8 z0) float", "flat Flatten(float) Q",
			"fc Gemm(s8 z0, s8/10, float) float", "out Softmax(float) float",
		},
		float: []string{"c4 (Conv): it has 16 and 8 channels"},
	},
	{
		// O1 signed symmetric weights; O2 activations symmetric but for lopsided ranges: 0 where nothing is negative, else 128; O6, O7 nothing on
		// MaxPool and one scale behind Concat.
		target: "openvino", opset: 13,
		nodes: []string{
			"c1 Conv(u8 z128, s8/16, float) float", "r1 Relu(float) Q",
			"c2 Conv(u8 z0, s8/16, float) float", "r2 Relu(float) Q",
			"c3 Conv(u8 z0, s8/16, float) Q", "add Add(u8 z128, u8 z0) float", "r3 Relu(float) float", "pool MaxPool(float) Q",
			"c4 Conv(u8 z0, s8/8, float) float", "r4 Relu(float) float", "c5 Conv(u8 z0, s8/16, float) float", "cat Concat(float, float) Q",
			"c6 Conv(u8 z128, s8/32, float) float", "r6 Relu(float) Q", "gap GlobalAveragePool(u8 z0) float", "flat Flatten(float) Q",
			"fc Gemm(u8 z0, s8/10, float) float", "out Softmax(float) float",
		},
	},
	{
		// C2 zero point 0 or 128; C3 pairs in front of operands and around Conv with its Relu; one scale at Concat.
		target: "coreml", opset: 13,
		nodes: []string{
			"c1 Conv(u8 z128, s8/16, float) float", "r1 Relu(float) Q",
			"c2 Conv(u8 z0, s8/16, float) float", "r2 Relu(float) Q",
			"c3 Conv(u8 z0, s8/16, float) Q", "add Add(u8 z128, u8 z0) float", "r3 Relu(float) Q", "pool MaxPool(u8 z0) Q",
			"c4 Conv(u8 z0, s8/8, float) float", "r4 Relu(float) Q", "c5 Conv(u8 z0, s8/16, float) Q", "cat Concat(u8 z128, u8 z128) Q",
			"c6 Conv(u8 z128, s8/32, float) float", "r6 Relu(float) Q", "gap GlobalAveragePool(u8 z0) float", "flat Flatten(float) Q",
			"fc Gemm(u8 z0, s8/10, float) Q", "out Softmax(u8 z128) float",
		},
	},
	{
		// F1 asymmetric S8, int32 biases; F2 Softmax at 1/256 and -128; F3 one scale around MaxPool, Concat and Flatten;
		// F6 Relu inside; everything is 8 bits.
		target: "tflite", opset: 13,
		nodes: []string{
			"c1 Conv(s8 z*, s8/16, s32/16) float", "r1 Relu(float) Q",
			"c2 Conv(s8 z-128, s8/16, s32/16) float", "r2 Relu(float) Q",
			"c3 Conv(s8 z-128, s8/16, s32/16) Q", "add Add(s8 z*, s8 z-128) float", "r3 Relu(float) Q", "pool MaxPool(s8 z-128) Q",
			"c4 Conv(s8 z-128, s8/8, s32/8) float", "r4 Relu(float) Q", "c5 Conv(s8 z-128, s8/16, s32/16) Q", "cat Concat(s8 z*, s8 z*) Q",
			"c6 Conv(s8 z*, s8/32, s32/32) float", "r6 Relu(float) Q", "gap GlobalAveragePool(s8 z-128) Q", "flat Flatten(s8 z-128) Q",
			"fc Gemm(s8 z-128, s8/10, s32/10) Q", "out Softmax(s8 z*) Q",
		},
	},
}

// TestTargetForms checks node by node the targets that cannot all be run here, and that each form still computes what
// the network does: read literally, by an engine that fuses nothing.
func TestTargetForms(t *testing.T) {
	needRuntime(t)
	b := newBuilder(13)
	residual(b)
	b.shapeOutputs(t)
	in := map[string]tensor.Tensor{"x": b.noise(1, 16, 3, 8, 8)}
	float := runModel(t, b.m, in)["out"]
	for _, c := range targetForms {
		t.Run(c.target, func(t *testing.T) {
			m, facts := static(t, StaticConfig{Model: writeModel(t, b.m), Target: c.target, PerChannel: true, Calibration: ptr(writeDataset(t, in))})
			for i, got := range form(t, m) {
				if i >= len(c.nodes) || got != c.nodes[i] {
					t.Errorf("node %d is %s, want %s", i, got, c.nodes[min(i, len(c.nodes)-1)])
				}
			}
			if !slices.EqualFunc(facts.NodesFloat, c.float, strings.HasPrefix) {
				t.Errorf("left in float: %q, want %q", facts.NodesFloat, c.float)
			}
			if o := m.Opset(onnx.DefaultDomain); o != c.opset {
				t.Errorf("opset is %d, want %d", o, c.opset)
			}
			if db := sqnr(float, runModel(t, m, in)["out"]); !(db >= 20) {
				t.Errorf("%.1f dB", db)
			}
			if c.target == "tflite" {
				q := quantizer(t, m, "out")
				if s, err := m.Graph.Initializer(q.Input(1)).Float32s(); err != nil || s[0] != 1.0/256 || zeroPoint(t, m, "out") != -128 {
					t.Errorf("Softmax has scale %v and zero point %d", s, zeroPoint(t, m, "out"))
				}
			}
			if c.target == "openvino" { // O4
				for name, most := range map[string]int64{"c1": 64, "c2": 127} {
					q, err := m.Graph.Initializer(m.Graph.Producer(m.Graph.NodeByName(name).Input(1)).Input(0)).Ints()
					if err != nil || slices.Max(q) > most || min(slices.Min(q), -slices.Max(q)) != -most {
						t.Errorf("weights of %s range from %d to %d (%v), want %d bits", name, slices.Min(q), slices.Max(q), err, most)
					}
				}
			}
			sameGroup(t, m, c.target)
		})
	}
}

// sameGroup: where Concat is quantized its operands and output have one scale.
func sameGroup(t *testing.T, m *onnx.Model, target string) {
	t.Helper()
	if row(t, target).Placement == PlaceOutputs {
		sameScale(t, m, "r4", "c5", "cat")
		sameScale(t, m, "r3", "pool")
	}
}
