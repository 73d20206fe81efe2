package run

import (
	"context"
	"encoding/json"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/report"
)

// outputValue is an output whose value is known, waiting for the others.
type outputValue struct {
	node   *recipe.Node
	config *recipe.OutputConfig
}

// output notes the value of an output; Run publishes all of them together.
func (r *Runner) output(n *recipe.Node) error {
	c, ds := r.Session.Output(n)
	if err := r.report(ds); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values[n.Addr] = &outputValue{n, c}
	return nil
}

func (r *Runner) outputs() []report.Output {
	var out []report.Output
	for _, n := range r.Session.Program.Nodes() {
		v, ok := r.values[n.Addr]
		if !ok {
			continue
		}
		o := report.Output{Name: n.Name, Path: v.config.Path}
		if a := v.config.Artifact; a != nil {
			o.Digest, o.Size = a.Digest, a.Size
		} else {
			o.Value = json.RawMessage(v.config.JSON)
		}
		out = append(out, o)
	}
	return out
}

// publish writes all outputs as one set and tells whether that succeeded.
func (r *Runner) publish(ctx context.Context) bool {
	r.record.Outputs = r.outputs()
	var items []cache.Item
	for _, o := range r.record.Outputs {
		if o.Path != "" && o.Digest != "" {
			items = append(items, cache.Item{Digest: o.Digest, Dest: o.Path})
		}
	}
	if err := r.Session.Store.ExportSet(ctx, items); err != nil {
		for _, v := range r.values {
			if ctx.Err() == nil {
				_ = r.report(asDiags(v.node, "The outputs cannot be written", err))
			}
			break
		}
		return ctx.Err() != nil
	}
	for i := range r.record.Outputs {
		r.record.Outputs[i].Published = true
		r.emit(Event{Type: "output", Addr: "output." + r.record.Outputs[i].Name, Output: &r.record.Outputs[i]})
	}
	return true
}

// withhold notes the outputs that were not published.
func (r *Runner) withhold() { r.record.Outputs = r.outputs() }
