package cli

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/trace"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/host"
	"github.com/optimize-hcl/optimize/core/install"
	"github.com/optimize-hcl/optimize/core/lockfile"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/run"
	"github.com/optimize-hcl/optimize/core/telemetry"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// work is a recipe with everything that a command needs to work on it.
type work struct {
	app      *app
	recipe   *recipe.Recipe
	store    *cache.Store
	scratch  string // a store that ends with the command; empty with the user's
	manager  *host.Manager
	registry *plan.Registry
	session  *plan.Session
	tracing  *telemetry.Provider
	runDir   string
	runID    string
	ended    func()            // tells that the run does not go on
	ctx      context.Context   // of the run, with its span
	span     trace.Span        // nil without a run
	values   recipe.Values     // of the variables, from outside
	parsed   map[string]string // SHA-256 of the recipe's files
	warnings diag.Diags        // of the recipe itself; shown already, but with --json
	left     []string          // outputs and evaluations that --target leaves out
}

// recipeFlags are the flags of every command that reads a recipe.
type recipeFlags struct {
	vars            []string
	varFiles        []string
	reuseBenchmarks bool
	publishFailed   bool
	targets         []string
	refresh         []string
	noCache         bool
	failFast        bool
	parallelism     int
	memory          string
	limits          run.Limits
	// saved is the plan that apply was given instead of a recipe, savedAt its file.
	saved   *plan.Plan
	savedAt string
	reports []string
}

func (f *recipeFlags) register(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.vars, "var", nil, "set a variable: --var max_drop=0.01 (also: OPTIMIZE_VAR_max_drop)")
	c.Flags().StringArrayVar(&f.varFiles, "var-file", nil, "set variables from a file with lines NAME = VALUE: --var-file prod.vars.hcl (or .vars.json); a later one wins")
}

// given are the variables' values, and what is wrong with the files that some come from.
type given struct {
	values recipe.Values
	files  map[string]*hcl.File
	ds     diag.Diags
}

// values gives the variables of the environment, of files and of flags; the later win.
func (f *recipeFlags) values() (*given, error) {
	g := &given{values: recipe.Values{}, files: map[string]*hcl.File{}}
	v := g.values
	for _, e := range os.Environ() {
		if k, val, ok := strings.Cut(e, "="); ok {
			if name, ok := strings.CutPrefix(k, "OPTIMIZE_VAR_"); ok && name != "" {
				v[name] = recipe.Value{Text: val, From: k}
			}
		}
	}
	for _, path := range f.varFiles {
		vals, files, ds := recipe.LoadVars(path)
		maps.Copy(v, vals)
		maps.Copy(g.files, files)
		g.ds = g.ds.Append(ds...)
	}
	for _, s := range f.vars {
		name, val, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, usagef("--var %q is not NAME=VALUE", s)
		}
		v[name] = recipe.Value{Text: val, From: "--var " + name}
	}
	return g, nil
}

// recipePath is the argument, or the only recipe of the working folder.
func recipePath(args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	if _, err := os.Stat("recipe.hcl"); err == nil {
		return "recipe.hcl", nil
	}
	return "", usagef("name the recipe: there is no recipe.hcl in this folder")
}

// open parses the recipe and checks it against the plugins' schemas. Diagnostics are printed; with errors the result
// is nil and the error errPrinted. The caller closes what it gets.
//
// With withRun the work has a run's folder and trace; its ctx carries the run's span.
func (a *app) open(ctx context.Context, path string, f *recipeFlags, withRun bool) (*work, error) {
	given, err := f.values()
	if err != nil {
		return nil, err
	}
	if f.saved != nil {
		if given, err = f.savedValues(given); err != nil {
			return nil, err
		}
	}
	rec, ds := recipe.Load(path)
	parsed := plan.Digests(rec) // before files are added that only messages show
	if f.saved != nil {
		if why := f.saved.Saved.CheckRecipe(parsed); why != nil {
			return nil, a.stale(f, why)
		}
	}
	sources := given.files
	if rec != nil {
		rec.AddFiles(given.files)
		sources = rec.Files
	}
	if ds = given.ds.Append(ds...); rec == nil || given.ds.HasErrors() || !rec.Complete() {
		a.printDiags(ds, sources)
		return nil, errPrinted
	}
	w := &work{app: a, recipe: rec, ctx: ctx, values: given.values, parsed: parsed}
	if err := w.prepare(withRun); err != nil {
		w.close(ctx)
		return nil, err
	}
	if withRun {
		w.ctx, w.span = w.tracing.StartRun(ctx, filepath.Base(path), w.runID)
		ctx = w.ctx
	}
	if more := w.addThirdParty(ctx); more.HasErrors() {
		w.close(ctx)
		a.printDiags(ds.Append(more...), rec.Files)
		return nil, errPrinted
	}
	types, err := w.registry.StepTypes(ctx)
	if err != nil {
		w.close(ctx)
		return nil, err
	}
	ds = ds.Append(w.registry.CheckRequired(rec, a.Version)...)
	prog, cds := rec.Check(given.values, types, w.registry.Names())
	a.hide(rec.Secrets())
	ds = ds.Append(cds...)
	if ds.HasErrors() || prog == nil {
		w.close(ctx)
		a.printDiags(ds, rec.Files)
		return nil, errPrinted
	}
	if w.warnings = ds; len(ds) > 0 && !a.json {
		a.printDiags(ds, rec.Files) // a JSON document has them in it
	}
	refresh, more := f.refreshed(prog)
	left, more2 := prog.Limit(f.targets)
	if ds := more.Append(more2...); ds.HasErrors() {
		w.close(ctx)
		a.printDiags(ds, rec.Files)
		return nil, errPrinted
	}
	w.left = left
	if env := prog.Env(); len(env) > 0 {
		// What was asked so far is remembered; the plugins that work see what their steps name.
		w.manager.Close(ctx)
		if err := w.startManager(env); err != nil {
			w.close(ctx)
			return nil, err
		}
		if more := w.addThirdParty(ctx); more.HasErrors() {
			w.close(ctx)
			a.printDiags(more, rec.Files)
			return nil, errPrinted
		}
	}
	w.session = &plan.Session{
		Recipe: rec, Program: prog, Registry: w.registry, Store: w.store, Version: a.Version, Platform: platform(),
		Threads: int64(runtime.GOMAXPROCS(0)), ReuseBenchmarks: f.reuseBenchmarks,
		Refresh: refresh, NoCache: f.noCache, Memory: f.limits.Memory,
	}
	if f.saved != nil {
		if why := f.saved.Saved.CheckPlugins(w.session, f.saved.Version); why != nil {
			w.close(ctx)
			return nil, a.stale(f, why)
		}
	}
	if !a.looks {
		more, err := w.checkLock(ctx)
		if err != nil {
			w.close(ctx)
			return nil, err
		}
		if more.HasErrors() {
			w.close(ctx)
			a.printDiags(more, rec.Files)
			return nil, errPrinted
		}
	}
	return w, nil
}

func files(r *recipe.Recipe) map[string]*hcl.File {
	if r == nil {
		return nil
	}
	return r.Files
}

// prepare opens the store and knows the plugins; withRun makes a folder for the run and starts tracing.
func (w *work) prepare(withRun bool) error {
	err := w.openStore()
	if err != nil {
		return err
	}
	if withRun {
		if err := w.makeRunDir(); err != nil {
			return err
		}
		if w.tracing, err = telemetry.Start(context.Background(), telemetry.Options{
			TraceFile: filepath.Join(w.runDir, "trace.jsonl"), ServiceVersion: w.app.Version, Redact: w.app.redact,
			Sender: sender(),
		}); err != nil {
			return err
		}
	}
	return w.startManager(nil)
}

// startManager knows the plugins at hand, none of them started; env are further variables that they see.
func (w *work) startManager(env []string) error {
	refs, err := w.app.refs(w.store)
	if err != nil {
		return err
	}
	// A machine that swaps may need more patience, a test less.
	patience, err := time.ParseDuration(os.Getenv("OPTIMIZE_HANG_TIMEOUT"))
	if v := os.Getenv("OPTIMIZE_HANG_TIMEOUT"); v != "" && (err != nil || patience < time.Second) {
		return usagef("OPTIMIZE_HANG_TIMEOUT is %q; write a duration of at least a second: 30s, 5m", v)
	}
	w.manager = host.NewManager(host.Options{
		HangTimeout: patience, CallTimeout: 4 * patience, // 0 is the default of each
		Version: w.app.Version, RunDir: w.runDir, Env: env, Telemetry: w.tracing, Logger: slog.New(slog.DiscardHandler), Redact: w.app.redact, MemoDir: filepath.Join(w.store.Dir(), "plugins"),
	})
	w.registry = plan.NewRegistry(w.manager, refs)
	return nil
}

// addThirdParty finds the plugins that the recipe requires and that are not bundled, and those that run already.
func (w *work) addThirdParty(ctx context.Context) diag.Diags {
	attached, err := host.Reattached(os.Getenv(pluginv1.ReattachVariable))
	if err == nil {
		err = w.registry.Attach(ctx, attached)
	}
	if err != nil {
		return diag.Diags{diag.Errorf("plugin/reattach", "A plugin that "+pluginv1.ReattachVariable+" names cannot be used", "%s.", upperFirst(err.Error()))}
	}
	return w.registry.AddThirdParty(ctx, w.recipe.RequiredPlugins, install.PluginDirs(os.Getenv), func(path string) (string, error) {
		digest, _, err := w.store.HashFile(path)
		return digest, err
	})
}

// refs are the bundled plugins.
func (a *app) refs(store *cache.Store) ([]host.Ref, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	digest, _, err := store.HashFile(exe)
	if err != nil {
		return nil, err
	}
	var refs []host.Ref
	for name := range a.Bundled {
		refs = append(refs, host.Ref{Name: name, Command: []string{exe, "plugin", "serve", name}, Version: a.Version, Digest: digest, Bundled: true})
	}
	slices.SortFunc(refs, func(a, b host.Ref) int { return strings.Compare(a.Name, b.Name) })
	return refs, nil
}

func (w *work) makeRunDir() error {
	base, err := runsDir(w.recipe.Dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return runFolderError(base, err)
	}
	now := time.Now().UTC()
	for i := 0; ; i++ {
		w.runID = now.Format("20060102T150405.000")
		if i > 0 {
			w.runID += fmt.Sprintf("-%d", i)
		}
		w.runDir = filepath.Join(base, w.runID)
		err := os.Mkdir(w.runDir, 0o755)
		switch {
		case err == nil:
			return w.hold()
		case !os.IsExist(err) || i > 100:
			return runFolderError(base, err)
		}
	}
}

// hold locks a file in the run's folder for as long as the run goes on, so that `optimize runs` knows one that was killed.
func (w *work) hold() error {
	unlock, err := lockfile.Wait(context.WithoutCancel(w.ctx), filepath.Join(w.runDir, runningFile))
	if err != nil {
		return runFolderError(w.runDir, err)
	}
	w.ended = unlock
	return nil
}

// close ends plugins, exports spans and releases the store.
func (w *work) close(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	if w.span != nil {
		w.span.End() // has an effect only when the run ended before it began to work
	}
	if w.manager != nil {
		w.manager.Close(ctx)
	}
	if w.tracing != nil {
		_ = w.tracing.Shutdown(ctx) // a collector that is away is no fault of the run
	}
	if w.store != nil {
		_ = w.store.Close()
	}
	if w.ended != nil {
		w.ended()
	}
	if w.scratch != "" {
		_ = os.RemoveAll(w.scratch)
	}
}

// printDiags writes diagnostics to stderr, or with --json as a document to stdout.
func (a *app) printDiags(ds diag.Diags, files map[string]*hcl.File) {
	ds = ds.Sorted()
	r := &diag.Renderer{Files: files, Width: 100, Color: a.color(a.stderr), Hide: a.secrets}
	switch {
	case a.json && a.events:
		a.printEvent(r, ds)
		return
	case a.json:
		_ = r.JSON(a.stdout, ds)
		return
	}
	_ = r.Text(a.stderr, ds)
}
