package weightonly

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/gram/solve"
)

// refereeCase is a weight and what is made of it.
type refereeCase struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	N         int    `json:"n"`
	K         int    `json:"k"`
	Block     int    `json:"block"`
	Bits      int    `json:"bits"`
	Symmetric bool   `json:"symmetric"`
	seed      uint64
}

func refereeCases() []refereeCase {
	var out []refereeCase
	seed := uint64(0)
	add := func(kind string, n, k, block, bits int, symmetric bool) {
		seed++
		out = append(out, refereeCase{fmt.Sprintf("%s%d-%dx%d-%d-%v", kind, bits, n, k, block, symmetric), kind, n, k, block, bits, symmetric, seed})
	}
	for _, bits := range []int{4, 8} {
		for _, block := range []int{16, 32, 64, 128, 256} {
			for _, symmetric := range []bool{false, true} {
				add("rtn", 7, 100, block, bits, symmetric)
				add("rtn", 40, 256, block, bits, symmetric)
				add("rtn", 3, 33, block, bits, symmetric)
			}
		}
	}
	for _, kind := range []string{"nf4", "fp4"} {
		for _, block := range []int{16, 64, 256} {
			add(kind, 7, 100, block, 4, false)
			add(kind, 5, 33, block, 4, false)
		}
	}
	for _, block := range []int{32, 64, 128} {
		add("hqq", 24, 200, block, 4, false)
		add("gptq", 24, 200, block, 4, false)
		add("gptq", 24, 200, block, 4, true)
	}
	return out
}

// weight makes a case's elements, [N, K], with what weights have: tails, outliers, outputs of unlike size, blocks of one
// sign, and one that is zero.
func (c refereeCase) weight() []float32 {
	r := rand.New(rand.NewPCG(c.seed, 9))
	w := make([]float32, c.N*c.K)
	for n := range c.N {
		size := math.Exp(r.NormFloat64())
		for i := range c.K {
			v := size * r.NormFloat64()
			switch {
			case r.IntN(200) == 0:
				v *= 8
			case n == 1:
				v = math.Abs(v) + 1
			case n == 2 && i < c.Block:
				v = 0
			}
			w[n*c.K+i] = float32(v)
		}
	}
	return w
}

// hessian is that of inputs of which neighbours are alike and a few are large.
func (c refereeCase) hessian() []float32 {
	r := rand.New(rand.NewPCG(c.seed, 10))
	h, x := make([]float32, c.K*c.K), make([]float32, c.K)
	for range 2 * c.K {
		for i := range x {
			x[i] = 0.5 * float32(r.NormFloat64())
			if i > 0 {
				x[i] += 0.8 * x[i-1]
			}
		}
		for i, v := range x {
			for j, u := range x {
				h[i*c.K+j] += v * u
			}
		}
	}
	for i := range c.K {
		if i%37 == 5 {
			for j := range c.K {
				h[i*c.K+j] *= 5
				h[j*c.K+i] *= 5
			}
		}
	}
	return h
}

// ours returns the bytes of codes, scales and zeros as the operators store them.
func (c refereeCase) ours() (codes, zeros []byte, scales []float32) {
	w := c.weight()
	switch c.Kind {
	case "nf4":
		codes, scales = nf4.quantize(w, c.Block, 2)
		return codes, nil, scales
	case "fp4":
		codes, scales = fp4.quantize(w, c.Block, 2)
		return codes, nil, scales
	}
	b := grid{size: c.Block, bits: c.Bits, symmetric: c.Symmetric, threads: 2}.nearest(w, c.N, c.K)
	return b.blobs(), b.zeroRows(), b.Scales
}

// used sets what the operators do not look at to 0: codes beyond K, the second half of a row's last byte of zeros, and
// the zeros of blocks whose scale is 0, with their codes. We and ONNX Runtime fill them in unlike ways.
func (c refereeCase) used(codes, zeros []byte, scales []float32) (k, z []byte) {
	per, blob := (c.K+c.Block-1)/c.Block, c.Block*c.Bits/8
	width := (per*c.Bits + 7) / 8
	codes, zeros = bytes.Clone(codes), bytes.Clone(zeros)
	clearCode := func(b []byte, i int) {
		if c.Bits == 8 {
			b[i] = 0
		} else {
			b[i/2] &= 0xf0 >> (i % 2 * 4)
		}
	}
	for n := range c.N {
		if 8*width > per*c.Bits {
			clearCode(zeros[n*width:], per)
		}
		for i := range per {
			dead := scales[n*per+i] == 0
			if dead {
				clearCode(zeros[n*width:], i)
			}
			for j := range c.Block {
				if dead || i*c.Block+j >= c.K {
					clearCode(codes[(n*per+i)*blob:], j)
				}
			}
		}
	}
	return codes, zeros
}

func (c refereeCase) digest() string {
	codes, zeros, scales := c.ours()
	if c.Kind == "rtn" {
		codes, zeros = c.used(codes, zeros, scales)
	}
	if c.Symmetric {
		zeros = nil
	}
	h := sha256.New()
	h.Write(codes)
	h.Write(zeros)
	_ = binary.Write(h, binary.LittleEndian, scales)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

const goldenFile = "testdata/golden.json"

// TestGolden: the bytes that the referee agreed with.
func TestGolden(t *testing.T) {
	b, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	golden := map[string]string{}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range refereeCases() {
		if c.Kind == "hqq" || c.Kind == "gptq" {
			continue
		}
		n++
		if d := c.digest(); d != golden[c.Name] {
			t.Errorf("%s: digest %s, want %s", c.Name, d, golden[c.Name])
		}
	}
	if n != len(golden) {
		t.Errorf("%d cases, %d golden values", n, len(golden))
	}
}

// TestReferee compares with ONNX Runtime's quantizers byte by byte, and HQQ and GPTQ with plain versions of the papers by
// their error. OPTIMIZE_REFEREE_PYTHON names a Python that has onnxruntime. With OPTIMIZE_UPDATE_GOLDEN=1 what was agreed on
// becomes testdata/golden.json.
func TestReferee(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	dir := t.TempDir()
	write := func(name string, v []float32) {
		b := make([]byte, 0, 4*len(v))
		b, err := binary.Append(b, binary.LittleEndian, v)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	floats := func(b []byte) []float32 {
		v := make([]float32, len(b)/4)
		if _, err := binary.Decode(b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	cases := refereeCases()
	job, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "job.json"), job, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		write(c.Name+".w", transpose(c.weight(), c.N, c.K))
		write(c.Name+".h", c.hessian())
	}
	if out, err := exec.Command(python, "testdata/referee.py", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	golden := map[string]string{}
	for _, c := range cases {
		if c.Kind == "hqq" || c.Kind == "gptq" {
			compareError(t, c, transpose(floats(read(c.Name+".back")), c.K, c.N))
			continue
		}
		codes, zeros, scales := c.ours()
		theirs := read(c.Name + ".codes")
		if c.Kind == "rtn" {
			codes, zeros = c.used(codes, zeros, scales)
			z := read(c.Name + ".zeros")
			if c.Symmetric {
				z = zeros
			}
			theirs, z = c.used(theirs, z, scales)
			if !bytes.Equal(zeros, z) {
				t.Errorf("%s: other zeros", c.Name)
			}
		}
		if !bytes.Equal(codes, theirs) {
			t.Errorf("%s: other codes", c.Name)
		}
		for i, s := range floats(read(c.Name + ".scales")) {
			if s != scales[i] {
				t.Errorf("%s: scale %d is %v, theirs %v", c.Name, i, scales[i], s)
				break
			}
		}
		golden[c.Name] = c.digest()
	}
	if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") == "1" && !t.Failed() {
		b, _ := json.MarshalIndent(golden, "", "  ")
		if err := os.WriteFile(goldenFile, append(b, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// compareError wants ours to be no larger than the referee's: for HQQ what it minimizes, the mean magnitude of the error;
// for GPTQ that of the product.
func compareError(t *testing.T, c refereeCase, theirs []float32) {
	t.Helper()
	w := c.weight()
	g := grid{size: c.Block, bits: 4, symmetric: c.Symmetric, threads: 2}
	if c.Kind == "hqq" {
		back := g.hqq(w, c.N, c.K, true).Dequantize(1)
		var a, b float64
		for i, v := range w {
			a += math.Abs(float64(v - back[i]))
			b += math.Abs(float64(v - theirs[i]))
		}
		t.Logf("%s: error %.4f of the referee's", c.Name, a/b)
		if a > b*1.0001 {
			t.Errorf("%s: mean error %.6g, the referee's %.6g", c.Name, a, b)
		}
		return
	}
	h := c.hessian()
	r := newRounder(g, c.N, c.K, w, h)
	if err := solve.GPTQ(transpose(w, c.N, c.K), c.K, c.N, append([]float32(nil), h...), r, solve.Plain{}, solve.GPTQOptions{Threads: 2}); err != nil {
		t.Fatal(err)
	}
	e := map[bool]float64{}
	for us, back := range map[bool][]float32{true: r.blocks().Dequantize(1), false: theirs} {
		d := make([]float32, len(w))
		for i, v := range w {
			d[i] = v - back[i]
		}
		var err error
		if e[us], err = solve.OutputError(d, c.N, c.K, h, solve.Plain{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s: error of the product %.4f of the referee's", c.Name, e[true]/e[false])
	if e[true] > e[false] {
		t.Errorf("%s: error of the product %.6g, the referee's %.6g", c.Name, e[true], e[false])
	}
}
