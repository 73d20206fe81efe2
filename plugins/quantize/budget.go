package quantize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/accuracy"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/plugins/quantize/weightonly"
	"github.com/optimize-hcl/optimize/sdk"
)

// BudgetConfig is the block budget of quantize_static.
type BudgetConfig struct {
	Size    *float64 `opt:"size" doc:"Largest size of the model, as a share of the float model's: 0.3. Each layer gets float, 8-bit or, for a MatMul or Gemm on ONNX Runtime, 4-bit weights, so that the size holds with the least error at the outputs. On ONNX Runtime tables that Gather looks up count as layers too."`
	Speedup *float64 `opt:"speedup" doc:"How many times as fast as the float model the result must be, on this machine: 1.5. Of the layers, as many stay in float as that allows, those first that hurt most for their work. Timed, so that the result may differ from run to run."`
	Int4    bool     `opt:"int4" default:"true" doc:"4-bit weights may be chosen to hold a size."`
	Threads int64    `opt:"threads" default:"1" doc:"Threads of the engine when it is timed."`
}

func (c *BudgetConfig) validate() sdk.Diagnostics {
	var ds sdk.Diagnostics
	fail := func(arg, summary, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: []any{"budget", arg}, Summary: summary, Detail: detail})
	}
	switch {
	case c.Size == nil && c.Speedup == nil:
		fail("size", "budget has no bound", "Write size or speedup.")
	case c.Size != nil && c.Speedup != nil:
		fail("speedup", "budget has two bounds", "Write size or speedup, not both.")
	case c.Size != nil && !(*c.Size > 0 && *c.Size < 1):
		fail("size", fmt.Sprintf("size is %v", *c.Size), "It is a share of the float model's size, more than 0 and less than 1.")
	case c.Speedup != nil && !(*c.Speedup > 0 && *c.Speedup < 1000):
		fail("speedup", fmt.Sprintf("speedup is %v", *c.Speedup), "It is a factor, such as 1.5.")
	}
	if c.Threads < 1 {
		fail("threads", fmt.Sprintf("threads is %d", c.Threads), "It is at least 1.")
	}
	return ds
}

// BudgetFacts tell what was chosen for a budget.
type BudgetFacts struct {
	Size    float64  `opt:"size" doc:"Size of the result as a share of the float model's."`
	Speedup float64  `opt:"speedup" doc:"How many times as fast as the float model it was when it was timed; 0 where it was not."`
	Layers  []string `opt:"layers" doc:"The form of each layer, with the SQNR at the outputs when it alone has it."`
	SQNR    float64  `opt:"sqnr" doc:"SQNR at the outputs of the result against the float model on a few samples, in dB."`
}

// budgeted chooses the form of each layer so that a size or a speed holds.
func (c StaticConfig) budgeted(ctx context.Context, j job, t *Target, v *variants) (*variant, *BudgetFacts, error) {
	if err := loadEngine("a budget"); err != nil {
		return nil, nil, err
	}
	set, argument := c.Validation, "validation"
	if set == nil {
		set, argument = c.Calibration, "calibration"
	}
	data, err := set.Open()
	if err != nil {
		return nil, nil, sdk.AttrError(argument, "the dataset cannot be read", err.Error())
	}
	defer data.Close()
	r, err := newRanker(ctx, v, &calibrate.Job{Model: v.model, Data: data, Argument: argument}, j.threads)
	if err != nil {
		return nil, nil, err
	}
	b := &budget{config: c.Budget, job: j, target: t, variants: v, ranker: r, layers: layersOf(v.model, v.full)}
	if err := r.rank(ctx, b.layers, nil, func(done, total int64) { j.progress("rank layers", done, total, "layers") }); err != nil {
		return nil, nil, err
	}
	b.products = len(b.layers)
	var out *variant
	if c.Budget.Size != nil {
		if t.Engine == "onnxruntime" {
			b.layers = append(b.layers, tablesOf(v.model, c.KeepFloat)...)
		}
		out, err = b.size(ctx)
	} else {
		out, err = b.speed(ctx, c.Model.Artifact, *set)
	}
	if err != nil {
		return nil, nil, err
	}
	noise, err := r.noise(ctx, out.model)
	if err != nil {
		return nil, nil, err
	}
	bytes, err := out.model.Marshal()
	if err != nil {
		return nil, nil, err
	}
	b.facts.SQNR, b.facts.Size = accuracy.SQNR(noise), float64(len(bytes))/float64(len(v.bytes))
	return out, &b.facts, nil
}

type budget struct {
	config   *BudgetConfig
	job      job
	target   *Target
	variants *variants
	ranker   *ranker
	layers   []accuracy.Layer // products, and behind them tables
	products int              // how many are products
	facts    BudgetFacts
}

// The forms that a layer can have.
const (
	formFloat = "float"
	formInt8  = "int8"
	formInt4  = "int4"
)

// int4Block is the number of weights that share a scale: 4.5 bits a weight, zero points included.
const int4Block = 32

// tablesOf are the tables that Gather looks up, which another form makes smaller.
func tablesOf(m *onnx.Model, keep []string) []accuracy.Layer {
	var out []accuracy.Layer
	seen := map[string]bool{}
	for n := range m.Graph.Nodes() {
		w := m.Graph.Initializer(n.Input(0))
		if !n.Is("Gather") || w == nil || w.DataType != onnx.Float || len(w.Dims) != 2 || globs(keep).match(nodeName(n)) >= 0 || seen[w.Name()] {
			continue
		}
		seen[w.Name()] = true
		out = append(out, accuracy.Layer{Name: nodeName(n), Noise: math.NaN(), Bytes: w.Bytes()})
	}
	return out
}

// inBlocks gives the named nodes weights in blocks.
func (b *budget) inBlocks(ctx context.Context, out *variant, names map[string]bool, o weightonly.Options) error {
	if len(names) == 0 {
		return nil
	}
	shapes, err := onnx.InferShapes(out.model)
	if err != nil {
		return fmt.Errorf("the shapes of the quantized model cannot be inferred: %w", err)
	}
	o.Form, o.Embeddings, o.Threads = weightonly.FormRuntime, true, b.job.threads
	o.Keep = func(name string) string {
		if names[name] {
			return ""
		}
		return "another form"
	}
	r, err := weightonly.Quantize(ctx, out.model, shapes, o)
	if err != nil {
		return weightsError(err)
	}
	if len(r.Quantized) == 0 {
		return nil // as of a Conv: choices tells by it that a node has no such form
	}
	if out.quantized == nil {
		out.quantized = map[string]bool{}
	}
	for _, l := range r.Quantized {
		out.quantized[l.Weight] = true
	}
	return nil
}

// build makes the model of a choice.
func (b *budget) build(ctx context.Context, forms []string) (*variant, error) {
	exclude, four, eight := map[string]string{}, map[string]bool{}, map[string]bool{}
	for i, l := range b.layers {
		switch {
		case forms[i] == formInt4:
			exclude[l.Name], four[l.Name] = "its weights have 4 bits, for the budget", true
		case i >= b.products:
			if forms[i] == formInt8 {
				eight[l.Name] = true
			}
		case forms[i] == formFloat:
			exclude[l.Name] = "the budget leaves room for it in float"
		}
	}
	out, err := b.variants.with(exclude)
	if err != nil {
		return nil, err
	}
	if err := b.inBlocks(ctx, out, four, weightonly.Options{Format: weightonly.Int4, Algorithm: weightonly.HQQ, BlockSize: int4Block}); err != nil {
		return nil, err
	}
	return out, b.inBlocks(ctx, out, eight, weightonly.Options{Format: weightonly.Int8, Algorithm: weightonly.RTN, BlockSize: tableBlock})
}

// choices are the forms of each layer with their bytes and noise.
func (b *budget) choices(ctx context.Context) ([][]accuracy.Choice, error) {
	var out [][]accuracy.Choice
	// measure adds a form whose noise is not known yet; a node that has no such form stays as it was.
	measure := func(c []accuracy.Choice, i int, form string, cost int64) ([]accuracy.Choice, error) {
		forms := slices.Repeat([]string{formFloat}, len(b.layers))
		forms[i] = form
		v, err := b.build(ctx, forms)
		if err != nil || v.quantized == nil {
			return c, err
		}
		noise, err := b.ranker.noise(ctx, v.model)
		return append(c, accuracy.Choice{Form: form, Cost: cost, Noise: noise}), err
	}
	for i, l := range b.layers {
		c := []accuracy.Choice{{Form: formFloat, Cost: l.Bytes}}
		var err error
		switch {
		case l.Bytes == 0: // a product of two activations: no form of it saves bytes
		case i >= b.products:
			c, err = measure(c, i, formInt8, l.Bytes/4+l.Bytes/96)
		default:
			c = append(c, accuracy.Choice{Form: formInt8, Cost: l.Bytes/4 + l.Bytes/256, Noise: l.Noise})
		}
		if err == nil && b.config.Int4 && b.target.Engine == "onnxruntime" && l.Bytes > 0 {
			c, err = measure(c, i, formInt4, l.Bytes*9/64)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, c)
		b.job.progress("weigh forms", int64(i+1), int64(len(b.layers)), "layers")
	}
	return out, nil
}

// size holds a size: what the choice really takes corrects what was reckoned.
func (b *budget) size(ctx context.Context) (*variant, error) {
	choices, err := b.choices(ctx)
	if err != nil {
		return nil, err
	}
	whole := int64(len(b.variants.bytes))
	limit := int64(*b.config.Size * float64(whole))
	rest := whole
	for _, l := range b.layers {
		rest -= l.Bytes
	}
	take := func(at []int) (out *variant, size, cost int64, err error) {
		forms := make([]string, len(at))
		for i, a := range at {
			forms[i] = choices[i][a].Form
			cost += choices[i][a].Cost
		}
		if out, err = b.build(ctx, forms); err != nil {
			return nil, 0, 0, err
		}
		bytes, err := out.model.Marshal()
		return out, int64(len(bytes)), cost, err
	}
	allowed := limit - rest
	const tries = 8
	for try := 0; ; try++ {
		at, err := accuracy.Allocate(choices, allowed)
		var small *accuracy.TooSmallError
		last := errors.As(err, &small) || try == tries
		if last { // nothing smaller is left to try, or enough was tried
			at = cheapest(choices)
		} else if err != nil {
			return nil, err
		}
		out, size, cost, err := take(at)
		switch {
		case err != nil:
			return nil, err
		case size <= limit:
			for i, a := range at {
				b.describe(b.layers[i].Name, choices[i][a])
			}
			return out, nil
		case last:
			return nil, sdk.AttrError("budget.size", fmt.Sprintf("the model cannot be made as small as %.3g of its size", *b.config.Size),
				fmt.Sprintf("With the smallest form for each layer it takes %d bytes, %.3g of the %d of the float model; %d bytes belong to no layer that can be quantized. Allow more.",
					size, float64(size)/float64(whole), whole, rest))
		}
		// From what the choice was reckoned to take, not from what was allowed: so the next choice is another one.
		allowed = cost - (size - limit)
	}
}

// cheapest is the form of each layer that takes the fewest bytes.
func cheapest(choices [][]accuracy.Choice) []int {
	out := make([]int, len(choices))
	for i, forms := range choices {
		for f, c := range forms {
			if c.Cost < forms[out[i]].Cost {
				out[i] = f
			}
		}
	}
	return out
}

func (b *budget) describe(name string, c accuracy.Choice) {
	s := name + ": " + c.Form
	if c.Form != formFloat {
		s += fmt.Sprintf(", SQNR %.1f dB alone", accuracy.SQNR(c.Noise))
	}
	b.facts.Layers = append(b.facts.Layers, s)
}

// lapTime is how long each candidate is timed.
const lapTime = time.Second

// speed leaves as many layers in float as a speed-up allows: those first that hurt most for their work.
func (b *budget) speed(ctx context.Context, baseline sdk.Artifact, data sdk.Dataset) (*variant, error) {
	order := make([]int, len(b.layers))
	for i := range order {
		order[i] = i
	}
	worth := func(i int) float64 { return b.layers[i].Noise / float64(max(b.layers[i].MACs, 1)) }
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(worth(y), worth(x)) })
	path := filepath.Join(b.job.scratch, "candidate.onnx")
	try := func(n int) (*variant, float64, error) {
		forms := slices.Repeat([]string{formInt8}, len(b.layers))
		for _, i := range order[:n] {
			forms[i] = formFloat
		}
		v, err := b.build(ctx, forms)
		if err != nil {
			return nil, 0, err
		}
		if err := v.model.WriteFile(path); err != nil {
			return nil, 0, fmt.Errorf("a candidate cannot be written: %w", err)
		}
		laps, err := b.job.race(ctx, sdk.Race{Candidates: []sdk.Artifact{baseline, {Kind: "model", Format: "onnx", Path: path}}, Dataset: data,
			Runtime: b.target.Engine, Batch: 1, Threads: int(b.config.Threads), Duration: lapTime})
		if err != nil {
			return nil, 0, err
		}
		for _, l := range laps {
			if l.Lost != nil {
				return nil, 0, sdk.AttrError("budget.speedup", "a candidate cannot be timed", l.Lost.Error())
			}
		}
		return v, laps[1].Metrics["speedup"].Value, nil
	}
	most := int64(1 + math.Ceil(math.Log2(float64(len(order)))))
	b.job.progress("time candidates", 0, most, "candidates")
	best, factor, err := try(0)
	if err != nil {
		return nil, err
	}
	if factor < *b.config.Speedup {
		return nil, sdk.AttrError("budget.speedup", fmt.Sprintf("the model cannot be made %.3g times as fast", *b.config.Speedup),
			fmt.Sprintf("With all layers that %s can run in integers it was %.3g times as fast as the float model on this machine. Ask for less, or choose another target.", b.target.Name, factor))
	}
	lo, hi := 0, len(order) // with hi in float it is the float model
	for done := int64(1); hi-lo > 1; done++ {
		b.job.progress("time candidates", done, most, "candidates")
		mid := (lo + hi) / 2
		v, f, err := try(mid)
		if err != nil {
			return nil, err
		}
		if f >= *b.config.Speedup {
			lo, best, factor = mid, v, f
		} else {
			hi = mid
		}
	}
	float := map[int]bool{}
	for _, i := range order[:lo] {
		float[i] = true
	}
	for i, l := range b.layers {
		c := accuracy.Choice{Form: formInt8, Noise: l.Noise}
		if float[i] {
			c.Form = formFloat
		}
		b.describe(l.Name, c)
	}
	b.facts.Speedup = factor
	return best, nil
}
