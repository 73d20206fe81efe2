package onnx

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readTensor reads a TensorProto of its own.
func readTensor(t *testing.T, path string) *Tensor {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := new(Tensor)
	r := reader{b: b, data: b, pos: len(b), session: newSession(len(b))}
	if err := r.tensor(out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRefereeEvaluate gives the evaluator the inputs of the onnx package's node tests.
func TestRefereeEvaluate(t *testing.T) {
	r := newReferee(t)
	dir := t.TempDir()
	r.ask("cases", dir)
	folders, _ := filepath.Glob(filepath.Join(dir, "*"))
	agreed, left := map[string]int{}, map[string]int{}
	for _, folder := range folders {
		name := filepath.Base(folder)
		m := r.read(filepath.Join(folder, "model.onnx"))
		n := m.Graph.First()
		if evaluators[n.OpType] == nil || canonicalDomain(n.Domain) != "" {
			continue
		}
		in := make([]*Tensor, len(n.inputs))
		for i, value := range n.inputs {
			if value != "" {
				in[i] = readTensor(t, filepath.Join(folder, "input-"+value+".pb"))
			}
		}
		v := &evaluator{opset: m.Opset(""), room: 1 << 30}
		out, err := v.evaluate(n, in)
		if err != nil {
			left[n.OpType]++
			continue
		}
		ok := true
		for i, value := range n.outputs {
			if value == "" {
				continue
			}
			want := readTensor(t, filepath.Join(folder, "output-"+value+".pb"))
			if problem := differ(out[i], want); problem != "" {
				t.Errorf("%s: %s", name, problem)
				ok = false
			}
		}
		if ok {
			agreed[n.OpType]++
		}
	}
	total := 0
	for _, k := range agreed {
		total += k
	}
	if total < 400 {
		t.Errorf("only %d cases were compared", total)
	}
	t.Logf("%d cases of %d operators agree; not evaluated: %v", total, len(agreed), left)
}

func differ(got, want *Tensor) string {
	if got.DataType != want.DataType || len(got.Dims) != len(want.Dims) {
		return "type or rank differs"
	}
	for i := range got.Dims {
		if got.Dims[i] != want.Dims[i] {
			return "shape differs"
		}
	}
	if got.DataType == String {
		for i := range want.Strings() {
			if string(got.Strings()[i]) != string(want.Strings()[i]) {
				return "strings differ"
			}
		}
		return ""
	}
	a, err1 := got.elements()
	b, err2 := want.elements()
	if err1 != nil || err2 != nil || len(a) != len(b) {
		return "the elements cannot be read"
	}
	if !isFloat(got.DataType) {
		if string(a) != string(b) {
			return "elements differ"
		}
		return ""
	}
	x, _ := got.float64s()
	y, _ := want.float64s()
	tolerance := 1e-5
	if got.DataType == Float16 || got.DataType == BFloat16 {
		tolerance = 1e-2
	}
	for i := range x {
		if x[i] == y[i] || math.IsNaN(x[i]) && math.IsNaN(y[i]) {
			continue
		}
		if !(math.Abs(x[i]-y[i]) <= tolerance*(1+math.Abs(y[i]))) {
			return "elements differ"
		}
	}
	return ""
}

// TestRefereeSimplify runs all models before and after they are simplified.
func TestRefereeSimplify(t *testing.T) {
	r := newReferee(t)
	var pairs, written []string
	for _, path := range r.models {
		m := r.read(path)
		if strings.Contains(path, "light") {
			continue // large as numbers; TestRefereeSimplifyPeers has them
		}
		before := m.Graph.NumNodes()
		if _, err := Simplify(m, SimplifyOptions{}); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if err := Check(m); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if m.Graph.NumNodes() == before && before == 1 {
			continue
		}
		pairs, written = append(pairs, path+"\t"+r.write(m, "simple", path)), append(written, filepath.Join(r.dir, "simple", filepath.Base(path)))
	}
	r.equivalent(pairs, written)
}

// TestRefereeSimplifyPeers compares what is left of whole networks with what onnxslim and onnxsim leave: the light ones of
// the onnx package, the digits, and the models in the folder that OPTIMIZE_FIXTURES names.
func TestRefereeSimplifyPeers(t *testing.T) {
	r := newReferee(t)
	large := func(path string) bool { // up to half a gigabyte as numbers
		return strings.Contains(path, "vgg") || strings.Contains(path, "zfnet") || strings.Contains(path, "alexnet")
	}
	paths := []string{digits}
	for _, path := range r.models {
		if strings.Contains(path, "light") && !large(path) {
			paths = append(paths, path)
		}
	}
	if dir := os.Getenv("OPTIMIZE_FIXTURES"); dir != "" {
		more, _ := filepath.Glob(filepath.Join(dir, "*.onnx"))
		paths = append(paths, more...)
	}
	var ours, written []string
	pairs := map[string][]string{} // by peer
	peers := []struct{ name, command, dir string }{{"onnxslim", "slim", t.TempDir()}, {"onnxsim", "sim", t.TempDir()}}
	for _, path := range paths {
		m := r.read(path)
		if _, err := Simplify(m, SimplifyOptions{MaxGrowth: 1 << 40}); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if err := Check(m); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		out := r.write(m, "ours", path)
		for _, p := range peers {
			if p.name == "onnxslim" || !large(path) {
				pairs[p.name] = append(pairs[p.name], path+"\t"+filepath.Join(p.dir, filepath.Base(path)))
			}
		}
		ours, written = append(ours, path+"\t"+out), append(written, out)
	}
	for _, p := range peers {
		for _, s := range r.complaints(p.command, pairs[p.name]) {
			t.Logf("%s: %s", p.name, s)
		}
		for i, path := range written {
			base := filepath.Base(ours[i][:strings.IndexByte(ours[i], '\t')])
			theirs := filepath.Join(p.dir, base)
			if _, err := os.Stat(theirs); err != nil {
				continue // it cannot simplify this one
			}
			a, b := r.read(path), r.read(theirs)
			nodesA, _ := a.count()
			nodesB, _ := b.count()
			t.Logf("%-40s %5d nodes %10d bytes, %s %5d nodes %10d bytes", base, nodesA, a.Size(), p.name, nodesB, b.Size())
			// A few names and types: what is a percent larger is not worse.
			if nodesA > nodesB || a.Size() > b.Size()+b.Size()/100 {
				t.Errorf("%s: more is left than %s leaves", base, p.name)
			}
		}
	}
	r.equivalent(ours, written)
}
