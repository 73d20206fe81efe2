package groups

import (
	"math/rand/v2"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
)

// FuzzCut prunes whatever parses: nothing panics, and what comes out is a valid model.
func FuzzCut(f *testing.F) {
	for i, p := range names() {
		w := grow(rand.New(rand.NewPCG(uint64(i), 7)), []string{p}, 0)
		b, err := w.m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	b, err := transformer(true).m.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := onnx.Parse(b)
		if err != nil || onnx.Check(m) != nil || Prepare(m) != nil {
			return
		}
		var elements int64
		for x := range m.AllTensors() {
			elements += max(x.Elements(), 0)
		}
		if elements > 1<<22 {
			return
		}
		a, err := Analyze(m, Options{})
		if err != nil {
			return
		}
		s := chance(a, rand.New(rand.NewPCG(1, 1)), 0.5)
		if a.Cut(s, 1) != nil {
			return
		}
		if err := onnx.Check(m); err != nil {
			t.Fatal(err)
		}
		if _, err := onnx.InferShapes(m); err != nil {
			t.Fatal(err)
		}
	})
}
