package cli

import (
	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/report"
)

// The warnings of a plan that are about the cache, and so about no step.
const (
	codeSpace    = "plan/space"
	codeReadOnly = "plan/read-only"
)

// room compares what will be written to the cache, by earlier runs, with what its disk has free; a cache that may only be
// read is told of too, before anything works for nothing.
func (w *work) room(p *plan.Plan) diag.Diags {
	works := p.Summary.Run + p.Summary.Pending
	if works == 0 {
		return nil
	}
	if w.store.ReadOnly() {
		return warn(codeReadOnly, "The cache may only be read",
			"%s holds results that are taken, but nothing can be added to it, so what runs will fail. Set OPTIMIZE_CACHE to a folder that may be written.", w.store.Dir())
	}
	free, known := w.store.Free()
	if !known || p.Summary.Store <= free {
		return nil
	}
	return warn(codeSpace, "The disk of the cache may become full", "By earlier runs %s will be written. %s", report.Bytes(p.Summary.Store), cache.Advice(w.store.Dir(), p.Summary.Store))
}

func warn(code, summary, detail string, args ...any) diag.Diags {
	d := diag.Errorf(code, summary, detail, args...)
	d.Severity = diag.Warning
	return diag.Diags{d}
}
