package repair

import (
	"archive/zip"
	"encoding/binary"
	"io"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/prune/groups"
	"github.com/optimize-hcl/optimize/tensor"
)

func withEngine(t testing.TB) {
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

const digits = "../../../recipes/digits/"

// array reads n samples of bytes of an .npz file.
func array(t testing.TB, path, field string, n, size, width int64) []byte {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	f, err := z.Open(field + ".npy")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 10)
	if _, err := io.ReadFull(f, head); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, f, int64(binary.LittleEndian.Uint16(head[8:]))); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n*size*width)
	if _, err := io.ReadFull(f, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func images(t testing.TB, file string, n int64) tensor.Tensor {
	b := array(t, digits+file, "image", n, 784, 1)
	f := make([]float32, len(b))
	for i, v := range b {
		f[i] = float32(v) / 255
	}
	return tensor.Of([]int64{n, 1, 28, 28}, f)
}

// source gives samples of one input.
type source struct {
	name string
	x    tensor.Tensor
}

func (s source) Samples() int64 { return s.x.Shape[0] }
func (s source) Batch(start, n int64) (map[string]tensor.Tensor, error) {
	r, err := s.x.Rows(start, n)
	return map[string]tensor.Tensor{s.name: r}, err
}

func read(t testing.TB, path string) *onnx.Model {
	t.Helper()
	m, err := onnx.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := groups.Prepare(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// narrowed takes the share of each group's units that are smallest out of a model, and tells what is left of each value.
func narrowed(t testing.TB, m *onnx.Model, share float64) func(string) [][]int {
	t.Helper()
	a, err := groups.Analyze(m, groups.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sel := a.Select()
	for _, g := range a.Groups {
		energy := make([]float64, len(g.Units))
		for _, u := range g.Uses {
			if u.Constant == nil || len(u.Constant.Dims) < 2 {
				continue
			}
			v, err := u.Constant.Float32s()
			if err != nil {
				t.Fatal(err)
			}
			inner := int64(1)
			for _, d := range u.Constant.Dims[u.Axis+1:] {
				inner *= d
			}
			for i, at := range u.At {
				for _, k := range at {
					for e := range v {
						if int64(e)/inner%u.Constant.Dims[u.Axis] == int64(k) {
							energy[i] += float64(v[e]) * float64(v[e])
						}
					}
				}
			}
		}
		order := make([]int, len(energy))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int {
			if energy[a] < energy[b] {
				return -1
			}
			return 1
		})
		for _, i := range order[:int(share*float64(len(order)))] {
			sel.Remove(g.Units[i])
		}
	}
	kept := func(value string) [][]int { return a.Remaining(sel, value) }
	if err := a.Cut(sel, 2); err != nil {
		t.Fatal(err)
	}
	return kept
}

func outputs(t testing.TB, m *onnx.Model, s source) []float32 {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	e, err := ort.NewSession(b, ort.Options{Threads: 2, Optimize: true})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	out, err := e.Run(map[string]tensor.Tensor{s.name: s.x}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := tensor.ToFloat32(out[m.Graph.Outputs()[0].Name()])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func noise(a, b []float32) float64 {
	var signal, noise float64
	for i := range a {
		d := float64(a[i] - b[i])
		signal, noise = signal+float64(a[i])*float64(a[i]), noise+d*d
	}
	return noise / signal
}

func top1(logits []float32, labels []byte) float64 {
	right := 0
	n := len(labels) / 8
	for i := range n {
		row := logits[i*10 : (i+1)*10]
		if slices.Index(row, slices.Max(row)) == int(labels[i*8]) {
			right++
		}
	}
	return float64(right) / float64(n)
}

// TestRepairDigits: a real net that lost a third of its channels, with and without repair, on images that it did not see.
func TestRepairDigits(t *testing.T) {
	withEngine(t)
	const seen, tested = 80, 300
	train := source{"input", images(t, "mnist-train.npz", seen)}
	test := source{"input", images(t, "mnist-test.npz", tested)}
	labels := array(t, digits+"mnist-test.npz", "label", tested, 1, 8)
	whole := read(t, digits+"digits.onnx")
	want := outputs(t, whole, test)
	got := map[string][2]float64{}
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"nothing", Options{}}, // top-1 0.16; by least squares 0.97, as the original
		{"bias", Options{Bias: true}},
		{"batch normalization", Options{BatchNorm: true}},
		{"least squares", Options{LeastSquares: true}},
	} {
		m := read(t, digits+"digits.onnx")
		c.o.Kept = narrowed(t, m, 0.34)
		c.o.Source, c.o.Threads, c.o.Dir = train, 2, t.TempDir()
		r, err := Repair(t.Context(), whole, m, c.o)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		out := outputs(t, m, test)
		got[c.name] = [2]float64{noise(want, out), top1(out, labels)}
		t.Logf("%s: noise %.3f, top-1 %.3f; judged %.3f before, %.3f after; %d layers, %d norms, left %v", c.name, got[c.name][0], got[c.name][1], r.Before, r.After, len(r.Layers), r.Norms, r.Left)
	}
	t.Logf("the original: top-1 %.3f", top1(want, labels))
	for _, name := range []string{"bias", "batch normalization", "least squares"} {
		if !(got[name][0] < got["nothing"][0]) {
			t.Errorf("%s: noise %.3f, without %.3f", name, got[name][0], got["nothing"][0])
		}
	}
	if ls := got["least squares"]; !(ls[0] < got["bias"][0]/2 && ls[0] < got["batch normalization"][0]) || ls[1] < got["nothing"][1]+0.1 {
		t.Errorf("least squares: noise and top-1 %v, of all: %v", ls, got)
	}
}

// TestRepairFindsTheAnswer: where the channels that left are sums of those that stay, repair gives the original's output.
func TestRepairFindsTheAnswer(t *testing.T) {
	withEngine(t)
	build := func() *onnx.Model {
		m := onnx.NewModel("net", 13)
		g := m.Graph
		g.AddInput(onnx.NewValueInfo("x", onnx.Float, []onnx.Dim{onnx.ParamDim("N"), {Value: 3}, {Value: 5}, {Value: 5}}))
		rnd := func(seed float64, n int) []float32 {
			v := make([]float32, n)
			for i := range v {
				v[i] = float32(math.Sin(seed + float64(i)*1.7))
			}
			return v
		}
		w := rnd(1, 6*3) // 1x1; channel 5 is channel 0 plus half of channel 1
		b := rnd(9, 6)
		for i := range 3 {
			w[15+i] = w[i] + w[3+i]/2
		}
		b[5] = 0.7
		g.AddInitializer(onnx.NewFloats("w", w, 6, 3, 1, 1))
		g.AddInitializer(onnx.NewFloats("b", b, 6))
		g.AddInitializer(onnx.NewFloats("v", rnd(4, 4*6*9), 4, 6, 3, 3))
		g.AddInitializer(onnx.NewFloats("m", rnd(5, 4*7), 4, 7))
		g.AddInitializer(onnx.NewFloats("c", rnd(6, 7), 7))
		g.AppendNode(onnx.NewNode("Conv", "", "first", []string{"x", "w", "b"}, []string{"y"}))
		g.AppendNode(onnx.NewNode("Conv", "", "second", []string{"y", "v"}, []string{"z"}))
		g.AppendNode(onnx.NewNode("GlobalAveragePool", "", "p", []string{"z"}, []string{"p"}))
		g.AppendNode(onnx.NewNode("Flatten", "", "f", []string{"p"}, []string{"f"}))
		g.AppendNode(onnx.NewNode("MatMul", "", "third", []string{"f", "m"}, []string{"t"}))
		g.AppendNode(onnx.NewNode("Add", "", "add", []string{"t", "c"}, []string{"o"}))
		g.AddOutput(onnx.NewValueInfo("o", onnx.Float, nil))
		return m
	}
	whole, m := build(), build()
	a, err := groups.Analyze(m, groups.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sel := a.Select()
	for _, g := range a.Groups {
		if g.Name == "first" {
			sel.Remove(g.Units[5])
		}
	}
	if sel.Empty() {
		t.Fatal("no group is called first")
	}
	kept := a.Remaining(sel, "y")
	if len(kept) != 4 || !slices.Equal(kept[1], []int{0, 1, 2, 3, 4}) {
		t.Fatalf("left of y: %v", kept)
	}
	if err := a.Cut(sel, 1); err != nil {
		t.Fatal(err)
	}
	x := make([]float32, 40*75)
	for i := range x {
		x[i] = float32(math.Sin(float64(i)*1.37) + 0.3)
	}
	s := source{"x", tensor.Of([]int64{40, 3, 5, 5}, x)}
	want := outputs(t, whole, s)
	lost := noise(want, outputs(t, m, s))
	r, err := Repair(t.Context(), whole, m, Options{LeastSquares: true, Damping: 1e-5, Source: s, Threads: 1, Dir: t.TempDir(), Kept: func(v string) [][]int { return a.Remaining(sel, v) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := onnx.Check(m); err != nil {
		t.Fatal(err)
	}
	if got := noise(want, outputs(t, m, s)); got > 1e-4 || lost < 1e-2 {
		t.Errorf("noise %.3g, before repair %.3g; %+v", got, lost, r)
	}
	for _, l := range r.Layers {
		if l.Name == "first" {
			t.Error("the layer that only lost outputs was solved")
		}
	}
}
