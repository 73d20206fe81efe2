package ort

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// deep is a chain of n nodes over [-1, width] values, which all may be tapped.
func deep(n int, width int64) (model []byte, values []string) {
	var nodes [][]byte
	last := "x"
	for i := range n {
		v := fmt.Sprintf("v%d", i)
		if i == n-1 {
			v = "y"
		}
		nodes = append(nodes, node("Neg", []string{last}, v, nil))
		values, last = append(values, v), v
	}
	return build(13, []vi{{"x", 1, []int64{-1, width}}}, []vi{{"y", 1, []int64{-1, width}}}, nodes...), values
}

// peak is what the process held at most, in KiB.
func peak(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

// slow skips what make test-slow runs.
func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("OPTIMIZE_REFEREE_PYTHON") == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set: make test-slow runs this")
	}
}

// TestTapsMemory taps 40 values of 2 MB with 16 MB of memory, over 4 batches and over 40, each in a process of its own: the peak
// does not grow with the batches. Values held for all batches would take 3 GB.
func TestTapsMemory(t *testing.T) {
	slow(t)
	needLibrary(t)
	const inner = "OPTIMIZE_TEST_TAPS"
	const width, rows, memory = 1 << 13, 64, 16 << 20
	if n := os.Getenv(inner); n != "" {
		batches, err := strconv.Atoi(n)
		if err != nil {
			t.Fatal(err)
		}
		model, values := deep(40, width)
		before := peak(t)
		x := floats([]int64{rows, width}, make([]float32, rows*width)...)
		taps, err := NewTaps(model, values, TapOptions{Memory: memory, Session: Options{Threads: 1, Arena: true}})
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		err = taps.Run(t.Context(), batches, func(int) (map[string]tensor.Tensor, error) { return map[string]tensor.Tensor{"x": x}, nil },
			func(int, string, tensor.Tensor) error { seen++; return nil })
		if err != nil || seen != batches*len(values) {
			t.Fatal(seen, err)
		}
		groups, err := taps.Groups()
		if err != nil || len(groups) < 10 {
			t.Fatal(len(groups), err)
		}
		if err := taps.Close(); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("grown=%d\n", peak(t)-before)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	grown := func(batches int) int {
		c := exec.Command(self, "-test.run=^TestTapsMemory$")
		c.Env = append(os.Environ(), inner+"="+strconv.Itoa(batches), "GOGC=50")
		out, err := c.CombinedOutput()
		_, rest, ok := strings.Cut(string(out), "grown=")
		if err != nil || !ok {
			t.Fatalf("%v\n%s", err, out)
		}
		kib, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			t.Fatal(err)
		}
		return kib
	}
	few, many := grown(4), grown(40)
	t.Logf("4 batches take %d KiB, 40 take %d", few, many)
	// Beside the values of a group there are the engine's arena, which doubles as it grows, and what the collector has not
	// taken yet.
	if many > 240<<10 || many > few*5/4+16<<10 {
		t.Errorf("4 batches take %d KiB, 40 take %d", few, many)
	}
}

// TestNoLeakInTapsAndProfiles opens, uses and closes 200 of each; a leak of one model (300 KB) or of one group would show.
func TestNoLeakInTapsAndProfiles(t *testing.T) {
	slow(t)
	needLibrary(t)
	model, values := deep(6, 1<<12)
	x := map[string]tensor.Tensor{"x": floats([]int64{8, 1 << 12}, make([]float32, 8<<12)...)}
	image := map[string]tensor.Tensor{"input": floats([]int64{1, 1, 28, 28}, make([]float32, 784)...)}
	dir := t.TempDir()
	taps := func() {
		// 128 KiB a value: three groups, so that sessions are closed under way too.
		taps, err := NewTaps(model, values, TapOptions{Memory: 512 << 10, Session: Options{Threads: 1, Arena: true}})
		if err != nil {
			t.Fatal(err)
		}
		if err := taps.Run(t.Context(), 2, func(int) (map[string]tensor.Tensor, error) { return x, nil }, func(int, string, tensor.Tensor) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := taps.Run(t.Context(), 1, func(int) (map[string]tensor.Tensor, error) { return x, nil }, func(int, string, tensor.Tensor) error { return os.ErrClosed }); err == nil {
			t.Fatal("an error was lost")
		}
		if err := taps.Close(); err != nil {
			t.Fatal(err)
		}
	}
	profile := func() {
		if _, err := ProfileFile(digits(t), Options{Threads: 1, Optimize: true, ProfilePath: filepath.Join(dir, "p.json")}, image, 0, 1); err != nil {
			t.Fatal(err)
		}
	}
	for name, use := range map[string]func(){"taps": taps, "profile": profile} {
		for range 30 {
			use()
		}
		before, files := resident(t), openFiles(t)
		for range 200 {
			use()
		}
		grown := resident(t) - before
		t.Logf("%s: 200 rounds took %d KiB more", name, grown)
		if grown > 12<<10 {
			t.Errorf("%s: 200 rounds took %d KiB more", name, grown)
		}
		if now := openFiles(t); now > files+2 {
			t.Errorf("%s: %d files are open, %d were before", name, now, files)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
