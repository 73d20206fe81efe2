package onnx_test

import (
	"fmt"
	"log"

	"github.com/optimize-hcl/optimize/onnx"
)

// perceptron makes y = Relu(x·w), with an Identity that nobody needs.
func perceptron() *onnx.Model {
	m := onnx.NewModel("perceptron", 17)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: 3}}))
	m.Graph.AddInitializer(onnx.NewFloats("w", make([]float32, 6), 3, 2))
	m.Graph.AppendNode(onnx.NewNode("MatMul", "", "product", []string{"x", "w"}, []string{"p"}))
	m.Graph.AppendNode(onnx.NewNode("Identity", "", "same", []string{"p"}, []string{"i"}))
	m.Graph.AppendNode(onnx.NewNode("Relu", "", "positive", []string{"i"}, []string{"y"}))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, nil))
	return m
}

// A graph is walked while it is edited; who makes and who reads a value stays true.
func Example() {
	m := perceptron()
	for n := range m.Graph.Nodes() {
		if n.Is("Identity") {
			m.Graph.Bypass(n, n.Input(0))
		}
	}
	for n := range m.Graph.Nodes() {
		fmt.Println(n.OpType, n.Inputs(), "->", n.Outputs())
	}
	fmt.Println("p is read by", m.Graph.Consumers("p")[0].Name)
	// Output:
	// MatMul [x w] -> [p]
	// Relu [p] -> [y]
	// p is read by positive
}

// A model goes through bytes and back; what is not a model is refused with the place.
func ExampleParse() {
	b, err := perceptron().Marshal()
	if err != nil {
		log.Fatal(err)
	}
	m, err := onnx.Parse(b)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Graph.NumNodes(), "nodes, opset", m.Opset(onnx.DefaultDomain))
	_, err = onnx.Parse(b[:60])
	fmt.Println(err)
	// Output:
	// 3 nodes, opset 17
	// not an ONNX model: a field of 158 bytes goes past the end; is the file truncated? (at byte 12)
}

// Sizes that are not known keep their names.
func ExampleInferShapes() {
	m := perceptron()
	s, err := onnx.InferShapes(m)
	if err != nil {
		log.Fatal(err)
	}
	elem, shape, _ := s.Of("y")
	fmt.Println(elem, shape[0].Param, shape[1].Value)
	// Output: FLOAT N 2
}

// The work of one sample, and what is learnt.
func ExampleCountMACs() {
	m := perceptron()
	s, err := onnx.InferShapes(m)
	if err != nil {
		log.Fatal(err)
	}
	macs, _ := onnx.CountMACs(m, s)
	fmt.Println(macs, "MACs,", onnx.CountParameters(m), "parameters")
	// Output: 6 MACs, 6 parameters
}

// A rule is written as the graph reads.
func ExampleRule() {
	leaky := onnx.MustRule(`
		i = Identity(p)
		y = Relu(i)
		=>
		y = LeakyRelu<alpha=0.1>(p)
	`)
	m := perceptron()
	fmt.Println(leaky.Apply(m), "place")
	for n := range m.Graph.Nodes() {
		fmt.Println(n.OpType, n.FloatAttr("alpha", 0))
	}
	// Output:
	// 1 place
	// MatMul 0
	// LeakyRelu 0.1
}

// Simplify computes what is known and drops what does nothing.
func ExampleSimplify() {
	m := perceptron()
	before := m.Graph.NumNodes()
	if _, err := onnx.Simplify(m, onnx.SimplifyOptions{}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(before, "nodes become", m.Graph.NumNodes())
	// Output: 3 nodes become 2
}

// What an operator took as an attribute becomes the input that later versions want.
func ExampleModel_UpgradeOpset() {
	m := onnx.NewModel("sum", 11)
	m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(2, 3)))
	m.Graph.AppendNode(onnx.NewNode("ReduceSum", "", "", []string{"x"}, []string{"y"}, onnx.IntsAttr("axes", 1)))
	m.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, nil))
	if err := m.UpgradeOpset(21); err != nil {
		log.Fatal(err)
	}
	axes, err := m.Graph.Initializer(m.Graph.First().Input(1)).Ints()
	fmt.Println(m.Opset(onnx.DefaultDomain), axes, err)
	// Output: 21 [1] <nil>
}
