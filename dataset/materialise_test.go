package dataset

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

const (
	digitsTest  = "../recipes/digits/mnist-test.npz"
	digitsTrain = "../recipes/digits/mnist-train.npz"
)

func ptr(v float64) *float64 { return &v }

// open materialises s and opens the result.
func open(t *testing.T, s Spec) (*tensor.Shards, Info) {
	t.Helper()
	dir := t.TempDir()
	info, err := Materialise(context.Background(), s, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := tensor.OpenShards(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if d.Samples() != info.Samples || !reflect.DeepEqual(d.Fields(), info.Fields) || d.HasLabels() != info.HasLabel {
		t.Fatalf("the index says %d %v %v, Materialise %+v", d.Samples(), d.Fields(), d.HasLabels(), info)
	}
	return d, info
}

// floats returns a whole field as float32.
func floats(t *testing.T, d *tensor.Shards, name string) []float32 {
	t.Helper()
	v, err := d.Field(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := tensor.ToFloat32(v)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func labels(t *testing.T, d *tensor.Shards) []int64 {
	t.Helper()
	l, ok := d.Labels()
	if !ok {
		t.Fatal("no labels")
	}
	v, err := tensor.View[int64](l)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDigits(t *testing.T) {
	d, info := open(t, Spec{
		Source: digitsTest, Label: "label",
		Inputs: []Input{{Name: "input", Field: "image", Scale: ptr(1.0 / 255)}},
	})
	want := []Field{{Name: "input", DType: tensor.F32, Shape: []int64{1, 28, 28}}}
	if info.Samples != 2000 || !reflect.DeepEqual(info.Fields, want) || !info.HasLabel {
		t.Fatalf("got %+v", info)
	}
	var counts [10]int
	for _, l := range labels(t, d) {
		counts[l]++
	}
	if slices.Min(counts[:]) < 100 {
		t.Errorf("classes are %v", counts)
	}
	raw, _ := open(t, Spec{Source: digitsTest, Inputs: []Input{{Name: "image"}}})
	bytes, err := raw.Field("image")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.DType != tensor.U8 || raw.HasLabels() {
		t.Fatalf("without arithmetic the field is %s", bytes.DType)
	}
	got := floats(t, d, "input")
	for i, b := range bytes.Data {
		// What NumPy makes of image.astype(float32) / 255.
		if want := float32(b) / 255; got[i] != want {
			t.Fatalf("element %d is %v, want %v of %d", i, got[i], want, b)
		}
	}
}

func TestTypes(t *testing.T) {
	up := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(i)
		}
		return v
	}
	eighths := up(24)
	for i := range eighths {
		eighths[i] /= 8
	}
	odd := up(24)
	for i := range odd {
		odd[i] = float32(i % 2)
	}
	standard := up(24)
	for i := range standard {
		standard[i] = (standard[i]*2 - 3) / 4
	}
	for _, c := range []struct {
		source string
		in     Input
		dtype  tensor.DType
		want   []float32
	}{
		{"stored.npz", Input{Name: "c"}, tensor.F32, up(24)},
		{"stored.npz", Input{Name: "x", Field: "fortran"}, tensor.F32, up(24)},
		{"stored.npz", Input{Name: "big"}, tensor.I16, up(24)},
		{"stored.npz", Input{Name: "big", DType: "float16"}, tensor.F16, up(24)},
		{"stored.npz", Input{Name: "big", DType: "BF16"}, tensor.BF16, up(24)},
		{"stored.npz", Input{Name: "big", DType: "u8"}, tensor.U8, up(24)},
		{"stored.npz", Input{Name: "big", DType: "float64", Scale: ptr(2), Mean: []float64{3}, Std: []float64{4}}, tensor.F64, standard},
		{"stored.npz", Input{Name: "c", Scale: ptr(2), Mean: []float64{3}, Std: []float64{4}}, tensor.F32, standard},
		{"stored.npz", Input{Name: "fortran", DType: "int64"}, tensor.I64, up(24)},
		{"stored.npz", Input{Name: "half"}, tensor.F16, eighths},
		{"stored.npz", Input{Name: "half", Scale: ptr(8), DType: "uint8"}, tensor.U8, up(24)},
		{"stored.npz", Input{Name: "bool"}, tensor.Bool, odd},
		{"stored.npz", Input{Name: "bool", DType: "int32"}, tensor.I32, odd},
		{"stored.npz", Input{Name: "bool", Scale: ptr(1)}, tensor.F32, odd},
		{"deflated.npz", Input{Name: "image", Scale: ptr(2), Mean: []float64{3}, Std: []float64{4}}, tensor.F32, standard},
		{"plain.npy", Input{Name: "x", Field: "plain"}, tensor.F64, up(24)},
		{"plain.npy", Input{Name: "x", Field: "plain", DType: "float32"}, tensor.F32, up(24)},
		{"version2.npy", Input{Name: "version2"}, tensor.I32, up(24)},
		{"version3.npy", Input{Name: "version3", DType: "uint16"}, tensor.U16, up(24)},
		{"", Input{Name: "version3", DType: "i8"}, tensor.I8, up(24)}, // the folder
	} {
		t.Run(c.source+"/"+c.in.Name+c.in.Field+c.in.DType, func(t *testing.T) {
			d, info := open(t, Spec{Source: filepath.Join("testdata", c.source), Inputs: []Input{c.in}})
			if f := info.Fields[0]; f.DType != c.dtype || !slices.Equal(f.Shape, []int64{2, 3}) || info.Samples != 4 {
				t.Fatalf("got %+v", info)
			}
			if got := floats(t, d, c.in.Name); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestLabels(t *testing.T) {
	for _, field := range []string{"label", "column"} {
		d, _ := open(t, Spec{Source: "testdata/stored.npz", Inputs: []Input{{Name: "c"}}, Label: field})
		if got := labels(t, d); !slices.Equal(got, []int64{3, 1, 2, 0}) {
			t.Errorf("%s: got %v", field, got)
		}
	}
}

func TestEveryFieldWithoutInputs(t *testing.T) {
	d, info := open(t, Spec{Source: "testdata/deflated.npz", Label: "label"})
	if len(info.Fields) != 1 || info.Fields[0].Name != "image" || !info.HasLabel {
		t.Errorf("got %+v", info)
	}
	if got := labels(t, d); !slices.Equal(got, []int64{3, 1, 2, 0}) {
		t.Errorf("got %v", got)
	}
}

func TestLimitAndShuffle(t *testing.T) {
	all, _ := open(t, Spec{Source: digitsTrain, Label: "label"})
	images, err := all.Field("image")
	if err != nil {
		t.Fatal(err)
	}
	row := 28 * 28
	sample := func(b []byte, i int) string { return string(b[i*row : (i+1)*row]) }
	where := make(map[string]int64)
	for i := range int(all.Samples()) {
		where[sample(images.Data, i)] = labels(t, all)[i]
	}

	first, _ := open(t, Spec{Source: digitsTrain, Label: "label", Limit: 64})
	part, _ := first.Field("image")
	if first.Samples() != 64 || string(part.Data) != string(images.Data[:64*row]) {
		t.Error("limit does not take the first samples")
	}
	if d, _ := open(t, Spec{Source: digitsTrain, Limit: 1 << 40}); d.Samples() != 8000 {
		t.Error("a limit beyond the end does not take everything")
	}

	seen := make(map[string]bool)
	for _, seed := range []uint64{1, 2, 1} {
		d, _ := open(t, Spec{Source: digitsTrain, Label: "label", Limit: 500, Shuffle: true, Seed: seed})
		got, _ := d.Field("image")
		for i := range 500 {
			label, ok := where[sample(got.Data, i)]
			if !ok || label != labels(t, d)[i] {
				t.Fatalf("seed %d: sample %d and its label are not from the source", seed, i)
			}
		}
		seen[string(got.Data)] = true
	}
	if len(seen) != 2 || seen[string(images.Data[:500*row])] {
		t.Error("the order must depend on the seed and on nothing else")
	}

	// Fortran order takes another way to the same order.
	for _, limit := range []int64{0, 3} {
		spec := Spec{Source: "testdata/stored.npz", Label: "label", Inputs: []Input{{Name: "c"}, {Name: "fortran"}}, Shuffle: true, Seed: 5, Limit: limit}
		d, _ := open(t, spec)
		if c, f := floats(t, d, "c"), floats(t, d, "fortran"); !slices.Equal(c, f) || c[0] == 0 && c[6] == 6 {
			t.Errorf("C order gives %v, Fortran order %v", c, f)
		}
	}
}

func TestDestinationsIsAPermutation(t *testing.T) {
	d := places(1000, shuffled(1000, 1000, 7))
	s := slices.Clone(d)
	slices.Sort(s)
	for i, v := range s {
		if v != int64(i) {
			t.Fatal("not a permutation")
		}
	}
	// Frozen: the order is part of a recipe's meaning.
	if got := places(8, shuffled(8, 8, 42)); !slices.Equal(got, []int64{5, 4, 2, 6, 7, 0, 1, 3}) {
		t.Errorf("the order for a seed changed: %v", got)
	}
}

func TestBytesAreDeterministic(t *testing.T) {
	spec := Spec{Source: "testdata/stored.npz", Label: "label", Inputs: []Input{{Name: "bool"}, {Name: "c", Scale: ptr(.1)}, {Name: "half"}}}
	var want map[string]string
	for range 2 {
		dir := t.TempDir()
		if _, err := Materialise(context.Background(), spec, dir, nil); err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			got[e.Name()] = string(b)
		}
		if len(got) != 2 || want != nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("files are %v", entries)
		}
		want = got
	}
}

func TestManyShards(t *testing.T) {
	// 80 samples of 1 MiB as float32 take two shards.
	const n, row = 80, 1 << 18
	data := make([]byte, n*row)
	for i := range data {
		data[i] = byte(i / row)
	}
	path := filepath.Join(t.TempDir(), "x.npy")
	writeNPY(t, path, "|u1", "(80, 262144)", data)
	for _, shuffle := range []bool{false, true} {
		dir := t.TempDir()
		var calls, last int64
		info, err := Materialise(context.Background(), Spec{Source: path, Shuffle: shuffle, Inputs: []Input{{Name: "x", Scale: ptr(1)}}}, dir, func(done, total int64) {
			if done < last || total != n {
				t.Fatalf("progress went from %d to %d of %d", last, done, total)
			}
			last, calls = done, calls+1
		})
		if err != nil {
			t.Fatal(err)
		}
		if last != n || calls < 1 || info.Samples != n {
			t.Errorf("progress ended at %d after %d calls", last, calls)
		}
		d, err := tensor.OpenShards(dir)
		if err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*.safetensors"))
		if len(files) != 2 {
			t.Errorf("%d shards", len(files))
		}
		seen := make(map[float32]bool)
		b, err := d.Batch(0, n)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := tensor.ToFloat32(b["x"])
		for i := range n {
			if v[i*row] != v[(i+1)*row-1] || !shuffle && v[i*row] != float32(i) {
				t.Fatalf("sample %d is not in its place", i)
			}
			seen[v[i*row]] = true
		}
		if len(seen) != n {
			t.Errorf("%d different samples", len(seen))
		}
		d.Close()
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	_, err := Materialise(ctx, Spec{Source: digitsTrain, Inputs: []Input{{Name: "image", Scale: ptr(1)}}}, dir, func(done, total int64) {
		if done > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("%v is left", entries)
	}
}

func TestUnwritableFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Materialise(context.Background(), Spec{Source: "testdata/deflated.npz"}, filepath.Join(file, "out"), nil)
	var bad *Error
	if err == nil || errors.As(err, &bad) {
		t.Errorf("a folder that cannot be made is no mistake of the dataset block: %v", err)
	}
}

func BenchmarkMaterialise(b *testing.B) {
	for _, c := range []struct {
		name string
		spec Spec
	}{
		{"test", Spec{Source: digitsTest, Label: "label", Inputs: []Input{{Name: "input", Field: "image", Scale: ptr(1.0 / 255)}}}},
		{"train64", Spec{Source: digitsTrain, Limit: 64, Inputs: []Input{{Name: "input", Field: "image", Scale: ptr(1.0 / 255)}}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if _, err := Materialise(context.Background(), c.spec, b.TempDir(), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
