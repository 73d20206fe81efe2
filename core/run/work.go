package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/evaluate"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/telemetry"
	"github.com/optimize-hcl/optimize/dataset"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// waitTold is after how long a user is told that another run is at the same work.
const waitTold = 500 * time.Millisecond

// produce gives the record of an action: from the store, also when another run finishes the same work meanwhile, else
// by work.
func (r *Runner) produce(ctx context.Context, n *recipe.Node, a *plan.Action, act *report.Action, work func(txn *cache.Txn) (*cache.Record, error)) error {
	if a.Record != nil {
		act.Status = "cached"
		return nil
	}
	store := r.Session.Store
	waiting := time.AfterFunc(waitTold, func() { r.emit(Event{Type: "wait", Addr: n.Addr, StepType: a.Type}) })
	unlock, err := store.Lock(ctx, a.Sum)
	waiting.Stop()
	if err != nil {
		return r.fault(ctx, asDiags(n, "The cache cannot be written", r.roomy(err, a.Size)))
	}
	defer unlock()
	rec, ok := store.Lookup(a.Sum)
	if ok && !a.Forced {
		act.Status = "cached"
	} else {
		r.emit(Event{Type: "start", Addr: n.Addr, StepType: a.Type, Why: a.Why, Reasons: a.Reasons})
		txn, err := store.Begin()
		if err != nil {
			return r.report(asDiags(n, "There is no room to work in", r.roomy(err, a.Size)))
		}
		defer txn.Discard()
		if rec, err = work(txn); err != nil {
			return err
		}
		act.Status = "done"
	}
	r.Session.Complete(n, a, rec)
	return nil
}

func (r *Runner) progress(addr, phase string, current, total int64, unit string) {
	r.emit(Event{Type: "progress", Addr: addr, Phase: phase, Current: current, Total: total, Unit: unit})
}

// dataset materialises a dataset into canonical shards.
func (r *Runner) dataset(ctx context.Context, n *recipe.Node, a *plan.Action, act *report.Action) error {
	return r.produce(ctx, n, a, act, func(txn *cache.Txn) (*cache.Record, error) {
		c, ds := r.Session.Dataset(n)
		if ds.HasErrors() {
			return nil, r.report(ds)
		}
		started := time.Now()
		info, err := dataset.Materialise(ctx, c.Spec, txn.OutDir, func(done, total int64) { r.progress(n.Addr, "reading", done, total, "samples") })
		var de *dataset.Error
		switch {
		case errors.As(err, &de):
			return nil, r.report(diag.Diags{{Code: "dataset/invalid", Summary: de.Summary, Detail: de.Detail, Subject: datasetRange(n, de.Path), Step: n.Addr}})
		case err != nil:
			return nil, r.fault(ctx, r.full(asDiags(n, "The dataset cannot be read", err), a.Size))
		}
		result, err := json.Marshal(map[string]any{"samples": info.Samples, "fields": info.Fields, "labels": info.HasLabel})
		if err != nil {
			return nil, err
		}
		rec, err := txn.Commit(ctx, a.Key, r.Session.RecordName(n), map[string]cache.Output{"": {Kind: "dataset", Format: "safetensors", Path: "."}}, result,
			cache.Meta{Started: started, Duration: time.Since(started), PluginVersion: r.Session.Version})
		if err != nil {
			return nil, r.fault(ctx, asDiags(n, "The dataset cannot be stored", r.roomy(err, a.Size)))
		}
		return rec, nil
	})
}

// datasetRange finds the place of a dataset error: a path of block types, labels and arguments.
func datasetRange(n *recipe.Node, path []string) *hcl.Range {
	var steps []*pluginv1.PathStep
	for i, p := range path {
		if i == 1 && len(path) == 3 { // input "NAME" { field }
			steps = append(steps, &pluginv1.PathStep{Step: &pluginv1.PathStep_Key{Key: p}})
			continue
		}
		steps = append(steps, &pluginv1.PathStep{Step: &pluginv1.PathStep_Attribute{Attribute: p}})
	}
	rng := diag.FromPath(n.Body, steps)
	return &rng
}

// step has the plugin do its work.
func (r *Runner) step(ctx context.Context, n *recipe.Node, a *plan.Action, act *report.Action) error {
	return r.produce(ctx, n, a, act, func(txn *cache.Txn) (*cache.Record, error) {
		s := r.Session
		// The start is no work of this step: other steps wait for the same one, and it has bounds of its own.
		p, err := s.Registry.Plugin(ctx, a.Plugin)
		if err != nil {
			return nil, r.fault(ctx, asDiags(n, fmt.Sprintf("Plugin %s does not start", a.Plugin), err))
		}
		working := ctx // ends with the timeout; what is done in time is stored all the same
		if n.Timeout > 0 {
			var cancel context.CancelFunc
			working, cancel = context.WithTimeout(ctx, n.Timeout)
			defer cancel()
		}
		req := proto.CloneOf(a.Request)
		req.RunId, req.OutDir, req.ScratchDir = r.ID+"/"+n.Addr, txn.OutDir, txn.ScratchDir
		started := time.Now()
		log := r.logs.open(n.Addr)
		defer func() { log.line("ended after %s", time.Since(started).Round(time.Millisecond)) }()
		log.line("%s by plugin %s %s", a.Type, a.Plugin, a.PluginVersion)
		spoilt, changed := r.watch(working, n, a)
		if len(spoilt) > 0 {
			_ = changed(context.WithoutCancel(ctx)) // takes them out of the store
			return nil, r.report(spoilt)
		}
		done, pds, err := p.Apply(working, req, s.Services(n.Addr, a.Plugin), func(e *pluginv1.ApplyEvent) { r.pluginEvent(ctx, n.Addr, a.Plugin, log, e) })
		ds := r.full(s.Diagnostics(n, a.Plugin, pds), a.Size)
		tampered := changed(context.WithoutCancel(ctx))
		switch {
		case len(tampered) > 0:
			return nil, r.report(ds.Append(tampered...))
		case ctx.Err() != nil:
			return nil, ctx.Err() // the stop, not the step, is the reason
		case err != nil && working.Err() != nil:
			d := diag.At(n.Range, "run/timeout", n.Addr+" took longer than its timeout", "It was stopped after %s. Raise timeout, or give the step less to do.", n.Timeout)
			d.Step = n.Addr
			return nil, errors.Join(r.report(ds.Append(d)), errTimeout)
		case err != nil:
			return nil, r.report(r.full(ds.Append(asDiags(n, n.Addr+" did not finish", err)...), a.Size))
		}
		if err := r.report(ds); err != nil {
			return nil, err
		}
		if done.GetStopped() {
			return nil, r.report(diag.Diags{diag.At(n.Range, "run/stopped", n.Addr+" stopped without being asked", "This is a fault of plugin %s.", a.Plugin)})
		}
		result, err := r.resultJSON(n, done)
		if err != nil {
			return nil, r.report(asDiags(n, fmt.Sprintf("Plugin %s answered with a result that is not what it declares", a.Plugin), err))
		}
		outputs, err := stepOutputs(n, done)
		if err != nil {
			return nil, r.report(asDiags(n, fmt.Sprintf("Plugin %s did not write what it declares", a.Plugin), err))
		}
		if err := notEmpty(txn.OutDir, outputs); err != nil {
			return nil, r.report(asDiags(n, fmt.Sprintf("Plugin %s did not write what it declares", a.Plugin), err))
		}
		rec, err := txn.Commit(ctx, a.Key, r.Session.RecordName(n), outputs, result, cache.Meta{Started: started, Duration: time.Since(started), PluginVersion: a.PluginVersion, Nondeterministic: a.Nondeterministic})
		if err != nil {
			return nil, r.fault(ctx, asDiags(n, "The result of "+n.Addr+" cannot be stored", r.roomy(err, a.Size)))
		}
		return rec, nil
	})
}

// watch notes the inputs of a step; the function it returns tells which of them the plugin changed. Those that another
// step has changed already are spoilt: the step must not read them.
func (r *Runner) watch(ctx context.Context, n *recipe.Node, a *plan.Action) (spoilt diag.Diags, changed func(ctx context.Context) diag.Diags) {
	names := slices.Sorted(maps.Keys(a.Inputs))
	var arts []cache.Artifact
	for _, name := range names {
		arts = append(arts, a.Inputs[name])
	}
	at := func(indexes []int, summary, detail string) (ds diag.Diags) {
		for _, i := range indexes {
			rng := diag.FromPath(n.Body, []*pluginv1.PathStep{{Step: &pluginv1.PathStep_Attribute{Attribute: names[i]}}})
			d := diag.At(rng, "run/input-changed", fmt.Sprintf(summary, names[i]), "%s", detail)
			d.Step = n.Addr
			ds = ds.Append(d)
		}
		return ds
	}
	early, late := r.Session.Store.Watch(ctx, arts)
	spoilt = at(early, "Another step changed the input %s", "It was not read. What was changed is out of the cache: apply again makes it anew. The step that did so is told of once it ends.")
	return spoilt, func(ctx context.Context) diag.Diags {
		return at(late(ctx), "Plugin "+a.Plugin+" changed its input %s",
			"What it gave is dropped, and what it changed is out of the cache: apply again makes it anew. Report this to the plugin's author: inputs are read-only.")
	}
}

// errTimeout tells a timeout from other failures.
var errTimeout = errors.New("timeout")

func (r *Runner) pluginEvent(ctx context.Context, addr, plugin string, log *stepLog, e *pluginv1.ApplyEvent) {
	switch {
	case e.GetProgress() != nil:
		p := e.GetProgress()
		log.phase(p.GetPhase())
		r.progress(addr, p.GetPhase(), p.GetCurrent(), p.GetTotal(), p.GetUnit())
	case e.GetLog() != nil:
		l := e.GetLog()
		level := map[pluginv1.Log_Level]string{pluginv1.Log_LEVEL_DEBUG: "debug", pluginv1.Log_LEVEL_WARN: "warn", pluginv1.Log_LEVEL_ERROR: "error"}[l.GetLevel()]
		if level == "" {
			level = "info"
		}
		log.said(level, l.GetMessage(), l.GetFields())
		message, fields := l.GetMessage(), maps.Clone(l.GetFields())
		if r.Redact != nil {
			message = r.Redact(message)
			for k, v := range fields {
				fields[k] = r.Redact(v)
			}
		}
		r.Telemetry.Log(ctx, telemetry.Record{Addr: addr, Plugin: plugin, Level: level, Message: message, Fields: fields})
		r.emit(Event{Type: "log", Addr: addr, Level: level, Message: message, Fields: fields})
	case e.GetDiagnostic() != nil:
		d := e.GetDiagnostic()
		log.said("diagnostic", d.GetSummary()+": "+d.GetDetail(), nil)
	}
}

// clean takes what is sensitive out of a text.
func (r *Runner) clean(s string) string {
	if r.Redact == nil {
		return s
	}
	return r.Redact(s)
}

// resultJSON turns the facts of a step into JSON of the declared type. They are shown and recorded, so that what a plugin
// repeats of a sensitive argument is taken out.
func (r *Runner) resultJSON(n *recipe.Node, done *pluginv1.Done) (json.RawMessage, error) {
	b := done.GetResult().GetMsgpack()
	declared := n.Schema.GetResultType()
	if len(b) == 0 || len(declared) == 0 {
		return nil, nil
	}
	ty, err := ctyjson.UnmarshalType(declared)
	if err != nil {
		return nil, err
	}
	v, err := pluginv1.DecodeValue(done.GetResult(), ty)
	if err != nil {
		return nil, err
	}
	if !v.IsWhollyKnown() {
		return nil, errors.New("the result holds unknown values")
	}
	v, err = cty.Transform(v, func(_ cty.Path, v cty.Value) (cty.Value, error) {
		if v.IsNull() || v.Type() != cty.String {
			return v, nil
		}
		return cty.StringVal(r.clean(v.AsString())), nil
	})
	if err != nil {
		return nil, err
	}
	return ctyjson.Marshal(v, ty)
}

func stepOutputs(n *recipe.Node, done *pluginv1.Done) (map[string]cache.Output, error) {
	out := map[string]cache.Output{}
	for _, o := range n.Schema.GetOutputs() {
		a, ok := done.GetOutputs()[o.GetName()]
		if !ok {
			return nil, fmt.Errorf("output %q is missing", o.GetName())
		}
		kind, format := a.GetKind(), a.GetFormat()
		if kind == "" {
			kind = o.GetKind()
		}
		if format == "" {
			format = o.GetFormat()
		}
		out[o.GetName()] = cache.Output{Kind: kind, Format: format, Path: a.GetPath(), Labels: a.GetLabels()}
	}
	return out, nil
}

// notEmpty refuses an output file without a byte: no format is that short, and a writer that failed unnoticed leaves one.
// What is not there at all is found when the outputs are stored.
func notEmpty(dir string, outputs map[string]cache.Output) error {
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		path := outputs[name].Path
		if !filepath.IsLocal(path) {
			continue
		}
		if st, err := os.Lstat(filepath.Join(dir, path)); err == nil && st.Mode().IsRegular() && st.Size() == 0 {
			return fmt.Errorf("output %q, the file %s, is empty", name, path)
		}
	}
	return nil
}

// evaluate measures the candidates and checks the budgets.
func (r *Runner) evaluate(ctx context.Context, n *recipe.Node, a *plan.Action, act *report.Action) error {
	s := r.Session
	c, ds := s.Evaluation(n)
	if ds.HasErrors() {
		return r.report(ds)
	}
	spec, _, ds := s.EvaluateSpec(ctx, n, c)
	if ds.HasErrors() {
		return r.report(ds)
	}
	r.emit(Event{Type: "start", Addr: n.Addr, Why: a.Why, Reasons: a.Reasons})
	res, err := evaluate.Run(ctx, s.Store, spec, func(phase string) { r.progress(n.Addr, phase, 0, 0, "") })
	var p *evaluate.Problem
	switch {
	case errors.As(err, &p):
		d := diag.At(c.RangeOf(p.Subject), "evaluate/failed", s.Readable(p.Diagnostic.GetSummary()), "%s", s.Readable(p.Diagnostic.GetDetail()))
		d.Step = n.Addr
		return r.report(diag.Diags{d})
	case err != nil:
		return r.fault(ctx, r.full(asDiags(n, "The evaluation did not finish", err), 0))
	}
	act.Status = "cached"
	for _, m := range res.Measurements {
		if !m.Cached || (spec.Benchmark != nil && !m.LatencyReused) {
			act.Status = "done"
		}
	}
	e := report.Evaluation{Result: *res, Dataset: c.Dataset.Addr}
	if spec.Benchmark != nil {
		e.Batch, e.Threads = spec.Benchmark.Batch, spec.Benchmark.Threads
	}
	ensures, ds := s.CheckEnsures(n, res)
	if err := r.report(ds); err != nil {
		return err
	}
	e.Ensures = ensures
	r.mu.Lock()
	r.record.Evaluations = append(r.record.Evaluations, e)
	r.mu.Unlock()
	r.emit(Event{Type: "evaluation", Addr: n.Addr, Evaluation: &e})
	return nil
}
