package quantize

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

// Reasons why a node stays in float under dynamic quantization.
const (
	reasonConv      = "a dynamic convolution runs 4 to 5 times slower than float on this engine; quantize_static makes it faster"
	reasonRecurrent = "the engine has no integer kernel for it; LSTM has one"
	reasonTables    = "tables are left in float: embeddings = true takes them too"
)

// dynamicOptions narrow what lowerDynamic takes.
type dynamicOptions struct {
	placeOptions
	perChannel bool
	embeddings bool // tables that Gather looks up, too
	// used is called when the bytes of a weight have been read for the last time, by any goroutine; nil is allowed.
	used func(raw []byte)
}

// dynamicResult is what lowerDynamic did.
type dynamicResult struct {
	weights map[string]bool
	nodes   []*onnx.Node // as they were; they are in no graph any more
	floats  []floatNode
	others  []string
	unused  []string
	macs    int64
	total   int64
}

// lowerDynamic turns what has a constant weight into integers whose activation scale is measured at run time, in
// subgraphs too: MatMul and Gemm become DynamicQuantizeLinear, MatMulInteger, Cast, Mul and, with a bias, Add, which
// ONNX Runtime fuses into one or two kernels; an LSTM its DynamicQuantizeLSTM; a table that Gather looks up is stored
// as integers with a scale for each row, and only the rows that are asked for become floats.
func lowerDynamic(m *onnx.Model, shapes *onnx.Shapes, t *Target, o dynamicOptions) (*dynamicResult, error) {
	d := &dynamicResult{weights: map[string]bool{}}
	l := newDynamicLowering(m.Graph, t, o.perChannel)
	l.used = o.used
	total, macs := countWork(m, shapes)
	d.total = total
	used := make([]bool, len(o.Keep))
	classifiers := map[*onnx.Graph]*classifier{}
	refused := map[*onnx.Node]*refusal{}
	var order []*onnx.Node
	convs := 0
	for n := range m.Graph.AllNodes() {
		order = append(order, n)
	}
	for _, n := range order {
		c := classifiers[n.Graph()]
		if c == nil {
			c = &classifier{graph: n.Graph(), shapes: shapes, opset: m.Opset(onnx.DefaultDomain), target: t, placeOptions: o.placeOptions, used: used, macs: macs}
			classifiers[n.Graph()] = c
		}
		k, no := c.classify(n)
		standard := n.Domain == "" || n.Domain == "ai.onnx"
		kept := no != nil && strings.HasPrefix(no.reason, "kept by ")
		var weights []*onnx.Tensor
		var err error
		switch {
		case kept:
		case standard && (n.OpType == "Conv" || n.OpType == "ConvTranspose"):
			convs++
			no = &refusal{reasonConv, true}
		case standard && n.OpType == "LSTM":
			if weights, no = lstmWeights(n); no == nil {
				err = l.lowerLSTM(m, n, weights)
			}
		case standard && recurrent[n.OpType]:
			no = &refusal{reasonRecurrent, true}
		case standard && n.OpType == "Gather":
			var table *onnx.Tensor
			if table, no = l.table(n, o.embeddings); no == nil {
				weights, err = []*onnx.Tensor{table}, l.lowerTable(n, table)
			}
		case no == nil && k.rule.Role == RoleMatrix && k.weight != nil:
			weights, err = []*onnx.Tensor{k.weight}, l.lower(k)
		case no == nil:
			no = &refusal{"no weight is in it: quantize_dynamic takes products, LSTM and tables", false}
		}
		if err != nil {
			return nil, sdk.AttrError("model", "a weight cannot be quantized", err.Error())
		}
		if no != nil {
			refused[n] = no
			if no.worth {
				d.floats = append(d.floats, floatNode{n, no.reason})
			}
			continue
		}
		d.nodes = append(d.nodes, n)
		d.macs += macs[n]
		for _, w := range weights {
			d.weights[w.Name()] = true
		}
	}
	d.others = others(slices.Values(order), func(n *onnx.Node) *refusal { return refused[n] })
	for i, u := range used {
		if !u {
			d.unused = append(d.unused, o.Keep[i])
		}
	}
	if len(d.nodes) == 0 {
		return nil, nothingDynamic(m, d, convs)
	}
	return d, finish(m)
}

func nothingDynamic(m *onnx.Model, d *dynamicResult, convs int) error {
	if err := alreadyQuantized(m); err != nil {
		return err
	}
	detail := "It has no MatMul, Gemm, LSTM or Gather with constant float weights outside of keep_float."
	if convs > 0 {
		detail += fmt.Sprintf(" Its %d convolutions would run 4 to 5 times slower with dynamic quantization: use quantize_static, which takes a calibration dataset.", convs)
	} else {
		detail += " Use quantize_static with a calibration dataset, if its operators take part there."
	}
	const most = 3
	for i, f := range d.floats {
		if i == most {
			detail += fmt.Sprintf("\n%d more", len(d.floats)-most)
			break
		}
		detail += "\n" + f.String()
	}
	return sdk.AttrError("model", "the model has nothing that quantize_dynamic can quantize", detail)
}
