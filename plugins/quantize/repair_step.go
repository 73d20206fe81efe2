package quantize

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/accuracy"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/plugins/quantize/repair"
	"github.com/optimize-hcl/optimize/sdk"
)

// The ways to round weights, by their names in a recipe.
const (
	roundNearest  = "nearest"
	roundGPTQ     = "gptq"
	roundAdaRound = "adaround"
)

// fixedWeight is what a node's constants become, where rounding to nearest is not all.
type fixedWeight struct {
	codes  []int8    // as the weight lies; nil: rounded to nearest
	scales []float32 // that they belong to
	bias   []float32 // one value a channel, a Gemm's factors included; nil: as it is
}

// RepairFacts tell what weight repair did.
type RepairFacts struct {
	Equalized    []string `opt:"equalized" doc:"Layers between which channels were scaled: by how much the ranges of channels differ now, and before. Empty where that gave no smaller error at the outputs."`
	SQNREqual    float64  `opt:"sqnr_equalized" doc:"With equalize: SQNR at the outputs with scaled channels, in dB, with plain rounding on some of the calibration data."`
	SQNRPlain    float64  `opt:"sqnr_plain" doc:"With equalize: the same without. The better of the two was taken."`
	Layers       []string `opt:"layers" doc:"Each layer that was repaired: the error of its product on the calibration data relative to the product's energy, and the share of it in that of plain rounding."`
	ErrorNearest float64  `opt:"error_nearest" doc:"Mean of these errors had the weights been rounded to nearest."`
	Error        float64  `opt:"error" doc:"Mean of these errors as they are."`
}

func (c StaticConfig) rounds() bool { return c.Rounding != "" && c.Rounding != roundNearest }

// corrects tells whether the recipe asks for corrected biases.
func (c StaticConfig) corrects() bool { return c.BiasCorrection != nil && *c.BiasCorrection }

func (c StaticConfig) repairs() bool { return c.rounds() || c.corrects() || c.Equalize }

// planRepair checks what only Plan and Apply know: which artifacts are given.
func (c StaticConfig) planRepair() sdk.Diagnostics {
	if c.Equalize && len(c.States) > 0 || (c.rounds() || c.corrects()) && len(c.States) > 0 {
		arg := "rounding"
		switch {
		case c.Equalize:
			arg = "equalize"
		case !c.rounds():
			arg = "bias_correction"
		}
		return sdk.Diagnostics{{Path: []any{arg}, Summary: arg + " cannot be used for a model with states",
			Detail: "Layers are measured sample by sample, without what a state carries from one to the next. Leave it out."}}
	}
	if c.Ranges == nil {
		return nil
	}
	fail := func(arg, why string) sdk.Diagnostics {
		return sdk.Diagnostics{{Path: []any{arg}, Summary: arg + " needs data", Detail: why + " Write calibration = dataset.NAME instead of ranges."}}
	}
	switch {
	case c.Equalize:
		return fail("equalize", "Scaling channels changes the ranges of activations, so those that were learnt before do not hold.")
	case c.rounds():
		return fail("rounding", "It looks at activations, and ranges hold none.")
	case c.corrects():
		return fail("bias_correction", "It looks at activations, and ranges hold none.")
	}
	return nil
}

// prepared is a model with what lowering it needs.
type prepared struct {
	model  *onnx.Model
	place  *placement
	learnt *calibrate.Ranges
}

// equalized scales the channels of a copy of a model where that pays: where channels are alike already, scaling by
// weights alone costs more in activations than it gains.
func (c StaticConfig) equalized(ctx context.Context, j job, plain *prepared, t *Target, o placeOptions, facts *RepairFacts) (*prepared, error) {
	var pairs []repair.Pair
	out, before, after, err := c.better(ctx, j, plain, t, o, nil, func(m *onnx.Model) (bool, error) {
		e := repair.FindPairs(m)
		values := e.Values()
		if len(values) == 0 {
			return false, nil
		}
		channels := c.learn()
		channels.method, channels.percentile, channels.bins, channels.histograms, channels.perChannel, channels.quiet = nil, nil, nil, false, true, true
		seen, err := channels.learnRanges(ctx, j, m, values)
		if err != nil {
			return false, err
		}
		activations := map[string][]float64{}
		for _, v := range values {
			for _, r := range seen.Tensors[v].Channels {
				activations[v] = append(activations[v], math.Max(float64(r.Max), -float64(r.Min)))
			}
		}
		if pairs, err = e.Equalize(activations); err != nil {
			return false, sdk.AttrError("model", "the channels cannot be equalized", err.Error())
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	facts.SQNRPlain, facts.SQNREqual = accuracy.SQNR(before), accuracy.SQNR(after)
	if out != plain {
		for _, p := range pairs {
			facts.Equalized = append(facts.Equalized, p.String())
		}
	}
	return out, nil
}

// better changes a copy of a prepared model in a way that leaves what it computes, and returns whichever of the two is
// nearer to the float model's outputs once it is quantized, and the noise there of both. holds tells of which values the ranges
// that were learnt hold for the changed one too; nil: of none.
func (c StaticConfig) better(ctx context.Context, j job, plain *prepared, t *Target, o placeOptions, holds func(value string) bool, change func(*onnx.Model) (bool, error)) (out *prepared, before, after float64, err error) {
	b, err := plain.model.Marshal()
	if err != nil {
		return nil, 0, 0, fmt.Errorf("the model cannot be copied: %w", err)
	}
	m, err := onnx.Parse(b)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("the model cannot be copied: %w", err)
	}
	changed, err := change(m)
	if err != nil {
		return nil, 0, 0, err
	}
	if !changed {
		before, _, err = c.compare(ctx, j, plain, nil, t, o)
		return plain, before, before, err
	}
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, 0, 0, sdk.AttrError("model", "the shapes in the model do not fit together", err.Error())
	}
	scaled := &prepared{model: m, place: place(m, shapes, t, o)}
	l := c.learn()
	l.quiet = true
	values := scaled.place.values
	if c.Accuracy != nil || c.Budget != nil {
		values = scaled.place.possibleValues(m.Graph)
	}
	old := map[string]*calibrate.Tensor{}
	values = slices.DeleteFunc(slices.Clone(values), func(v string) bool {
		if holds == nil || !holds(v) {
			return false
		}
		old[v] = plain.learnt.Tensors[v]
		return true
	})
	if scaled.learnt, err = l.learnSome(ctx, j, m, values); err != nil {
		return nil, 0, 0, err
	}
	if len(values) == 0 {
		scaled.learnt.Samples, scaled.learnt.Random = plain.learnt.Samples, plain.learnt.Random
	}
	maps.Copy(scaled.learnt.Tensors, old)
	if before, after, err = c.compare(ctx, j, plain, scaled, t, o); err != nil {
		return nil, 0, 0, err
	}
	if !(after < before) {
		return plain, before, after, nil
	}
	return scaled, before, after, nil
}

// compare measures two models that compute the same, both quantized plainly, against the first in float; b may be nil.
func (c StaticConfig) compare(ctx context.Context, j job, a, b *prepared, t *Target, o placeOptions) (x, y float64, err error) {
	src, done, err := c.source(a.model, j)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = done() }() // it was only read
	v := &variants{model: a.model, full: a.place, target: t, options: o, ranges: rangesOf(a.learnt), perChannel: c.PerChannel}
	r, err := newRanker(ctx, v, &calibrate.Job{Model: a.model, Data: src, Argument: "calibration", States: c.States}, j.threads)
	if err != nil {
		return 0, 0, err
	}
	for i, p := range []*prepared{a, b} {
		if p == nil {
			continue
		}
		w := &variants{model: p.model, full: p.place, target: t, options: o, ranges: rangesOf(p.learnt), perChannel: c.PerChannel}
		q, err := w.with(nil)
		if err != nil {
			return 0, 0, err
		}
		noise, err := r.noise(ctx, q.model)
		if err != nil {
			return 0, 0, err
		}
		if i == 0 {
			x = noise
		} else {
			y = noise
		}
	}
	return x, y, nil
}

// repairBytes bounds the sums that are held at a time, if the largest layer allows it.
const repairBytes = 160 << 20

// mostInputs bounds the inputs of a layer, whose sums are a matrix of as many rows and columns.
const mostInputs = 12288

// toRepair is a layer with what it takes to measure and round it.
type toRepair struct {
	k     *candidate
	layer *repair.Layer
	tap   gram.Tap
	byRow bool // the weight lies as [N, K]
}

// repair rounds the weights of a placed model by what its activations are. p.fixed holds the result.
func (c StaticConfig) repair(ctx context.Context, j job, m *onnx.Model, p *placement, t *Target, r ranges, facts *RepairFacts) error {
	todo, err := c.repairable(m, p, t, r)
	if err != nil || len(todo) == 0 {
		return err
	}
	work, gemm, done, err := c.openData(j, m)
	if err != nil {
		return err
	}
	defer done()
	p.fixed = map[string]*fixedWeight{}
	var near, now float64
	for at := 0; at < len(todo); {
		// As many layers at a time as there is memory for their sums; those that follow see what these became.
		end, bytes := at, int64(0)
		var taps []gram.Tap
		for end < len(todo) {
			l := todo[end].layer
			if bytes += 4 * int64(l.Groups) * int64(l.K) * int64(l.K); bytes > repairBytes && end > at {
				break
			}
			taps = append(taps, todo[end].tap)
			end++
		}
		stats, err := work.Measure(ctx, taps)
		if err != nil {
			return weightsError(err)
		}
		for i := at; i < end; i++ {
			j.progress("repair weights", int64(i), int64(len(todo)), "layers")
			x, s := todo[i], stats[i-at]
			x.layer.Gram, x.layer.Sum, x.layer.Rows = s.Gram, s.Sum, s.Rows
			before, after, err := c.one(ctx, j, x, gemm, p, work)
			if err != nil {
				return sdk.AttrError("model", "a weight cannot be repaired", fmt.Sprintf("Weight %q of node %q: %v.", x.k.weight.Name(), nodeName(x.k.node), err))
			}
			near, now = near+before, now+after
			share := 1.0
			if before > 0 {
				share = after / before
			}
			facts.Layers = append(facts.Layers, fmt.Sprintf("%s: error %.3g, %.2f of that of plain rounding", nodeName(x.k.node), after, share))
			x.layer.Gram, stats[i-at] = nil, nil // what is left may be large
		}
		at = end
	}
	facts.ErrorNearest, facts.Error = near/float64(len(todo)), now/float64(len(todo))
	return nil
}

// repairable are the layers that can be measured: convolutions and products with a weight of their own.
func (c StaticConfig) repairable(m *onnx.Model, p *placement, t *Target, r ranges) ([]*toRepair, error) {
	e := newEmitter(m.Graph, p, t, r)
	var todo []*toRepair
	for _, k := range p.nodes {
		if k.weight == nil || m.Graph.NumConsumers(k.weight.Name()) != 1 || k.node.OpType == "ConvTranspose" {
			continue
		}
		w, scales, _, err := e.scalesOf(k, c.PerChannel)
		if err != nil {
			return nil, sdk.AttrError("model", "a weight cannot be quantized", err.Error())
		}
		dims := k.weight.Dims
		l := &repair.Layer{Groups: 1, Scales: scales, QMin: float32(k.scheme.QMin), QMax: float32(k.scheme.QMax)}
		x := &toRepair{k: k, layer: l, byRow: k.axis == 0, tap: gram.Tap{Value: k.data[0]}}
		if k.rule.Role == RoleConv {
			l.Groups = int(k.node.IntAttr("group", 1))
			l.N, l.K = int(dims[0])/l.Groups, len(w)/int(dims[0])
			x.tap.Groups, x.tap.Conv, x.tap.Weight = l.Groups, k.node, dims
		} else if l.N, l.K = int(dims[k.axis]), int(dims[1-k.axis]); !x.byRow {
			w = swap(w, l.K, l.N)
		}
		if l.K > mostInputs {
			continue
		}
		l.W, x.tap.K = w, l.K
		todo = append(todo, x)
	}
	return todo, nil
}

// one repairs a layer and returns the error of its product with plain rounding and as it is now.
func (c StaticConfig) one(ctx context.Context, j job, x *toRepair, gemm *gram.Gemm, p *placement, work *gram.Workspace) (before, after float64, err error) {
	l, k := x.layer, x.k
	near := l.Nearest()
	if before, err = l.OutputError(near, nil, gemm); err != nil {
		return 0, 0, err
	}
	codes := near
	switch c.Rounding {
	case roundGPTQ:
		codes, err = l.GPTQ(gemm, 0, j.threads)
	case roundAdaRound:
		codes, err = l.AdaRound(ctx, gemm, repair.AdaRoundOptions{Threads: j.threads})
	}
	if err != nil {
		return 0, 0, err
	}
	fix := &fixedWeight{scales: l.Scales, codes: codes}
	var shift []float32
	if c.corrects() {
		if shift, err = c.correct(x, codes, fix, work); err != nil {
			return 0, 0, err
		}
	}
	if after, err = l.OutputError(codes, shift, gemm); err != nil {
		return 0, 0, err
	}
	back := l.Dequantize(codes)
	if !x.byRow {
		back, fix.codes = swap(back, l.N, l.K), swap(codes, l.N, l.K)
	}
	p.fixed[nodeName(k.node)] = fix
	return before, after, work.Replace(k.weight.Name(), back)
}

// swap turns a row-major [rows, cols] around.
func swap[T any](w []T, rows, cols int) []T {
	out := make([]T, len(w))
	for r := range rows {
		for c, v := range w[r*cols : (r+1)*cols] {
			out[c*rows+r] = v
		}
	}
	return out
}

// source opens the samples that calibration sees; done closes them.
func (c StaticConfig) source(m *onnx.Model, j job) (src calibrate.Source, done func() error, err error) {
	if c.Random != nil {
		src, err = calibrate.NewRandomSource(m, *c.Random, j.seed, c.States)
		return src, func() error { return nil }, err
	}
	data, err := c.Calibration.Open()
	if err != nil {
		return nil, nil, sdk.AttrError("calibration", "the dataset cannot be read", err.Error())
	}
	return data, data.Close, nil
}

// openData opens what the layers are measured on; done closes it.
func (c StaticConfig) openData(j job, m *onnx.Model) (work *gram.Workspace, gemm *gram.Gemm, done func(), err error) {
	if err := loadEngine("weight repair"); err != nil {
		return nil, nil, nil, err
	}
	src, closeData, err := c.source(m, j)
	if err != nil {
		return nil, nil, nil, err
	}
	fail := func(err error) (*gram.Workspace, *gram.Gemm, func(), error) {
		return nil, nil, nil, errors.Join(err, closeData())
	}
	job := &calibrate.Job{Model: m, Data: src, States: c.States}
	_, fixed, err := job.MatchInputs()
	if err != nil {
		return fail(err)
	}
	src = job.Data
	dir, err := os.MkdirTemp(j.scratch, "gram")
	if err != nil {
		return fail(err)
	}
	remove := func() { _, _ = closeData(), os.RemoveAll(dir) }
	if work, err = gram.Open(m, dir, src, gram.Options{Fixed: fixed, Threads: j.threads,
		Progress: func(n, total int64) { j.progress("measure layers", n, total, "samples") }}); err == nil {
		gemm, err = gram.NewGemm(j.threads)
	}
	if err != nil {
		remove()
		return nil, nil, nil, err
	}
	return work, gemm, func() { _ = gemm.Close(); remove() }, nil
}
