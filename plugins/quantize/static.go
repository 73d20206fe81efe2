package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/onnx/rewrite"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/plugins/quantize/layout"
	"github.com/optimize-hcl/optimize/sdk"
)

// staticWork is a model to lower, in one layout or in many.
type staticWork struct {
	path   string
	target *Target
	config StaticConfig
	job    job
}

// nothingError says that a layout leaves nothing to quantize.
type nothingError struct{ error }

func (e *nothingError) Unwrap() error { return e.error }

func quantizeStatic(ctx context.Context, j job, c StaticConfig) (*sdk.Result, error) {
	cpu := ThisCPU()
	t, err := targetOf(c.Target, cpu)
	if err != nil {
		return nil, err
	}
	if ds := append(c.planRepair(), c.planSmooth()...); len(ds) > 0 {
		return nil, ds[0]
	}
	w := &staticWork{path: c.Model.Path, target: t, config: c, job: j}
	// A model that cannot be quantized is told before any data is looked at.
	if err := w.check(); err != nil {
		return w.foldInstead(ctx, err)
	}
	l := layout.Layout{Target: t.Name}
	facts := StaticFacts{Target: t.Name}
	var failed *sdk.Diagnostic
	switch why := c.noSearch(t, cpu); {
	case c.Layout != nil:
		facts.Search = why
		if l, err = readLayout(c.Layout.Path, t); err != nil {
			return nil, err
		}
	case why != "" || j.race == nil:
		facts.Search = why
		if why == "" {
			facts.Search = "there is nobody to time layouts"
		}
	default:
		o, err := w.search(ctx)
		switch {
		case err == nil:
			facts.Search = "layouts were timed"
			l, facts.Candidates, facts.Noise, facts.Declined = o.layout, o.lines, o.noise, o.why
		case ctx.Err() != nil:
			return nil, ctx.Err()
		default:
			facts.Search = "the search failed: " + err.Error()
			d := sdk.AttrWarning("search", "no layout was searched for: the target's plain rules are followed", err.Error())
			failed = &d
		}
	}
	r, err := w.write(ctx, l, facts)
	if failed != nil && err == nil {
		j.warn(*failed) // else the error tells what is wrong, and there is nothing that follows plain rules
	}
	return r, err
}

// withStates is why there is no search for a model whose outputs are inputs of the next sample.
const withStates = "a model with states cannot be timed on single samples"

// planSearch tells who leaves the search on that his model has none.
func (c StaticConfig) planSearch(t *Target, cpu CPU) sdk.Diagnostics {
	if len(c.States) == 0 || c.noSearch(t, cpu) != withStates {
		return nil
	}
	return sdk.Diagnostics{sdk.AttrWarning("states", "no layout is searched for: the target's plain rules are followed",
		"Layouts are timed and judged on single samples, and a sample of a model with states begins where the one before ended. Write search = \"off\" if plain rules will do; "+
			"for a search, record the states as fields of the dataset, and leave states out.")}
}

// noSearch tells why no layout is searched for, empty when one is.
func (c StaticConfig) noSearch(t *Target, cpu CPU) string {
	switch {
	case c.Layout != nil:
		return "the layout is given"
	case c.Budget != nil:
		return "the budget chooses what becomes integers"
	case c.Search == "off":
		return `search = "off"`
	case c.Calibration == nil:
		return "there is no calibration data to time layouts with"
	case len(c.States) > 0:
		return withStates
	case t.Engine != "onnxruntime":
		return fmt.Sprintf("layouts for %s cannot be timed: its rules are followed", t.Name)
	case !t.fits(cpu):
		return fmt.Sprintf("this machine is no %s: its rules are followed", t.Name)
	}
	return ""
}

// check refuses a model that has nothing to quantize.
func (w *staticWork) check() error {
	m, shapes, err := w.prepared(false)
	if err != nil {
		return err
	}
	p := place(m, shapes, w.target, w.config.options(m, shapes, w.target))
	warnUnused(w.job, p.unused)
	w.config.warnAlso(w.job, m, shapes)
	if !p.multiplies() {
		return nothingStatic(m, p)
	}
	return nil
}

// foldInstead is the function of that name, with a layout beside the model that leaves all else as it is.
func (w *staticWork) foldInstead(ctx context.Context, nothing error) (*sdk.Result, error) {
	l := layout.Layout{Target: w.target.Name, Float: true}
	r, err := foldInstead(ctx, w.job, w.path, nothing, func(share float64) any {
		return StaticFacts{Target: w.target.Name, ShareWeightBytes: share, Layout: l.Name(), Search: "the model was quantized already"}
	})
	if err != nil {
		return nil, err
	}
	b, err := l.Marshal()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(w.job.outDir, layoutFile), b, 0o600); err != nil {
		return nil, fmt.Errorf("the layout cannot be written: %w", err)
	}
	r.Outputs["layout"] = sdk.Artifact{Kind: layout.Kind, Format: layout.Format, Path: layoutFile}
	return r, nil
}

// rewritten reads the model and does the exact rewrites.
func (w *staticWork) rewritten() (*onnx.Model, error) {
	m, err := readModel(w.path)
	if err != nil {
		return nil, err
	}
	if _, err := rewrite.Apply(m, rewrite.Options{Contrib: w.target.Engine == "onnxruntime"}); err != nil {
		return nil, sdk.AttrError("model", "the model cannot be rewritten", err.Error())
	}
	if err := onnx.Check(m); err != nil {
		return nil, fmt.Errorf("the rewritten model is not valid: %w", err)
	}
	return m, nil
}

// prepared reads the model in the form that lowering works on.
func (w *staticWork) prepared(rewrites bool) (m *onnx.Model, shapes *onnx.Shapes, err error) {
	if rewrites {
		m, err = w.rewritten()
	} else {
		m, err = readModel(w.path)
	}
	if err != nil {
		return nil, nil, err
	}
	shapes, err = prepare(m, w.target.MinOpset)
	return m, shapes, err
}

func (w *staticWork) learn(ctx context.Context, m *onnx.Model, names []string) (*calibrate.Ranges, error) {
	return w.config.learn().learnSome(ctx, w.job, m, names)
}

// place prepares a model that it may change for lowering in a layout. What the variants quantize needs ranges yet.
func (w *staticWork) place(m *onnx.Model, shapes *onnx.Shapes, l layout.Layout) (*variants, error) {
	o := w.config.options(m, shapes, w.target)
	o.FloatOps, o.FloatConvs, o.Absorb, o.Tables, o.Recurrent, o.Stem = append(o.FloatOps, l.FloatOps...), l.FloatConvs, l.Absorb, l.Tables, l.Recurrent, l.Stem
	for _, n := range l.FloatNodes {
		o.Exclude[n] = "the layout leaves it in float"
	}
	t := w.target
	if l.GateTable {
		t = withGates(t)
		expandHardSwish(m)
		var err error
		if shapes, err = onnx.InferShapes(m); err != nil {
			return nil, err
		}
	}
	if l.Dynamic {
		o.Dynamic = map[string]bool{}
		for n := range m.Graph.Nodes() {
			if (n.Is("MatMul") || n.Is("Gemm")) && !slices.Contains(l.StaticNodes, nodeName(n)) {
				o.Dynamic[nodeName(n)] = true
			}
		}
	}
	if l.OnlyDynamic {
		t = onlyProducts(t)
	}
	if b := w.config.Budget; b != nil && b.Size != nil || slices.Contains(w.config.Also, alsoEmbeddings) {
		o.Tables = false // they get blocks
	} else {
		o.Tables = o.Tables || tablesWeigh(m.Graph, t, o)
	}
	p := place(m, shapes, t, o)
	if !p.multiplies() {
		return nil, &nothingError{nothingStatic(m, p)}
	}
	return &variants{model: m, full: p, target: t, options: o, perChannel: w.config.PerChannel}, nil
}

// onlyProducts is a target whose only operators in integers are products with a constant weight.
func onlyProducts(t *Target) *Target {
	c := *t
	c.Ops = map[string]OpRule{"Gemm": t.Ops["Gemm"], "MatMul": t.Ops["MatMul"]}
	return &c
}

func readLayout(path string, t *Target) (layout.Layout, error) {
	l, err := layout.ReadFile(path)
	if err != nil {
		return l, sdk.AttrError("layout", "the layout cannot be read", err.Error())
	}
	if l.Target != t.Name {
		return l, sdk.AttrError("layout", fmt.Sprintf("the layout is for %s, not for %s", l.Target, t.Name),
			"A layout holds for the target that it was found on: search again, or name that target.")
	}
	return l, nil
}

// layoutFile is the name of the layout in the step's folder.
const layoutFile = "layout.json"

// write lowers the model in the layout and writes both. Whatever a search has measured is measured anew, so that the
// layout alone gives the same bytes.
func (w *staticWork) write(ctx context.Context, l layout.Layout, facts StaticFacts) (*sdk.Result, error) {
	var m *onnx.Model
	var err error
	if l.Float {
		if facts.Declined == "" {
			facts.Declined = "the layout leaves the model in float"
		}
		w.job.warn(sdk.Diagnostic{Severity: sdk.SeverityWarning, Summary: "the model stays in float", Detail: facts.Declined})
		if m, err = w.float(l.Rewrite); err != nil {
			return nil, err
		}
	} else if m, err = w.integers(ctx, &l, &facts); err != nil {
		return nil, err
	}
	b, err := l.Marshal()
	if err != nil {
		return nil, err
	}
	facts.Layout = l.Name()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := writeModelTo(w.job.outDir, m, facts)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(w.job.outDir, layoutFile), b, 0o600); err != nil {
		return nil, fmt.Errorf("the layout cannot be written: %w", err)
	}
	r.Outputs["layout"] = sdk.Artifact{Kind: layout.Kind, Format: layout.Format, Path: layoutFile}
	return r, nil
}

// integers lowers the model in a layout, within the bound on accuracy if there is one. When only the model in float
// holds that, the layout becomes one of float.
func (w *staticWork) integers(ctx context.Context, l *layout.Layout, facts *StaticFacts) (*onnx.Model, error) {
	m, shapes, err := w.prepared(l.Rewrite)
	if err != nil {
		return nil, err
	}
	each, total := weightBytes(m.Graph)
	v, err := w.place(m, shapes, *l)
	if err != nil {
		var none *nothingError
		if w.config.Layout != nil && errors.As(err, &none) {
			return nil, sdk.AttrError("layout", "the layout does not fit this model: it leaves nothing to quantize", err.Error())
		}
		return nil, err
	}
	values := v.full.values
	if w.config.Accuracy != nil || w.config.Budget != nil {
		values = v.full.possibleValues(m.Graph)
	}
	learnt, err := w.learn(ctx, m, values)
	if err != nil {
		return nil, err
	}
	if err := v.spare(learnt); err != nil {
		return nil, err
	}
	if learnt, err = w.repair(ctx, v, learnt, w.config.correctsByMeans(w.target, m, shapes), facts); err != nil {
		return nil, err
	}
	facts.Samples, facts.Method, facts.RandomCalibration = learnt.Samples, string(learnt.Options.Method), learnt.Random
	var chosen *variant
	switch {
	case w.config.Accuracy != nil:
		chosen, facts.Accuracy, err = w.config.controlled(ctx, w.job, w.target, v)
	case w.config.Budget != nil:
		chosen, facts.Budget, err = w.config.budgeted(ctx, w.job, w.target, v)
	default:
		chosen, err = v.inPlace()
	}
	switch {
	case err != nil:
		return nil, err
	case chosen == nil:
		facts.NodesFloat, facts.OthersFloat = describe(v.full.floats), v.full.others
		for _, k := range v.full.nodes {
			if k.product() {
				facts.NodesFloat = append(facts.NodesFloat, floatNode{k.node, "accuracy control found no choice of layers that holds"}.String())
			}
		}
		*l = layout.Layout{Target: l.Target, Float: true, Rewrite: l.Rewrite}
		facts.Declined = "accuracy control found no choice of layers that holds"
		return w.float(l.Rewrite)
	}
	if slices.Contains(w.config.Also, alsoEmbeddings) {
		if err := chosen.tables(ctx, w.job); err != nil {
			return nil, err
		}
	}
	var macs int64
	q := chosen.place
	for _, k := range slices.Concat(q.nodes, q.dynamic) {
		macs += q.macs[k.node]
	}
	facts.ShareMACs, facts.ShareWeightBytes = share(macs, q.macTotal), shareOf(chosen.quantized, each, total)
	facts.NodesQuantized, facts.NodesFloat, facts.OthersFloat = int64(len(q.nodes)+len(q.dynamic)+len(q.recurrent)), describe(q.floats), q.others
	return chosen.model, nil
}

// float is the model that stays in float.
func (w *staticWork) float(rewrites bool) (*onnx.Model, error) {
	if rewrites {
		return w.rewritten()
	}
	return readModel(w.path)
}

// repair changes weights so that integers stand for them better, and sets the ranges. byMeans corrects biases unasked.
func (w *staticWork) repair(ctx context.Context, v *variants, learnt *calibrate.Ranges, byMeans bool, facts *StaticFacts) (_ *calibrate.Ranges, err error) {
	c := w.config
	if c.repairs() {
		facts.Repair = &RepairFacts{Equalized: []string{}, Layers: []string{}}
	}
	if c.smooths() {
		better, f, err := c.smoothed(ctx, w.job, &prepared{v.model, v.full, learnt}, v.target, v.options)
		if err != nil {
			return nil, err
		}
		v.model, v.full, learnt, facts.Smooth = better.model, better.place, better.learnt, f
	}
	if c.Equalize {
		better, err := c.equalized(ctx, w.job, &prepared{v.model, v.full, learnt}, v.target, v.options, facts.Repair)
		if err != nil {
			return nil, err
		}
		v.model, v.full, learnt = better.model, better.place, better.learnt
	}
	v.ranges = rangesOf(learnt)
	switch {
	case c.rounds() || c.corrects():
		return learnt, c.repair(ctx, w.job, v.model, v.full, v.target, v.ranges, facts.Repair)
	case byMeans:
		facts.BiasesCorrected, err = c.correctByMeans(ctx, w.job, v)
	}
	return learnt, err
}

// validateSearch checks what the schema cannot.
func (c StaticConfig) validateSearch() sdk.Diagnostics {
	var ds sdk.Diagnostics
	if c.SearchLimit != nil && !(*c.SearchLimit > 0 && *c.SearchLimit <= 86400) {
		ds = append(ds, sdk.Diagnostic{Path: []any{"search_limit"}, Summary: fmt.Sprintf("search_limit is %v", *c.SearchLimit), Detail: `It is a number of seconds above 0, at most a day; search = "off" searches for nothing.`})
	}
	if c.MinSQNR != nil && (math.IsNaN(*c.MinSQNR) || math.IsInf(*c.MinSQNR, 0)) {
		ds = append(ds, sdk.Diagnostic{Path: []any{"min_sqnr"}, Summary: fmt.Sprintf("min_sqnr is %v", *c.MinSQNR), Detail: "It is a number of decibels, such as 20."})
	}
	if a := c.MinAgreement; a != nil && !(*a >= 0 && *a <= 1) {
		ds = append(ds, sdk.Diagnostic{Path: []any{"min_agreement"}, Summary: fmt.Sprintf("min_agreement is %v", *a), Detail: "It is a share of samples from 0 to 1, such as 0.98."})
	}
	return ds
}
