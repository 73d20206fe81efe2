package quantize

import (
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
)

// inSubgraphs lists what multiplies in branches and loops. Calibration sees the values of the model's own graph only.
func inSubgraphs(g *onnx.Graph) []floatNode {
	var out []floatNode
	for n := range g.AllNodes() {
		if n.Graph() == g || n.Domain != "" && n.Domain != "ai.onnx" {
			continue
		}
		product := n.Is("Conv") || n.Is("ConvTranspose") || n.Is("Gemm") || n.Is("MatMul")
		if !product && !recurrent[n.OpType] || n.Graph().Constant(n.Input(1)) == nil {
			continue
		}
		owner := n.Graph().Owner()
		out = append(out, floatNode{n, fmt.Sprintf("it is in a subgraph of %s %q, in which calibration measures nothing", owner.OpType, nodeName(owner))})
	}
	return out
}

// wayRound says what to do about products in subgraphs.
const wayRound = "\nFor what is in subgraphs: onnxruntime_simplify puts the branch of an If in its place where the condition is known; quantize_dynamic and quantize_weights take MatMul, Gemm and LSTM in subgraphs as they are."
