package tensor

import (
	"bytes"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPythonReferee reads a file that the safetensors package wrote, writes it again for the package to read, and converts as
// NumPy and ml_dtypes do, bit by bit; of a NaN only that it is one. It needs OPTIMIZE_REFEREE_PYTHON with the packages of
// bench/requirements.txt.
func TestPythonReferee(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	referee := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(python, append([]string{filepath.Join("testdata", "referee.py")}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	dir := t.TempDir()
	theirs, ours := filepath.Join(dir, "theirs.safetensors"), filepath.Join(dir, "ours.safetensors")
	referee("write", theirs)
	f, err := Open(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []Named
	get := func(name string) Tensor {
		t.Helper()
		x, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for _, name := range f.Names() {
		all = append(all, Named{name, get(name)})
	}
	if len(all) < 50 {
		t.Fatalf("%d tensors", len(all))
	}
	if err := WriteFile(ours, all, f.Metadata()); err != nil {
		t.Fatal(err)
	}
	referee("check", theirs, ours)

	reals, err := View[float32](get("reals"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []DType{F16, BF16} {
		got, err := FromFloat32(d, []int64{int64(len(reals))}, reals)
		if err != nil {
			t.Fatal(err)
		}
		want := get("to/" + d.String())
		for i := range reals {
			if !bytes.Equal(got.Data[2*i:2*i+2], want.Data[2*i:2*i+2]) && !math.IsNaN(float64(reals[i])) {
				t.Fatalf("%g as %s: %x, want %x", reals[i], d, got.Data[2*i:2*i+2], want.Data[2*i:2*i+2])
			}
		}
		for i, v := range must(t, got) {
			if math.IsNaN(float64(v)) != math.IsNaN(float64(reals[i])) {
				t.Fatalf("%g as %s: %g", reals[i], d, v)
			}
		}
	}
	for _, name := range f.Names() {
		kind, ok := strings.CutPrefix(name, "all/")
		if !ok {
			continue
		}
		got, want := must(t, get(name)), must(t, get("from/"+kind))
		for i := range want {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) && !(got[i] != got[i] && want[i] != want[i]) {
				t.Fatalf("%s %x is %g, want %g", kind, i, got[i], want[i])
			}
		}
	}
}

func must(t *testing.T, x Tensor) []float32 {
	t.Helper()
	v, err := ToFloat32(x)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
