package sensitivity

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func scan() *File {
	return &File{What: Channels, Method: "l2", Metric: "noise", Samples: 8, Groups: []Group{
		{Name: "a", Nodes: []string{"a"}, Elements: 100, Channels: 10, Points: []Point{{Ratio: 0.25, Loss: 0.1}, {Ratio: 0.5, Loss: 0.05}, {Ratio: 0.75, Loss: 1}}},
		{Name: "b", Nodes: []string{"b"}, Elements: 300, Channels: 30, Points: []Point{{Ratio: 0.5, Loss: 0.4}}},
	}}
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.json")
	f := scan()
	if err := f.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil || len(got.Groups) != 2 || got.Groups[0].Points[2].Loss != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestRatio(t *testing.T) {
	g := &scan().Groups[0]
	for limit, want := range map[float64]float64{-1: 0, 0: 0, 0.05: 0.125, 0.1: 0.5, 0.55: 0.625, 1: 0.75, 9: 0.75} {
		if got := g.Ratio(limit); math.Abs(got-want) > 1e-12 {
			t.Errorf("limit %v: ratio %v, want %v", limit, got, want)
		}
	}
}

// TestAllocate: the target is met, and no group could lose more at the common limit.
func TestAllocate(t *testing.T) {
	f := scan()
	for _, target := range []float64{0, 0.1, 0.3, 0.5} {
		r, limit, err := f.Allocate(target, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := (r["a"]*100 + r["b"]*300) / 400
		if math.Abs(got-target) > 0.02 || got < target-1e-9 {
			t.Errorf("target %v: reached %v by %v", target, got, r)
		}
		for _, g := range f.Groups {
			if want := g.Ratio(limit); r[g.Name] != want {
				t.Errorf("target %v: group %s has %v, want %v", target, g.Name, r[g.Name], want)
			}
		}
	}
	if _, _, err := f.Allocate(0.6, nil); err == nil || !strings.Contains(err.Error(), "larger ratios") {
		t.Errorf("more than was scanned: %v", err)
	}
	r, _, err := f.Allocate(0.4, func(name string) bool { return name == "a" })
	if err != nil || len(r) != 1 || math.Abs(r["b"]-0.4) > 1e-6 {
		t.Errorf("without a: %v, %v", r, err)
	}
	if _, _, err := f.Allocate(0.4, func(string) bool { return true }); err == nil {
		t.Error("no group is left, and there is a result")
	}
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"nothing":       ``,
		"another":       `{"schema":"optimize.ranges/v1"}`,
		"a list":        `[]`,
		"no groups":     `{"schema":"optimize.sensitivity/v1","what":"channels","method":"l2","metric":"noise","samples":1,"groups":[]}`,
		"what":          `{"schema":"optimize.sensitivity/v1","what":"depth","method":"l2","metric":"noise","samples":1,"groups":[{"name":"a","nodes":[],"elements":1,"points":[{"ratio":0.5,"loss":1}]}]}`,
		"falling":       `{"schema":"optimize.sensitivity/v1","what":"channels","method":"l2","metric":"noise","samples":1,"groups":[{"name":"a","nodes":[],"elements":1,"points":[{"ratio":0.5,"loss":1},{"ratio":0.5,"loss":1}]}]}`,
		"all":           `{"schema":"optimize.sensitivity/v1","what":"channels","method":"l2","metric":"noise","samples":1,"groups":[{"name":"a","nodes":[],"elements":1,"points":[{"ratio":1,"loss":1}]}]}`,
		"twice":         `{"schema":"optimize.sensitivity/v1","what":"channels","method":"l2","metric":"noise","samples":1,"groups":[{"name":"a","nodes":[],"elements":1,"points":[{"ratio":0.5,"loss":1}]},{"name":"a","nodes":[],"elements":1,"points":[{"ratio":0.5,"loss":1}]}]}`,
		"another field": `{"schema":"optimize.sensitivity/v1","colour":"red"}`,
		"more":          `{"schema":"optimize.sensitivity/v1","what":"channels","method":"l2","metric":"noise","samples":1,"groups":[{"name":"a","nodes":[],"elements":1,"points":[{"ratio":0.5,"loss":1}]}]} 1`,
	} {
		path := filepath.Join(dir, "x.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := Read(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is not there is accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schema":"optimize.sensitivity/v1","what":"channels","method":"l2","metric":"noise","samples":1,"groups":[{"name":"a","nodes":["n"],"elements":1,"points":[{"ratio":0.5,"loss":1}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		if _, _, err := s.Allocate(0.1, nil); err == nil {
			for _, g := range s.Groups {
				if r := g.Ratio(1); r < 0 || r >= 1 {
					t.Fatalf("ratio %v", r)
				}
			}
		}
	})
}
