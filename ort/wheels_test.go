package ort

import (
	"archive/zip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// inner tells a process that TestWheels started for one library what it should find there.
const inner = "OPTIMIZE_TEST_WHEEL"

// wheel fetches a wheel with pip and unpacks it; it needs OPTIMIZE_REFEREE_PYTHON, and a package index to reach.
func wheel(t *testing.T, requirement string) string {
	t.Helper()
	dir := t.TempDir()
	pip := exec.Command(os.Getenv("OPTIMIZE_REFEREE_PYTHON"), "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", dir, requirement)
	if out, err := pip.CombinedOutput(); err != nil {
		t.Skipf("%s cannot be had here: %s", requirement, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	z, err := zip.OpenReader(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	to := t.TempDir()
	for _, f := range z.File {
		if !strings.Contains(f.Name, ".so") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		put(t, string(b), to, filepath.FromSlash(f.Name))
	}
	return to
}

// TestWheels loads real libraries of other versions, each in a process of its own:
// one can hold a single library.
func TestWheels(t *testing.T) {
	if want := os.Getenv(inner); want != "" {
		insideWheel(t, want)
		return
	}
	if os.Getenv("OPTIMIZE_REFEREE_PYTHON") == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data := nowhere(t)
	for _, v := range []string{"1.24.4", "1.27.0"} {
		if err := os.MkdirAll(filepath.Join(data, "runtimes", "onnxruntime"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(wheel(t, "onnxruntime=="+v), filepath.Join(data, "runtimes", "onnxruntime", v)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(want string, env ...string) {
		t.Helper()
		c := exec.Command(self, "-test.run=^TestWheels$", "-test.v")
		c.Env = append(os.Environ(), append(env, inner+"="+want)...)
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestWheels") {
			t.Errorf("%s: %v\n%s", want, err, out)
		}
		t.Logf("%s\n%s", want, out)
	}
	run("1.27.0")
	run("1.24.4", EnvVersion+"=< 1.27")
	run("1.27.0", EnvVersion+"=~> 1.27.0")

	// One that is too old and does not say so in its name is refused when it is loaded.
	old := filepath.Join(wheel(t, "onnxruntime==1.23.2"), "onnxruntime", "capi")
	lib := filepath.Join(t.TempDir(), "libonnxruntime.so")
	if err := os.Rename(filepath.Join(old, libName("1.23.2")), lib); err != nil {
		t.Fatal(err)
	}
	run("old", EnvLibrary+"="+lib)
	run("openvino", EnvLibrary+"="+wheel(t, "onnxruntime-openvino==1.24.1"))
}

func insideWheel(t *testing.T, want string) {
	lib, err := Locate()
	if err != nil {
		t.Fatal(err)
	}
	err = Load(lib)
	if want == "old" {
		oneLine(t, err, "1.24 or newer is needed")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	lib, _ = Loaded()
	has, err := Providers()
	if err != nil || !slices.Contains(has, "CPU") {
		t.Fatal(has, err)
	}
	t.Log(lib.Version, has)
	in := map[string]tensor.Tensor{"input": floats([]int64{2, 1, 28, 28}, make([]float32, 2*784)...)}
	x, _ := tensor.View[float32](in["input"])
	for i := range x {
		x[i] = float32(i%97) / 97
	}
	o := Options{Threads: 1, Optimize: true}
	where := "CPUExecutionProvider"
	cpu, err := ProfileFile(digits(t), o, in, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	if want == "openvino" {
		plain := outputs(t, o, in)
		o.Providers, o.NoFallback = []Provider{OpenVINO{Device: "CPU", Precision: "FP32", Threads: 1}}, true
		where = "OpenVINOExecutionProvider"
		for i, v := range outputs(t, o, in) {
			if d := v - plain[i]; d > 1e-4 || d < -1e-4 {
				t.Fatalf("element %d: %g and %g", i, v, plain[i])
			}
		}
		if cpu, err = ProfileFile(digits(t), o, in, 1, 3); err != nil {
			t.Fatal(err)
		}
		_, err = Optimize(digits(t), t.TempDir(), o)
		oneLine(t, err, "compiled nodes")
		for _, bad := range []Provider{OpenVINO{Device: "TOASTER"}, OpenVINO{Settings: map[string]string{"no_such_setting": "1"}}} {
			o.Providers = []Provider{bad}
			_, err := NewSessionFile(digits(t), o)
			oneLine(t, err, "OpenVINO")
		}
	} else if lib.Version != want {
		t.Fatalf("version %s is loaded, not %s", lib.Version, want)
	}
	for _, n := range cpu.Nodes {
		if n.Provider != where || n.Runs != 3 {
			t.Fatalf("%+v", n)
		}
	}
	t.Logf("%+v", cpu.ByOp())
}

func outputs(t *testing.T, o Options, in map[string]tensor.Tensor) []float32 {
	t.Helper()
	s, err := NewSessionFile(digits(t), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := tensor.View[float32](out["logits"])
	if err != nil {
		t.Fatal(err)
	}
	return v
}
