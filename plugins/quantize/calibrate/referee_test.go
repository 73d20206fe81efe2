package calibrate

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// distributions are what tensors of networks look like; each makes value i.
var distributions = []struct {
	name string
	of   func(r *rand.Rand) float64
}{
	{"normal", func(r *rand.Rand) float64 { return r.NormFloat64() }},
	{"relu", func(r *rand.Rand) float64 { return max(0, r.NormFloat64()-0.3) }},
	{"heavy", func(r *rand.Rand) float64 { return r.NormFloat64() * r.ExpFloat64() }},
	{"outliers", func(r *rand.Rand) float64 {
		if r.IntN(2000) == 0 {
			return 40 * r.Float64()
		}
		return r.NormFloat64()
	}},
	{"sigmoid", func(r *rand.Rand) float64 { return 1 / (1 + math.Exp(-2*r.NormFloat64())) }},
	{"hardswish", func(r *rand.Rand) float64 {
		x := 2 * r.NormFloat64()
		return x * min(max(x+3, 0), 6) / 6
	}},
	{"negative", func(r *rand.Rand) float64 { return -r.ExpFloat64() }},
	{"zero", func(*rand.Rand) float64 { return 0 }},
}

const (
	refereeSamples = 6
	refereeSize    = 20000
)

// refereeValues are those of a distribution, the same in each run.
func refereeValues(k int) []float32 {
	rng := rand.New(rand.NewPCG(uint64(k), 77))
	v := make([]float32, refereeSamples*refereeSize)
	for i := range v {
		v[i] = float32(distributions[k].of(rng))
	}
	return v
}

type refereeCase struct {
	File       string  `json:"file"`
	Samples    int     `json:"samples"`
	Method     Method  `json:"method"`
	Bins       int     `json:"bins"`
	Percentile float64 `json:"percentile"`
	dist       int
}

// ours is what we choose.
func (c refereeCase) ours() *Tensor {
	v := refereeValues(c.dist)
	o := newObserver(true, -1)
	for i := range refereeSamples {
		o.observe(v[i*refereeSize:][:refereeSize], nil, Options{})
	}
	opt := Options{Method: c.Method, Bins: c.Bins, Percentile: c.Percentile}
	if c.Bins == 0 {
		opt = Options{}
	}
	return o.result(opt.withDefaults())
}

func refereeCases() []refereeCase {
	var out []refereeCase
	for d := range distributions {
		for _, c := range []refereeCase{{Method: MinMax}, {Method: Entropy, Bins: 128}, {Method: Entropy, Bins: 512}, {Method: Entropy, Bins: 2048},
			{Method: Percentile, Bins: 2048, Percentile: 99.999}, {Method: Percentile, Bins: 2048, Percentile: 99.9}, {Method: Percentile, Bins: 2048, Percentile: 99}, {Method: Percentile, Bins: 128, Percentile: 98}} {
			c.dist, c.Samples = d, refereeSamples
			out = append(out, c)
		}
	}
	return out
}

// TestReferee: bounds as ONNX Runtime's to the bit, entropy and percentile within one bin of its histogram. What it
// answered lies in testdata/golden.json; OPTIMIZE_REFEREE_PYTHON names a Python that asks it again.
func TestReferee(t *testing.T) {
	cases := refereeCases()
	golden := filepath.Join("testdata", "golden.json")
	var b []byte
	if python := os.Getenv("OPTIMIZE_REFEREE_PYTHON"); python != "" {
		dir := t.TempDir()
		for i := range cases {
			c := &cases[i]
			c.File = filepath.Join(dir, distributions[c.dist].name)
			var raw []byte
			for _, x := range refereeValues(c.dist) {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
			}
			if err := os.WriteFile(c.File, raw, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		job, err := json.Marshal(cases)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "job.json"), job, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(python, "testdata/referee.py", filepath.Join(dir, "job.json"))
		cmd.Stderr = os.Stderr
		if b, err = cmd.Output(); err != nil {
			t.Fatal(err)
		}
		if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(golden, append(b, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	} else {
		var err error
		if b, err = os.ReadFile(golden); err != nil {
			t.Fatal(err)
		}
	}
	var want [][]float64
	if err := json.Unmarshal(b, &want); err != nil || len(want) != len(cases) {
		t.Fatalf("%d answers to %d cases: %v", len(want), len(cases), err)
	}
	for i, c := range cases {
		name := fmt.Sprintf("%s, %s, %d bins, %g", distributions[c.dist].name, c.Method, c.Bins, c.Percentile)
		got, w := c.ours(), want[i]
		if c.Bins == 0 {
			if float64(got.Seen.Min) != w[0] || float64(got.Seen.Max) != w[1] {
				t.Errorf("%s: %v, want %v", name, got.Seen, w)
			}
			if math.Abs(float64(got.Average.Min)-w[2]) > 1e-6 || math.Abs(float64(got.Average.Max)-w[3]) > 1e-6 {
				t.Errorf("%s: mean %v, want %v", name, got.Average, w[2:])
			}
			continue
		}
		bin := 2 * float64(max(got.Seen.Max, -got.Seen.Min)) / float64(c.Bins)
		lo, hi := math.Abs(float64(got.Chosen.Min)-w[0]), math.Abs(float64(got.Chosen.Max)-w[1])
		if lo > bin*1.001 || hi > bin*1.001 {
			t.Errorf("%s: %v, want %v: %.2f and %.2f bins apart", name, got.Chosen, w, lo/bin, hi/bin)
		}
	}
}

// TestMSE: no other range of a fine grid has an error that is much less, and outliers are cut off.
func TestMSE(t *testing.T) {
	for k, d := range distributions {
		c := refereeCase{dist: k, Method: MSE, Bins: 2048}
		got := c.ours()
		v := refereeValues(k)
		w := make([]float64, len(v))
		p := make([]float64, len(v))
		for i, x := range v {
			p[i], w[i] = float64(x), 1
		}
		whole := gridError(p, w, float64(min(got.Seen.Min, 0)), float64(max(got.Seen.Max, 0)))
		mine := gridError(p, w, float64(min(got.Chosen.Min, 0)), float64(max(got.Chosen.Max, 0)))
		if d.name == "zero" {
			continue
		}
		if mine > whole*1.001 {
			t.Errorf("%s: %v has an error of %g, min-max %g", d.name, got.Chosen, mine, whole)
		}
		for a := 20; a <= 40; a++ {
			f := float64(a) / 40
			if e := gridError(p, w, f*float64(min(got.Seen.Min, 0)), f*float64(max(got.Seen.Max, 0))); e < mine*0.98 {
				t.Errorf("%s: %v has an error of %g; shrunk by %g it is %g", d.name, got.Chosen, mine, f, e)
			}
		}
		if d.name == "outliers" && got.Chosen.Max > 0.9*got.Seen.Max {
			t.Errorf("%s: %v keeps all of %v", d.name, got.Chosen, got.Seen)
		}
	}
}
