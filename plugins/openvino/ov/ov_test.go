package ov

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// needLibrary loads OpenVINO, or skips where there is none.
func needLibrary(t *testing.T) Library {
	t.Helper()
	l, err := Find()
	var none *NotFoundError
	if errors.As(err, &none) && os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Load(l); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRun(t *testing.T) {
	needLibrary(t)
	m, err := Read("../../../recipes/digits/digits.onnx")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	in, out, err := m.Ports()
	if err != nil || len(in) != 1 || len(out) != 1 {
		t.Fatal(in, out, err)
	}
	t.Log(in, out)
	xml := filepath.Join(t.TempDir(), "m.xml")
	if err := m.Save(xml, false); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(filepath.Join(t.TempDir(), "no", "such", "m.xml"), false); err == nil {
		t.Error("written into a folder that is not there")
	} else {
		t.Log(err)
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none.onnx")); err == nil {
		t.Error("read what is not there")
	} else {
		t.Log(err)
	}
	x := tensor.Of([]int64{1, 1, 28, 28}, make([]float32, 784))
	for _, path := range []string{"../../../recipes/digits/digits.onnx", xml} {
		m, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.Compile("CPU", map[string]string{"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"})
		if err != nil {
			t.Fatal(err)
		}
		hint, err := c.Property("INFERENCE_PRECISION_HINT")
		t.Log(hint, err)
		r, err := c.NewRun()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Bind([]tensor.Tensor{x}); err != nil {
			t.Fatal(err)
		}
		if err := r.Do(); err != nil {
			t.Fatal(err)
		}
		y, err := r.Output(0)
		if err != nil {
			t.Fatal(err)
		}
		v, err := tensor.View[float32](y)
		if err != nil || math.IsNaN(float64(v[0])) {
			t.Fatal(v, err)
		}
		t.Log(y.Shape, v)
		g, err := c.RuntimeModel()
		if err != nil {
			t.Fatal(err)
		}
		gx := filepath.Join(t.TempDir(), "g.xml")
		if err := g.Save(gx, false); err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(gx)
		if !strings.Contains(string(b), "runtimePrecision") {
			t.Error("no runtimePrecision")
		}
		t.Log(string(b[:min(len(b), 3000)]))
		g.Close()
		r.Close()
		c.Close()
		m.Close()
	}
}
