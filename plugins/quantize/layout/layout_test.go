package layout

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func full() Layout {
	return Layout{Target: "onnxruntime-x86", Rewrite: true, FloatConvs: 3, FloatOps: []string{"Resize", "MaxPool", "Resize"},
		FloatNodes: []string{"b", "a"}, Dynamic: true, StaticNodes: []string{"p", "o"}, Recurrent: true, Stem: true, GateTable: true, Absorb: true}
}

// TestMarshal: a layout comes back as it was, and equal layouts have equal bytes.
func TestMarshal(t *testing.T) {
	for _, l := range []Layout{{Target: "t"}, {Target: "t", Float: true}, {Target: "t", Dynamic: true, OnlyDynamic: true}, full()} {
		b, err := l.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if !got.Equal(l) {
			t.Errorf("%+v came back as %+v", l, got)
		}
		again, err := got.Marshal()
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("other bytes: %s, then %s (%v)", b, again, err)
		}
		path := filepath.Join(t.TempDir(), "layout.json")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err = ReadFile(path); err != nil || !got.Equal(l) {
			t.Errorf("the file holds %+v, %v", got, err)
		}
	}
	if full().Equal(Layout{Target: "onnxruntime-x86"}) || !(Layout{Target: "x"}).Plain() || full().Plain() {
		t.Error("layouts that differ are equal")
	}
}

// TestParseErrors: what is no layout is refused with the reason.
func TestParseErrors(t *testing.T) {
	head := `{"schema":"` + Schema + `",`
	for _, c := range []struct{ in, want string }{
		{``, "no JSON"},
		{`[]`, "no JSON"},
		{`{"schema":"optimize.layout/v9","target":"t"}`, `"optimize.layout/v9"`},
		{head + `"target":""}`, "no target"},
		{head + `"target":"t","colour":1}`, `unknown field "colour"`},
		{head + `"target":"t","float_convs":-1}`, "float_convs is -1"},
		{head + `"target":"t","float":true,"absorb":true}`, "quantizes parts of it"},
		{head + `"target":"t","only_dynamic":true}`, "dynamically only"},
		{head + `"target":"t","only_dynamic":true,"dynamic":true,"static_nodes":["a"]}`, "dynamically only"},
		{head + `"target":"t","static_nodes":["a"]}`, "static where all are"},
		{head + `"target":"t","dynamic":true,"static_nodes":[""]}`, "has no name"},
		{head + `"target":"t","float":true,"recurrent":true}`, "quantizes parts of it"},
		{head + `"target":"t","float_ops":[""]}`, "without a name"},
		{head + `"target":"t"} {}`, "after top-level value"},
		{strings.Repeat(" ", maxFile+1), "more than any layout"},
	} {
		if _, err := Parse([]byte(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v, want %q", c.in, err, c.want)
		}
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

func FuzzParse(f *testing.F) {
	b, _ := full().Marshal()
	f.Add(b)
	f.Add([]byte(`{"schema":"optimize.layout/v1","target":"t","float":true}`))
	f.Add([]byte(`{"schema":"optimize.layout/v1","target":"t","float_ops":null,"float_nodes":["\u0000"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse(b)
		if err != nil {
			return
		}
		out, err := l.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil || !again.Equal(l) || l.Name() == "" {
			t.Fatalf("%s became %s: %v", b, out, err)
		}
	})
}

func result(name string, speed, spread, sqnr float64) Result {
	r := Result{Speedup: speed, Low: speed - spread, High: speed + spread, SQNR: sqnr, Agreement: math.NaN(), Layout: Layout{Target: "t", FloatNodes: []string{name}}}
	if name == "float" || name == "rewritten" {
		r.Layout = Layout{Target: "t", Float: true, Rewrite: name == "rewritten"}
	}
	return r
}

func TestChoose(t *testing.T) {
	float := result("float", 1, 0, math.Inf(1))
	for _, c := range []struct {
		name string
		rs   []Result
		want int
		why  string
	}{
		{"the fastest", []Result{float, result("a", 1.5, 0.01, 20), result("b", 1.8, 0.01, 20)}, 2, ""},
		{"equal in speed: the better", []Result{float, result("a", 1.78, 0.01, 25), result("b", 1.8, 0.01, 20)}, 1, ""},
		{"surely slower", []Result{float, result("a", 1.75, 0.01, 25), result("b", 1.8, 0.01, 20)}, 2, ""},
		{"not good enough", []Result{float, result("a", 1.5, 0.01, 20), result("b", 2.5, 0.01, 10)}, 1, ""},
		{"nothing is good enough", []Result{float, result("a", 1.5, 0.01, 12)}, 0, "keeps 18 dB"},
		{"integers lose", []Result{float, result("rewritten", 1.3, 0.01, 90), result("a", 0.7, 0.01, 30)}, 1, "integers lose"},
		{"no gain by rewriting", []Result{float, result("rewritten", 1.01, 0.02, 90), result("a", 0.7, 0.01, 30)}, 0, "integers lose"},
		{"a draw goes to integers", []Result{float, result("a", 0.99, 0.02, 30)}, 1, ""},
		{"lost", []Result{float, {Layout: Layout{Target: "t"}, Lost: "it does not load"}}, 0, "runs here"},
		{"an unknown quality is none", []Result{float, result("a", 2, 0.01, math.NaN())}, 0, "keeps 18 dB"},
		{"nothing at all", nil, -1, "nothing could be timed"},
	} {
		got, why := Choose(c.rs, Gate{SQNR: 18})
		if got != c.want || !strings.Contains(why, c.why) || c.why == "" && why != "" {
			t.Errorf("%s: %d %q, want %d %q", c.name, got, why, c.want, c.why)
		}
	}
}

// TestGate: the strictest level counts at which a candidate is clearly faster than float, and no model is taken that is
// another one.
func TestGate(t *testing.T) {
	float, rewritten := result("float", 1, 0, math.Inf(1)), result("rewritten", 1.3, 0.01, 90)
	classes := func(speed, sqnr, agreement float64) Result {
		r := result("c", speed, 0.01, sqnr)
		r.Agreement = agreement
		return r
	}
	for _, c := range []struct {
		name string
		rs   []Result
		want Gate
	}{
		{"as good as can be", []Result{float, result("a", 1.5, 0.01, 30)}, Gate{20, 0.985}},
		{"the best that is faster", []Result{float, result("a", 1.5, 0.01, 15), result("b", 1.2, 0.01, 18.5), result("c", 0.9, 0.01, 25)}, Gate{18, 0.985}},
		{"faster than the rewritten graph", []Result{float, rewritten, result("a", 1.5, 0.01, 15), result("b", 1.2, 0.01, 25)}, Gate{14, 0.985}},
		{"classes before noise", []Result{float, classes(2, 40, 0.96), classes(1.5, 17, 0.995)}, Gate{16, 0.985}},
		{"classes that flip", []Result{float, classes(2, 40, 0.96), classes(0.9, 40, 0.999)}, Gate{20, 0.95}},
		{"none is faster", []Result{float, result("a", 1.01, 0.01, 15), result("b", 0.9, 0.01, 25)}, Gate{20, 0.985}},
		{"none is the same model", []Result{float, result("a", 3, 0.01, 5)}, Gate{10, 0.9}},
		{"unknown", []Result{float, result("a", 3, 0.01, math.NaN()), {Layout: Layout{Target: "t"}, SQNR: 30}}, Gate{10, 0.9}},
	} {
		if got := DefaultGate(c.rs); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if g := (Gate{20, 0.985}); g.Passes(classes(1, 30, 0.98)) || !g.Passes(classes(1, 30, 0.985)) || g.Passes(classes(1, 19, 1)) || !g.Less(2, 0.05).Passes(classes(1, 19, 0.95)) {
		t.Error("the gate lets other candidates pass")
	}
	if s := (Gate{20, 0.985}).String(); s != "20 dB of signal to noise and 0.985 of the classes" {
		t.Error(s)
	}
}

func TestSurvivors(t *testing.T) {
	rs := []Result{result("float", 1, 0, math.Inf(1)), result("slow", 1.1, 0.02, 30), result("a", 1.5, 0.1, 30), result("b", 1.6, 0.05, 30),
		result("bad", 3, 0.1, 5), {Layout: Layout{Target: "t"}, Lost: "it does not load"}, result("rewritten", 1.2, 0, 100), result("wild", 1.2, 0.9, 30)}
	if got := Survivors(rs, Gate{SQNR: 18}, 3); !equal(got, 0, 2, 3, 6, 7) {
		t.Errorf("survivors are %v", got)
	}
	if got := Survivors(rs, Gate{SQNR: 18}, 2); !equal(got, 0, 3, 6, 7) {
		t.Errorf("two survivors are %v", got)
	}
	if got := Survivors(rs, Gate{SQNR: 40}, 3); !equal(got, 0, 1, 6) {
		t.Errorf("with none that is good enough, survivors are %v", got)
	}
}

func equal(got []int, want ...int) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if got[i] != want[i] {
			return false
		}
	}
	return true
}

func TestCandidates(t *testing.T) {
	net := Net{Stems: 1, HardSigmoids: 4, Additions: 2, Products: 0.1, ProductNodes: 2, Ops: map[string]int{"MaxPool": 1, "Add": 3, "Resize": 1}}
	for i := range 12 {
		c := Conv{MACs: 1e6, In: 1e5, Out: 1e5, Channels: 64, Groups: 1}
		if i == 0 {
			c.Channels = 3
		}
		net.Convs = append(net.Convs, c)
	}
	forms := Forms(net, "t")
	unique(t, forms)
	has := func(ls []Layout, what string, f func(Layout) bool) {
		t.Helper()
		for _, l := range ls {
			if f(l) {
				return
			}
		}
		t.Errorf("no layout with %s among %d", what, len(ls))
	}
	has(forms, "gates by table", func(l Layout) bool { return l.GateTable })
	has(forms, "absorbed additions", func(l Layout) bool { return l.Absorb && l.GateTable })
	has(forms, "MaxPool in float", func(l Layout) bool { return strings.Contains(strings.Join(l.FloatOps, " "), "MaxPool Resize") })
	has(forms, "dynamic products", func(l Layout) bool { return l.Dynamic && !l.OnlyDynamic })
	has(forms, "pixels as channels", func(l Layout) bool { return l.Stem })
	has(forms, "nothing special", func(l Layout) bool { return l.Equal(Layout{Target: "t", Rewrite: true}) })
	cuts := Cuts(net, forms[1], 4)
	unique(t, cuts)
	if len(cuts) != 4 {
		t.Errorf("%d cuts", len(cuts))
	}
	has(cuts, "the first convolution in float", func(l Layout) bool { return l.FloatConvs == 1 && l.GateTable })
	vars := Variations(net, cuts[1])
	unique(t, append(vars, cuts[1]))
	has(vars, "float gates", func(l Layout) bool { return !l.GateTable && !l.Absorb })
	has(vars, "one more convolution in float", func(l Layout) bool { return l.FloatConvs == cuts[1].FloatConvs+1 })
	if len(Forms(Net{}, "t"))+len(Cuts(Net{}, Layout{}, 4))+len(Cuts(net, Layout{Float: true}, 4))+len(Variations(net, Layout{Float: true})) != 0 {
		t.Error("there are layouts of nothing")
	}
	// A wide model of few channels in front: the table says so.
	if net.Cost(1) >= net.Cost(0) {
		t.Errorf("the first convolution costs %v in float and %v in integers", net.Cost(1), net.Cost(0))
	}
	if net.Cost(12) <= net.Cost(1) {
		t.Errorf("all in float costs %v, one %v", net.Cost(12), net.Cost(1))
	}
}

// TestGroups: products change their form by size, the costliest first, and an LSTM has a form of its own.
func TestGroups(t *testing.T) {
	net := Net{Products: 0.9, ProductNodes: 5, Recurrences: 1, Ops: map[string]int{},
		Groups: []Group{{[]string{"up1", "up2"}, 800}, {[]string{"q1", "q2"}, 100}, {[]string{"out"}, 50}}}
	find := func(ls []Layout, what string, want Layout) {
		t.Helper()
		want.Target, want.Rewrite = "t", true
		for _, l := range ls {
			if l.Equal(want) {
				return
			}
		}
		t.Errorf("no layout with %s among %d: %q", what, len(ls), want.Name())
	}
	forms := Forms(net, "t")
	unique(t, forms)
	find(forms, "LSTM", Layout{Recurrent: true})
	find(forms, "LSTM and dynamic products alone", Layout{Dynamic: true, OnlyDynamic: true, Recurrent: true})
	all := []string{"up1", "up2", "q1", "q2", "out"}
	vars := Variations(net, Layout{Target: "t", Rewrite: true})
	unique(t, vars)
	find(vars, "one size dynamic", Layout{Dynamic: true, StaticNodes: all[2:]})
	find(vars, "the second size dynamic", Layout{Dynamic: true, StaticNodes: []string{"up1", "up2", "out"}})
	find(vars, "one size in float", Layout{FloatNodes: all[:2]})
	find(vars, "LSTM", Layout{Recurrent: true})
	vars = Variations(net, Layout{Target: "t", Rewrite: true, Dynamic: true, OnlyDynamic: true})
	unique(t, vars)
	find(vars, "one size static", Layout{Dynamic: true, StaticNodes: all[:2]})
	vars = Variations(net, Layout{Target: "t", Rewrite: true, Dynamic: true, StaticNodes: all[:4]})
	find(vars, "all static", Layout{Dynamic: true, StaticNodes: all[:2]})
	find(vars, "the rest static too", Layout{})
	// A layout that has no products in integers has none to change.
	if vars := Variations(net, Layout{Target: "t", Rewrite: true, FloatOps: []string{"Gemm", "MatMul"}}); len(vars) != 1 || !vars[0].Recurrent {
		t.Errorf("%d variations of products in float", len(vars))
	}
	// Convolutions that lose by integers, but never all of them.
	wide, narrow := Conv{Name: "wide", MACs: 1e7, In: 1e4, Out: 1e4, Channels: 64, Groups: 1}, Conv{Name: "narrow", MACs: 1e3, In: 1e3, Out: 10, Channels: 64, Groups: 1}
	convs := Net{Convs: []Conv{wide, wide, narrow}, Ops: map[string]int{}}
	find(Variations(convs, Layout{Target: "t", Rewrite: true}), "the small one in float", Layout{FloatNodes: []string{"narrow"}})
	convs.Convs = []Conv{narrow, narrow}
	if vars := Variations(convs, Layout{Target: "t", Rewrite: true}); len(vars) != 0 {
		t.Errorf("%d variations leave no convolution in integers", len(vars))
	}
}

func unique(t *testing.T, ls []Layout) {
	t.Helper()
	for i, a := range ls {
		for _, b := range ls[:i] {
			if a.Equal(b) {
				t.Errorf("%q comes twice", a.Name())
			}
		}
	}
}

func TestName(t *testing.T) {
	for want, l := range map[string]Layout{
		"float":            {Float: true},
		"float, rewritten": {Float: true, Rewrite: true},
		"dynamic":          {OnlyDynamic: true, Dynamic: true, Rewrite: true},
		"static, products dynamic but o and 1 more, LSTM dynamic, 2x2 pixels as channels, gates by table, additions absorbed, first 3 Conv float, MaxPool, Resize float, a and 1 more float": full().normal(),
		"static, first Conv float, graph as it is": {FloatConvs: 1},
	} {
		if got := l.Name(); got != want {
			t.Errorf("%+v is %q, want %q", l, got, want)
		}
	}
}
