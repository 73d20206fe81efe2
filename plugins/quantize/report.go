package quantize

import (
	"fmt"
	"iter"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

// Facts are what quantize_dynamic tells about its work: step.NAME.result.
type Facts struct {
	Target           string   `opt:"target" doc:"Target that the layout is made for."`
	ShareMACs        float64  `opt:"share_macs" doc:"Share of the multiply-accumulate operations that run in integers, from 0 to 1."`
	ShareWeightBytes float64  `opt:"share_weight_bytes" doc:"Share of the bytes of float weights that became integers, from 0 to 1."`
	NodesQuantized   int64    `opt:"nodes_quantized" doc:"Nodes that compute in integers or pass them on."`
	NodesFloat       []string `opt:"nodes_float" doc:"Nodes left in float that multiply or that one would expect in integers, each with the reason."`
	OthersFloat      []string `opt:"others_float" doc:"All other nodes left in float, counted by operator and reason."`
	Smooth           []string `opt:"smooth" doc:"With calibration: each input of products behind a normalization, its outliers and how much of them moved into weights, and the SQNR at the outputs with that and without."`
}

// StaticFacts are those of quantize_static.
type StaticFacts struct {
	Target            string         `opt:"target" doc:"Target that the layout is made for."`
	ShareMACs         float64        `opt:"share_macs" doc:"Share of the multiply-accumulate operations that run in integers, from 0 to 1."`
	ShareWeightBytes  float64        `opt:"share_weight_bytes" doc:"Share of the bytes of float weights that became integers, from 0 to 1."`
	NodesQuantized    int64          `opt:"nodes_quantized" doc:"Nodes that compute in integers or pass them on."`
	NodesFloat        []string       `opt:"nodes_float" doc:"Nodes left in float that multiply or that one would expect in integers, each with the reason."`
	OthersFloat       []string       `opt:"others_float" doc:"All other nodes left in float, counted by operator and reason."`
	Samples           int64          `opt:"samples" doc:"Samples that calibration has seen."`
	Method            string         `opt:"method" doc:"How ranges were chosen."`
	RandomCalibration bool           `opt:"random_calibration" doc:"The samples were made up: the ranges say nothing about real data."`
	Layout            string         `opt:"layout" doc:"The layout that was used, in words."`
	Search            string         `opt:"search" doc:"Whether layouts were timed, and if not, why."`
	Candidates        []string       `opt:"candidates" doc:"What a search has tried: each layout with its speed-up over the model as it came and the 95% interval, its signal-to-noise ratio on calibration data, its size, and how far it came."`
	Noise             string         `opt:"noise" doc:"The model as it came, timed against itself beside the finalists: how far from 1 a speed-up may be by chance."`
	Declined          string         `opt:"declined" doc:"Why the model stays in float; empty when it does not."`
	Accuracy          *AccuracyFacts `opt:"accuracy" doc:"What accuracy control did: metric, first and last (the loss before and after), restored (the layers given back their float form, and what each gave), held, trials, samples and out_of_time; null without it."`
	Budget            *BudgetFacts   `opt:"budget" doc:"What was chosen for a budget: size, speedup, layers (the form of each) and sqnr; null without it."`
	Repair            *RepairFacts   `opt:"repair" doc:"What weight repair did: equalized (layers between which channels were scaled), layers (each with the error of its product), error_nearest and error (their means, with plain rounding and as they are); null without it."`
	BiasesCorrected   int64          `opt:"biases_corrected" doc:"Layers whose bias was corrected although the recipe does not ask for it."`
	Smooth            *SmoothFacts   `opt:"smooth" doc:"What moving outliers of activations into weights did: inputs (each with its outliers and alpha), sqnr_smooth, sqnr_plain and used; null where there was nothing to look at."`
}

// weightBytes returns the bytes of each float initializer, subgraphs included, and their sum.
func weightBytes(g *onnx.Graph) (each map[string]int64, total int64) {
	each = map[string]int64{}
	count := func(g *onnx.Graph) {
		for t := range g.Initializers() {
			if b := t.Bytes(); b > 0 && t.DataType.DType().IsFloat() {
				each[t.Name()] += b
				total += b
			}
		}
	}
	count(g)
	for n := range g.AllNodes() {
		for _, s := range n.Subgraphs() {
			count(s)
		}
	}
	return each, total
}

// countWork counts the multiply-accumulates of each node, for shares of them: where the model leaves sizes of its
// inputs open, a usual one stands for them, so that a layer on a large image counts for more than one on a small.
func countWork(m *onnx.Model, shapes *onnx.Shapes) (total int64, each map[*onnx.Node]int64) {
	if s, err := onnx.TypicalShapes(m); err == nil {
		shapes = s
	}
	return onnx.CountMACs(m, shapes)
}

// share is part of whole, 0 when there is nothing.
func share(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// shareOf adds up what the named weights weigh.
func shareOf(names map[string]bool, each map[string]int64, total int64) float64 {
	var sum int64
	for n := range names {
		sum += each[n]
	}
	return share(sum, total)
}

// others counts, by operator and reason, the nodes left in float that have no line of their own.
func others(order iter.Seq[*onnx.Node], why func(*onnx.Node) *refusal) []string {
	type group struct{ op, reason string }
	var groups []group
	count := map[group]int{}
	for n := range order {
		r := why(n)
		if r == nil || r.worth {
			continue
		}
		g := group{n.OpType, r.reason}
		if count[g]++; count[g] == 1 {
			groups = append(groups, g)
		}
	}
	out := make([]string, len(groups))
	for i, g := range groups {
		out[i] = fmt.Sprintf("%d %s: %s", count[g], g.op, g.reason)
	}
	return out
}

func describe(floats []floatNode) []string {
	out := make([]string, len(floats))
	for i, f := range floats {
		out[i] = f.String()
	}
	return out
}

// warnUnused tells about patterns of keep_float that keep nothing: mostly they are misspelt.
func warnUnused(j job, unused []string) {
	for _, p := range unused {
		j.warn(sdk.AttrWarning("keep_float", fmt.Sprintf("keep_float: no node is called %q", p),
			"Patterns are matched against node names, and against the first output of nodes without a name; * stands for any characters, / included."))
	}
}

// warnAlso tells what also_quantize names that is not in the model, or is taken without being named.
func (c StaticConfig) warnAlso(j job, m *onnx.Model, shapes *onnx.Shapes) {
	if len(c.Also) == 0 {
		return
	}
	products, tables := false, false
	for n := range m.Graph.Nodes() {
		products = products || n.Is("MatMul") && m.Graph.Constant(n.Input(0)) == nil && m.Graph.Constant(n.Input(1)) == nil
		if w := m.Graph.Constant(n.Input(0)); n.Is("Gather") && w != nil {
			tables = tables || len(w.Dims) == 2 && w.DataType.DType().IsFloat()
		}
	}
	transformer := isTransformer(m, shapes)
	for i, also := range c.Also {
		why := ""
		switch {
		case also == alsoAttention && !products:
			why = "The model has no product of two activations"
		case also == alsoEmbeddings && !tables:
			why = "The model looks nothing up in a table of floats: it has no Gather with a constant matrix"
		case also == alsoOutput && transformer && len(outputProjections(m.Graph)) == 0:
			why = "No product with a constant weight makes an output of the model"
		case (also == alsoOutput || also == alsoElementals) && !transformer:
			why = "The model is no transformer, and of others it is quantized in any case where the target has integers for it"
		default:
			continue
		}
		j.warn(sdk.Diagnostic{Severity: sdk.SeverityWarning, Path: []any{"also_quantize", sdk.Index(i)},
			Summary: fmt.Sprintf("also_quantize: %q changes nothing", also), Detail: why + "."})
	}
}
