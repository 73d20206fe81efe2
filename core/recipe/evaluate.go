package recipe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
)

// Metrics that an evaluation gives: always, of quality by name, by default of quality, and with a benchmark.
var (
	alwaysMetrics  = []string{"size", "parameters", "macs"}
	qualityMetrics = []string{"top1", "top1_drop", "agreement", "sqnr", "cosine"}
	latencyMetrics = []string{"latency_p50", "latency_p90", "latency_p99", "speedup"}
)

// EvaluateConfig is an evaluate block.
type EvaluateConfig struct {
	Dataset   Input
	Baseline  Subject
	Candidate []Subject
	Metrics   []string
	Benchmark *BenchmarkConfig
	// RuntimeRange is the place of runtime, or of the block.
	RuntimeRange hcl.Range

	runtime  string
	runtimes map[string]string
	ranges   map[string]hcl.Range
	rng      hcl.Range
}

// Subject is one thing that is measured; Artifact is nil while it does not exist.
type Subject struct {
	Name, Addr string
	Artifact   *Artifact
	Range      hcl.Range
}

// BenchmarkConfig says how latency is measured.
type BenchmarkConfig struct {
	Batch, Threads int64
	Duration       time.Duration
}

// Subjects gives the baseline, then the candidates by name.
func (c *EvaluateConfig) Subjects() []Subject { return append([]Subject{c.Baseline}, c.Candidate...) }

// RuntimeOf is the plugin that the recipe names for a subject, or "".
func (c *EvaluateConfig) RuntimeOf(subject string) string {
	if r, ok := c.runtimes[subject]; ok {
		return r
	}
	return c.runtime
}

// RangeOf is the place of a subject, of the dataset for "", else of the block.
func (c *EvaluateConfig) RangeOf(subject string) hcl.Range {
	if r, ok := c.ranges[subject]; ok {
		return r
	}
	return c.rng
}

var (
	evaluateSchema = func() *hcl.BodySchema {
		s := attributes("dataset!", "baseline!", "candidates!", "runtime", "metrics", "description")
		s.Blocks = []hcl.BlockHeaderSchema{{Type: "benchmark"}, {Type: "ensure", LabelNames: []string{"name"}}}
		return s
	}()
	benchmarkSchema = attributes("batch", "threads", "duration")
	ensureSchema    = attributes("condition!", "error_message")
)

// evaluateShape tells what an evaluation will give, as far as its text shows.
func (p *Program) evaluateShape(n *Node) *shape {
	content, _ := n.Body.Content(evaluateSchema)
	s := &shape{subjects: []string{"baseline"}, metrics: slices.Clone(alwaysMetrics)}
	if a, ok := content.Attributes["candidates"]; ok {
		pairs, _ := hcl.ExprMap(a.Expr)
		for _, kv := range pairs {
			if k, ds := staticString(kv.Key); !ds.HasErrors() {
				s.subjects = append(s.subjects, k)
			}
		}
	}
	s.metrics = append(s.metrics, qualityMetrics...)
	if a, ok := content.Attributes["metrics"]; ok {
		if v, hd := a.Expr.Value(p.context(nil)); !hd.HasErrors() && v.IsWhollyKnown() && v.CanIterateElements() {
			s.metrics = slices.Clone(alwaysMetrics)
			for it := v.ElementIterator(); it.Next(); {
				_, e := it.Element()
				if m, ok := asString(e); ok {
					s.metrics = append(s.metrics, m)
				}
			}
		}
	}
	if len(content.Blocks.OfType("benchmark")) > 0 {
		s.metrics = append(s.metrics, latencyMetrics...)
	}
	return s
}

// unknown is the value of an evaluation that has not run.
func (s *shape) unknown() cty.Value {
	figures := map[string]cty.Value{}
	for _, m := range s.metrics {
		figures[m] = cty.UnknownVal(cty.Number)
	}
	bounds := cty.ObjectVal(figures)
	one := maps.Clone(figures)
	one["low"], one["high"] = bounds, bounds
	all := map[string]cty.Value{}
	for _, name := range s.subjects {
		all[name] = cty.ObjectVal(one)
	}
	return cty.ObjectVal(all)
}

// DecodeEvaluate evaluates an evaluate block, but for its ensures.
func (p *Program) DecodeEvaluate(n *Node) (*EvaluateConfig, diag.Diags) {
	r, content := p.body(n.Body, evaluateSchema)
	c := &EvaluateConfig{RuntimeRange: n.Range, rng: n.Range, ranges: map[string]hcl.Range{}, runtimes: map[string]string{}}
	if r.ds.HasErrors() {
		return c, r.ds
	}
	ds := r.ds
	artifact := func(e hcl.Expression, kind, what string) (string, *Artifact) {
		v, hd := e.Value(p.context(nil))
		ds = ds.Extend(hd)
		if hd.HasErrors() {
			return "", nil
		}
		if declaredKind, _, ok := p.declared(e); ok && declaredKind != kind || v.Type() != cty.DynamicPseudoType && !v.Type().Equals(ArtifactType) {
			ds = ds.Append(diag.At(e.Range(), "recipe/artifact", fmt.Sprintf("%s is a %s", what, kind), "Refer to one: %s.", exampleOf(kind)))
			return "", nil
		}
		addr := ""
		if refs := refsOf(e); len(refs) > 0 {
			addr = refs[0]
		}
		return addr, artifactOf(v)
	}
	de := content.Attributes["dataset"].Expr
	c.Dataset.Kind = "dataset"
	c.Dataset.Addr, c.Dataset.Artifact = artifact(de, "dataset", "dataset")
	c.ranges[""] = de.Range()
	be := content.Attributes["baseline"].Expr
	c.Baseline = Subject{Name: "baseline", Range: be.Range()}
	c.Baseline.Addr, c.Baseline.Artifact = artifact(be, "model", "baseline")
	c.ranges["baseline"] = be.Range()

	ce := content.Attributes["candidates"].Expr
	pairs, hd := hcl.ExprMap(ce)
	if hd.HasErrors() {
		return c, ds.Append(diag.At(ce.Range(), "recipe/candidates", "candidates is an object", "Write it as candidates = { int8 = step.int8.model }."))
	}
	for _, kv := range pairs {
		name, more := staticString(kv.Key)
		ds = ds.Append(more...)
		if slices.Contains([]string{"baseline", "low", "high"}, name) {
			ds = ds.Append(diag.At(kv.Key.Range(), "recipe/reserved", fmt.Sprintf("A candidate may not be called %q", name), "baseline, low and high are reserved."))
			continue
		}
		s := Subject{Name: name, Range: kv.Value.Range()}
		s.Addr, s.Artifact = artifact(kv.Value, "model", "A candidate")
		c.Candidate = append(c.Candidate, s)
		c.ranges[name] = kv.Value.Range()
	}
	slices.SortFunc(c.Candidate, func(a, b Subject) int { return strings.Compare(a.Name, b.Name) })
	if len(pairs) == 0 {
		ds = ds.Append(diag.At(ce.Range(), "recipe/candidates", "There is no candidate to measure", "Name at least one: candidates = { int8 = step.int8.model }."))
	}
	ds = ds.Append(p.runtimes(c, content)...)
	ds = ds.Append(p.metrics(c, content)...)
	ds = ds.Append(p.benchmark(c, content)...)
	return c, ds
}

func (p *Program) runtimes(c *EvaluateConfig, content *hcl.BodyContent) diag.Diags {
	a, ok := content.Attributes["runtime"]
	if !ok {
		return nil
	}
	c.RuntimeRange = a.Expr.Range()
	v, hd := a.Expr.Value(p.context(nil))
	ds := diag.FromHCL(hd)
	if hd.HasErrors() {
		return ds
	}
	check := func(name string) {
		if !slices.Contains(p.plugins, name) {
			ds = ds.Append(diag.At(a.Expr.Range(), "recipe/unknown-plugin", fmt.Sprintf("There is no plugin %q", name), "%s", didYouMean(name, p.plugins, "There is")))
		}
	}
	switch {
	case v.Type() == cty.String:
		c.runtime, _ = asString(v)
		check(c.runtime)
	case v.CanIterateElements() && v.IsWhollyKnown() && (v.Type().IsObjectType() || v.Type().IsMapType()):
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			c.runtimes[k.AsString()], _ = asString(e)
			check(c.runtimes[k.AsString()])
			if _, ok := c.ranges[k.AsString()]; !ok {
				ds = ds.Append(diag.At(a.Expr.Range(), "recipe/runtime", fmt.Sprintf("There is no candidate %q", k.AsString()), "runtime names a plugin, or maps candidates to plugins."))
			}
		}
	default:
		ds = ds.Append(diag.At(a.Expr.Range(), "recipe/runtime", "runtime is a plugin's name, or a map from candidates to names", "Write runtime = \"onnxruntime\"."))
	}
	return ds
}

func (p *Program) metrics(c *EvaluateConfig, content *hcl.BodyContent) diag.Diags {
	r := &reader{p: p, attrs: content.Attributes}
	v, rng, ok := r.value("metrics", cty.List(cty.String))
	if !ok {
		return r.ds
	}
	for _, m := range v.AsValueSlice() {
		name := m.AsString()
		if !slices.Contains(qualityMetrics, name) {
			r.ds = r.ds.Append(diag.At(rng, "recipe/unknown-metric", fmt.Sprintf("There is no metric %q to ask for", name), "%s", didYouMean(name, qualityMetrics, "There is")))
			continue
		}
		c.Metrics = append(c.Metrics, name)
	}
	return r.ds
}

func (p *Program) benchmark(c *EvaluateConfig, content *hcl.BodyContent) diag.Diags {
	blocks := content.Blocks.OfType("benchmark")
	if len(blocks) == 0 {
		return nil
	}
	if len(blocks) > 1 {
		return diag.Diags{diag.At(blocks[1].DefRange, "recipe/too-many-blocks", "A second benchmark block", "An evaluation has one.")}
	}
	r, _ := p.body(blocks[0].Body, benchmarkSchema)
	c.Benchmark = &BenchmarkConfig{Batch: r.count("batch", 1, 1), Threads: r.count("threads", 1, 1), Duration: time.Second}
	if s, rng := r.text("duration"); s != "" {
		d, ok := parseDuration(s)
		if !ok {
			r.ds = r.ds.Append(diag.At(rng, "recipe/duration", fmt.Sprintf("%q is not a duration", s), "Write it with its unit: \"500ms\", \"2s\"."))
		}
		c.Benchmark.Duration = d
	}
	return r.ds
}

// Ensure is one budget of an evaluation: its name, its condition as the recipe writes it, and how it came out.
type Ensure struct {
	Name, Condition string
	OK              bool
	Message         string
}

type ensureExpr struct {
	name               string
	condition, message hcl.Expression
	rng                hcl.Range
}

func (p *Program) ensureExprs(n *Node) (out []ensureExpr, exprs []hcl.Expression, ds diag.Diags) {
	content, _ := n.Body.Content(evaluateSchema)
	for _, b := range content.Blocks.OfType("ensure") {
		if slices.ContainsFunc(out, func(o ensureExpr) bool { return o.name == b.Labels[0] }) {
			ds = ds.Append(diag.At(b.DefRange, "recipe/duplicate", fmt.Sprintf("A second ensure %q", b.Labels[0]), "Names are unique in an evaluation."))
		}
		c, hd := b.Body.Content(ensureSchema)
		ds = ds.Extend(hd)
		e := ensureExpr{name: b.Labels[0], rng: b.DefRange}
		if a, ok := c.Attributes["condition"]; ok {
			e.condition = a.Expr
			exprs = append(exprs, a.Expr)
		}
		if a, ok := c.Attributes["error_message"]; ok {
			e.message = a.Expr
			exprs = append(exprs, a.Expr)
		}
		if e.condition != nil {
			out = append(out, e)
		}
	}
	return out, exprs, ds
}

// checkEnsures evaluates the conditions with unknown figures: their types and references must fit.
func (p *Program) checkEnsures(n *Node) (ds diag.Diags) {
	ensures, _, _ := p.ensureExprs(n)
	self := p.shapes[n.Name].unknown()
	for _, e := range ensures {
		v, hd := e.condition.Value(p.context(&self))
		ds = ds.Extend(hd)
		if !hd.HasErrors() && v.Type() != cty.Bool && v.Type() != cty.DynamicPseudoType {
			ds = ds.Append(diag.At(e.condition.Range(), "recipe/condition", "The condition is not true or false", "It is a %s. Compare it with something.", v.Type().FriendlyName()))
		}
		if e.message != nil {
			_, hd := e.message.Value(p.context(&self))
			ds = ds.Extend(hd)
		}
	}
	return ds
}

// Figures are what was measured of one subject: point estimates and interval bounds by metric.
type Figures struct{ Point, Low, High map[string]float64 }

// SetMeasured puts an evaluation's figures into the scope.
func (p *Program) SetMeasured(n *Node, subjects map[string]Figures) {
	object := func(m map[string]float64) map[string]cty.Value {
		out := map[string]cty.Value{}
		for k, v := range m {
			out[k] = cty.NumberFloatVal(v)
		}
		return out
	}
	all := map[string]cty.Value{}
	for name, f := range subjects {
		one := object(f.Point)
		one["low"], one["high"] = cty.ObjectVal(object(f.Low)), cty.ObjectVal(object(f.High))
		all[name] = cty.ObjectVal(one)
	}
	p.kinds[KindEvaluate][n.Name] = cty.ObjectVal(all)
}

// Ensures evaluates the budgets of an evaluation that was measured.
func (p *Program) Ensures(n *Node) (out []Ensure, ds diag.Diags) {
	exprs, _, _ := p.ensureExprs(n)
	self := p.kinds[KindEvaluate][n.Name]
	ctx := p.context(&self)
	for _, e := range exprs {
		c := Ensure{Name: e.name, Condition: p.text(e.condition.Range())}
		v, hd := e.condition.Value(ctx)
		if hd.HasErrors() {
			ds = ds.Extend(hd)
			continue
		}
		ok, err := truth(v)
		if err != nil {
			ds = ds.Append(diag.At(e.condition.Range(), "recipe/condition", "The condition is not true or false", "%s.", err))
			continue
		}
		c.OK = ok
		if !ok {
			c.Message = p.ensureMessage(e, ctx)
		}
		out = append(out, c)
	}
	return out, ds
}

// ensureMessage is the recipe's own message, else the condition with the values in it.
func (p *Program) ensureMessage(e ensureExpr, ctx *hcl.EvalContext) string {
	if e.message != nil {
		v, hd := e.message.Value(ctx)
		if v.ContainsMarked() {
			return "(the message holds a sensitive value)"
		}
		if s, ok := asString(v); ok && !hd.HasErrors() {
			return s
		}
	}
	var values []string
	for _, t := range e.condition.Variables() {
		v, hd := t.TraverseAbs(ctx)
		if hd.HasErrors() || v.IsNull() {
			continue
		}
		name := p.text(t.SourceRange())
		switch {
		case v.ContainsMarked():
			values = append(values, name+" is sensitive")
		case v.IsKnown() && v.Type() == cty.Number:
			values = append(values, name+" is "+v.AsBigFloat().Text('g', 6))
		}
	}
	s := p.text(e.condition.Range()) + " does not hold"
	if len(values) > 0 {
		s += ": " + strings.Join(slices.Compact(values), ", ")
	}
	return s + "."
}

// text is the recipe's own text at a range.
func (p *Program) text(r hcl.Range) string {
	f := p.recipe.Files[r.Filename]
	if f == nil || r.End.Byte > len(f.Bytes) {
		return ""
	}
	return strings.Join(strings.Fields(string(r.SliceBytes(f.Bytes))), " ")
}
