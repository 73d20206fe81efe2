package quantize

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/accuracy"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/plugins/quantize/smooth"
	"github.com/optimize-hcl/optimize/sdk"
)

// SmoothFacts tell what moving outliers of activations into weights did.
type SmoothFacts struct {
	Inputs     []string `opt:"inputs" doc:"Each input of products behind a normalization: how far its largest channel is above the median one, how much moved into the weights (alpha), by what, and the error of the products that is to be expected of it and without it."`
	SQNRSmooth float64  `opt:"sqnr_smooth" doc:"SQNR at the outputs with it, in dB, with plain rounding on some of the calibration data."`
	SQNRPlain  float64  `opt:"sqnr_plain" doc:"The same without. The better of the two was taken."`
	Used       bool     `opt:"used" doc:"It was used."`
}

// planSmooth checks what only Plan and Apply know: which artifacts are given.
func (c StaticConfig) planSmooth() sdk.Diagnostics {
	if c.Smooth == nil || !*c.Smooth {
		return nil
	}
	fail := func(why string) sdk.Diagnostics {
		return sdk.Diagnostics{{Path: []any{"smooth"}, Summary: "smooth cannot be used here", Detail: why}}
	}
	switch {
	case c.Ranges != nil:
		return fail("Moving outliers into weights changes the ranges of activations, so those that were learnt before do not hold. Write calibration = dataset.NAME instead of ranges.")
	case len(c.States) > 0:
		return fail("Activations are measured sample by sample, without what a state carries from one to the next. Leave smooth out.")
	}
	return nil
}

// smooths tells whether to look for outliers: where there is data and the model is not too large, unless the recipe says
// otherwise.
func (c StaticConfig) smooths() bool {
	if c.Smooth != nil {
		return *c.Smooth
	}
	return c.Calibration != nil && len(c.States) == 0 && c.Model.Size <= smoothUpTo
}

// smoothUpTo is the size in bytes up to which a model is looked at for outliers without being asked: copies of it are
// made.
const smoothUpTo = 1 << 30

// smoothed moves outliers of activations into the weights of a copy of a model where that pays.
func (c StaticConfig) smoothed(ctx context.Context, j job, plain *prepared, t *Target, o placeOptions) (*prepared, *SmoothFacts, error) {
	names := map[string]bool{}
	for _, k := range slices.Concat(plain.place.nodes, plain.place.dynamic) {
		if k.product() && k.weight != nil {
			names[nodeName(k.node)] = true
		}
	}
	want := func(n *onnx.Node) bool { return names[nodeName(n)] }
	if len(smooth.Find(plain.model, want)) == 0 {
		return plain, nil, nil
	}
	facts := &SmoothFacts{Inputs: []string{}}
	groups := map[string]bool{}
	// Only what the products read is scaled: all other ranges hold.
	holds := func(value string) bool { return plain.learnt.Tensors[value] != nil && !groups[value] }
	out, before, after, err := c.better(ctx, j, plain, t, o, holds, func(m *onnx.Model) (bool, error) {
		found := smooth.Find(m, want)
		for _, g := range found {
			groups[g.Value] = true
		}
		return c.moveOutliers(ctx, j, m, t, found, facts)
	})
	if err != nil {
		return nil, nil, err
	}
	facts.SQNRPlain, facts.SQNRSmooth, facts.Used = accuracy.SQNR(before), accuracy.SQNR(after), out != plain
	return out, facts, nil
}

// moveOutliers searches and applies the factors of each group; false when none helps.
func (c StaticConfig) moveOutliers(ctx context.Context, j job, m *onnx.Model, t *Target, groups []*smooth.Group, facts *SmoothFacts) (changed bool, err error) {
	seen, err := c.channels(ctx, j, m, groups)
	if err != nil {
		return false, err
	}
	activation := t.Activation
	if t.Transformer != nil {
		activation = *t.Transformer
	}
	grid := smooth.Grid{QMax: float32(t.Weight.QMax), PerChannel: c.PerChannel, Step: func(lo, hi float64) float64 {
		return float64(activation.Params(Range{float32(lo), float32(hi)}).Scale)
	}}
	choices := make([]*smooth.Choice, len(groups))
	for i, g := range groups {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		j.progress("search outliers", int64(i), int64(len(groups)), "inputs")
		if seen[i] == nil {
			continue // the channels are not on the last axis
		}
		if choices[i], err = g.Search(seen[i], grid, j.threads); err != nil {
			return false, sdk.AttrError("model", "outliers cannot be moved into weights", err.Error()+".")
		}
	}
	for i, ch := range choices {
		if ch == nil {
			continue
		}
		line := fmt.Sprintf("%s: channel %d is %.1f times the median", groups[i].Value, ch.Channel, ch.Outlier)
		if math.IsNaN(ch.Alpha) {
			facts.Inputs = append(facts.Inputs, line+"; nothing moved")
			continue
		}
		how, err := groups[i].Apply(ch.Scale)
		if err != nil {
			return false, sdk.AttrError("model", "outliers cannot be moved into weights", err.Error()+".")
		}
		changed = true
		facts.Inputs = append(facts.Inputs, fmt.Sprintf("%s; alpha %.2f, %s; error %.2g, without it %.2g", line, ch.Alpha, how, ch.After, ch.Before))
	}
	return changed, nil
}

// channels measures the channels of each group's input, the last axis, in one run over the data; nil where there are others.
func (c StaticConfig) channels(ctx context.Context, j job, m *onnx.Model, groups []*smooth.Group) ([]*smooth.Stats, error) {
	src, done, err := c.source(m, j)
	if err != nil {
		return nil, err
	}
	defer func() { _ = done() }() // it was only read
	job := calibrate.Job{Model: m, Data: src, Threads: j.threads, ScratchDir: j.scratch,
		Progress: func(done, total int64) { j.progress("measure channels", done, total, "samples") }}
	if c.Batch != nil {
		job.Batch = *c.Batch
	}
	if c.MemoryMB != nil {
		job.Memory = *c.MemoryMB << 20
	}
	index, out := map[string]int{}, make([]*smooth.Stats, len(groups))
	for i, g := range groups {
		index[g.Value] = i
		job.Tensors = append(job.Tensors, g.Value)
		out[i] = smooth.NewStats(g.K)
	}
	err = calibrate.Stream(ctx, job, func(start, n int64, values []calibrate.Value) error {
		for _, t := range values {
			i := index[t.Name]
			switch s := out[i]; {
			case s == nil:
			case len(t.Shape) == 0 || t.Shape[len(t.Shape)-1] != int64(groups[i].K):
				out[i] = nil
			default:
				if !s.Add(t.Data) {
					return sdk.AttrError("calibration", "the input of a product cannot be used", fmt.Sprintf("Tensor %q holds a NaN or an infinity on samples %d to %d: look at them.", t.Name, start, start+n-1))
				}
			}
		}
		return nil
	})
	return out, err
}

// What of a transformer is left in float unless also_quantize names it: it is small, or delicate.
const (
	alsoAttention  = "attention"         // products of two activations
	alsoEmbeddings = "embeddings"        // tables that Gather looks up
	alsoOutput     = "output_projection" // a product whose answer is the model's
	alsoElementals = "elementwise"       // residual additions and the like
)

// options are what may be quantized in a model: of a transformer the products with a constant weight, found by that and
// not by their name or operator. Its activations pass through few integer kernels anyway, and each conversion costs time
// and accuracy. Of TensorRT and OpenVINO, whose rules ask for it, residual additions too.
func (c StaticConfig) options(m *onnx.Model, shapes *onnx.Shapes, t *Target) placeOptions {
	o := placeOptions{Keep: c.KeepFloat, Attention: slices.Contains(c.Also, alsoAttention), Exclude: map[string]string{}}
	if !isTransformer(m, shapes) {
		return o
	}
	if t.Everywhere && !slices.Contains(c.Also, alsoElementals) {
		o.Between = true
		for n := range m.Graph.Nodes() {
			if t.Ops[n.OpType].Role == RoleJoin && !addsBias(m.Graph, n) {
				o.Exclude[nodeName(n)] = "in a transformer what normalizes and adds stays in float: also_quantize = [\"elementwise\"] takes it"
			}
		}
	}
	if t.Engine == "onnxruntime" || t.Name == "onnxruntime-arm64" {
		if !slices.Contains(c.Also, alsoElementals) {
			for op, r := range t.Ops {
				if r.Role == RoleJoin {
					o.FloatOps = append(o.FloatOps, op)
				}
			}
			slices.Sort(o.FloatOps)
		}
	}
	if !slices.Contains(c.Also, alsoOutput) {
		for _, n := range outputProjections(m.Graph) {
			o.Exclude[nodeName(n)] = "it makes the model's output, where errors are not averaged out any more: also_quantize = [\"output_projection\"] takes it"
		}
	}
	return o
}

// addsBias tells whether a node adds a constant to a product that nothing else reads: engines make one layer of the two.
func addsBias(g *onnx.Graph, n *onnx.Node) bool {
	if !n.Is("Add") || len(n.Inputs()) != 2 {
		return false
	}
	for i, v := range n.Inputs() {
		if p := g.Producer(v); p != nil && p.Is("MatMul") && g.NumConsumers(v) == 1 && g.Initializer(n.Input(1-i)) != nil {
			return true
		}
	}
	return false
}

// isTransformer tells whether a model has attention, and convolutions do not do most of its work.
func isTransformer(m *onnx.Model, shapes *onnx.Shapes) bool {
	if !hasAttention(m.Graph) {
		return false
	}
	total, macs := countWork(m, shapes)
	var convs int64
	for n := range m.Graph.Nodes() {
		if n.Is("Conv") || n.Is("ConvTranspose") {
			convs += macs[n]
		}
	}
	return 2*convs <= total
}

// outputProjections are products with a constant weight whose answer is an output, but for a bias and a change of type or
// shape.
func outputProjections(g *onnx.Graph) []*onnx.Node {
	var out []*onnx.Node
	for _, v := range g.Outputs() {
		name := v.Name()
		for range 8 {
			p := g.Producer(name)
			if p == nil {
				break
			}
			if (p.Is("MatMul") || p.Is("Gemm")) && g.Initializer(p.Input(1)) != nil {
				if !slices.Contains(out, p) {
					out = append(out, p)
				}
				break
			}
			switch {
			case p.Is("Add") && g.Initializer(p.Input(0)) != nil:
				name = p.Input(1)
				continue
			case p.Is("Add") && g.Initializer(p.Input(1)) != nil, p.Is("Cast"), p.Is("Identity"), p.Is("Reshape"), p.Is("Squeeze"), p.Is("Softmax"), p.Is("LogSoftmax"):
				name = p.Input(0)
				continue
			}
			break
		}
	}
	return out
}
