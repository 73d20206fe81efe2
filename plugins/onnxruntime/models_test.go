package onnxruntime

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// sizes is what axes that a model leaves open are given, by the rank of the input.
type sizes struct{ sequence, height, width int64 }

// openSizes are tried in turn until the original runs: networks of text, of sound and
// of pictures want different ones.
var openSizes = []sizes{{576, 48, 192}, {16, 64, 64}, {512, 320, 320}}

// loadLibrary is needLibrary for tests that run sessions of their own.
func loadLibrary(t *testing.T) {
	t.Helper()
	needLibrary(t)
	lib, err := ort.Locate()
	if err == nil {
		err = ort.Load(lib)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// feeds makes inputs of the same numbers each time. Integers are small, so that they
// are tokens of every vocabulary; a scalar one is a sampling rate.
func feeds(m *onnx.Model, s sizes) (map[string]tensor.Tensor, error) {
	r := rand.New(rand.NewPCG(7, 11))
	out := map[string]tensor.Tensor{}
	for _, in := range m.Graph.Inputs() {
		if m.Graph.Initializer(in.Name()) != nil {
			continue
		}
		shape := []int64{}
		for i, d := range in.Type.Shape {
			size := d.Value
			switch {
			case size > 0:
			case i == 0 || len(in.Type.Shape) == 3:
				size = 1
			case len(in.Type.Shape) < 4:
				size = s.sequence
			case i == 2:
				size = s.height
			default:
				size = s.width
			}
			shape = append(shape, size)
		}
		n, err := tensor.Elements(shape)
		if err != nil {
			return nil, err
		}
		number := func() int64 {
			switch {
			case len(shape) == 0:
				return 16000
			case strings.Contains(in.Name(), "mask"):
				return 1
			}
			return 1 + r.Int64N(8)
		}
		switch in.Type.Elem {
		case onnx.Float:
			v := make([]float32, n)
			for i := range v {
				v[i] = float32(r.NormFloat64()) / 4
			}
			out[in.Name()] = tensor.Of(shape, v)
		case onnx.Int64:
			v := make([]int64, n)
			for i := range v {
				v[i] = number()
			}
			out[in.Name()] = tensor.Of(shape, v)
		case onnx.Int32:
			v := make([]int32, n)
			for i := range v {
				v[i] = int32(number())
			}
			out[in.Name()] = tensor.Of(shape, v)
		case onnx.Bool:
			out[in.Name()] = tensor.Tensor{DType: tensor.Bool, Shape: shape, Data: make([]byte, n)}
		default:
			return nil, fmt.Errorf("input %q is of type %s, for which this test makes no numbers", in.Name(), in.Type.Elem)
		}
	}
	return out, nil
}

func outputs(model []byte, x map[string]tensor.Tensor) (map[string]tensor.Tensor, error) {
	s, err := ort.NewSession(model, ort.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	y, err := s.Run(x, nil)
	return y, errors.Join(err, s.Close())
}

// equal compares outputs: floats to tolerance of their size plus one, all else exactly.
func equal(a, b tensor.Tensor, tolerance float64) error {
	if a.DType != b.DType || !slices.Equal(a.Shape, b.Shape) {
		return fmt.Errorf("%s%v became %s%v", a.DType, a.Shape, b.DType, b.Shape)
	}
	if !a.DType.IsFloat() {
		if !bytes.Equal(a.Data, b.Data) {
			return errors.New("other numbers")
		}
		return nil
	}
	x, err := tensor.ToFloat32(a)
	if err != nil {
		return err
	}
	y, err := tensor.ToFloat32(b)
	if err != nil {
		return err
	}
	for i := range x {
		v, w := float64(x[i]), float64(y[i])
		if !(math.Abs(v-w) <= tolerance*(1+math.Abs(v)) || math.IsNaN(v) && math.IsNaN(w)) {
			return fmt.Errorf("element %d is %v, was %v", i, w, v)
		}
	}
	return nil
}

// whole takes a model through reading, inference, simplification and a run: what comes
// out is valid, not larger in nodes, and computes the same to 1e-5.
func whole(t *testing.T, model []byte) onnx.SimplifyStats {
	t.Helper()
	read := func() *onnx.Model {
		m, err := onnx.Parse(model)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := read()
	if err := onnx.Check(m); err != nil {
		t.Fatal(err)
	}
	if again, err := m.Marshal(); err != nil || !bytes.Equal(again, model) {
		t.Fatalf("not written as it was read: %v", err)
	}
	if _, err := onnx.InferShapes(m); err != nil {
		t.Fatal(err)
	}
	stats, err := onnx.Simplify(m, onnx.SimplifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := onnx.Check(m); err != nil {
		t.Fatalf("simplified: %v", err)
	}
	simple, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if stats.NodesAfter > stats.NodesBefore {
		t.Errorf("%d nodes became %d", stats.NodesBefore, stats.NodesAfter)
	}
	var x, want map[string]tensor.Tensor
	for _, s := range openSizes {
		if x, err = feeds(read(), s); err != nil {
			t.Fatal(err)
		}
		if want, err = outputs(model, x); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("the original does not run: %v", err)
	}
	got, err := outputs(simple, x)
	if err != nil {
		t.Fatalf("simplified: %v", err)
	}
	if len(got) != len(want) || len(want) == 0 {
		t.Fatalf("%d outputs became %d", len(want), len(got))
	}
	for name, w := range want {
		if err := equal(w, got[name], 1e-5); err != nil {
			t.Errorf("output %q: %v", name, err)
		}
	}
	return stats
}

// TestFixtures takes every model of the folder that OPTIMIZE_FIXTURES names all the way.
func TestFixtures(t *testing.T) {
	dir := os.Getenv("OPTIMIZE_FIXTURES")
	if dir == "" {
		t.Skip("set OPTIMIZE_FIXTURES to a folder of models to take them through reading, inference, simplification and a run")
	}
	loadLibrary(t)
	paths, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s has no models: %v", dir, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".onnx"), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := whole(t, b)
			t.Logf("%d nodes became %d", s.NodesBefore, s.NodesAfter)
		})
	}
}

// weights are numbers of both signs, the same each time.
func weights(shape ...int64) tensor.Tensor {
	n, err := tensor.Elements(shape)
	if err != nil {
		panic(err)
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i%13-6) / 20
	}
	return tensor.Of(shape, v)
}

func constant(name string, v tensor.Tensor) *onnx.Node {
	return onnx.NewNode("Constant", "", "", nil, []string{name}, onnx.TensorAttr("value", onnx.NewTensor("", v)))
}

func value(name string, dims ...int64) *onnx.ValueInfo {
	return onnx.NewValueInfo(name, onnx.Float, onnx.FixedDims(dims...))
}

func node(op string, out string, in ...string) *onnx.Node {
	return onnx.NewNode(op, "", "", in, []string{out})
}

// branch is a graph without inputs that makes out.
func branch(out string, nodes ...*onnx.Node) *onnx.Graph {
	g := onnx.NewGraph(out)
	for _, n := range nodes {
		g.AppendNode(n)
	}
	g.AddOutput(onnx.NewValueInfo(out, onnx.Float, nil))
	return g
}

// awkward are models as exporters write them: each is a kind that tools trip over.
func awkward() map[string]*onnx.Model {
	start := func(name string) *onnx.Model {
		m := onnx.NewModel(name, 17)
		m.Graph.AddInput(value("x", 2, 4))
		return m
	}
	finish := func(m *onnx.Model, out *onnx.ValueInfo, nodes ...*onnx.Node) *onnx.Model {
		for _, n := range nodes {
			m.Graph.AppendNode(n)
		}
		m.Graph.AddOutput(out)
		return m
	}
	open := func(name string) *onnx.ValueInfo { return onnx.NewValueInfo(name, onnx.Float, nil) }
	out := map[string]*onnx.Model{}

	// An If in an If, their weights in Constants inside, a condition that is known and one that is not.
	inner := onnx.NewNode("If", "", "", []string{"known"}, []string{"i"},
		onnx.GraphAttr("then_branch", branch("p", constant("w", weights(4, 4)), node("MatMul", "p", "x", "w"))),
		onnx.GraphAttr("else_branch", branch("q", node("Neg", "q", "x"))))
	out["nested If"] = finish(start("if"), open("y"),
		node("ReduceSum", "sum", "x"), constant("zero", tensor.Of([]int64{}, []float32{0})),
		node("Greater", "c2", "sum", "zero"), onnx.NewNode("Reshape", "", "", []string{"c2", "none"}, []string{"c"}),
		constant("one", tensor.Of([]int64{}, []float32{1})), node("Greater", "known", "one", "zero"),
		onnx.NewNode("If", "", "", []string{"c"}, []string{"y"},
			onnx.GraphAttr("then_branch", branch("t", inner, node("Relu", "t", "i"))),
			onnx.GraphAttr("else_branch", branch("e", constant("v", weights(4)), node("Mul", "e", "x", "v")))))
	out["nested If"].Graph.AddInitializer(onnx.NewInt64s("none", nil, 0))

	lstm := onnx.NewModel("lstm", 17)
	lstm.Graph.AddInput(value("x", 5, 1, 3))
	for name, v := range map[string]tensor.Tensor{"w": weights(1, 8, 3), "r": weights(1, 8, 2), "b": weights(1, 16)} {
		lstm.Graph.AddInitializer(onnx.NewTensor(name, v))
	}
	out["LSTM"] = finish(lstm, open("y"),
		node("Shape", "s", "x"), constant("at", tensor.Of([]int64{1}, []int64{1})), node("Gather", "n", "s", "at"),
		constant("tail", tensor.Of([]int64{1}, []int64{2})), constant("head", tensor.Of([]int64{1}, []int64{1})),
		onnx.NewNode("Concat", "", "", []string{"head", "n", "tail"}, []string{"dims"}, onnx.IntAttr("axis", 0)),
		node("ConstantOfShape", "h", "dims"),
		onnx.NewNode("LSTM", "", "", []string{"x", "w", "r", "b", "", "h", "h"}, []string{"all", "y"}, onnx.IntAttr("hidden_size", 2)))

	// What the model says of the values inside is wrong, and so is the size of its output's first axis.
	wrong := finish(start("wrong"), onnx.NewValueInfo("y", onnx.Float, []onnx.Dim{onnx.ParamDim("n"), onnx.ParamDim("m")}),
		node("Relu", "a", "x"), node("Shape", "s", "a"), node("Reshape", "y", "a", "s"))
	wrong.Graph.SetValueInfo(value("a", 7, 9))
	out["wrong declared shapes"] = wrong

	listed := onnx.NewModel("listed", 8)
	listed.IRVersion = 3
	listed.Graph.AddInput(value("x", 2, 4))
	listed.Graph.AddInput(value("w", 4, 3))
	listed.Graph.AddInput(value("b", 3))
	listed.Graph.AddInitializer(onnx.NewTensor("w", weights(4, 3)))
	listed.Graph.AddInitializer(onnx.NewTensor("b", weights(3)))
	out["initializers listed as inputs"] = finish(listed, open("y"), node("Identity", "i", "w"), node("MatMul", "m", "x", "i"), node("Add", "y", "m", "b"))

	out["weights in Constants"] = finish(start("constants"), open("y"), constant("w", weights(4, 4)), constant("two", tensor.Of([]int64{}, []float32{2})),
		node("Mul", "v", "w", "two"), node("MatMul", "m", "x", "v"), constant("b", weights(4)), node("Add", "y", "m", "b"))

	long := start("long")
	last := "x"
	for i := range 10000 {
		to := fmt.Sprintf("v%d", i)
		in := []string{last}
		if i%4 == 1 {
			in = append(in, "c")
		}
		long.Graph.AppendNode(node([]string{"Identity", "Add", "Relu", "Relu"}[i%4], to, in...))
		last = to
	}
	long.Graph.AddInitializer(onnx.NewFloats("c", []float32{-0.001}))
	long.Graph.AddOutput(open(last))
	out["10,000 nodes"] = long
	return out
}

func TestAwkwardModels(t *testing.T) {
	loadLibrary(t)
	// How many nodes may be left: what can be known is known.
	most := map[string]int{"nested If": 20, "LSTM": 2, "wrong declared shapes": 1, "initializers listed as inputs": 2, "weights in Constants": 2, "10,000 nodes": 5000}
	for name, m := range awkward() {
		t.Run(name, func(t *testing.T) {
			b, err := m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			s := whole(t, b)
			if s.NodesAfter > most[name] {
				t.Errorf("%d nodes became %d, at most %d are needed", s.NodesBefore, s.NodesAfter, most[name])
			}
			t.Logf("%d nodes became %d", s.NodesBefore, s.NodesAfter)
		})
	}
}
