package cli

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/install"
	"github.com/optimize-hcl/optimize/core/recipe"
)

// lockLacks is the code of what only is not in the lock yet.
const lockLacks = "lock/incomplete"

// chosen is what a recipe works with here: its lock as it would be written now.
func (w *work) chosen(ctx context.Context) (*install.Lock, error) {
	names, err := w.neededPlugins(ctx)
	if err != nil {
		return nil, err
	}
	l := &install.Lock{}
	runtimes := map[string]bool{}
	for _, name := range names {
		ref, ok := w.registry.Ref(name)
		if !ok {
			continue // reported by CheckRequired
		}
		e := install.Locked{Name: name, Version: ref.Version}
		if !ref.Bundled {
			e.Digests = map[string]string{platform(): ref.Digest}
		}
		l.Plugins = append(l.Plugins, e)
		d, err := w.registry.Describe(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, r := range d.GetRuntimes() {
			runtimes[r] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(runtimes)) {
		e, ok := install.PinnedRuntime(name)
		if !ok {
			return nil, diag.Errorf("init/runtime", fmt.Sprintf("A plugin needs %q, which this version of Optimize cannot bring", name), "Use a newer version of Optimize.")
		}
		l.Runtimes = append(l.Runtimes, e)
	}
	return l, nil
}

// neededPlugins are the plugins that a recipe works with: those that it requires, those of its steps, and those that run
// what it evaluates.
func (w *work) neededPlugins(ctx context.Context) ([]string, error) {
	names := map[string]bool{}
	for _, p := range w.recipe.RequiredPlugins {
		names[p.Name] = true
	}
	formats := map[string]bool{}
	var evaluations []*recipe.EvaluateConfig
	for _, n := range w.session.Program.Nodes() {
		switch n.Kind {
		case recipe.KindStep:
			names[pluginOfStep(n.Type)] = true
			for _, o := range n.Schema.GetOutputs() {
				if o.GetKind() == "model" {
					formats[o.GetFormat()] = true
				}
			}
		case recipe.KindModel:
			if c, ds := w.session.Program.DecodeModel(n); !ds.HasErrors() {
				format := c.Format
				if format == "" {
					format, _ = w.registry.FormatOf(ctx, c.Source) // what is not known is reported when it is planned
				}
				formats[format] = true
			}
		case recipe.KindEvaluate:
			if c, ds := w.session.Program.DecodeEvaluate(n); !ds.HasErrors() {
				evaluations = append(evaluations, c)
			}
		}
	}
	for _, c := range evaluations {
		unnamed := false
		for _, s := range c.Subjects() {
			if r := c.RuntimeOf(s.Name); r != "" {
				names[r] = true
			} else {
				unnamed = true
			}
		}
		for format := range formats {
			if !unnamed {
				break
			}
			name, ok, err := w.registry.NativeRuntime(ctx, format)
			if err != nil {
				return nil, err
			}
			if ok {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// checkLock compares what is here with the lock of the recipe, when it has one.
func (w *work) checkLock(ctx context.Context) (diag.Diags, error) {
	lock, file, ds := install.ReadLock(w.recipe.Dir)
	if lock == nil {
		return ds, nil
	}
	path := filepath.Join(w.recipe.Dir, install.LockName)
	w.recipe.Files[path] = file
	now, err := w.chosen(ctx)
	if err != nil {
		return nil, err
	}
	upgrade := fmt.Sprintf("To go on with what is here: `optimize init --upgrade %s`.", w.recipe.Path)
	for _, e := range now.Plugins {
		old, ok := lock.Plugin(e.Name)
		digest := e.Digests[platform()]
		switch {
		case !ok:
			ds = ds.Append(diag.Errorf(lockLacks, fmt.Sprintf("The lock of this recipe has no plugin %q", e.Name), "Run `optimize init %s`, which adds it.", w.recipe.Path))
		case old.Version != e.Version:
			ds = ds.Append(diag.At(old.Range, "lock/plugin", fmt.Sprintf("Plugin %s is %s here", e.Name, e.Version), "The recipe was made with %s. %s", old.Version, upgrade))
		case digest != "" && old.Digests[platform()] == "":
			ds = ds.Append(diag.At(old.Range, lockLacks, fmt.Sprintf("The lock does not know plugin %s for %s", e.Name, platform()), "Run `optimize init %s`, which adds it.", w.recipe.Path))
		case digest != old.Digests[platform()]:
			ds = ds.Append(diag.At(old.Range, "lock/plugin", fmt.Sprintf("Plugin %s is not the one that the recipe was made with", e.Name),
				"It calls itself %s as well, but its SHA-256 is %s. %s", e.Version, digest, upgrade))
		}
	}
	for _, e := range now.Runtimes {
		if os.Getenv(runtimeVariable(e.Name)) != "" {
			continue // the user chose another, and said so
		}
		old, ok := lock.Runtime(e.Name)
		switch {
		case !ok:
			ds = ds.Append(diag.Errorf(lockLacks, fmt.Sprintf("The lock of this recipe has no runtime %q", e.Name), "Run `optimize init %s`, which adds it.", w.recipe.Path))
		case old.Version != e.Version || old.Digests[platform()] != e.Digests[platform()]:
			ds = ds.Append(diag.At(old.Range, "lock/runtime", fmt.Sprintf("This version of Optimize brings %s %s", e.Name, e.Version), "The recipe was made with %s. %s", old.Version, upgrade))
		}
	}
	return ds, nil
}

// runtimeVariable is the variable that names a library of the user's own.
func runtimeVariable(name string) string {
	for _, r := range install.Runtimes {
		if r.Name == name {
			return r.Variable
		}
	}
	return ""
}

// merged is the lock to write: what is here now, with what other platforms have, and, when several recipes share a
// folder, what the others need.
func merged(old, now *install.Lock, shared bool) *install.Lock {
	if old == nil {
		return now
	}
	out := &install.Lock{Runtimes: slices.Clone(now.Runtimes)}
	for _, e := range now.Plugins {
		if o, ok := old.Plugin(e.Name); ok && o.Version == e.Version && len(e.Digests) > 0 {
			digests := maps.Clone(o.Digests)
			if digests == nil {
				digests = map[string]string{}
			}
			maps.Copy(digests, e.Digests)
			e.Digests = digests
		}
		out.Plugins = append(out.Plugins, e)
	}
	if shared {
		for _, e := range old.Plugins {
			if _, ok := out.Plugin(e.Name); !ok {
				out.Plugins = append(out.Plugins, e)
			}
		}
		for _, e := range old.Runtimes {
			if _, ok := out.Runtime(e.Name); !ok {
				out.Runtimes = append(out.Runtimes, e)
			}
		}
	}
	return out
}
