package onnx

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// refereePython is a Python that has the packages onnx and
// onnxruntime; without it the tests here, which compare this package with them, are
// skipped.
const refereePython = "OPTIMIZE_REFEREE_PYTHON"

type referee struct {
	t      *testing.T
	python string
	dir    string
	models []string
}

func newReferee(t *testing.T) *referee {
	python := os.Getenv(refereePython)
	if python == "" {
		t.Skipf("set %s to a Python with the packages onnx and onnxruntime to compare with them", refereePython)
	}
	r := &referee{t: t, python: python, dir: t.TempDir()}
	r.ask("models", r.dir)
	r.models, _ = filepath.Glob(filepath.Join(r.dir, "*.onnx"))
	r.models = append(r.models, digits)
	if len(r.models) < 100 {
		t.Fatalf("only %d models", len(r.models))
	}
	return r
}

func (r *referee) ask(command, arg string) []byte {
	r.t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(r.python, filepath.Join("testdata", "referee.py"), command, arg)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("%v: %s", err, stderr.Bytes()[max(0, stderr.Len()-2000):])
	}
	return out
}

// complaints asks about a list of files and returns the lines answered.
func (r *referee) complaints(command string, list []string) []string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "list")
	if err := os.WriteFile(path, []byte(strings.Join(list, "\n")+"\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	out := strings.TrimSpace(string(r.ask(command, path)))
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

func (r *referee) read(path string) *Model {
	r.t.Helper()
	m, err := ReadFile(path)
	if err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
	return m
}

func (r *referee) write(m *Model, folder, path string) string {
	r.t.Helper()
	folder = filepath.Join(r.dir, folder)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		r.t.Fatal(err)
	}
	out := filepath.Join(folder, filepath.Base(path))
	if err := m.WriteFile(out); err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
	return out
}

// forget makes the model write every message anew.
func forget(m *Model) {
	m.raw = nil
	for t := range m.AllTensors() {
		t.raw = ""
	}
	var graph func(g *Graph)
	graph = func(g *Graph) {
		for _, vs := range [][]*ValueInfo{g.inputs, g.outputs, g.values} {
			for _, v := range vs {
				v.raw = ""
			}
		}
		for n := range g.Nodes() {
			n.raw = ""
			for _, a := range n.attrs {
				a.raw = ""
				for _, s := range a.Graphs() {
					graph(s)
				}
			}
		}
	}
	graph(m.Graph)
}

func TestRefereeRoundTrip(t *testing.T) {
	r := newReferee(t)
	var pairs []string
	for _, path := range r.models {
		m := r.read(path)
		want, _ := os.ReadFile(path)
		if got, err := m.Marshal(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: not written as it was read (%v)", path, err)
		}
		if err := Check(m); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		forget(m)
		pairs = append(pairs, path+"\t"+r.write(m, "anew", path))
	}
	for _, s := range r.complaints("same", pairs) {
		t.Error(s)
	}
}

func TestRefereeShapes(t *testing.T) {
	r := newReferee(t)
	values, stronger := 0, 0
	misses := map[string]int{}
	scan := bufio.NewScanner(strings.NewReader(strings.Join(r.complaints("shapes", r.models), "\n")))
	scan.Buffer(nil, 64<<20)
	for scan.Scan() {
		var answer struct {
			Path, Error string
			Values      map[string]struct {
				Elem DataType
				Dims []any
			}
		}
		if err := json.Unmarshal(scan.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.Error != "" {
			t.Logf("onnx cannot infer %s: %s", answer.Path, answer.Error)
			continue
		}
		m := r.read(answer.Path)
		m.Graph.values = nil
		for _, o := range m.Graph.outputs {
			if o.Type != nil && o.Type.Kind == KindTensor {
				o.Type = nil
			}
		}
		s, err := InferShapes(m)
		if err != nil {
			t.Errorf("%s: %v", answer.Path, err)
			continue
		}
		for name, want := range answer.Values {
			values++
			elem, shape, ok := s.Of(name)
			op := "?"
			if n := m.Graph.Producer(name); n != nil {
				op = n.OpType
			}
			complain := func(format string, args ...any) {
				if misses[op]++; misses[op] <= 3 {
					t.Errorf("%s: %s %q: %s", filepath.Base(answer.Path), op, name, fmt.Sprintf(format, args...))
				}
			}
			if !ok && (want.Elem != Undefined || want.Dims != nil) {
				complain("not known, want %v%v", want.Elem, want.Dims)
				continue
			}
			if want.Elem != Undefined && elem != want.Elem {
				complain("is %v, want %v", elem, want.Elem)
			}
			if want.Dims == nil {
				continue
			}
			if shape == nil || len(shape) != len(want.Dims) {
				complain("has axes %v, want %v", shape, want.Dims)
				continue
			}
			for i, d := range want.Dims {
				switch d := d.(type) {
				case float64:
					if d >= 0 && float64(shape[i].Value) != d {
						complain("axis %d is %v, want %v", i, shape[i], d)
					}
					if d < 0 && (shape[i].Fixed() || shape[i].Param != "") {
						stronger++
					}
				case string:
					// onnx makes up names for what it does not know.
					if strings.HasPrefix(d, "unk__") && shape[i].Fixed() {
						stronger++
					}
					if !strings.HasPrefix(d, "unk__") && shape[i].Param != d && !shape[i].Fixed() {
						complain("axis %d is %v, want %v", i, shape[i], d)
					}
				}
			}
		}
	}
	wrong := 0
	for _, n := range misses {
		wrong += n
	}
	t.Logf("%d of %d values agree with onnx; %d axes are known here only", values-wrong, values, stronger)
}

func TestRefereeFoldBatchNorm(t *testing.T) {
	r := newReferee(t)
	for name, m := range foldingModels(t) {
		r.models = append(r.models, r.write(m, "made", name+".onnx"))
	}
	var pairs, written []string
	for _, path := range r.models {
		m := r.read(path)
		count, err := FoldBatchNorm(m)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if count == 0 || strings.Contains(path, "light") {
			continue // light models have weights without data
		}
		out := r.write(m, "folded", path)
		pairs, written = append(pairs, path+"\t"+out), append(written, out)
	}
	r.equivalent(pairs, written)
}

func TestRefereeUpgradeOpset(t *testing.T) {
	r := newReferee(t)
	var pairs, written []string
	for _, to := range []int64{13, 18, 21, maxOpset} {
		for _, path := range r.models {
			m := r.read(path)
			if m.Opset("") >= to || m.Opset("") == 0 || strings.Contains(path, "light") {
				continue
			}
			if err := m.UpgradeOpset(to); err != nil {
				t.Logf("%s: %v", filepath.Base(path), err)
				continue
			}
			out := r.write(m, fmt.Sprintf("opset%d", to), path)
			pairs, written = append(pairs, path+"\t"+out), append(written, out)
		}
	}
	r.equivalent(pairs, written)
}

// TestRefereeConverter brings the models of opsets 9 to 20 to 21, as onnx.version_converter
// does too, and runs both: those of the onnx package, the digits, and the models in the folder
// that OPTIMIZE_FIXTURES names.
func TestRefereeConverter(t *testing.T) {
	r := newReferee(t)
	const to = 21
	if dir := os.Getenv("OPTIMIZE_FIXTURES"); dir != "" {
		more, _ := filepath.Glob(filepath.Join(dir, "*.onnx"))
		r.models = append(r.models, more...)
	}
	dir := t.TempDir()
	ops := map[string]bool{}
	var asked, pairs []string
	for _, path := range r.models {
		m := r.read(path)
		// Three of the light ones take up to half a gigabyte as numbers.
		heavy := strings.Contains(path, "vgg") || strings.Contains(path, "zfnet") || strings.Contains(path, "alexnet")
		if m.Opset("") < 9 || m.Opset("") >= to || heavy {
			continue
		}
		for n := range m.Graph.AllNodes() {
			ops[n.OpType] = true
		}
		if err := m.UpgradeOpset(to); err != nil {
			t.Logf("%s: %v", filepath.Base(path), err)
			continue
		}
		theirs := filepath.Join(dir, filepath.Base(path))
		asked = append(asked, path+"\t"+theirs)
		pairs = append(pairs, theirs+"\t"+r.write(m, "ours", path))
	}
	refused := r.complaints("convert", asked)
	for _, s := range refused {
		t.Logf("the converter refuses %s", s)
	}
	t.Logf("%d models of %d kinds of nodes converted here, the converter refuses %d of them", len(pairs), len(ops), len(refused))
	var both, written []string
	for _, pair := range pairs {
		theirs, ours, _ := strings.Cut(pair, "\t")
		if _, err := os.Stat(theirs); err == nil {
			both, written = append(both, pair), append(written, ours)
		}
	}
	r.equivalent(both, written)
}

func (r *referee) equivalent(pairs, written []string) {
	r.t.Helper()
	if len(pairs) == 0 {
		r.t.Fatal("no model was rewritten")
	}
	for _, s := range r.complaints("check", written) {
		r.t.Error(s)
	}
	skipped := 0
	for _, s := range r.complaints("run", pairs) {
		if strings.Contains(s, ": skipped: ") {
			skipped++
			r.t.Log(s)
			continue
		}
		r.t.Error(s)
	}
	r.t.Logf("%d models rewritten, %d of them not run", len(pairs), skipped)
}
