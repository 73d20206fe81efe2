package openvino

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/optimize-hcl/optimize/plugins/openvino/ir"
	"github.com/optimize-hcl/optimize/sdk/engine"
)

// executed is the graph that the device runs, which OpenVINO hands out as a model and writes as such.
func (s *session) executed() (_ *ir.Net, err error) {
	m, err := s.compiled.RuntimeModel()
	if err != nil {
		return nil, runError(err)
	}
	defer m.Close()
	dir, err := os.MkdirTemp("", "optimize-coverage-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the engine's graph: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "executed.xml")
	if err := m.Save(path, false); err != nil {
		return nil, fmt.Errorf("read the engine's graph: %w", err)
	}
	n, err := ir.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the engine's graph: %w", err)
	}
	return n, nil
}

// layerOf names the operator of a model that a layer of the engine's stands for, when that multiplies with weights: a
// FullyConnected is a MatMul with a constant. Products of two activations are among the ops alone.
var layerOf = map[string]string{
	"Convolution": "Conv", "GroupConvolution": "Conv", "BinaryConvolution": "Conv",
	"Deconvolution": "ConvTranspose", "FullyConnected": "MatMul", "RNNSeq": "RNN", "RNNCell": "RNN", "LLMMLP": "MatMul", "QKVProjection": "MatMul",
}

// coverage makes the document of an executed graph.
func coverage(n *ir.Net, name string) *engine.Coverage {
	constant := map[int]bool{}
	for _, l := range n.Layers {
		if kind(&l) == "Const" {
			constant[l.ID] = true
		}
	}
	weighted := map[int]bool{} // by layers that read a constant
	for _, e := range n.Edges {
		if constant[e.FromLayer] {
			weighted[e.ToLayer] = true
		}
	}
	var nodes []engine.NodeCoverage
	var layers []string
	for i := range n.Layers {
		l := &n.Layers[i]
		op := kind(l)
		switch op {
		case "Const", "Input", "Output", "Parameter", "Result":
			continue // nothing runs
		}
		layer := layerOf[op]
		if op == "MatMul" && weighted[l.ID] {
			layer = "MatMul"
		}
		layers = append(layers, layer)
		node := engine.NodeCoverage{Name: l.Name, Op: op, Precision: precision(l), Kernel: l.Data["primitiveType"]}
		if of := l.Data["originalLayersNames"]; of != "" {
			node.Of = strings.Split(of, ",")
		}
		nodes = append(nodes, node)
	}
	return engine.Cover(name, nodes, func(i int) string { return layers[i] })
}

// kind is the engine's own name for what a layer does.
func kind(l *ir.Layer) string {
	if k := l.Data["layerType"]; k != "" {
		return k
	}
	return l.Type
}

// precision is what a layer computes in.
func precision(l *ir.Layer) string {
	switch p := strings.ToLower(l.Data["runtimePrecision"]); p {
	case "i8", "u8":
		return "int8"
	case "i4", "u4":
		return "int4"
	case "i16", "u16":
		return "int16"
	case "i32", "u32":
		return "int32"
	case "i64", "u64":
		return "int64"
	case "f32", "fp32":
		return "fp32"
	case "f16", "fp16":
		return "fp16"
	case "bf16":
		return "bf16"
	case "f64", "fp64":
		return "fp64"
	case "f8e4m3", "f8e5m2":
		return "fp8"
	case "boolean", "bool":
		return "bool"
	}
	return "unknown"
}
