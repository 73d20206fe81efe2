package quantize

import (
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// inIntegers counts, of what the engine runs, the operators that stand for op and compute in integers.
var inIntegers = map[string][]string{
	"Conv": {"QLinearConv"}, "Gemm": {"QGemm"}, "MatMul": {"QLinearMatMul", "MatMulIntegerToFloat"}, "Add": {"QLinearAdd"},
	"Mul": {"QLinearMul"}, "GlobalAveragePool": {"QLinearGlobalAveragePool"}, "AveragePool": {"QLinearAveragePool"},
	"Sigmoid": {"QLinearSigmoid"}, "LeakyRelu": {"QLinearLeakyRelu"}, "Concat": {"QLinearConcat"},
}

func agree(t *testing.T, d *Prediction, engine map[string]int) {
	t.Helper()
	for op, names := range inIntegers {
		want, got := 0, 0
		for _, n := range names {
			want += engine[n]
		}
		for _, o := range d.Ops {
			if o.Op == op && o.Precision == "int8" {
				got += o.Count
			}
		}
		if got != want {
			t.Errorf("%d %s are foretold in integers, the engine runs %d: %s", got, op, want, show(engine))
		}
	}
}

// TestPredict holds what is foretold against the engine's own graph: for every small network of the rules, and for
// layouts that are made for other machines, which fuse badly here.
func TestPredict(t *testing.T) {
	needRuntime(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			b := newBuilder(max(r.opset, 13))
			if r.opset != 0 {
				b = newBuilder(r.opset)
			}
			r.build(b)
			b.shapeOutputs(t)
			shape := []int64{4}
			for _, d := range b.m.Graph.Inputs()[0].Type.Shape[1:] {
				shape = append(shape, d.Value)
			}
			m, _ := static(t, StaticConfig{Model: writeModel(t, b.m), Target: "onnxruntime-x86-vnni", PerChannel: true, KeepFloat: r.keep,
				Calibration: ptr(writeDataset(t, map[string]tensor.Tensor{"x": b.noise(1, shape...)}))})
			d, err := predictFile(writeModel(t, m).Path, row(t, "onnxruntime-x86-vnni"))
			if err != nil {
				t.Fatal(err)
			}
			agree(t, d, counts(engineGraph(t, m)))
		})
	}
	for _, target := range []string{"onnxruntime-arm64", "tensorrt", "openvino", "coreml"} {
		t.Run("made for "+target, func(t *testing.T) {
			b := newBuilder(13)
			residual(b)
			b.shapeOutputs(t)
			m, _ := static(t, StaticConfig{Model: writeModel(t, b.m), Target: target, PerChannel: true,
				Calibration: ptr(writeDataset(t, map[string]tensor.Tensor{"x": b.noise(1, 4, 3, 8, 8)}))})
			engine := counts(engineGraph(t, m))
			d, err := predictFile(writeModel(t, m).Path, row(t, "onnxruntime-x86-vnni"))
			if err != nil {
				t.Fatal(err)
			}
			agree(t, d, map[string]int{"QLinearConv": engine["QLinearConv"], "QGemm": engine["QGemm"], "QLinearAdd": engine["QLinearAdd"],
				"QLinearConcat": engine["QLinearConcat"], "QLinearGlobalAveragePool": engine["QLinearGlobalAveragePool"]})
		})
	}
}

// TestPredictFloat: a float model is taken as it would be lowered, with a reason for every node left in float.
func TestPredictFloat(t *testing.T) {
	for _, target := range Targets {
		b := newBuilder(13)
		residual(b)
		b.shapeOutputs(t)
		d, err := predictFile(writeModel(t, b.m).Path, &target)
		if err != nil {
			t.Fatal(err)
		}
		convs := 6
		if target.Name == "tensorrt" {
			convs = 5
		}
		i := slices.IndexFunc(d.Layers, func(l LayerCount) bool { return l.Op == "Conv" && l.Precision == "int8" })
		if i < 0 || d.Layers[i].Count != convs || d.Layers[i].Total != 6 || !(d.ShareMACs > 0.8 && d.ShareMACs <= 1) {
			t.Errorf("%s: layers %+v, share %v", target.Name, d.Layers, d.ShareMACs)
		}
		for _, n := range d.Nodes {
			if (n.Precision == "int8") != (n.Reason == "") {
				t.Errorf("%s: %+v", target.Name, n)
			}
		}
	}
	b := newBuilder(13)
	b.output(b.node("Exp", "e", []string{b.input("x", 4)}))
	d, err := predictFile(writeModel(t, b.m).Path, row(t, "tensorrt"))
	if err != nil || len(d.Nodes) != 1 || !strings.Contains(d.Nodes[0].Reason, "tensorrt has no 8-bit operator") {
		t.Errorf("%+v, %v", d, err)
	}
	b = newBuilder(13)
	b.m.Graph.AppendNode(onnx.NewNode("Conv", "", "c", []string{"none"}, []string{"y"}))
	b.output("y")
	if _, err := predictFile(writeModel(t, b.m).Path, row(t, "tensorrt")); err == nil {
		t.Error("no error for a model that is not valid")
	}
}
