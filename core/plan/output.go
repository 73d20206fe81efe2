package plan

import (
	"strings"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
)

// output plans an output, and finds now what would keep it from being written after hours of work.
func (s *Session) output(n *recipe.Node, a *Action) diag.Diags {
	c, ds := s.Output(n)
	a.Status, a.Path = Publish, c.Path
	dest := cache.Dest{Path: c.Path}
	if x := c.Artifact; x != nil {
		a.Inputs = map[string]cache.Artifact{"value": {Kind: x.Kind, Format: x.Format, Path: x.Path, Digest: x.Digest, Size: x.Size}}
		a.Digests, a.Size = map[string]string{"value": x.Digest}, x.Size
		if blob, ok := s.Store.Blob(x.Digest); ok {
			dest.Known, dest.Tree = true, blob.Tree
		}
	} else if addr, name, ok := outputOf(c.From); ok {
		a.After = []string{addr}
		if rec, ok := s.Store.Latest(cache.Name(s.Recipe.Dir, addr)); ok {
			last := rec.Outputs[name]
			a.Size, dest.Known, dest.Tree = last.Size, last.Digest != "", last.Tree
		}
	}
	if c.Path != "" && !ds.HasErrors() {
		if err := s.Store.CheckDest(dest); err != nil {
			ds = ds.Append(diag.At(c.PathRange, "plan/output", "The output "+n.Name+" could not be written", "It %s.", strings.TrimSuffix(err.Error(), ".")))
		}
	}
	return ds
}

// outputOf splits step.NAME.OUTPUT into the step and its output.
func outputOf(from string) (addr, name string, ok bool) {
	i := strings.LastIndexByte(from, '.')
	if i < 0 || !strings.HasPrefix(from, "step.") || i < len("step.") {
		return "", "", false
	}
	return from[:i], from[i+1:], true
}
