package onnxruntime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
	"github.com/optimize-hcl/optimize/tensor"
)

// Coverage lets the engine write its optimized graph and reads it. Where the recipe names providers, a run tells: they may
// compile parts of the graph to what cannot be written, and may leave all of it to the CPU.
func (s *session) Coverage(context.Context) (_ any, err error) {
	if len(s.options.Providers) > 0 {
		return s.measuredCoverage()
	}
	dir, err := os.MkdirTemp("", "optimize-coverage-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the engine's graph: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "optimized.onnx")
	o := s.options
	o.OptimizedModelPath = path
	// A session of its own: one that writes its graph is set up differently.
	own, err := ort.NewSessionFile(s.path, o)
	if err != nil {
		return nil, modelError(err)
	}
	if err := own.Close(); err != nil {
		return nil, fmt.Errorf("close the engine's session: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the engine's graph: %w", err)
	}
	m, err := onnx.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("read the engine's graph: %w", err)
	}
	return coverage(m, engineName+" "+s.version)
}

func coverage(m *onnx.Model, name string) (*engine.Coverage, error) {
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, fmt.Errorf("read the engine's graph: %w", err)
	}
	if err := m.Graph.TopoSort(); err != nil {
		return nil, fmt.Errorf("read the engine's graph: %w", err)
	}
	types := typesOf{shapes: shapes, declared: map[string]tensor.DType{}}
	types.collect(m.Graph)
	for n := range m.Graph.AllNodes() {
		types.follow(n)
	}
	var nodes []engine.NodeCoverage
	for n := range m.Graph.AllNodes() {
		nodes = append(nodes, engine.NodeCoverage{Name: nameOf(n), Op: n.OpType, Precision: types.precision(n)})
	}
	return engine.Cover(name, nodes, func(i int) string { return layerOf[nodes[i].Op] }), nil
}

// layerOf names the operator of a model that an engine's operator stands for.
var layerOf = map[string]string{
	"Conv": "Conv", "FusedConv": "Conv", "NhwcConv": "Conv", "NhwcFusedConv": "Conv", "QLinearConv": "Conv", "ConvInteger": "Conv",
	"ConvTranspose": "ConvTranspose", "QLinearConvTranspose": "ConvTranspose",
	"Gemm": "Gemm", "FusedGemm": "Gemm", "QGemm": "Gemm", "GemmFastGelu": "Gemm",
	"MatMul": "MatMul", "FusedMatMul": "MatMul", "QLinearMatMul": "MatMul", "MatMulInteger": "MatMul", "MatMulIntegerToFloat": "MatMul",
	"DynamicQuantizeMatMul": "MatMul", "MatMulNBits": "MatMul", "MatMulBnb4": "MatMul", "TransposeMatMul": "MatMul",
	"LSTM": "LSTM", "DynamicQuantizeLSTM": "LSTM", "GRU": "GRU", "RNN": "RNN",
	"Attention": "Attention", "QAttention": "Attention", "MultiHeadAttention": "Attention",
}

// nameOf is the node's name, or that of its output when the engine left it unnamed.
func nameOf(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}

// typesOf knows element types: by inference, and behind operators of the engine's
// own, which stop it, by what the engine wrote down and a few rules.
type typesOf struct {
	shapes   *onnx.Shapes
	declared map[string]tensor.DType
}

func (t typesOf) collect(g *onnx.Graph) {
	for _, list := range [][]*onnx.ValueInfo{g.ValueInfos(), g.Inputs(), g.Outputs()} {
		for _, v := range list {
			if v.Type != nil {
				t.declared[v.Name()] = v.Type.Elem.DType()
			}
		}
	}
	for i := range g.Initializers() {
		t.declared[i.Name()] = i.DataType.DType()
	}
}

func (t typesOf) of(value string) tensor.DType {
	if d := t.declared[value]; d != tensor.Invalid {
		return d
	}
	if elem, _, ok := t.shapes.Of(value); ok {
		return elem.DType()
	}
	return tensor.Invalid
}

// follow fills in what a node returns where nothing says it.
func (t typesOf) follow(n *onnx.Node) {
	d := tensor.Invalid
	switch {
	case strings.HasPrefix(n.OpType, "QLinear"), n.OpType == "QGemm" && n.Input(8) != "", n.OpType == "QuantizeLinear":
		// The output's zero point comes last, or is followed by quantized operands of its type.
		in := n.Inputs()
		for i := len(in) - 1; i >= 0 && d == tensor.Invalid; i-- {
			d = t.of(in[i])
		}
	case integerOp(n.OpType), n.OpType == "DequantizeLinear":
		// Scales have the type of the real numbers.
		for _, v := range n.Inputs() {
			if x := t.of(v); x.IsFloat() {
				d = x
			}
		}
	default:
		for _, v := range n.Inputs() {
			if d = t.of(v); d != tensor.Invalid {
				break
			}
		}
	}
	for _, v := range n.Outputs() {
		if v != "" && t.of(v) == tensor.Invalid {
			t.declared[v] = d
		}
	}
}

// precision is what a node computes in. Operators with integer kernels say so by
// their names whatever they return; for the others the output's type decides.
func (t typesOf) precision(n *onnx.Node) string {
	switch {
	case n.OpType == "MatMulNBits" || n.OpType == "GatherBlockQuantized" || n.OpType == "MatMulBnb4":
		if bits := n.IntAttr("bits", 4); bits > 0 && bits <= 8 {
			return fmt.Sprintf("int%d", bits)
		}
		return "int4"
	case integerOp(n.OpType):
		for _, v := range n.Inputs() {
			if d := t.of(v); d == tensor.I16 || d == tensor.U16 {
				return "int16"
			}
		}
		return "int8"
	}
	for _, v := range append(slices.Clone(n.Outputs()), n.Inputs()...) {
		if v == "" {
			continue
		}
		if p, ok := precisions[t.of(v)]; ok {
			return p
		}
	}
	return "unknown"
}

// integerOp tells whether an operator's kernel multiplies integers.
func integerOp(op string) bool {
	switch op {
	case "QGemm", "QAttention", "QMoE", "QOrderedMatMul", "QOrderedAttention", "QEmbedLayerNormalization",
		"MatMulInteger", "MatMulInteger16", "MatMulIntegerToFloat", "ConvInteger",
		"DynamicQuantizeMatMul", "DynamicQuantizeLSTM":
		return true
	}
	return strings.HasPrefix(op, "QLinear")
}

var precisions = map[tensor.DType]string{
	tensor.F32: "fp32", tensor.F16: "fp16", tensor.BF16: "bf16", tensor.F64: "fp64",
	tensor.F8E4M3: "fp8", tensor.F8E5M2: "fp8",
	tensor.U8: "int8", tensor.I8: "int8", tensor.U4: "int4", tensor.I4: "int4",
	tensor.U16: "int16", tensor.I16: "int16", tensor.U32: "int32", tensor.I32: "int32",
	tensor.U64: "int64", tensor.I64: "int64", tensor.Bool: "bool",
}

var _ sdk.RuntimeSession = (*session)(nil)
