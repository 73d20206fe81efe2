package run

import (
	"errors"
	"strings"
	"syscall"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
)

// roomy says more about an error of the store whose disk is full: how much is needed, by the last run of the same step.
func (r *Runner) roomy(err error, needed int64) error {
	var e *cache.Error
	if needed > 0 && errors.As(err, &e) && cache.IsFull(e.Err) {
		e.Hint = cache.Advice(r.Session.Store.Dir(), needed)
	}
	return err
}

// full adds what can be done to what a plugin says about a full disk: it works in the store's folder.
func (r *Runner) full(ds diag.Diags, needed int64) diag.Diags {
	for i := range ds {
		d := &ds[i]
		if d.Severity != diag.Error || !saysFull(d.Summary+"\n"+d.Detail) || strings.Contains(d.Detail, "optimize cache gc") {
			continue
		}
		if d.Detail != "" && !strings.HasSuffix(d.Detail, "\n") {
			d.Detail += "\n\n"
		}
		d.Detail += cache.Advice(r.Session.Store.Dir(), needed)
	}
	return ds
}

// saysFull looks for the system's own words: an error comes from a plugin as text.
func saysFull(text string) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		if strings.Contains(text, e.Error()) {
			return true
		}
	}
	return strings.Contains(text, "No space left on device") || strings.Contains(text, "not enough space on the disk")
}
