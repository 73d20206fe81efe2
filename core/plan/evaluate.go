package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/evaluate"
	"github.com/optimize-hcl/optimize/core/host"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// evaluate plans an evaluation: what must exist first, and whether the engines can work here.
func (s *Session) evaluate(ctx context.Context, n *recipe.Node, a *Action) diag.Diags {
	c, ds := s.Evaluation(n)
	if ds.HasErrors() {
		return ds
	}
	spec, after, ds2 := s.EvaluateSpec(ctx, n, c)
	ds = ds.Append(ds2...)
	a.After = after
	if ds.HasErrors() {
		return ds
	}
	if ds = ds.Append(s.checkMetrics(ctx, n, c)...); ds.HasErrors() {
		return ds
	}
	a.Digests = map[string]string{}
	if spec.Dataset.Digest != "" {
		a.Digests["dataset"] = spec.Dataset.Digest
	}
	for _, sub := range spec.Subjects {
		a.Digests[sub.Name] = sub.Artifact.Digest
	}
	if len(after) > 0 {
		a.Status, a.Timed = Pending, c.Benchmark != nil
		var names []string
		for _, sub := range c.Subjects() {
			names = append(names, sub.Name)
		}
		a.LastDuration, _ = evaluate.Earlier(s.Store, spec, names)
		return ds.Append(s.probe(ctx, n, c, a, s.engines(ctx, c))...)
	}
	ds = ds.Append(s.probe(ctx, n, c, a, spec.Subjects)...)
	a.Status = Run
	if ds.HasErrors() || len(a.Missing) > 0 {
		return ds
	}
	known, err := evaluate.Known(ctx, s.Store, spec)
	if err != nil {
		return ds.Append(fail(n, "The evaluation cannot be planned", err)...)
	}
	a.Timed, a.LastDuration = !known.Latency, known.Took
	switch {
	case a.Forced:
	case known.Quality && known.Latency:
		a.Status = Cached
	case known.Quality:
		a.Status, a.Why = Measure, "quality is cached, latency is measured again"
	case known.FirstRun:
		a.Why, a.FirstRun = "no earlier run", true
	default:
		a.Why, a.Reasons = "changed", known.Changes
	}
	return ds
}

// engines are the subjects with the runtimes that the recipe names or that are native to the formats known so far.
func (s *Session) engines(ctx context.Context, c *recipe.EvaluateConfig) (out []evaluate.Subject) {
	for _, sub := range c.Subjects() {
		name := c.RuntimeOf(sub.Name)
		if name == "" && sub.Artifact != nil {
			name, _, _ = s.Registry.NativeRuntime(ctx, sub.Artifact.Format)
		}
		if ref, ok := s.Registry.Ref(name); ok {
			out = append(out, evaluate.Subject{Name: sub.Name, Engine: &engine{registry: s.Registry, ref: ref}, Options: optionsOf(c, sub.Name)})
		}
	}
	return out
}

func optionsOf(c *recipe.EvaluateConfig, subject string) map[string]string {
	if e := c.EngineOf(subject); e != nil {
		return e.Options
	}
	return nil
}

// probe asks the engine of each subject, set up as the recipe says, whether it can work here; each such engine once.
func (s *Session) probe(ctx context.Context, n *recipe.Node, c *recipe.EvaluateConfig, a *Action, subjects []evaluate.Subject) (ds diag.Diags) {
	asked := map[string]bool{}
	for _, sub := range subjects {
		if asked[sub.EngineKey()] {
			continue
		}
		asked[sub.EngineKey()] = true
		r, err := sub.Engine.Probe(ctx, &pluginv1.ProbeRequest{Threads: s.Threads, Options: sub.Options})
		if err != nil {
			ds = ds.Append(fail(n, fmt.Sprintf("Plugin %s could not look at this machine", sub.Engine.Name()), err)...)
			continue
		}
		for _, m := range r.GetMissing() {
			if missing := (Missing{m.GetWhat(), m.GetCommand()}); !slices.Contains(a.Missing, missing) {
				a.Missing = append(a.Missing, missing)
			}
		}
		body := n.Body
		if e := c.EngineOf(sub.Name); e != nil {
			body = e.Body // the only thing there that the engine was told
		}
		ds = ds.Append(s.diagnosticsIn(body, n, sub.Engine.Name(), r.GetDiagnostics())...)
	}
	return ds
}

// EvaluateSpec turns the recipe's evaluation into a specification; after names what does not exist yet.
func (s *Session) EvaluateSpec(ctx context.Context, n *recipe.Node, c *recipe.EvaluateConfig) (spec evaluate.Spec, after []string, ds diag.Diags) {
	spec = evaluate.Spec{
		Name: n.Name, RecordName: s.RecordName(n), Metrics: slices.Clone(c.Metrics), Threads: s.Threads, Platform: s.Platform,
		ReuseBenchmarks: s.ReuseBenchmarks, Fresh: s.forced(n) != "",
	}
	if c.Benchmark != nil {
		spec.Benchmark = &evaluate.Benchmark{Batch: c.Benchmark.Batch, Threads: c.Benchmark.Threads, Duration: c.Benchmark.Duration}
	}
	if c.Dataset.Artifact == nil {
		after = append(after, c.Dataset.Addr)
	} else {
		spec.Dataset = evaluate.Dataset{Dir: c.Dataset.Artifact.Path, Digest: c.Dataset.Artifact.Digest}
	}
	for _, sub := range c.Subjects() {
		if sub.Artifact == nil {
			after = append(after, sub.Addr)
			continue
		}
		e, ds2 := s.subject(ctx, n, c, sub)
		ds = ds.Append(ds2...)
		spec.Subjects = append(spec.Subjects, e)
	}
	for i, m := range spec.Metrics {
		if m.Tokenizer == "" {
			continue
		}
		digest, _, err := s.Store.HashFile(m.Tokenizer)
		if err != nil {
			ds = ds.Append(diag.At(c.MetricRange(m.Name), "recipe/metric-tokenizer", "The tokenizer cannot be read", "%s", err))
			continue
		}
		spec.Metrics[i].TokenizerDigest = digest
	}
	slices.Sort(after)
	return spec, slices.Compact(after), ds
}

// checkMetrics holds the metrics against the baseline's outputs as soon as the baseline exists: often when it is a file
// and the candidates have yet to be made.
func (s *Session) checkMetrics(ctx context.Context, n *recipe.Node, c *recipe.EvaluateConfig) (ds diag.Diags) {
	if len(c.Metrics) == 0 || c.Baseline.Artifact == nil {
		return nil
	}
	sub, more := s.subject(ctx, n, c, c.Baseline)
	if more.HasErrors() || sub.Inspector == nil {
		return nil // told elsewhere, or known when it runs
	}
	a := sub.Artifact
	r, err := sub.Inspector.Inspect(ctx, &pluginv1.Artifact{Kind: a.Kind, Format: a.Format, Path: a.Path, Digest: a.Digest, Size: a.Size})
	if err != nil {
		return fail(n, "The baseline cannot be inspected", err)
	}
	outputs := evaluate.InspectedOutputs(r.GetDocument())
	for _, m := range c.Metrics {
		if m.Change {
			continue // as the metric itself, or told when it runs
		}
		if err := m.Check(outputs); err != nil {
			ds = ds.Append(diag.At(c.MetricRange(m.Name), "recipe/metric-output", fmt.Sprintf("Metric %q does not fit the baseline", m.Name), "%s.", upper(err.Error())))
		}
	}
	return ds
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func (s *Session) subject(ctx context.Context, n *recipe.Node, c *recipe.EvaluateConfig, sub recipe.Subject) (evaluate.Subject, diag.Diags) {
	a := sub.Artifact
	out := evaluate.Subject{Name: sub.Name, Options: optionsOf(c, sub.Name), Artifact: cache.Artifact{Kind: a.Kind, Format: a.Format, Path: a.Path, Digest: a.Digest, Size: a.Size}}
	name := c.RuntimeOf(sub.Name)
	if name == "" {
		var ok bool
		var err error
		if name, ok, err = s.Registry.NativeRuntime(ctx, a.Format); err != nil {
			return out, fail(n, "The plugins' formats are not known", err)
		} else if !ok {
			return out, diag.Diags{diag.At(sub.Range, "recipe/no-runtime", fmt.Sprintf("No plugin runs %s natively", a.Format),
				"Name the runtime that shall run %s: runtime = \"onnxruntime\".", sub.Name)}
		}
	}
	ref, ok := s.Registry.Ref(name)
	if !ok {
		return out, diag.Diags{diag.At(c.RuntimeRange, "recipe/unknown-plugin", fmt.Sprintf("There is no plugin %q", name),
			"Known are %s.", strings.Join(s.Registry.Names(), ", "))}
	}
	if runs, err := s.Registry.Runs(ctx, name, a.Format); err != nil {
		return out, fail(n, "The plugins' formats are not known", err)
	} else if !runs {
		return out, diag.Diags{diag.At(sub.Range, "recipe/wrong-runtime", fmt.Sprintf("Plugin %s does not run %s", name, a.Format), "It is what %s holds.", sub.Name)}
	}
	out.Engine = &engine{registry: s.Registry, ref: ref}
	if name, ok, err := s.Registry.Inspector(ctx, a.Format); err == nil && ok {
		ref, _ := s.Registry.Ref(name)
		out.Inspector = &engine{registry: s.Registry, ref: ref}
	}
	return out, nil
}

// engine is a plugin as core/evaluate sees it; its process starts with the first call that needs it.
type engine struct {
	registry *Registry
	ref      host.Ref
	// apart has it run in a process of its own, beside that of the plugin's steps.
	apart bool
}

func (e *engine) Name() string    { return e.ref.Name }
func (e *engine) Version() string { return e.ref.Version }
func (e *engine) Digest() string  { return e.ref.Digest }

func (e *engine) Probe(ctx context.Context, r *pluginv1.ProbeRequest) (*pluginv1.ProbeResponse, error) {
	c, err := e.Runtime(ctx)
	if err != nil {
		return nil, err
	}
	return c.Probe(ctx, r)
}

func (e *engine) Runtime(ctx context.Context) (pluginv1.RuntimeClient, error) {
	start := e.registry.Plugin
	if e.apart {
		start = e.registry.Engine
	}
	p, err := start(ctx, e.ref.Name)
	if err != nil {
		return nil, err
	}
	return p.Runtime(), nil
}

func (e *engine) Inspect(ctx context.Context, a *pluginv1.Artifact) (*pluginv1.InspectResponse, error) {
	p, err := e.registry.Plugin(ctx, e.ref.Name)
	if err != nil {
		return nil, err
	}
	return p.Inspect(ctx, &pluginv1.InspectRequest{Artifact: a})
}

// CheckEnsures puts an evaluation's figures into the scope and checks its budgets.
func (s *Session) CheckEnsures(n *recipe.Node, res *evaluate.Result) ([]report.Ensure, diag.Diags) {
	subjects := map[string]recipe.Figures{}
	for _, m := range res.Measurements {
		f := recipe.Figures{Point: map[string]float64{}, Low: map[string]float64{}, High: map[string]float64{}}
		for k, v := range m.Metrics {
			f.Point[k], f.Low[k], f.High[k] = v.Point, v.Low, v.High
		}
		subjects[m.Name] = f
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Program.SetMeasured(n, subjects)
	found, ds := s.Program.Ensures(n)
	var out []report.Ensure
	for _, e := range found {
		out = append(out, report.Ensure{Name: e.Name, OK: e.OK, Condition: e.Condition, Message: e.Message})
	}
	return out, ds
}

// Dataset decodes a dataset node.
func (s *Session) Dataset(n *recipe.Node) (*recipe.DatasetConfig, diag.Diags) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Program.DecodeDataset(n)
}

// Evaluation decodes an evaluation.
func (s *Session) Evaluation(n *recipe.Node) (*recipe.EvaluateConfig, diag.Diags) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Program.DecodeEvaluate(n)
}

// Output decodes an output.
func (s *Session) Output(n *recipe.Node) (*recipe.OutputConfig, diag.Diags) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Program.DecodeOutput(n)
}
