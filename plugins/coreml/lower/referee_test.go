package lower_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/onnx/rewrite"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/coreml/lower"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/plugins/coreml/qdq"
	"github.com/optimize-hcl/optimize/tensor"
)

// job is a package for the referee: see testdata/referee.py.
type job struct {
	Name      string  `json:"name"`
	Package   string  `json:"package"`
	Inputs    string  `json:"inputs"`
	Want      string  `json:"want"`
	Floor     float64 `json:"floor"` // the least magnitude that an output counts as
	tolerance float64 // of that magnitude
}

// referee collects packages, and has them run in a few processes: each takes seconds to start.
type referee struct {
	python, dir string
	jobs        []job
	floor       float64
}

// newReferee skips a test where OPTIMIZE_REFEREE_COREML names no Python with coremltools.
func newReferee(t *testing.T) *referee {
	t.Helper()
	python := os.Getenv("OPTIMIZE_REFEREE_COREML")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_COREML is not set")
	}
	lib, err := ort.Locate()
	if err == nil {
		err = ort.Load(lib)
	}
	if err != nil {
		if os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1" {
			t.Fatal(err)
		}
		t.Skipf("needs ONNX Runtime: %s", err)
	}
	return &referee{python: python, dir: t.TempDir(), floor: 1e-3}
}

// want is what ONNX Runtime computes, the outputs in order.
func want(model []byte, inputs []tensor.Named) ([]tensor.Named, error) {
	s, err := ort.NewSession(model, ort.Options{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	feeds := map[string]tensor.Tensor{}
	for _, in := range inputs {
		feeds[in.Name] = in.Tensor
	}
	got, err := s.Run(feeds, nil)
	if err != nil {
		return nil, err
	}
	var out []tensor.Named
	for i, o := range s.Outputs() {
		out = append(out, tensor.Named{Name: strconv.Itoa(i), Tensor: got[o.Name]})
	}
	return out, nil
}

// numbered are tensors named by their places.
func numbered(in []tensor.Named) []tensor.Named {
	out := make([]tensor.Named, len(in))
	for i, n := range in {
		out[i] = tensor.Named{Name: strconv.Itoa(i), Tensor: n.Tensor}
	}
	return out
}

// lowered makes a program of a model, which it changes.
func lowered(m *onnx.Model, o lower.Options) (*lower.Lowered, error) {
	if _, err := rewrite.Apply(m, lower.Rewrites(onnx.SimplifyOptions{InlineFunctions: true})); err != nil {
		return nil, err
	}
	r, err := qdq.Rewrite(m)
	if err != nil {
		return nil, err
	}
	// Sums of integers that half precision cannot hold stay in single precision, as the step does it.
	keep := o.Keep
	o.Keep = func(n *onnx.Node) bool {
		return keep != nil && keep(n) || slices.ContainsFunc(n.Outputs(), func(o string) bool { return r.Wide[o] })
	}
	l, problems := lower.Lower(m, o)
	for _, p := range problems {
		return nil, fmt.Errorf("%s (%s): %s", p.Node, p.Op, p.Reason)
	}
	return l, nil
}

// add writes a package for the referee.
func (r *referee) add(t *testing.T, name string, model []byte, inputs, wanted []tensor.Named, o lower.Options, tolerance float64) {
	t.Helper()
	m, err := onnx.Parse(bytes.Clone(model))
	if err != nil {
		t.Fatal(err)
	}
	l, err := lowered(m, o)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	base := filepath.Join(r.dir, strconv.Itoa(len(r.jobs)))
	j := job{Name: name, Package: base + ".mlpackage", Inputs: base + "-in.safetensors", Want: base + "-want.safetensors", Floor: r.floor, tolerance: tolerance}
	if _, err := mil.WritePackage(j.Package, l.Model); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	for path, ts := range map[string][]tensor.Named{j.Inputs: numbered(inputs), j.Want: wanted} {
		if err := tensor.WriteFile(path, ts, nil); err != nil {
			t.Fatal(err)
		}
	}
	r.jobs = append(r.jobs, j)
}

// judge runs the referee and fails what is too far away.
func (r *referee) judge(t *testing.T) {
	t.Helper()
	if len(r.jobs) == 0 {
		return
	}
	list := filepath.Join(r.dir, "jobs.json")
	b, err := json.Marshal(r.jobs)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), r.python, "../testdata/referee.py", list) //nolint:gosec // the developer names it
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v struct {
			Name, Error string
			Away        *float64
			Ops         int
			Seconds     float64
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		seen[v.Name] = true
		for _, j := range r.jobs {
			switch {
			case j.Name != v.Name:
			case v.Error != "":
				t.Errorf("%s: %s", v.Name, v.Error)
			case v.Away == nil || !(*v.Away <= j.tolerance):
				t.Errorf("%s: %.3g away, of %g at most", v.Name, *v.Away, j.tolerance)
			case testing.Verbose():
				t.Logf("%s: %.2g away, %d operations, %.1f s", v.Name, *v.Away, v.Ops, v.Seconds)
			}
		}
	}
	for _, j := range r.jobs {
		if !seen[j.Name] {
			t.Errorf("%s was not run", j.Name)
		}
	}
}

var only = flag.String("cases", "", "operators or cases that TestCases runs, parted by commas; all are without it")

// TestCases holds each case against ONNX Runtime: in single precision for iOS 17 and for the oldest and newest targets,
// and in half precision.
func TestCases(t *testing.T) {
	r := newReferee(t)
	for _, c := range cases() {
		if *only != "" && !chosen(c, *only) {
			continue
		}
		s := c.model(t)
		b, err := s.model.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		wanted, err := want(b, s.inputs)
		if err != nil {
			t.Errorf("%s: ONNX Runtime: %v", c.name, err)
			continue
		}
		half := c.half
		if half == 0 {
			half = 1e-2
		}
		for _, opset := range []int{5, 7, 8} {
			r.add(t, fmt.Sprintf("%s, CoreML%d", c.name, opset), b, s.inputs, wanted, lower.Options{Opset: opset}, 1e-5)
		}
		r.add(t, c.name+", half", b, s.inputs, wanted, lower.Options{Opset: 7, Half: true}, half)
	}
	r.judge(t)
}

func chosen(c opCase, only string) bool {
	for _, o := range strings.Split(only, ",") {
		if c.op == o || c.name == o {
			return true
		}
	}
	return false
}
