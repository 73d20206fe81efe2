package metrics

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// golden is what testdata/golden.py writes.
type golden struct {
	Classification map[string]struct {
		N, Classes    int
		Labels        []int64
		Scores        []float64
		Coarse        []float64
		Probabilities []float64
		Want          map[string]float64
	}
	Segmentation struct {
		Shape               []int64
		Classes             int
		Labels, Predictions []int64
		Want                map[string]float64
	}
	Regression struct {
		Shape  []int64
		Ref, X []float32
		Want   map[string]float64
	}
	Text struct {
		Hypotheses, References, Second, Tokens []string
		Want                                   map[string]float64
	}
}

func TestGolden(t *testing.T) { checkGolden(t, filepath.Join("testdata", "golden.json")) }

// TestReferee writes the golden values anew, with a Python that has scikit-learn,
// sacrebleu and jiwer, and compares with those.
func TestReferee(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	path := filepath.Join(t.TempDir(), "golden.json")
	if out, err := exec.Command(python, filepath.Join("testdata", "golden.py"), path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	checkGolden(t, path)
}

func checkGolden(t *testing.T, path string) {
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	for name, c := range g.Classification {
		checkClassification(t, name, c.Want, tensor.Of([]int64{int64(c.N), int64(c.Classes)}, c.Scores), c.Probabilities, c.Coarse, c.Labels)
	}

	s := g.Segmentation
	confusion, err := NewSegmentation(tensor.Of(s.Shape, s.Predictions), tensor.Of(s.Shape, s.Labels), s.Classes, 255)
	check := checker(t, "segmentation", s.Want)
	check("iou/macro", must(t)(confusion.IoU(Macro), err))
	check("accuracy", confusion.Accuracy())

	r := g.Regression
	check = checker(t, "regression", r.Want)
	ref, x := tensor.Of(r.Shape, r.Ref), tensor.Of(r.Shape, r.X)
	check("mse", must(t)(MSE(ref, x)))
	check("mae", must(t)(MAE(ref, x)))
	check("psnr", must(t)(PSNR(ref, x, 1)))
	for name, f := range map[string]func(a, b tensor.Tensor) (Estimate, error){"cosine": Cosine, "sqnr": SQNR} {
		if e, err := f(ref, x); err != nil || math.Abs(e.Point-r.Want[name]) > 1e-9 {
			t.Errorf("%s: got %v, %v, want %v", name, e.Point, err, r.Want[name])
		}
	}

	x2 := g.Text
	for i, line := range append(append([]string{}, x2.References...), x2.Hypotheses...) {
		if got := strings.Join(tokenize13a(line), " "); got != x2.Tokens[i] {
			t.Errorf("tokens of %q: got %q, want %q", line, got, x2.Tokens[i])
		}
	}
	one, two := make([][]string, len(x2.References)), make([][]string, len(x2.References))
	for i := range one {
		one[i] = []string{x2.References[i]}
		two[i] = []string{x2.References[i], x2.Second[i]}
	}
	check = checker(t, "text", x2.Want)
	check("wer", must(t)(WER(x2.Hypotheses, x2.References)))
	check("cer", must(t)(CER(x2.Hypotheses, x2.References)))
	check("bleu", must(t)(BLEU(x2.Hypotheses, one)))
	check("bleu/2", must(t)(BLEU(x2.Hypotheses, two)))
	check("bleu/smooth", must(t)(BLEU(x2.Hypotheses[5:7], one[5:7])))
	check("chrf", must(t)(ChrF(x2.Hypotheses, one, 0)))
	check("chrf/2", must(t)(ChrF(x2.Hypotheses, two, 0)))
	check("chrf++", must(t)(ChrF(x2.Hypotheses, two, 2)))
}

func checkClassification(t *testing.T, name string, want map[string]float64, scores tensor.Tensor, probabilities, coarse []float64, labels []int64) {
	check := checker(t, name, want)
	pred, err := argmax(scores)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewConfusion(pred, labels, int(scores.Shape[1]))
	if err != nil {
		t.Fatal(err)
	}
	for a, avg := range map[string]Average{"micro": Micro, "macro": Macro, "weighted": Weighted} {
		check("precision/"+a, c.Precision(avg))
		check("recall/"+a, c.Recall(avg))
		check("f1/"+a, c.F1(avg))
		check("iou/"+a, c.IoU(avg))
	}
	check("accuracy", c.Accuracy())
	for k := 1; k <= 3; k++ {
		key := "top" + string(rune('0'+k))
		if _, ok := want[key]; !ok || k == 2 && scores.Shape[1] == 2 {
			continue
		}
		hits, err := TopK(scores, labels, k)
		if err != nil {
			t.Fatal(err)
		}
		if e, _ := Proportion(hits); math.Abs(e.Point-want[key]) > 1e-12 {
			t.Errorf("%s %s: got %v, want %v", name, key, e.Point, want[key])
		}
	}
	if scores.Shape[1] == 2 {
		p, r, f, i, err := c.Class(1)
		check("precision/binary", must(t)(p, err))
		check("recall/binary", r)
		check("f1/binary", f)
		check("iou/binary", i)
		v, _ := tensor.View[float64](scores)
		column, positive := make([]float64, len(labels)), make([]bool, len(labels))
		for k, l := range labels {
			column[k], positive[k] = v[2*k+1], l == 1
		}
		check("auc", must(t)(ROCAUC(column, positive)))
		check("auc/ties", must(t)(ROCAUC(coarse, positive)))
	} else if probabilities != nil {
		p := tensor.Of(scores.Shape, probabilities)
		check("auc/macro", must(t)(ROCAUCOneVsRest(p, labels, Macro)))
		check("auc/weighted", must(t)(ROCAUCOneVsRest(p, labels, Weighted)))
	}
	check("perplexity", must(t)(Perplexity(scores, tensor.Of(nil, labels), -100)))
}

func must(t *testing.T) func(m Measure, err error) Measure {
	return func(m Measure, err error) Measure {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
}

// checker compares a point with the golden value, and looks whether its interval is
// one and does not depend on the number of cores.
func checker(t *testing.T, name string, want map[string]float64) func(key string, m Measure) {
	return func(key string, m Measure) {
		t.Helper()
		w, ok := want[key]
		if !ok {
			t.Errorf("%s has no golden value %s", name, key)
		}
		got, err := m.Point()
		if err != nil || math.Abs(got-w) > 1e-9*max(1, math.Abs(w)) {
			t.Errorf("%s %s: got %v, %v, want %v", name, key, got, err, w)
		}
		e, err := m.Estimate()
		if err != nil || e.Point != got || e.Low > e.High || e.Low == e.High && m.Samples() > 20 {
			t.Errorf("%s %s: the interval is %+v, %v", name, key, e, err)
		}
		before := runtime.GOMAXPROCS(3)
		many, _ := m.Estimate()
		runtime.GOMAXPROCS(1)
		single, _ := m.Estimate()
		runtime.GOMAXPROCS(before)
		if many != e || single != e {
			t.Errorf("%s %s: %+v, %+v and %+v on different numbers of cores", name, key, e, many, single)
		}
	}
}

// TestMeasureIsMean: of a mean the general bootstrap is the special one.
func TestMeasureIsMean(t *testing.T) {
	for _, n := range []int{1, 7, 1000} {
		v := make([]float64, n)
		for i := range v {
			v[i] = float64(i * i % 17)
		}
		m, err := MeanOf(v)
		if err != nil {
			t.Fatal(err)
		}
		got, err1 := m.Estimate()
		want, err2 := Mean(v)
		if err1 != nil || err2 != nil || got != want {
			t.Errorf("%d samples: %+v and %+v", n, got, want)
		}
	}
}

// TestDropIsPaired: what both get wrong does not widen the interval.
func TestDropIsPaired(t *testing.T) {
	labels, base, cand := make([]int64, 400), make([]int64, 400), make([]int64, 400)
	for i := range labels {
		labels[i] = int64(i % 4)
		base[i], cand[i] = labels[i], labels[i]
		if i%5 == 0 { // hard for both
			base[i], cand[i] = (labels[i]+1)%4, (labels[i]+1)%4
		}
		if i%100 == 1 {
			cand[i] = (labels[i] + 2) % 4
		}
	}
	b, err1 := NewConfusion(base, labels, 4)
	c, err2 := NewConfusion(cand, labels, 4)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	d, err := Drop(b.F1(Macro), c.F1(Macro))
	if err != nil {
		t.Fatal(err)
	}
	alone, _ := b.F1(Macro).Estimate()
	if d.Point <= 0 || d.Low < 0 || d.High-d.Low > (alone.High-alone.Low)/2 {
		t.Errorf("the paired drop is %+v, F1 alone %+v", d, alone)
	}
	if same, _ := Drop(b.F1(Macro), b.F1(Macro)); same != (Estimate{}) {
		t.Errorf("against itself the drop is %+v", same)
	}
	short, _ := NewConfusion(base[:10], labels[:10], 4)
	if _, err := Drop(b.Accuracy(), short.Accuracy()); err == nil || !strings.Contains(err.Error(), "400") || !strings.Contains(err.Error(), "10") {
		t.Errorf("sets of different length: %v", err)
	}
}

func TestUndefined(t *testing.T) {
	m, err := ROCAUC([]float64{1, 2, 3}, []bool{true, true, true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Estimate(); err == nil || !strings.Contains(err.Error(), "not defined") {
		t.Errorf("one class only: %v", err)
	}
	if _, err := (Measure{}).Estimate(); err == nil {
		t.Error("a measure of nothing has no figure")
	}
	empty, err := WER([]string{"x"}, []string{""})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := empty.Point(); err == nil {
		t.Error("references without words have no error rate")
	}
	nan := tensor.Of([]int64{1, 2}, []float32{1, float32(math.NaN())})
	ref := tensor.Of([]int64{1, 2}, []float32{1, 2})
	for name, err := range map[string]error{
		"label too large":    second(NewConfusion([]int64{0}, []int64{2}, 2)),
		"label negative":     second(NewConfusion([]int64{0}, []int64{-1}, 2)),
		"prediction":         second(NewConfusion([]int64{5}, []int64{0}, 2)),
		"lengths":            second(NewConfusion([]int64{0, 1}, []int64{0}, 2)),
		"one class":          second(NewConfusion([]int64{0}, []int64{0}, 1)),
		"classes without":    second(ROCAUCOneVsRest(ref, []int64{3}, Macro)),
		"micro":              second(ROCAUCOneVsRest(ref, []int64{1}, Micro)),
		"NaN score":          second(ROCAUC([]float64{math.NaN()}, []bool{true})),
		"NaN in TopK":        second(TopK(nan, []int64{0}, 1)),
		"k":                  second(TopK(ref, []int64{0}, 3)),
		"NaN in MSE":         second(MSE(ref, nan)),
		"span":               second(PSNR(ref, ref, 0)),
		"shapes":             second(MSE(ref, tensor.Of([]int64{2}, []float32{1, 2}))),
		"texts":              second(WER([]string{"a"}, nil)),
		"no reference":       second(BLEU([]string{"a"}, [][]string{{}})),
		"no texts":           second(ChrF(nil, nil, 0)),
		"perplexity label":   second(Perplexity(ref, tensor.Of(nil, []int64{7}), -100)),
		"perplexity NaN":     second(Perplexity(nan, tensor.Of(nil, []int64{0}), -100)),
		"perplexity shape":   second(Perplexity(ref, tensor.Of(nil, []int64{0, 1}), -100)),
		"float segmentation": second(NewSegmentation(ref, ref, 2, -1)),
		"NaN in Classes":     second(Classes(nan)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestClasses(t *testing.T) {
	got, err := Classes(tensor.Of([]int64{2, 3, 2}, []float32{1, 5, 3, 2, 2, 5, 0, 0, 0, 0, 0, 1}))
	if err != nil {
		t.Fatal(err)
	}
	v, _ := tensor.View[int64](got)
	if len(got.Shape) != 2 || v[0] != 1 || v[1] != 0 || v[2] != 0 || v[3] != 2 {
		t.Errorf("got %v %v", got.Shape, v)
	}
}

// TestDistance compares with the definition on all short words over two letters.
func TestDistance(t *testing.T) {
	var words [][]int32
	for n := range 5 {
		for bits := range 1 << n {
			w := make([]int32, n)
			for i := range w {
				w[i] = int32(bits >> i & 1)
			}
			words = append(words, w)
		}
	}
	var slow func(a, b []int32) int
	slow = func(a, b []int32) int {
		if len(a) == 0 || len(b) == 0 {
			return len(a) + len(b)
		}
		change := 1
		if a[0] == b[0] {
			change = 0
		}
		return min(slow(a[1:], b[1:])+change, slow(a[1:], b)+1, slow(a, b[1:])+1)
	}
	for _, a := range words {
		for _, b := range words {
			if got, want := distance(a, b), slow(a, b); got != want {
				t.Fatalf("%v and %v: got %d, want %d", a, b, got, want)
			}
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("It cost 1,234.56 dollars.", "It's 5-6 \xff km")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a)+len(b) > 4096 {
			return // edit distance takes the product of both
		}
		h, r := []string{a}, [][]string{{b}}
		for name, err := range map[string]error{
			"wer": second(WER(h, r[0])), "cer": second(CER(h, r[0])), "bleu": second(BLEU(h, r)), "chrf": second(ChrF(h, r, 2)),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if m, err := ChrF(h, [][]string{{a}}, 2); err == nil {
			if v, _ := m.Point(); v != 0 && math.Abs(v-100) > 1e-9 {
				t.Errorf("chrF of %q against itself is %v", a, v)
			}
		}
	})
}
