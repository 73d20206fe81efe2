package onnx

import (
	"fmt"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

func format(elem DataType, shape []Dim, ok bool) string {
	if !ok {
		return "?"
	}
	if shape == nil {
		return elem.String() + " of unknown rank"
	}
	var parts []string
	for _, d := range shape {
		switch {
		case d.Fixed():
			parts = append(parts, fmt.Sprint(d.Value))
		case d.Param != "":
			parts = append(parts, d.Param)
		default:
			parts = append(parts, "?")
		}
	}
	return fmt.Sprintf("%v[%s]", elem, strings.Join(parts, " "))
}

func TestInferShapesOfDigits(t *testing.T) {
	m, _ := readDigits(t)
	s, err := InferShapes(m)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		"input":  "FLOAT[N 1 28 28]",
		"stem.c": "FLOAT[N 16 28 28]",
		"b1b.o":  "FLOAT[N 32 14 14]",
		"b1s.c":  "FLOAT[N 32 14 14]",
		"b2.add": "FLOAT[N 64 7 7]",
		"gap":    "FLOAT[N 64 1 1]",
		"flat":   "FLOAT[N 64]",
		"logits": "FLOAT[N 10]",
		"fc.b":   "FLOAT[10]",
		"none":   "?",
	} {
		if got := format(s.Of(value)); got != want {
			t.Errorf("%s is %s, want %s", value, got, want)
		}
	}
	if n := s.WriteTo(m.Graph); n != m.Graph.NumNodes()-1 {
		t.Errorf("%d types recorded for %d nodes", n, m.Graph.NumNodes())
	}
	again := reparse(t, m)
	if again.Graph.ValueInfos()[0].Type.Shape[1].Value != 16 {
		t.Error("recorded types are not in the bytes")
	}
}

// TestInferShapes gives each operator inputs x, y, z of the types named.
func TestInferShapes(t *testing.T) {
	ints := func(v ...int64) *Tensor { return NewInt64s("", v, int64(len(v))) }
	type inputs []any // a type like "FLOAT N 3", or a constant tensor
	for _, test := range []struct {
		op    string
		in    inputs
		attrs []*Attribute
		want  string
	}{
		{"Relu", inputs{"FLOAT N 3"}, nil, "FLOAT[N 3]"},
		{"Add", inputs{"FLOAT N 3", "FLOAT 4 1 1"}, nil, "FLOAT[4 N 3]"},
		{"Add", inputs{"FLOAT N", "FLOAT M"}, nil, "FLOAT[?]"},
		{"Add", inputs{"FLOAT N", "FLOAT N"}, nil, "FLOAT[N]"},
		{"Less", inputs{"FLOAT 2 1", "FLOAT 3"}, nil, "BOOL[2 3]"},
		{"Where", inputs{"BOOL 2 1", "FLOAT 3", "FLOAT"}, nil, "FLOAT[2 3]"},
		{"Cast", inputs{"FLOAT N"}, []*Attribute{IntAttr("to", int64(Float16))}, "FLOAT16[N]"},
		{"Conv", inputs{"FLOAT N 3 224 224", "FLOAT 64 3 7 7"}, []*Attribute{IntsAttr("strides", 2, 2), IntsAttr("pads", 3, 3, 3, 3)}, "FLOAT[N 64 112 112]"},
		{"Conv", inputs{"FLOAT 1 3 15 H", "FLOAT 8 3 3 3"}, []*Attribute{StringAttr("auto_pad", "SAME_UPPER"), IntsAttr("strides", 2, 1)}, "FLOAT[1 8 8 ?]"},
		{"Conv", inputs{"FLOAT 1 4 20", "FLOAT 8 1 3"}, []*Attribute{IntAttr("group", 4), IntsAttr("dilations", 2)}, "FLOAT[1 8 16]"},
		{"Conv", inputs{"FLOAT 1 3 2 2", "FLOAT 8 3 5 5"}, nil, "FLOAT[1 8 ? ?]"},
		{"Conv", inputs{"FLOAT 1 3 9 9", "FLOAT 8 3 3 3"}, []*Attribute{IntsAttr("strides", 0, 0)}, "FLOAT[1 8 ? ?]"},
		{"ConvTranspose", inputs{"FLOAT N 8 5 5", "FLOAT 8 4 3 3"}, []*Attribute{IntsAttr("strides", 2, 2), IntsAttr("output_padding", 1, 1), IntsAttr("pads", 1, 1, 1, 1)}, "FLOAT[N 4 10 10]"},
		{"MaxPool", inputs{"FLOAT N 8 13 13"}, []*Attribute{IntsAttr("kernel_shape", 2, 2), IntsAttr("strides", 2, 2)}, "FLOAT[N 8 6 6]"},
		{"MaxPool", inputs{"FLOAT N 8 13 13"}, []*Attribute{IntsAttr("kernel_shape", 2, 2), IntsAttr("strides", 2, 2), IntAttr("ceil_mode", 1)}, "FLOAT[N 8 7 7]"},
		{"GlobalAveragePool", inputs{"FLOAT N 8 H W"}, nil, "FLOAT[N 8 1 1]"},
		{"MatMul", inputs{"FLOAT B 5 S 64", "FLOAT 64 10"}, nil, "FLOAT[B 5 S 10]"},
		{"MatMul", inputs{"FLOAT 64", "FLOAT 64"}, nil, "FLOAT[]"},
		{"Gemm", inputs{"FLOAT N 64", "FLOAT 10 64"}, []*Attribute{IntAttr("transB", 1)}, "FLOAT[N 10]"},
		{"Reshape", inputs{"FLOAT N 8 4 4", ints(0, -1)}, nil, "FLOAT[N 128]"},
		{"Reshape", inputs{"FLOAT N 8 4 4", ints(-1, 64)}, nil, "FLOAT[? 64]"},
		{"Reshape", inputs{"FLOAT N 8 4 4", ints(-1, 128)}, nil, "FLOAT[N 128]"},
		{"Reshape", inputs{"FLOAT N 8", ints(-1, -1)}, nil, "?"},
		{"Reshape", inputs{"FLOAT N 8", "INT64 3"}, nil, "FLOAT[? ? ?]"},
		{"Reshape", inputs{"FLOAT N 8", "INT64 L"}, nil, "FLOAT of unknown rank"},
		{"Flatten", inputs{"FLOAT N 8 4 4"}, nil, "FLOAT[N 128]"},
		{"Transpose", inputs{"FLOAT N 3 H W"}, []*Attribute{IntsAttr("perm", 0, 2, 3, 1)}, "FLOAT[N H W 3]"},
		{"Transpose", inputs{"FLOAT N 3"}, []*Attribute{IntsAttr("perm", 0, 7)}, "?"},
		{"Squeeze", inputs{"FLOAT N 1 3 1", ints(1, -1)}, nil, "FLOAT[N 3]"},
		{"Squeeze", inputs{"FLOAT 2 1 3"}, nil, "FLOAT[2 3]"},
		{"Unsqueeze", inputs{"FLOAT N 3", ints(0, -1)}, nil, "FLOAT[1 N 3 1]"},
		{"Concat", inputs{"FLOAT N 3", "FLOAT N 5"}, []*Attribute{IntAttr("axis", 1)}, "FLOAT[N 8]"},
		{"Split", inputs{"FLOAT N 9", ints(4, 5)}, []*Attribute{IntAttr("axis", 1)}, "FLOAT[N 4]"},
		{"Slice", inputs{"FLOAT N 10", ints(1), ints(-1), ints(1), ints(2)}, nil, "FLOAT[N 4]"},
		{"Slice", inputs{"FLOAT N 10", ints(-1), ints(-100), ints(1), ints(-3)}, nil, "FLOAT[N 4]"},
		{"Slice", inputs{"FLOAT N 10", ints(0), ints(1 << 60), ints(0)}, nil, "FLOAT[N 10]"},
		{"Slice", inputs{"FLOAT N 10", "INT64 1", "INT64 1", ints(1)}, nil, "FLOAT[N ?]"},
		{"Gather", inputs{"FLOAT 100 64", "INT64 N S"}, nil, "FLOAT[N S 64]"},
		{"Shape", inputs{"FLOAT N 3 4"}, nil, "INT64[3]"},
		{"ConstantOfShape", inputs{ints(2, 3)}, nil, "FLOAT[2 3]"},
		{"Expand", inputs{"FLOAT N 1", ints(5, 1, 4)}, nil, "FLOAT[5 N 4]"},
		{"Tile", inputs{"FLOAT N 2", ints(1, 3)}, nil, "FLOAT[N 6]"},
		{"Pad", inputs{"FLOAT N 3 4", ints(0, 1, 2, 0, 3, 4)}, nil, "FLOAT[N 7 10]"},
		{"Resize", inputs{"FLOAT N 3 4 5", nil, NewFloats("", []float32{1, 1, 2, 2.5}, 4)}, nil, "FLOAT[N 3 8 12]"},
		{"Resize", inputs{"FLOAT N 3 4 5", nil, nil, ints(1, 3, 7, 9)}, nil, "FLOAT[1 3 7 9]"},
		{"DepthToSpace", inputs{"FLOAT N 12 4 4"}, []*Attribute{IntAttr("blocksize", 2)}, "FLOAT[N 3 8 8]"},
		{"ReduceSum", inputs{"FLOAT N 3 4", ints(-1)}, []*Attribute{IntAttr("keepdims", 0)}, "FLOAT[N 3]"},
		{"ReduceMean", inputs{"FLOAT N 3 4"}, []*Attribute{IntsAttr("axes", 1, 2)}, "FLOAT[N 1 1]"},
		{"ArgMax", inputs{"FLOAT N 3 4"}, []*Attribute{IntAttr("axis", 1), IntAttr("keepdims", 0)}, "INT64[N 4]"},
		{"TopK", inputs{"FLOAT N 100", ints(5)}, nil, "FLOAT[N 5]"},
		{"Einsum", inputs{"FLOAT B I J", "FLOAT B J K"}, []*Attribute{StringAttr("equation", "bij, bjk -> bik")}, "FLOAT[B I K]"},
		{"LSTM", inputs{"FLOAT T N 8"}, []*Attribute{IntAttr("hidden_size", 16), StringAttr("direction", "bidirectional")}, "FLOAT[T 2 N 16]"},
		{"QuantizeLinear", inputs{"FLOAT N 3", "FLOAT", "INT8"}, nil, "INT8[N 3]"},
		{"QuantizeLinear", inputs{"FLOAT N 3", "FLOAT"}, nil, "UINT8[N 3]"},
		{"DequantizeLinear", inputs{"UINT8 N 3", "FLOAT", "UINT8"}, nil, "FLOAT[N 3]"},
		{"QLinearConv", inputs{"UINT8 N 3 8 8", "FLOAT", "UINT8", "INT8 4 3 3 3", "FLOAT", "INT8", "FLOAT", "UINT8"}, nil, "UINT8[N 4 6 6]"},
		{"MatMulInteger", inputs{"UINT8 N 4", "INT8 4 5"}, nil, "INT32[N 5]"},
		{"com.microsoft.QLinearAdd", inputs{"UINT8 N 4", "FLOAT", "UINT8", "UINT8 4"}, nil, "UINT8[N 4]"},
		{"com.microsoft.QGemm", inputs{"UINT8 N 4", "FLOAT", "UINT8", "INT8 4 5", "FLOAT", "INT8"}, nil, "FLOAT[N 5]"},
		{"com.microsoft.QLinearConcat", inputs{"FLOAT", "UINT8", "UINT8 N 4", "FLOAT", "UINT8", "UINT8 N 5", "FLOAT", "UINT8"}, []*Attribute{IntAttr("axis", 1)}, "UINT8[N 9]"},
		{"com.microsoft.MatMulNBits", inputs{"FLOAT N S 64"}, []*Attribute{IntAttr("N", 128)}, "FLOAT[N S 128]"},
		{"my.domain.Thing", inputs{"FLOAT N"}, nil, "?"},
	} {
		m := NewModel("g", 13)
		domain, op := "", test.op
		if i := strings.LastIndexByte(op, '.'); i >= 0 {
			domain, op = op[:i], op[i+1:]
		}
		var in []string
		for i, v := range test.in {
			name := fmt.Sprint("in", i)
			switch v := v.(type) {
			case string:
				m.Graph.AddInput(parseValue(name, v))
			case *Tensor:
				m.Graph.AddInitializer(v.WithName(name))
			default:
				name = ""
			}
			in = append(in, name)
		}
		m.Graph.AppendNode(NewNode(op, domain, "n", in, []string{"out"}, test.attrs...))
		if op == "Split" {
			m.Graph.First().SetOutput(1, "out2")
		}
		s, err := InferShapes(m)
		if err != nil {
			t.Fatal(err)
		}
		if got := format(s.Of("out")); got != test.want {
			t.Errorf("%s%v: %s, want %s", test.op, test.in, got, test.want)
		}
	}
}

// parseValue reads "FLOAT N 3" into a value of that type.
func parseValue(name, s string) *ValueInfo {
	fields := strings.Fields(s)
	elem := Undefined
	for i, info := range dataTypes {
		if info.name == fields[0] {
			elem = DataType(i)
		}
	}
	dims := []Dim{}
	for _, f := range fields[1:] {
		var d Dim
		if n, _ := fmt.Sscan(f, &d.Value); n == 0 {
			d = ParamDim(f)
		}
		dims = append(dims, d)
	}
	return NewValueInfo(name, elem, dims)
}

// TestInferShapesThroughShapeArithmetic is what exporters write for x.view(N, -1).
func TestInferShapesThroughShapeArithmetic(t *testing.T) {
	m := NewModel("g", 13)
	g := m.Graph
	g.AddInput(parseValue("x", "FLOAT N 8 4 4"))
	for name, v := range map[string]int64{"zero": 0, "one": 1, "two": 2} {
		g.AddInitializer(NewInt64s(name, []int64{v}))
	}
	g.AddInitializer(NewInt64s("axis", []int64{0}, 1))
	g.AddInitializer(NewInt64s("minus", []int64{-1}, 1))
	add := func(op, out string, attrs []*Attribute, in ...string) {
		g.AppendNode(NewNode(op, "", "", in, []string{out}, attrs...))
	}
	add("Shape", "shape", nil, "x")
	add("Gather", "n", nil, "shape", "zero")
	add("Gather", "c", nil, "shape", "one")
	add("Mul", "c2", nil, "c", "two")
	add("Unsqueeze", "n1", nil, "n", "axis")
	add("Unsqueeze", "c1", nil, "c2", "axis")
	add("Concat", "target", []*Attribute{IntAttr("axis", 0)}, "n1", "c1", "minus")
	add("Reshape", "y", nil, "x", "target")
	s, err := InferShapes(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := format(s.Of("y")); got != "FLOAT[N 16 8]" {
		t.Errorf("y is %s", got)
	}
}

func TestInferShapesOfSubgraphsAndDeclared(t *testing.T) {
	m, _ := withSubgraph()
	s, err := InferShapes(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := format(s.Of("t")); got != "FLOAT[1]" {
		t.Errorf("the value in the subgraph is %s", got)
	}
	m = NewModel("g", 13)
	m.Graph.AddInput(parseValue("x", "FLOAT 2"))
	m.Graph.AppendNode(NewNode("Thing", "my", "", []string{"x"}, []string{"u"}))
	m.Graph.AppendNode(NewNode("Relu", "", "", []string{"u"}, []string{"y"}))
	m.Graph.SetValueInfo(parseValue("u", "FLOAT K 3"))
	m.Graph.AddOutput(parseValue("y", "FLOAT batch 3"))
	if s, err = InferShapes(m); err != nil {
		t.Fatal(err)
	}
	if got := format(s.Of("u")) + format(s.Of("y")); got != "FLOAT[K 3]FLOAT[batch 3]" {
		t.Errorf("declared types: %s", got)
	}
	m.Graph.First().SetInput(0, "y")
	if _, err := InferShapes(m); err == nil {
		t.Error("a cycle has no shapes")
	}
}

func TestCounts(t *testing.T) {
	m, _ := readDigits(t)
	s, err := InferShapes(m)
	if err != nil {
		t.Fatal(err)
	}
	total, per := CountMACs(m, s)
	if total != 9345920 || len(per) != 10 || per[m.Graph.First()] != 28*28*16*9 {
		t.Errorf("%d MACs in %d nodes", total, len(per))
	}
	if got := CountParameters(m); got != 78426 {
		t.Errorf("%d parameters", got)
	}
	// Quantized, the model does and has the same.
	q := NewModel("q", 13)
	g := q.Graph
	g.AddInput(parseValue("x", "FLOAT N 8"))
	g.AddInitializer(NewFloats("s", []float32{0.1}))
	g.AddInitializer(NewTensor("z", tensor.Of([]int64{}, []uint8{0})))
	g.AddInitializer(NewTensor("wq", tensor.Of([]int64{8, 4}, make([]int8, 32))))
	g.AddInitializer(NewFloats("ws", make([]float32, 4), 4))
	g.AddInitializer(NewTensor("bq", tensor.Of([]int64{4}, make([]int32, 4))))
	g.AddInitializer(NewInt64s("shape", []int64{0, 2, 2}, 3))
	add := func(op, out string, in ...string) { g.AppendNode(NewNode(op, "", "", in, []string{out})) }
	add("QuantizeLinear", "xq", "x", "s", "z")
	add("DequantizeLinear", "xd", "xq", "s", "z")
	add("DequantizeLinear", "w", "wq", "ws")
	add("DequantizeLinear", "b", "bq", "ws")
	add("Gemm", "y", "xd", "w", "b")
	add("Reshape", "r", "y", "shape")
	if s, err = InferShapes(q); err != nil {
		t.Fatal(err)
	}
	if total, _ := CountMACs(q, s); total != 32 {
		t.Errorf("%d MACs", total)
	}
	if got := CountParameters(q); got != 36 {
		t.Errorf("%d parameters", got)
	}
}

// Shapes are inferred for the whole standard domain; a rule that is lost shows here.
func TestInferredOperators(t *testing.T) {
	if n := len(inferStandard); n < 200 {
		t.Errorf("only %d operators of the standard domain have a rule", n)
	}
}

func TestInferSequences(t *testing.T) {
	m := NewModel("g", 18)
	g := m.Graph
	for _, in := range []string{"a", "b"} {
		g.AddInput(NewValueInfo(in, Float, []Dim{ParamDim("n"), {Value: map[string]int64{"a": 3, "b": 5}[in]}}))
	}
	g.AppendNode(NewNode("SequenceConstruct", "", "", []string{"a", "b"}, []string{"s"}))
	g.AddInitializer(NewInt64s("at", []int64{0}))
	g.AppendNode(NewNode("SequenceAt", "", "", []string{"s", "at"}, []string{"x"}))
	g.AppendNode(NewNode("ConcatFromSequence", "", "", []string{"s"}, []string{"y"}, IntAttr("axis", 0), IntAttr("new_axis", 1)))
	g.AppendNode(NewNode("Optional", "", "", []string{"a"}, []string{"o"}))
	g.AppendNode(NewNode("OptionalGetElement", "", "", []string{"o"}, []string{"z"}))
	s, err := InferShapes(m)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{"x": "FLOAT[n ?]", "y": "FLOAT[? n ?]", "z": "FLOAT[n 3]", "s": "?"} {
		if got := format(s.Of(value)); got != want {
			t.Errorf("%s is %s, want %s", value, got, want)
		}
	}
}

func TestTypicalShapes(t *testing.T) {
	m := graphOf([]Dim{ParamDim("n"), {Value: 3}, ParamDim("h"), ParamDim("?")}, "y",
		with(node("Conv", "c", "x", "w"), IntsAttr("strides", 2, 2), IntsAttr("pads", 1, 1, 1, 1)), node("Conv", "d", "c", "v"), node("GlobalAveragePool", "y", "d"))
	m.Graph.AddInitializer(NewFloats("w", make([]float32, 8*3*9), 8, 3, 3, 3))
	m.Graph.AddInitializer(NewFloats("v", make([]float32, 4*8), 4, 8, 1, 1))
	m.Graph.SetValueInfo(NewValueInfo("c", Float, []Dim{ParamDim("n"), {Value: 8}, ParamDim("a"), ParamDim("b")}))
	s, err := TypicalShapes(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := format(s.Of("c")); got != "FLOAT[1 8 32 32]" {
		t.Errorf("the first layer gives %s", got)
	}
	total, _ := CountMACs(m, s)
	if want := int64(8*32*32*27 + 4*32*32*8); total != want {
		t.Errorf("%d multiplications, want %d", total, want)
	}
}
