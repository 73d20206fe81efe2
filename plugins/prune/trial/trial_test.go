package trial

import (
	"math"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

func TestInputs(t *testing.T) {
	m := onnx.NewModel("m", 13)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: 3}}))
	m.Graph.AddInput(onnx.NewValueInfo("ids", onnx.Int64, []onnx.Dim{onnx.ParamDim("N"), {Value: 2}}))
	m.Graph.AddInput(onnx.NewValueInfo("half", onnx.Float16, onnx.FixedDims(2)))
	a, err := Inputs(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := Inputs(m, 1)
	if d, _, err := Difference(Outputs{"x": a["x"]}, Outputs{"x": b["x"]}); d != 0 || err != nil {
		t.Error("one seed gave two inputs", d, err)
	}
	ids, err := tensor.View[int64](a["ids"])
	if err != nil || ids[0] != 1 || a["x"].Shape[0] != a["ids"].Shape[0] || a["half"].DType != tensor.F16 {
		t.Error(a, err)
	}
	m.Graph.AddInput(onnx.NewValueInfo("any", onnx.Float, nil))
	if _, err := Inputs(m, 1); err == nil {
		t.Error("an input of no known shape was made up")
	}
}

func TestDifference(t *testing.T) {
	of := func(v ...float32) Outputs { return Outputs{"y": tensor.Of([]int64{int64(len(v))}, v)} }
	nan := float32(math.NaN())
	if d, name, err := Difference(of(1, 200), of(1, 199)); d != 0.005 || name != "y" || err != nil {
		t.Error(d, name, err)
	}
	if d, _, err := Difference(of(0.5, nan), of(0.25, nan)); d != 0.25 || err != nil {
		t.Error(d, err)
	}
	for _, bad := range []Outputs{of(1), of(1, nan), {}} {
		if _, _, err := Difference(of(1, 2), bad); err == nil {
			t.Errorf("%v passed", bad)
		}
	}
	if Finite(of(1, nan)) == nil || Finite(of(1)) != nil {
		t.Error("Finite")
	}
}
