package run

import (
	"fmt"
	"runtime/debug"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
)

// recovered makes a failure of one action out of a panic: the others finish, and the terminal is left as it was. It is
// deferred.
func (r *Runner) recovered(n *recipe.Node, err *error) {
	p := recover()
	if p == nil {
		return
	}
	log := r.logs.open(n.Addr)
	log.line("panic: %v\n%s", p, debug.Stack())
	where := ""
	if log.path != "" {
		where = fmt.Sprintf(" What it was doing is in %s.", log.path)
	}
	d := diag.At(n.Range, "run/panic", "Optimize itself failed at "+n.Addr, "%v. This is a fault of Optimize: please report it.%s", p, where)
	d.Step = n.Addr
	*err = r.report(diag.Diags{d})
}
