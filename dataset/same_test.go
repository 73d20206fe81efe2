package dataset

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// folderOf writes arrays as .npy files of one folder.
func folderOf(t *testing.T, arrays map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range arrays {
		place(t, dir, name+".npy", content)
	}
	return dir
}

func text(descr, shape, data string) string { return string(npy(descr, shape, []byte(data))) }

// TestSameForAll: an input without samples of its own is the same for all of the others.
func TestSameForAll(t *testing.T) {
	little := func(v ...byte) string { // int64
		var b strings.Builder
		for _, x := range v {
			b.WriteByte(x)
			b.WriteString("\x00\x00\x00\x00\x00\x00\x00")
		}
		return b.String()
	}
	dir := folderOf(t, map[string]string{
		"x":     text("<i8", "(5, 2)", little(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)),
		"rate":  text("<i8", "()", little(16)),
		"state": text("<i8", "(1, 3, 1)", little(7, 8, 9)),
	})
	d, info := open(t, Spec{Source: dir})
	var shapes []string
	for _, f := range info.Fields {
		shapes = append(shapes, fmt.Sprint(f.Name, " ", f.DType, " ", f.Shape))
	}
	if slices.Sort(shapes); info.Samples != 5 || !slices.Equal(shapes, []string{"rate I64 []", "state I64 [3 1]", "x I64 [2]"}) {
		t.Fatal(info.Samples, shapes)
	}
	if got := ints(t, d, "rate"); !slices.Equal(got, []int64{16, 16, 16, 16, 16}) {
		t.Error(got)
	}
	if got := ints(t, d, "state"); !slices.Equal(got, []int64{7, 8, 9, 7, 8, 9, 7, 8, 9, 7, 8, 9, 7, 8, 9}) {
		t.Error(got)
	}

	// Written in the recipe, beside arrays and beside a table; shuffled and limited, as the others are.
	table := place(t, t.TempDir(), "x.csv", "x\n1\n2\n3\n4\n5\n")
	for _, source := range []string{dir, table} {
		d, info = open(t, Spec{Source: source, Shuffle: true, Limit: 4, Inputs: []Input{
			{Name: "x"},
			{Name: "sr", Value: []float64{16000}},
			{Name: "gain", Value: []float64{0.5}},
			{Name: "h", Value: []float64{0}, Shape: []int64{2, 1, 3}, DType: "float32"},
			{Name: "v", Value: []float64{3, 4}, Scale: ptr(0.5)},
		}})
		shapes = nil
		for _, f := range info.Fields[1:] {
			shapes = append(shapes, fmt.Sprint(f.Name, " ", f.DType, " ", f.Shape))
		}
		if info.Samples != 4 || !slices.Equal(shapes, []string{"sr I64 []", "gain F32 []", "h F32 [2 1 3]", "v F32 [2]"}) {
			t.Fatal(source, info.Samples, shapes)
		}
		if got := ints(t, d, "sr"); !slices.Equal(got, []int64{16000, 16000, 16000, 16000}) {
			t.Error(source, got)
		}
		if got := floats(t, d, "gain"); !slices.Equal(got, []float32{0.5, 0.5, 0.5, 0.5}) {
			t.Error(source, got)
		}
		if got := floats(t, d, "h"); !slices.Equal(got, make([]float32, 24)) {
			t.Error(source, got)
		}
		if got := floats(t, d, "v"); !slices.Equal(got, []float32{1.5, 2, 1.5, 2, 1.5, 2, 1.5, 2}) {
			t.Error(source, got)
		}
	}
}

// TestSameAcrossShards: what is the same is written over the ends of shards as anything else.
func TestSameAcrossShards(t *testing.T) {
	const n, wide = 40, 1 << 20
	path := place(t, t.TempDir(), "x.npy", text("|u1", "(40, 1048576)", strings.Repeat("\x05", n*wide)))
	dir := t.TempDir()
	info, err := Materialise(t.Context(), Spec{Source: path, Inputs: []Input{{Name: "x"}, {Name: "h", Value: []float64{1}, Shape: []int64{wide}, DType: "uint8"}}}, dir, nil)
	if err != nil || info.Samples != n {
		t.Fatal(info, err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*.safetensors")); len(files) != 2 {
		t.Fatal(files)
	}
	d, err := tensor.OpenShards(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for at := int64(0); at < n; at += 8 {
		b, err := d.Batch(at, 8)
		if err != nil {
			t.Fatal(err)
		}
		if x := b["h"].Data; len(x) != 8*wide || strings.Trim(string(x), "\x01") != "" {
			t.Fatal(at, len(x))
		}
	}
}

func TestSameMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		spec Spec
		path []string
		says []string
	}{
		"field and value":  {Spec{Inputs: []Input{{Name: "c"}, {Name: "x", Field: "c", Value: []float64{1}}}}, []string{"input", "x", "value"}, []string{`both a field and a value`, `"c"`}},
		"of an image":      {Spec{Inputs: []Input{{Name: "c"}, {Name: "x", Resize: []int64{2}, Value: []float64{1}}}}, []string{"input", "x", "resize"}, []string{"does nothing"}},
		"too few":          {Spec{Inputs: []Input{{Name: "c"}, {Name: "x", Shape: []int64{3}, Value: []float64{1, 2}}}}, []string{"input", "x", "value"}, []string{"3 elements", "2 numbers"}},
		"too many":         {Spec{Inputs: []Input{{Name: "c"}, {Name: "x", Shape: []int64{1 << 20, 1 << 20}, Value: []float64{1}}}}, []string{"input", "x", "shape"}, []string{"too large"}},
		"beyond numbers":   {Spec{Inputs: []Input{{Name: "c"}, {Name: "x", Shape: []int64{1 << 40, 1 << 40}, Value: []float64{1}}}}, []string{"input", "x", "shape"}, []string{"too large"}},
		"does not fit":     {Spec{Inputs: []Input{{Name: "c"}, {Name: "x", DType: "uint8", Value: []float64{300}}}}, []string{"input", "x", "value"}, []string{"300"}},
		"alone":            {Spec{Inputs: []Input{{Name: "x", Value: []float64{1}}}}, []string{"input", "x", "value"}, []string{"axis of samples"}},
		"label of a value": {Spec{Inputs: []Input{{Name: "c"}}, Label: "scalar"}, []string{"label"}, []string{"axis of samples"}},
		"target":           {Spec{Inputs: []Input{{Name: "c"}}, Targets: []Input{{Name: "t", Value: []float64{1}}}}, []string{"target", "t", "value"}, []string{"axis of samples"}},
		"target of one":    {Spec{Inputs: []Input{{Name: "c"}}, Targets: []Input{{Name: "t", Field: "scalar"}}}, []string{"target", "t", "field"}, []string{"axis of samples"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Source = "testdata/stored.npz"
			wantError(t, c.spec, c.path, c.says...)
		})
	}
}
