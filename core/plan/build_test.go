package plan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const chain = `
variable "text" {
  default = "hello"
}
model "m" {
  source = "m.onnx"
}
step "fake_write" "a" {
  model = model.m
  text  = var.text
}
step "fake_write" "b" {
  model = step.a.model
}
output "o" {
  value = step.b.model
  path  = "out/b.onnx"
}
`

// show is a plan in one line: each address with its status, and why.
func show(p *Plan) string {
	var out []string
	for _, a := range p.Actions {
		s := a.Addr + "=" + string(a.Status)
		if a.Why != "" {
			s += "(" + a.Why + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func (b *bench) build(src string, change func(*Session)) (*Session, *Plan) {
	b.t.Helper()
	s, _ := b.session(src, nil)
	if change != nil {
		change(s)
	}
	p, ds := s.Build(b.t.Context())
	if ds.HasErrors() {
		b.t.Fatal(ds)
	}
	return s, p
}

func TestBuild(t *testing.T) {
	b := newBench(t)
	s, p := b.build(chain, nil)
	if got := show(p); got != "model.m=read step.a=run(no earlier run) step.b=pending output.o=publish" {
		t.Fatal(got)
	}
	if p.Summary != (Summary{Run: 1, Pending: 1, Unknown: 2}) {
		t.Errorf("%+v", p.Summary)
	}
	b.finish(s, p.Actions[1], "what a wrote")
	s, p = b.build(chain, nil)
	if got := show(p); got != "model.m=read step.a=cached step.b=run(no earlier run) output.o=publish" {
		t.Fatal(got)
	}
	b.finish(s, p.Actions[2], "what b wrote, and more")
	_, p = b.build(chain, nil)
	if got := show(p); got != "model.m=read step.a=cached step.b=cached output.o=publish" {
		t.Fatal(got)
	}
	if out := p.Actions[3]; out.Size != int64(len("what b wrote, and more")) || out.Digests["value"] == "" || len(out.After) > 0 {
		t.Errorf("%+v", out)
	}
	// A changed argument: the step says which, what follows is pending, sizes and times are the last ones.
	_, p = b.build(strings.Replace(chain, `"hello"`, `"bye"`, 1), nil)
	if got := show(p); got != "model.m=read step.a=run(changed) step.b=pending output.o=publish" {
		t.Fatal(got)
	}
	if r := p.Actions[1].Reasons; len(r) != 1 || r[0].String() != `config.text "hello" → "bye"` {
		t.Error(r)
	}
	want := Summary{Run: 1, Pending: 1, Estimate: 2e9, Store: int64(len("what a wrote") + len("what b wrote, and more")), Outputs: int64(len("what b wrote, and more"))}
	if p.Summary != want {
		t.Errorf("%+v, want %+v", p.Summary, want)
	}
	// What is forced runs, and says so.
	_, p = b.build(chain, func(s *Session) { s.Refresh = map[string]bool{"step.a": true} })
	if got := show(p); got != "model.m=read step.a=run(refresh asked) step.b=pending output.o=publish" {
		t.Error(got)
	}
	_, p = b.build(chain, func(s *Session) { s.NoCache = true })
	if got := show(p); got != "model.m=read step.a=run(nothing is taken from the cache) step.b=pending(nothing is taken from the cache) output.o=publish" {
		t.Error(got)
	}
	// A version of the plugin, and what its results depend on.
	b.version = "1.0.1"
	if _, p = b.build(chain, nil); p.Actions[1].Reasons[0].Field != "plugin_version" {
		t.Error(p.Actions[1].Reasons)
	}
	b.version, b.weather = "1.0.0", "foul"
	if _, p = b.build(chain, nil); p.Actions[1].Reasons[0].String() != "fingerprint.weather fair → foul" {
		t.Error(p.Actions[1].Reasons)
	}
}

func TestBuildSays(t *testing.T) {
	b := newBench(t)
	src := strings.Replace(chain, "text  = var.text", "text    = var.text\n  warning = \"mind the gap\"\n  lacks   = \"patience\"\n  memory  = 500", 1)
	s, _ := b.session(src, nil)
	s.Memory = 400
	p, ds := s.Build(t.Context())
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	a := p.Actions[1]
	if len(a.Missing) != 1 || a.Missing[0] != (Missing{"patience", "bring patience"}) || a.Status != Run || a.Sum != "" {
		t.Errorf("%+v", a)
	}
	if a.Needs == nil || a.Needs.Memory != 500 || len(a.Warnings) != 2 {
		t.Fatalf("%+v, %v", a.Needs, a.Warnings)
	}
	lines := map[string]int{}
	for _, d := range a.Warnings {
		if d.Step != "step.a" {
			t.Errorf("%v is of %q", d, d.Step)
		}
		lines[d.Summary] = d.Subject.Start.Line
	}
	if lines["mind the gap"] != 11 || lines["step.a needs more memory than there is"] != 8 {
		t.Errorf("at lines %v", lines)
	}
	// Asked again, as apply does, it says the same and the plugin is not asked.
	again, more := s.Build(t.Context())
	if show(again) != show(p) || len(more) != len(ds) {
		t.Errorf("%s; %v", show(again), more)
	}
}

func TestBuildOutputs(t *testing.T) {
	b := newBench(t)
	problem := func() string {
		s, _ := b.session(chain, nil)
		_, ds := s.Build(t.Context())
		if !ds.HasErrors() {
			return ""
		}
		if ds[0].Subject == nil || ds[0].Subject.Start.Line != 17 {
			t.Errorf("%v is not at the path", ds[0])
		}
		return ds[0].Detail
	}
	if got := problem(); got != "" {
		t.Error(got)
	}
	b.write("out", "a file")
	if got := problem(); !strings.Contains(got, "is a file, where a folder is needed") {
		t.Error(got)
	}
	_ = os.Remove(filepath.Join(b.dir, "out"))
	if err := os.MkdirAll(filepath.Join(b.dir, "out/b.onnx/mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := problem(); !strings.Contains(got, "did not publish lies there") {
		t.Error(got)
	}
}

func TestValidateRemembers(t *testing.T) {
	b := newBench(t)
	tally := filepath.Join(b.dir, "tally")
	src := strings.Replace(chain, "text  = var.text", "text  = var.text\n  tally = \""+tally+"\"", 1)
	asked := func() int {
		text, _ := os.ReadFile(tally)
		return strings.Count(string(text), "validate")
	}
	for i := range 3 {
		s, _ := b.session(src, nil)
		if ds := s.Validate(t.Context()); len(ds) > 0 {
			t.Fatal(ds)
		}
		if asked() != 1 {
			t.Fatalf("asked %d times after %d", asked(), i+1)
		}
	}
	// Another configuration, another build: it is asked again. What it refuses is never remembered.
	bad := strings.Replace(src, `"hello"`, `"bad"`, 1)
	for range 2 {
		s, _ := b.session(bad, nil)
		if ds := s.Validate(t.Context()); len(ds) != 1 || ds[0].Summary != "text is bad" || ds[0].Subject.Start.Line != 10 {
			t.Fatal(ds)
		}
	}
	b.digest = strings.Repeat("cd", 32)
	s, _ := b.session(src, nil)
	if ds := s.Validate(t.Context()); len(ds) > 0 || asked() != 4 {
		t.Errorf("asked %d times; %v", asked(), ds)
	}
}

func TestTargets(t *testing.T) {
	b := newBench(t)
	src := chain + `
step "fake_write" "each" {
  for_each = ["x", "y"]

  model = model.m
  text  = each.key
}
step "fake_write" "none" {
  for_each = {}

  model = model.m
}
`
	for target, want := range map[string]string{
		"step.a": "model.m step.a", "a": "model.m step.a", "output.o": "model.m step.a step.b output.o", "model.m": "model.m",
		"each": `model.m step.each["x"] step.each["y"]`, "step.each": `model.m step.each["x"] step.each["y"]`, `step.each["y"]`: `model.m step.each["y"]`,
		"step.each[y]": `model.m step.each["y"]`, "each['x']": `model.m step.each["x"]`, "none": "", " b ": "model.m step.a step.b",
	} {
		s, _ := b.session(src, nil)
		left, ds := s.Program.Limit([]string{target})
		if len(ds) > 0 {
			t.Errorf("%s: %v", target, ds)
			continue
		}
		var got []string
		for _, n := range s.Program.Nodes() {
			got = append(got, n.Addr)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", target, got, want)
		}
		if (len(left) == 0) != (target == "output.o") {
			t.Errorf("%s leaves out %v", target, left)
		}
	}
	for target, want := range map[string]string{
		"step.aa": `"step.a"`, "eahc": `"each"`, `step.each["z"]`: `"step.each[`, "output.p": `"output.o"`, "": "There is", "[": "There is", "x]": "There is", "a[": "",
		"what is this": "There is model.m", "step.": `"step.a"`, "evaluate.x": "There is",
	} {
		s, _ := b.session(src, nil)
		_, ds := s.Program.Limit([]string{target})
		if !ds.HasErrors() || !strings.Contains(ds[0].Detail, want) {
			t.Errorf("%q: %v, want %s", target, ds, want)
		}
		if len(s.Program.Nodes()) < 6 {
			t.Errorf("%q: a target that is wrong took nodes away", target)
		}
	}
}
