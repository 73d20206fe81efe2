package ort

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

func resident(t *testing.T) (kib int) {
	t.Helper()
	runtime.GC()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "VmRSS:")
	if !ok {
		t.Fatal("no VmRSS")
	}
	kib, err = strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

// TestNoLeak opens, runs, binds and closes sessions until a leak of one model's
// weights (300 KB) or of one run's outputs would show.
func TestNoLeak(t *testing.T) {
	needLibrary(t)
	model, err := os.ReadFile(digits(t))
	if err != nil {
		t.Fatal(err)
	}
	half := build(13, []vi{{"x", 1, []int64{-1}}}, []vi{{"y", 10, nil}}, node("Cast", []string{"x"}, "y", intAttr("to", 10)))
	image := map[string]tensor.Tensor{"input": floats([]int64{8, 1, 28, 28}, make([]float32, 8*784)...)}
	vector := map[string]tensor.Tensor{"x": floats([]int64{1 << 16}, make([]float32, 1<<16)...)}
	wrong := map[string]tensor.Tensor{"x": floats([]int64{1 << 16, 1}, make([]float32, 1<<16)...)}
	cycle := func(model []byte, in map[string]tensor.Tensor) {
		s, err := NewSession(model, Options{Threads: 1, Optimize: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Run(in, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Run(wrong, nil); err == nil {
			t.Fatal("a wrong input was accepted")
		}
		b, err := s.Bind(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Run(); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := NewSession(model[:len(model)-9], Options{Threads: 1}); err == nil {
			t.Fatal("a cut model was accepted")
		}
	}
	both := func() { cycle(model, image); cycle(half, vector) }
	for range 20 {
		both()
	}
	before := resident(t)
	for range 100 {
		both()
	}
	if grown := resident(t) - before; grown > 12<<10 {
		t.Fatalf("100 rounds took %d KiB more", grown)
	} else {
		t.Logf("100 rounds took %d KiB more", grown)
	}
}
