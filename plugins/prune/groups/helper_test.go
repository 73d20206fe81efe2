package groups

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/prune/trial"
)

// needRuntime loads ONNX Runtime, or skips the test where there is none.
func needRuntime(t testing.TB) {
	t.Helper()
	lib, err := ort.Find()
	if err != nil {
		if os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1" {
			t.Fatalf("ONNX Runtime is required here: %v", err)
		}
		t.Skipf("no ONNX Runtime: %v", err)
	}
	if err := ort.Load(lib); err != nil {
		t.Fatal(err)
	}
}

// analyzed prepares and analyzes a model of the bytes.
func analyzed(t testing.TB, b []byte) *Analysis {
	t.Helper()
	m, err := onnx.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := Prepare(m); err != nil {
		t.Fatal(err)
	}
	a, err := Analyze(m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// chance takes a part of each group, at random.
func chance(a *Analysis, r *rand.Rand, share float64) *Selection {
	s := a.Select()
	for _, g := range a.Groups {
		for _, i := range r.Perm(len(g.Units))[:int(share*float64(len(g.Units)))] {
			s.Remove(g.Units[i])
		}
	}
	return s
}

// agrees prunes a model and compares it with the original whose channels are masked by zero. It returns how many units
// left.
func agrees(t testing.TB, b []byte, seed uint64, share, tolerance float64) int {
	t.Helper()
	return agreesIf(t, b, seed, share, tolerance, true)
}

// agreesIf is agrees; unless sane, costs may be wrong, as those of a Gemm with transB = 2, and a masked model that gives no
// numbers says nothing.
func agreesIf(t testing.TB, b []byte, seed uint64, share, tolerance float64, sane bool) int {
	t.Helper()
	prune := func(f func(*Analysis, *Selection) error) (*Analysis, *Selection) {
		a := analyzed(t, b)
		s := chance(a, rand.New(rand.NewPCG(seed, 1)), share)
		if err := f(a, s); err != nil {
			t.Fatal(err)
		}
		return a, s
	}
	cut, s := prune(func(a *Analysis, s *Selection) error {
		before := a.Cost(s)
		if err := a.Cut(s, 2); err != nil {
			return err
		}
		shapes, err := onnx.TypicalShapes(a.Model)
		if err != nil {
			return err
		}
		macs, _ := onnx.CountMACs(a.Model, shapes)
		// A vector that layers share is one before and two where they are cut differently.
		if p := onnx.CountParameters(a.Model); sane && (macs != before.MACs || p < before.Parameters || float64(p) > 1.1*float64(before.Parameters)) {
			return fmt.Errorf("costs %d multiply-accumulates and %d parameters, said to be %+v", macs, p, before)
		}
		return onnx.Check(a.Model)
	})
	mask, _ := prune((*Analysis).Mask)
	in, err := trial.Inputs(mask.Model, seed)
	if err != nil {
		t.Fatal(err)
	}
	want, err := trial.Run(mask.Model, in, 2)
	if err != nil {
		t.Fatalf("the masked model does not run: %v", err)
	}
	if trial.Finite(want) != nil && !sane {
		return 0
	}
	got, err := trial.Run(cut.Model, in, 2)
	if err != nil {
		t.Fatalf("the pruned model does not run: %v", err)
	}
	diff, out, err := trial.Difference(want, got)
	if err != nil || !(diff <= tolerance) {
		t.Fatalf("output %q of the pruned model differs from the masked one by %v (%v)", out, diff, err)
	}
	n := 0
	for _, u := range cut.Units() {
		if s.Has(u) {
			n++
		}
	}
	return n
}
