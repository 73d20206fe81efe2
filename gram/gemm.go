package gram

import (
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// Gemm multiplies matrices in the engine, whose kernels use what the processor has. It is a solve.Gemm.
type Gemm struct{ s *ort.Session }

// NewGemm makes one; close it after use.
func NewGemm(threads int) (*Gemm, error) {
	m := onnx.NewModel("gemm", 13)
	g := m.Graph
	for _, name := range []string{"a", "b"} {
		g.AddInput(onnx.NewValueInfo(name, onnx.Float, []onnx.Dim{onnx.ParamDim(name + "0"), onnx.ParamDim(name + "1")}))
	}
	g.AppendNode(onnx.NewNode("MatMul", "", "MatMul", []string{"a", "b"}, []string{"c"}))
	g.AddOutput(onnx.NewValueInfo("c", onnx.Float, nil))
	b, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	s, err := ort.NewSession(b, ort.Options{Threads: threads, Arena: true})
	if err != nil {
		return nil, err
	}
	return &Gemm{s}, nil
}

// Mul implements solve.Gemm.
func (g *Gemm) Mul(a, b []float32, m, k, n int) ([]float32, error) {
	out, err := g.s.Run(map[string]tensor.Tensor{
		"a": tensor.Of([]int64{int64(m), int64(k)}, a[:m*k]),
		"b": tensor.Of([]int64{int64(k), int64(n)}, b[:k*n]),
	}, nil)
	if err != nil {
		return nil, err
	}
	return tensor.View[float32](out["c"])
}

// Close frees the engine's session.
func (g *Gemm) Close() error { return g.s.Close() }
