package onnx

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestExternalDataOnce: a file that many tensors name, under many spellings and with
// overlapping parts, is read once.
func TestExternalDataOnce(t *testing.T) {
	dir := t.TempDir()
	const size = 1 << 20
	if err := os.WriteFile(filepath.Join(dir, "data"), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	m := NewModel("shared", 17)
	for i := range 64 {
		m.Graph.AddInitializer(&Tensor{name: fmt.Sprint("t", i), DataType: Uint8, Dims: []int64{size - int64(i)}, location: 1, rare: &tensorRare{external: []StringPair{
			{Key: "location", Value: strings.Repeat("./", i) + "data"}, {Key: "offset", Value: fmt.Sprint(i)}, {Key: "length", Value: fmt.Sprint(size - i)},
		}}})
	}
	path := filepath.Join(dir, "model.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := ReadFile(path)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 2*size {
		t.Errorf("a file of %d bytes that 64 tensors share took %d", size, got)
	}
	if v, err := m.Graph.Initializer("t63").Tensor(); err != nil || len(v.Data) != size-63 {
		t.Error(len(v.Data), err)
	}
}

// TestHostileModels: models that only an enemy writes. Nothing that looks at them panics,
// hangs or takes much memory, and Check refuses them.
func TestHostileModels(t *testing.T) {
	none := message(nil)
	graph := func(g message) message {
		return none.varint(1, 8).bytes(7, g.text(2, "g")).bytes(8, none.varint(2, 17))
	}
	relu := func(in, out string) message { return none.text(1, in).text(2, out).text(4, "Relu") }
	weights := func(dims ...int64) message {
		w := none.varint(2, 1).text(8, "w")
		for _, d := range dims {
			w = w.varint(1, uint64(d))
		}
		return graph(none.bytes(5, w).bytes(1, relu("w", "y")))
	}
	// Thirty graphs in each other, each of which reads what the outermost makes.
	nested := none.bytes(1, relu("x", "y"))
	for range 30 {
		nested = none.bytes(1, none.text(1, "x").text(2, "y").text(4, "If").bytes(5, none.text(1, "then_branch").bytes(6, nested.text(2, "g")).varint(20, 5)))
	}
	deep := none.text(4, "Relu")
	for range 60 {
		deep = none.bytes(5, none.text(1, "a").bytes(6, none.bytes(1, deep)).varint(20, 5))
	}
	call := func(name string) message { return none.text(1, "x").text(2, "y").text(4, name).text(7, "f") }
	function := func(name string, nodes ...message) message {
		f := none.text(1, name).text(4, "x").text(5, "y")
		for _, n := range nodes {
			f = f.bytes(7, n)
		}
		return f.text(10, "f").bytes(9, none.varint(2, 17))
	}
	functions := func(fs ...message) message {
		m := none.varint(1, 8).bytes(7, none.text(2, "g").bytes(1, call("a"))).bytes(8, none.varint(2, 17)).bytes(8, none.text(1, "f").varint(2, 1))
		for _, f := range fs {
			m = m.bytes(25, f)
		}
		return m
	}
	bomb := []message{}
	for i := range 40 { // each calls the next one twice
		next := call(string(rune('a' + i + 1)))
		second := none.text(1, "y").text(2, "z").text(4, string(rune('a'+i+1))).text(7, "f")
		bomb = append(bomb, function(string(rune('a'+i)), next, second))
	}
	bomb = append(bomb, function(string(rune('a'+40)), relu("x", "y")))
	for name, c := range map[string]struct {
		in   message
		says string // of parsing, checking or inlining
	}{
		"negative axis":     {weights(2, -3), "impossible shape"},
		"huge axes":         {weights(math.MaxInt64, math.MaxInt64), "impossible shape"},
		"huge product":      {weights(1<<40, 1<<20), "impossible shape"},
		"large and empty":   {weights(1 << 40), "needs"},
		"two makers":        {graph(none.bytes(1, relu("x", "y")).bytes(1, relu("x", "y"))), "y"},
		"cycle":             {graph(none.bytes(1, relu("b", "a")).bytes(1, relu("a", "b"))), ""},
		"reads itself":      {graph(none.bytes(1, relu("a", "a"))), "a"},
		"nested":            {graph(nested), "x"},
		"too deep":          {graph(none.bytes(1, deep)), "nested more than 100 deep"},
		"function in cycle": {functions(function("a", call("b")), function("b", call("a"))), "calls itself"},
		"calls itself":      {functions(function("a", call("a"))), "calls itself"},
		"function bomb":     {functions(bomb...), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			var problems []string
			note := func(err error) {
				if err != nil {
					problems = append(problems, err.Error())
				}
			}
			m, err := Parse(c.in)
			note(err)
			if err == nil {
				note(Check(m))
				_, err = InlineFunctions(m)
				note(err)
				exercise(m)
				if m, err = Parse(c.in); err != nil {
					t.Fatal(err)
				}
				_, err = Simplify(m, SimplifyOptions{})
				note(err)
			}
			if all := strings.Join(problems, "; "); all == "" || !strings.Contains(all, c.says) {
				t.Errorf("it says %q, want %q", all, c.says)
			}
		})
	}
}
