package plan

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/host"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/sdk"
)

// asPlugin is the argument with which this test's binary is a plugin.
const asPlugin = "serve-fake"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asPlugin {
		sdk.Serve(fakePlugin())
		return
	}
	os.Exit(m.Run())
}

type fakeConfig struct {
	Model   sdk.Model `opt:"model,required" accepts:"onnx"`
	Text    string    `opt:"text" default:"a"`
	Warning string    `opt:"warning"`
	Lacks   string    `opt:"lacks"`
	Memory  int64     `opt:"memory"`
	// Tally is a file that gets a line for each question.
	Tally string `opt:"tally"`
}

func (c fakeConfig) tally(what string) {
	if c.Tally == "" {
		return
	}
	if f, err := os.OpenFile(c.Tally, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
		_, _ = f.WriteString(what + "\n")
		_ = f.Close()
	}
}

func (c fakeConfig) Validate(context.Context) sdk.Diagnostics {
	c.tally("validate")
	if c.Text == "bad" {
		return sdk.Diagnostics{{Summary: "text is bad", Detail: "Write a good one.", Path: []any{"text"}}}
	}
	return nil
}

func (c fakeConfig) Plan(context.Context, *sdk.PlanRun) (*sdk.PlanResult, error) {
	c.tally("plan")
	r := &sdk.PlanResult{Fingerprint: map[string]string{"weather": os.Getenv("FAKE_WEATHER")}, Needs: sdk.Needs{Memory: c.Memory}}
	if c.Warning != "" {
		r.Diagnostics = sdk.Diagnostics{sdk.AttrWarning("warning", c.Warning, "")}
	}
	if c.Lacks != "" {
		r.Missing = []sdk.Missing{{What: c.Lacks, Command: "bring " + c.Lacks}}
	}
	return r, nil
}

func fakePlugin() *sdk.Plugin {
	return &sdk.Plugin{
		Name: "fake", Version: "1.0.0", Licence: "MIT", Formats: []sdk.Format{{Name: "onnx", Extensions: []string{".onnx"}}},
		Inspect: func(context.Context, sdk.Artifact) (any, error) { return map[string]any{}, nil },
		Steps: []sdk.StepType{sdk.Step(sdk.StepSpec{Name: "fake_write", Revision: 1, Outputs: []sdk.Output{{Name: "model", Kind: "model", Format: "onnx"}}},
			func(context.Context, *sdk.Run, fakeConfig) (*sdk.Result, error) { return nil, nil })},
	}
}

// bench is a recipe in a folder of its own with a store.
type bench struct {
	t     *testing.T
	dir   string
	store *cache.Store
	// version, digest and weather are the plugin's, and what its results depend on.
	version, digest, weather string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), version: "1.0.0", digest: strings.Repeat("ab", 32), weather: "fair"}
	b.open()
	b.write("m.onnx", "a model")
	return b
}

// open opens an empty store.
func (b *bench) open() {
	b.t.Helper()
	dir, err := os.MkdirTemp(b.dir, "cache")
	if err != nil {
		b.t.Fatal(err)
	}
	if b.store, err = cache.Open(dir); err != nil {
		b.t.Fatal(err)
	}
	s := b.store
	b.t.Cleanup(func() { _ = s.Close() })
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// session opens the recipe with a fresh plugin process.
func (b *bench) session(src string, given recipe.Values) (*Session, map[string]string) {
	b.t.Helper()
	b.write("recipe.hcl", src)
	m := host.NewManager(host.Options{Version: "0.1.0", Env: []string{"FAKE_WEATHER=" + b.weather}})
	b.t.Cleanup(func() { m.Close(context.Background()) })
	registry := NewRegistry(m, []host.Ref{{Name: "fake", Command: []string{os.Args[0], asPlugin}, Version: b.version, Digest: b.digest}})
	rec, ds := recipe.Load(filepath.Join(b.dir, "recipe.hcl"))
	types, err := registry.StepTypes(b.t.Context())
	if err != nil || ds.HasErrors() {
		b.t.Fatal(err, ds)
	}
	parsed := Digests(rec)
	prog, ds := rec.Check(given, types, registry.Names())
	if ds.HasErrors() {
		b.t.Fatal(ds)
	}
	return &Session{Recipe: rec, Program: prog, Registry: registry, Store: b.store, Version: "0.1.0", Platform: "test", Threads: 2}, parsed
}

// finish records a result for an action that would run, as apply does.
func (b *bench) finish(s *Session, a *Action, text string) {
	b.t.Helper()
	txn, err := b.store.Begin()
	if err != nil {
		b.t.Fatal(err)
	}
	defer txn.Discard()
	if err := os.WriteFile(filepath.Join(txn.OutDir, "m.onnx"), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	if _, err := txn.Commit(b.t.Context(), a.Key, cache.Name(s.Recipe.Dir, a.Addr), map[string]cache.Output{"model": {Kind: "model", Format: "onnx", Path: "m.onnx"}}, nil,
		cache.Meta{Duration: 1e9}); err != nil {
		b.t.Fatal(err)
	}
}
