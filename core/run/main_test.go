package run

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/host"
	"github.com/optimize-hcl/optimize/core/plan"
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
	Millis  int       `opt:"millis"`
	Memory  int64     `opt:"memory"`
	Cores   int       `opt:"cores"`
	Warning string    `opt:"warning"`
	// Tally is a file that gets a line for each time that the step works.
	Tally string `opt:"tally"`
}

func (c fakeConfig) Plan(context.Context, *sdk.PlanRun) (*sdk.PlanResult, error) {
	r := &sdk.PlanResult{Needs: sdk.Needs{Memory: c.Memory, Cores: c.Cores}, Nondeterministic: c.Text == "random"}
	if c.Warning != "" {
		r.Diagnostics = sdk.Diagnostics{sdk.AttrWarning("warning", c.Warning, "")}
	}
	return r, nil
}

// fakePlugin has a step that writes its text, one that fails and one that does not obey.
func fakePlugin() *sdk.Plugin {
	p := &sdk.Plugin{Name: "fake", Version: "1.0.0", Licence: "MIT"}
	p.Formats = []sdk.Format{{Name: "onnx", Extensions: []string{".onnx"}}}
	p.Inspect = func(context.Context, sdk.Artifact) (any, error) { return nil, errors.New("no") }
	step := func(name string, f func(context.Context, *sdk.Run, fakeConfig) (*sdk.Result, error)) {
		p.Steps = append(p.Steps, sdk.Step(sdk.StepSpec{Name: name, Revision: 1, Outputs: []sdk.Output{{Name: "model", Kind: "model", Format: "onnx"}}}, f))
	}
	step("fake_write", func(ctx context.Context, run *sdk.Run, c fakeConfig) (*sdk.Result, error) {
		run.Progress("writing", 0, 1, "texts")
		run.Log.Info("begun", "text", c.Text)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(c.Millis) * time.Millisecond):
		}
		if c.Tally != "" {
			f, err := os.OpenFile(c.Tally, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				return nil, err
			}
			fmt.Fprintln(f, "worked")
			f.Close()
		}
		text := c.Text
		if text == "random" {
			b := make([]byte, 8)
			_, _ = rand.Read(b)
			text = hex.EncodeToString(b)
		}
		return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Path: "m.onnx"}}}, os.WriteFile(run.Path("m.onnx"), []byte(text), 0o644)
	})
	step("fake_fail", func(context.Context, *sdk.Run, fakeConfig) (*sdk.Result, error) {
		return nil, sdk.AttrError("text", "it fails", "Always.")
	})
	step("fake_stubborn", func(context.Context, *sdk.Run, fakeConfig) (*sdk.Result, error) { select {} })
	return p
}

// bench is a recipe in a folder of its own, with a store and what happened.
type bench struct {
	t      *testing.T
	dir    string
	store  *cache.Store
	spans  *tracetest.SpanRecorder
	events []Event
	mu     sync.Mutex
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), spans: tracetest.NewSpanRecorder()}
	var err error
	if b.store, err = cache.Open(filepath.Join(b.dir, "cache")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.store.Close() })
	b.write("m.onnx", "a model")
	return b
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// runner opens the recipe with a fresh plugin process, and gives a runner of it that change may alter.
func (b *bench) runner(steps string, change func(*plan.Session, *Runner)) *Runner {
	b.t.Helper()
	b.write("recipe.hcl", "model \"m\" {\n  source = \"m.onnx\"\n}\n"+steps)
	m := host.NewManager(host.Options{Version: "0.1.0", StopGrace: 500 * time.Millisecond})
	b.t.Cleanup(func() { m.Close(context.Background()) })
	ref := host.Ref{Name: "fake", Command: []string{os.Args[0], asPlugin}, Version: "1.0.0", Digest: strings.Repeat("ab", 32)}
	registry := plan.NewRegistry(m, []host.Ref{ref})
	rec, ds := recipe.Load(filepath.Join(b.dir, "recipe.hcl"))
	types, err := registry.StepTypes(b.t.Context())
	if err != nil || ds.HasErrors() {
		b.t.Fatal(err, ds)
	}
	prog, ds := rec.Check(nil, types, registry.Names())
	if ds.HasErrors() {
		b.t.Fatal(ds)
	}
	s := &plan.Session{Recipe: rec, Program: prog, Registry: registry, Store: b.store, Version: "0.1.0", Platform: "test", Threads: 2}
	b.mu.Lock()
	b.events = nil
	b.mu.Unlock()
	r := &Runner{
		Session: s, Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b.spans)).Tracer("test"), ID: "run", Limits: Limits{Parallelism: 4, Cores: 4},
		LogDir: filepath.Join(b.dir, "logs"), Sink: func(e Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		},
	}
	if change != nil {
		change(s, r)
	}
	return r
}
