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
	"github.com/optimize-hcl/optimize/core/evaluate"
)

// Metrics that an evaluation gives: always, and with a benchmark.
var (
	alwaysMetrics  = evaluate.Always
	latencyMetrics = evaluate.Latency
)

// defaultDuration is how long each subject is timed when the recipe does not say.
const defaultDuration = time.Second

// EvaluateConfig is an evaluate block.
type EvaluateConfig struct {
	Dataset   Input
	Baseline  Subject
	Candidate []Subject
	Metrics   []evaluate.Metric
	Benchmark *BenchmarkConfig
	// RuntimeRange is the place of runtime, or of the block.
	RuntimeRange hcl.Range

	runtime  string
	runtimes map[string]string
	engines  map[string]*EngineConfig
	ranges   map[string]hcl.Range
	metrics  map[string]hcl.Range
	rng      hcl.Range
}

// MetricRange is the place of a metric, or of the block.
func (c *EvaluateConfig) MetricRange(name string) hcl.Range {
	if r, ok := c.metrics[name]; ok {
		return r
	}
	return c.rng
}

// Subject is one thing that is measured; Artifact is nil while it does not exist, and Format empty while it is not known.
type Subject struct {
	Name, Addr string
	Format     string
	Artifact   *Artifact
	Range      hcl.Range
}

func (g given) subject(name string, rng hcl.Range) Subject {
	return Subject{Name: name, Addr: g.node, Format: g.format, Artifact: g.artifact, Range: rng}
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
		s.Blocks = []hcl.BlockHeaderSchema{{Type: "benchmark"}, {Type: "engine", LabelNames: []string{"candidate"}}, {Type: "metric", LabelNames: []string{"name"}}, {Type: "ensure", LabelNames: []string{"name"}}}
		return s
	}()
	benchmarkSchema = attributes("batch", "threads", "duration")
	ensureSchema    = attributes("condition!", "error_message")
)

// shape is what an evaluation will give: its subjects, and the metrics of each.
type shape struct {
	subjects, metrics []string
	// compare are the metrics that the baseline has none of.
	compare map[string]bool
	// open says that the candidates could not be told, so that nothing can be said against a reference.
	open bool
}

// of gives the metrics of a subject. Of the baseline there is what means something without a comparison.
func (s *shape) of(subject string) []string {
	if subject != "baseline" {
		return s.metrics
	}
	return slices.DeleteFunc(slices.Clone(s.metrics), func(m string) bool { return s.compare[m] })
}

// evaluateShape tells what an evaluation will give. Which quality metrics there are without a metrics argument depends
// on labels and outputs of the models, so all of them may be referred to.
func (p *Program) evaluateShape(n *Node) *shape {
	body, _ := n.Body.Content(evaluateSchema)
	s := &shape{subjects: []string{"baseline"}, metrics: slices.Clone(alwaysMetrics), compare: map[string]bool{}}
	if a, ok := body.Attributes["candidates"]; ok {
		found, ds := p.candidates(a.Expr)
		s.open = ds.HasErrors()
		for _, c := range found {
			s.subjects = append(s.subjects, c.name)
		}
	} else {
		s.open = true // that they are missing is told
	}
	asked := p.askedMetrics(&reader{p: p, attrs: body.Attributes, ctx: p.static()}, body) // decoding tells what is wrong
	if !asked.written {
		asked.names = evaluate.Defaults
		asked.metrics, _ = evaluate.Named(evaluate.Defaults)
	}
	for _, m := range asked.metrics {
		s.compare[m.Name] = m.Compares()
	}
	s.metrics = append(s.metrics, asked.names...)
	if len(body.Blocks.OfType("benchmark")) > 0 {
		s.metrics = append(s.metrics, latencyMetrics...)
	}
	return s
}

// unknown is the value of an evaluation that has not run.
func (s *shape) unknown() cty.Value {
	if s.open {
		return cty.DynamicVal
	}
	all := map[string]cty.Value{}
	for _, name := range s.subjects {
		figures := map[string]cty.Value{}
		for _, m := range s.of(name) {
			figures[m] = cty.UnknownVal(cty.Number).RefineNotNull()
		}
		one := maps.Clone(figures)
		one["low"], one["high"] = cty.ObjectVal(figures), cty.ObjectVal(figures)
		all[name] = cty.ObjectVal(one)
	}
	return cty.ObjectVal(all)
}

// candidate is one entry of candidates: its value, and where it is written.
type candidate struct {
	name  string
	value cty.Value
	place hcl.Range
	expr  hcl.Expression // nil when the whole object is computed
}

// candidates evaluates the candidates of an evaluation, sorted by name.
func (p *Program) candidates(e hcl.Expression) (out []candidate, ds diag.Diags) {
	ctx := p.contextOf(e)
	ds = p.checkRefs(e, place{roots: allRoots})
	if ds.HasErrors() {
		return nil, ds
	}
	v, hd := e.Value(ctx)
	if hd.HasErrors() {
		return nil, coded(hd)
	}
	v, _ = v.UnmarkDeep()
	ty := v.Type()
	if v.IsNull() || ty != cty.DynamicPseudoType && !ty.IsObjectType() && !ty.IsMapType() {
		return nil, diag.Diags{diag.At(e.Range(), "recipe/candidates", "candidates is an object", "Write it as candidates = { int8 = step.int8.model }.")}
	}
	if !v.IsKnown() {
		return nil, diag.Diags{diag.At(e.Range(), "recipe/candidates", "The names of the candidates are not known", "They are known before any step runs; only their models come from steps. Write the names out, or make them of variables and locals.")}
	}
	written := map[string]hcl.Expression{}
	places := map[string]hcl.Range{}
	if pairs, hd := hcl.ExprMap(e); !hd.HasErrors() {
		for _, kv := range pairs {
			k, hd := kv.Key.Value(ctx)
			if name, ok := asString(k); ok && !hd.HasErrors() {
				if first, again := places[name]; again {
					ds = ds.Append(diag.At(kv.Key.Range(), "recipe/duplicate", fmt.Sprintf("A second candidate %q", name), "The first is at %s. Give this one another name.", spot(first)))
				}
				written[name], places[name] = kv.Value, kv.Key.Range()
			}
		}
	}
	for it := v.ElementIterator(); it.Next(); {
		k, e2 := it.Element()
		c := candidate{name: k.AsString(), value: e2, place: e.Range()}
		if w := written[c.name]; w != nil {
			c.expr, c.place = w, w.Range()
		}
		at := c.place
		if r, ok := places[c.name]; ok {
			at = r
		}
		switch {
		case slices.Contains([]string{"baseline", "low", "high"}, c.name):
			ds = ds.Append(diag.At(at, "recipe/reserved", fmt.Sprintf("A candidate may not be called %q", c.name), "baseline, low and high are reserved: they stand in references to figures. Give it another name."))
			continue
		case c.name == "":
			ds = ds.Append(diag.At(at, "recipe/candidates", "A candidate has no name", "Write it as candidates = { int8 = step.int8.model }."))
			continue
		}
		out = append(out, c)
	}
	if len(out) == 0 && !ds.HasErrors() {
		ds = ds.Append(diag.At(e.Range(), "recipe/candidates", "There is no candidate to measure", "Name at least one: candidates = { int8 = step.int8.model }."))
	}
	slices.SortFunc(out, func(a, b candidate) int { return strings.Compare(a.name, b.name) })
	return out, ds
}

// DecodeEvaluate evaluates an evaluate block, but for its ensures.
func (p *Program) DecodeEvaluate(n *Node) (*EvaluateConfig, diag.Diags) {
	ctx := p.context(n, nil)
	r, body := p.body(n.Body, evaluateSchema, ctx)
	c := &EvaluateConfig{RuntimeRange: n.Range, rng: n.Range, ranges: map[string]hcl.Range{}, runtimes: map[string]string{}}
	if r.ds.HasErrors() {
		return c, p.hide(r.ds)
	}
	// artifact reads one artifact; e is nil when it has no expression of its own.
	artifact := func(v cty.Value, e hcl.Expression, rng hcl.Range, kind, what string) given {
		g, wrong := p.artifactOf(v)
		if wrong == "" && g.kind != "" && g.kind != kind {
			wrong = fmt.Sprintf("%s is %s.", g.addr, article(g.kind))
		}
		if wrong != "" {
			r.ds = r.ds.Append(diag.At(rng, "recipe/artifact", fmt.Sprintf("%s must be %s", what, article(kind)), "%s Refer to one: %s.", wrong, exampleOf(kind)))
		}
		if g.node == "" && e != nil {
			if nodes := p.nodesOf(e, ctx); len(nodes) > 0 {
				g.node = nodes[0]
			}
		}
		return g
	}
	one := func(name, kind string) (given, hcl.Range) {
		e := body.Attributes[name].Expr
		v, hd := p.eval(e, ctx)
		if hd.HasErrors() {
			r.ds = r.ds.Append(coded(hd)...)
			return given{}, e.Range()
		}
		return artifact(v, e, e.Range(), kind, name), e.Range()
	}
	data, rng := one("dataset", "dataset")
	c.Dataset = Input{Kind: "dataset", Addr: data.node, Artifact: data.artifact}
	c.ranges[""] = rng
	base, rng := one("baseline", "model")
	c.Baseline = base.subject("baseline", rng)
	c.ranges["baseline"] = rng
	found, more := p.candidates(body.Attributes["candidates"].Expr)
	r.ds = r.ds.Append(more...)
	for _, f := range found {
		g := artifact(f.value, f.expr, f.place, "model", "A candidate")
		c.Candidate = append(c.Candidate, g.subject(f.name, f.place))
		c.ranges[f.name] = f.place
	}
	p.runtimes(c, r)
	p.readEngines(c, r, body)
	asked := p.askedMetrics(r, body)
	c.Metrics, c.metrics = asked.metrics, asked.ranges
	p.checkMetricData(c, r)
	ds := r.ds.Append(p.benchmark(c, body, ctx)...)
	return c, p.hide(ds)
}

func (p *Program) runtimes(c *EvaluateConfig, r *reader) {
	a, ok := r.attrs["runtime"]
	if !ok {
		return
	}
	c.RuntimeRange = a.Expr.Range()
	bad := func(code, summary, detail string, args ...any) {
		r.ds = r.ds.Append(diag.At(a.Expr.Range(), code, summary, detail, args...))
	}
	v, hd := p.eval(a.Expr, r.ctx)
	if hd.HasErrors() {
		r.ds = r.ds.Append(coded(hd)...)
		return
	}
	v, _ = v.UnmarkDeep()
	check := func(name string) {
		if !slices.Contains(p.plugins, name) && !p.requires(name) { // a required one is told where it is required
			bad("recipe/unknown-plugin", fmt.Sprintf("There is no plugin %q", name), "%s", didYouMean(name, p.plugins, "A third party's is named in required_plugins first. There is"))
		}
	}
	switch {
	case v.IsNull() || !v.IsWhollyKnown(): // as if it were not written, or a follow-up
	case v.Type() == cty.String:
		c.runtime = v.AsString()
		check(c.runtime)
	case v.Type().IsObjectType() || v.Type().IsMapType():
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			subject := k.AsString()
			name, ok := asString(e)
			if !ok {
				bad("recipe/runtime", fmt.Sprintf("The runtime of %q is not a plugin's name", subject), "It is %s. Write a name: { %s = \"onnxruntime\" }.", article(e.Type().FriendlyName()), subject)
				continue
			}
			c.runtimes[subject] = name
			check(name)
			if _, ok := c.ranges[subject]; !ok || subject == "" {
				var subjects []string
				for _, s := range c.Subjects() {
					subjects = append(subjects, s.Name)
				}
				bad("recipe/runtime", fmt.Sprintf("There is no candidate %q", subject), "%s", didYouMean(subject, subjects, "There is"))
			}
		}
	default:
		bad("recipe/runtime", "runtime is a plugin's name, or a map from candidates to names", "Write runtime = \"onnxruntime\", or runtime = { int8 = \"onnxruntime\" }.")
	}
}

func (p *Program) benchmark(c *EvaluateConfig, body *hcl.BodyContent, ctx *hcl.EvalContext) diag.Diags {
	blocks := body.Blocks.OfType("benchmark")
	if len(blocks) == 0 {
		return nil
	}
	r, _ := p.body(blocks[0].Body, benchmarkSchema, ctx)
	if len(blocks) > 1 {
		r.ds = r.ds.Append(diag.At(blocks[1].DefRange, "recipe/too-many-blocks", "A second benchmark block", "The first is at %s. An evaluation has one: remove the other.", spot(blocks[0].DefRange)))
	}
	c.Benchmark = &BenchmarkConfig{Batch: r.count("batch", 1, 1), Threads: r.count("threads", 1, 1), Duration: defaultDuration}
	if s, rng, ok := r.written("duration"); ok {
		d, ok := parseDuration(s)
		if !ok {
			r.ds = r.ds.Append(diag.At(rng, "recipe/duration", fmt.Sprintf("%q is not a duration", s), "Write it with its unit: \"500ms\", \"2s\"."))
		}
		c.Benchmark.Duration = d
	}
	return r.ds
}
