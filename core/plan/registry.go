// Package plan joins a checked recipe with plugins and cache: for every model, dataset, step and evaluation it works
// out the cache key, whether the result is there, and if not, which field changed.
package plan

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/host"
	"github.com/optimize-hcl/optimize/core/install"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Registry knows the plugins of a run and what they declare. It starts a plugin only when its declaration is not
// remembered.
type Registry struct {
	manager *host.Manager
	refs    map[string]host.Ref

	mu        sync.Mutex
	described map[string]*pluginv1.DescribeResponse
	failed    map[string]error
	looked    []string
}

// NewRegistry gives a registry of the plugins refs, whose names must differ.
func NewRegistry(m *host.Manager, refs []host.Ref) *Registry {
	r := &Registry{manager: m, refs: map[string]host.Ref{}, described: map[string]*pluginv1.DescribeResponse{}, failed: map[string]error{}}
	for _, ref := range refs {
		r.refs[ref.Name] = ref
	}
	return r
}

// AddThirdParty finds the plugins that a recipe requires and that are not bundled, in the folders dirs. Their versions are
// asked of them. A plugin that is nowhere is left to [Registry.CheckRequired]. digest gives the SHA-256 of a file.
func (r *Registry) AddThirdParty(ctx context.Context, required []recipe.RequiredPlugin, dirs []string, digest func(path string) (string, error)) diag.Diags {
	var ds diag.Diags
	r.looked = dirs
	for _, p := range required {
		if _, ok := r.refs[p.Name]; ok {
			continue
		}
		path, ok := install.FindPlugin(dirs, p.Name)
		if !ok {
			continue
		}
		sum, err := digest(path)
		if err != nil {
			ds = ds.Append(diag.At(p.Range, "plugin/unreadable", fmt.Sprintf("Plugin %s cannot be read", p.Name), "%s", err))
			continue
		}
		ref := host.Ref{Name: p.Name, Command: []string{path}, Digest: sum}
		d, err := r.manager.Describe(ctx, ref)
		if err != nil {
			ds = ds.Append(diag.At(p.Range, "plugin/start", fmt.Sprintf("Plugin %s does not start", p.Name), "%s", err))
			continue
		}
		ref.Version = d.GetVersion()
		r.mu.Lock()
		r.refs[p.Name], r.described[p.Name] = ref, d
		r.mu.Unlock()
	}
	return ds
}

// Attach takes plugins that run already, under a debugger, in place of those of their names.
func (r *Registry) Attach(ctx context.Context, refs []host.Ref) error {
	for _, ref := range refs {
		d, err := r.manager.Describe(ctx, ref)
		if err != nil {
			return err
		}
		ref.Version, ref.Digest = d.GetVersion(), host.UniqueDigest()
		r.mu.Lock()
		r.refs[ref.Name], r.described[ref.Name] = ref, d
		r.mu.Unlock()
	}
	return nil
}

// Names lists the plugins, sorted.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(r.refs)) }

// Ref gives the plugin of that name.
func (r *Registry) Ref(name string) (host.Ref, bool) { ref, ok := r.refs[name]; return ref, ok }

// Describe gives what the plugin declares.
func (r *Registry) Describe(ctx context.Context, name string) (*pluginv1.DescribeResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d, ok := r.described[name]; ok {
		return d, nil
	}
	if err, ok := r.failed[name]; ok {
		return nil, err
	}
	ref, ok := r.refs[name]
	if !ok {
		return nil, fmt.Errorf("there is no plugin %q; known are %s", name, strings.Join(r.Names(), ", "))
	}
	d, err := r.manager.Describe(ctx, ref)
	if err != nil {
		if ctx.Err() == nil {
			r.failed[name] = err
		}
		return nil, err
	}
	r.described[name] = d
	return d, nil
}

// Plugin gives the running plugin, started when this is the first call for it.
func (r *Registry) Plugin(ctx context.Context, name string) (*host.Plugin, error) {
	ref, ok := r.refs[name]
	if !ok {
		return nil, fmt.Errorf("there is no plugin %q; known are %s", name, strings.Join(r.Names(), ", "))
	}
	return r.manager.Plugin(ctx, ref)
}

// Engine gives a process of the plugin that only runs models, for the steps of that same plugin to have candidates
// measured: a crash on a candidate costs the engine, not the step.
func (r *Registry) Engine(ctx context.Context, name string) (*host.Plugin, error) {
	ref, ok := r.refs[name]
	if !ok {
		return nil, fmt.Errorf("there is no plugin %q; known are %s", name, strings.Join(r.Names(), ", "))
	}
	ref.Role = "engine"
	return r.manager.Plugin(ctx, ref)
}

// Warm starts the plugins in the background, so that later calls find them running. Errors show at those calls.
func (r *Registry) Warm(ctx context.Context, names ...string) {
	for _, n := range names {
		go func() { _, _ = r.Plugin(ctx, n) }()
	}
}

// StepTypes gives the step types of all plugins by name.
func (r *Registry) StepTypes(ctx context.Context) (map[string]*pluginv1.StepType, error) {
	types := map[string]*pluginv1.StepType{}
	for _, n := range r.Names() {
		d, err := r.Describe(ctx, n)
		if err != nil {
			return nil, err
		}
		for _, t := range d.GetSteps() {
			if PluginOf(t.GetName()) != n {
				return nil, fmt.Errorf("plugin %s declares a step type %q; the part before the first underscore must be the plugin's name", n, t.GetName())
			}
			types[t.GetName()] = t
		}
	}
	return types, nil
}

// PluginOf is the plugin that a step type belongs to: the part before the first underscore.
func PluginOf(stepType string) string {
	name, _, _ := strings.Cut(stepType, "_")
	return name
}

// FormatOf gives the artifact format of a model by the ending of its name, or of a folder by that of a file in it.
func (r *Registry) FormatOf(ctx context.Context, path string) (string, error) {
	format, err := r.formatNamed(ctx, path)
	if err == nil || !isFolder(path) {
		return format, err
	}
	files, ferr := folderFiles(path)
	if ferr != nil {
		return "", ferr
	}
	for _, f := range files {
		if format, ferr := r.formatNamed(ctx, f); ferr == nil {
			return format, nil
		}
	}
	return "", fmt.Errorf("%s is a folder, and %w", path, err)
}

func (r *Registry) formatNamed(ctx context.Context, path string) (string, error) {
	base := strings.ToLower(filepath.Base(path))
	var known []string
	for _, n := range r.Names() {
		d, err := r.Describe(ctx, n)
		if err != nil {
			return "", err
		}
		for _, f := range d.GetFormats() {
			for _, ext := range f.GetExtensions() {
				if strings.HasSuffix(base, strings.ToLower(ext)) {
					return f.GetName(), nil
				}
				known = append(known, ext)
			}
		}
	}
	slices.Sort(known)
	return "", fmt.Errorf("the name of a model ends in one of %s", strings.Join(slices.Compact(known), ", "))
}

// formatWith finds a plugin whose declaration of a format satisfies ok; native ones come first.
func (r *Registry) formatWith(ctx context.Context, format string, ok func(*pluginv1.Format) bool) (string, bool, error) {
	found := ""
	for _, n := range r.Names() {
		d, err := r.Describe(ctx, n)
		if err != nil {
			return "", false, err
		}
		for _, f := range d.GetFormats() {
			if f.GetName() == format && ok(f) && (found == "" || f.GetNative()) {
				found = n
			}
		}
	}
	return found, found != "", nil
}

// NativeRuntime gives the plugin that is the default runtime of a format.
func (r *Registry) NativeRuntime(ctx context.Context, format string) (string, bool, error) {
	return r.formatWith(ctx, format, func(f *pluginv1.Format) bool { return f.GetRuns() && f.GetNative() })
}

// Inspector gives the plugin that inspects a format.
func (r *Registry) Inspector(ctx context.Context, format string) (string, bool, error) {
	return r.formatWith(ctx, format, (*pluginv1.Format).GetInspects)
}

// Target gives the plugin that knows a target, and the formats that it can be asked about. names lists all targets when
// there is none of that name.
func (r *Registry) Target(ctx context.Context, target string) (plugin string, formats, names []string, err error) {
	for _, n := range r.Names() {
		d, err := r.Describe(ctx, n)
		if err != nil {
			return "", nil, nil, err
		}
		for _, t := range d.GetTargets() {
			if t.GetName() == target {
				return n, t.GetFormats(), nil, nil
			}
			names = append(names, t.GetName())
		}
	}
	slices.Sort(names)
	return "", nil, names, nil
}

// Runs tells whether the plugin opens artifacts of the format.
func (r *Registry) Runs(ctx context.Context, plugin, format string) (bool, error) {
	d, err := r.Describe(ctx, plugin)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(d.GetFormats(), func(f *pluginv1.Format) bool { return f.GetName() == format && f.GetRuns() }), nil
}

func (r *Registry) bundled() []string {
	return slices.DeleteFunc(r.Names(), func(n string) bool { return !r.refs[n].Bundled })
}

// pluginFolder is the folder of the user's own plugins, as a message names it.
func (r *Registry) pluginFolder() string {
	for _, d := range r.looked {
		if filepath.Base(d) == "plugins" {
			return d
		}
	}
	return "the folder plugins of the data folder"
}

// requiresCore is what a plugin that was described asks of the core.
func (r *Registry) requiresCore(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.described[name].GetRequiresCore()
}

// sentence is the text of an error as the start of a sentence.
func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

// CheckRequired compares required_version and required_plugins with what is here.
func (r *Registry) CheckRequired(rec *recipe.Recipe, version string) diag.Diags {
	var ds diag.Diags
	if c := rec.RequiredVersion; c.Text != "" {
		if err := install.CheckConstraint(c.Text, version); err != nil {
			ds = ds.Append(diag.At(c.Range, "recipe/version", "This recipe does not run on Optimize "+version, "%s. Bring another version of Optimize, or change required_version.", sentence(err)))
		}
	}
	for _, p := range rec.RequiredPlugins {
		ref, ok := r.refs[p.Name]
		if !ok {
			ds = ds.Append(diag.At(p.Range, "recipe/unknown-plugin", fmt.Sprintf("There is no plugin %q", p.Name),
				"%sBundled with Optimize %s: %s. Another one is an executable %s%s: put it into a folder of OPTIMIZE_PLUGINS, %s or a folder of PATH.",
				recipe.Suggest(p.Name, r.Names()), version, strings.Join(r.bundled(), ", "), install.PluginPrefix, p.Name, r.pluginFolder()))
			continue
		}
		if c := r.requiresCore(p.Name); c != "" {
			if err := install.CheckConstraint(c, version); err != nil {
				ds = ds.Append(diag.At(p.Range, "recipe/plugin-core", fmt.Sprintf("Plugin %s %s does not run on Optimize %s", p.Name, ref.Version, version),
					"It asks for %s. Bring a newer Optimize, or another version of the plugin.", c))
			}
		}
		if p.Version != "" {
			if err := install.CheckConstraint(p.Version, ref.Version); err != nil {
				ds = ds.Append(diag.At(p.Range, "recipe/plugin-version", fmt.Sprintf("Plugin %s is %s here", p.Name, ref.Version), "%s. Bring another version of the plugin, or change its version in required_plugins.", sentence(err)))
			}
		}
	}
	return ds
}
