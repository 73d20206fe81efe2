package plan

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/core/recipe"
)

// save makes and saves a plan, and reads it again.
func (b *bench) save(src string, given recipe.Values) *Plan {
	b.t.Helper()
	s, parsed := b.session(src, given)
	p, ds := s.Build(b.t.Context())
	if ds.HasErrors() {
		b.t.Fatal(ds)
	}
	if err := s.Save(p, parsed, given, []string{"step.a"}, nil); err != nil {
		b.t.Fatal(err)
	}
	path := filepath.Join(b.dir, "plan.json")
	if err := p.Write(path); err != nil {
		b.t.Fatal(err)
	}
	got, err := ReadFile(path)
	if err != nil || got == nil {
		b.t.Fatal(got, err)
	}
	want, _ := json.Marshal(p)
	if have, _ := json.Marshal(got); string(have) != string(want) {
		b.t.Errorf("read\n%s\nwrote\n%s", have, want)
	}
	return got
}

// stale is what changed between a saved plan and now, "" for nothing.
func (b *bench) stale(saved *Plan, src string, given recipe.Values) string {
	b.t.Helper()
	s, parsed := b.session(src, given)
	if why := saved.Saved.CheckRecipe(parsed); why != nil {
		return why.Error()
	}
	if why := saved.Saved.CheckPlugins(s, saved.Version); why != nil {
		return why.Error()
	}
	p, ds := s.Build(b.t.Context())
	if ds.HasErrors() {
		b.t.Fatal(ds)
	}
	if why := saved.CheckPlan(p); why != nil {
		return why.Error()
	}
	return ""
}

func TestSavedHolds(t *testing.T) {
	b := newBench(t)
	given := recipe.Values{"text": {Text: "given", From: "--var text"}, "other": {Text: "of another recipe", From: "OPTIMIZE_VAR_other"}}
	saved := b.save(chain, given)
	if v := saved.Saved.Variables; len(v) != 1 || v["text"].Text != "given" || len(saved.Saved.Targets) != 1 {
		t.Errorf("%+v", saved.Saved)
	}
	if got := b.stale(saved, chain, saved.Saved.Variables); got != "" {
		t.Error(got)
	}
	// What was done meanwhile does no harm.
	s, _ := b.session(chain, given)
	p, _ := s.Build(t.Context())
	b.finish(s, p.Actions[1], "what a wrote")
	if got := b.stale(saved, chain, given); got != "" {
		t.Error(got)
	}
}

func TestSavedStale(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b *bench) (src string, given recipe.Values)
		want   string
	}{
		"a comment":   {func(*bench) (string, recipe.Values) { return chain + "# new\n", nil }, "The recipe changed: recipe.hcl is not as it was"},
		"a model":     {func(b *bench) (string, recipe.Values) { b.write("m.onnx", "another"); return chain, nil }, "An input changed: model.m is another file now"},
		"a version":   {func(b *bench) (string, recipe.Values) { b.version = "1.0.1"; return chain, nil }, "A plugin changed: Plugin fake was 1.0.0; it is 1.0.1 now"},
		"a build":     {func(b *bench) (string, recipe.Values) { b.digest = strings.Repeat("cd", 32); return chain, nil }, "A plugin changed: Plugin fake 1.0.0 is another build"},
		"the weather": {func(b *bench) (string, recipe.Values) { b.weather = "foul"; return chain, nil }, "What a result depends on changed: Of step.a: fingerprint.weather fair → foul"},
		"a variable": {func(*bench) (string, recipe.Values) {
			return chain, recipe.Values{"text": {Text: "x", From: "--var text"}}
		},
			`What a result depends on changed: Of step.a: config.text "hello" → "x"`},
		"the cache": {func(b *bench) (string, recipe.Values) { b.open(); return chain, nil }, "The cache changed: The plan takes step.a from it"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			s, p := b.build(chain, nil)
			b.finish(s, p.Actions[1], "what a wrote")
			saved := b.save(chain, nil)
			src, given := c.change(b)
			if got := b.stale(saved, src, given); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s; want %s", got, c.want)
			}
		})
	}
}

func TestReadFileRefuses(t *testing.T) {
	dir := t.TempDir()
	read := func(text string) (*Plan, error) {
		path := filepath.Join(dir, "x")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return ReadFile(path)
	}
	for _, none := range []string{"", "{", `{"model": {"m": {"source": "m.onnx"}}}`, "model \"m\" {}\n# optimize.plan/v1\n", `[{"schema": "optimize.plan/v1"}]`} {
		if p, err := read(none); p != nil || err != nil {
			t.Errorf("%q was taken for a plan: %v, %v", none, p, err)
		}
	}
	for text, want := range map[string]string{
		`{"schema": "optimize.plan/v1", `:                                                                "damaged",
		`{"schema": "optimize.plan/v2"}`:                                                                 "optimize.plan/v2",
		`{"schema": "optimize.plan/v1", "actions": []}`:                                                  "--json printed",
		`{"schema": "optimize.plan/v1", "actions": [null], "saved": {"recipe": "r"}}`:                    "damaged",
		`{"schema": "optimize.plan/v1", "saved": {}}`:                                                    "damaged",
		`{"schema": "optimize.plan/v1", "saved": {"recipe": "r", "variables": {"x": {"type": "what"}}}}`: "damaged",
	} {
		if p, err := read(text); p != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", text, p, err)
		}
	}
	if p, err := ReadFile(dir); p != nil || err != nil {
		t.Error("a folder is no plan:", p, err)
	}
}

// FuzzDecode: no file that may be taken for a plan panics, in reading and in comparing.
func FuzzDecode(f *testing.F) {
	f.Add(`{"schema": "optimize.plan/v1", "actions": [{"addr": "step.a", "kind": "step", "key": "x", "status": "cached"}], "saved": {"recipe": "r", "files": {"a": "b"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		looksSaved([]byte(text))
		p, err := decode([]byte(text), "plan.json")
		if p == nil || err != nil {
			return
		}
		p.Saved.CheckRecipe(map[string]string{"recipe.hcl": "x"})
		p.CheckPlan(&Plan{Actions: []*Action{{Addr: "step.a", Kind: "step", Sum: "y", Status: Run}}})
	})
}
