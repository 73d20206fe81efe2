package dataset

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// npy makes an array in version 1 of the format.
func npy(descr, shape string, data []byte) []byte {
	head := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", descr, shape)
	b := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(b[8:], uint16(len(head)))
	return append(append(b, head...), data...)
}

func writeNPY(t testing.TB, path, descr, shape string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, npy(descr, shape, data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// npz makes an archive; the names and contents alternate.
func npz(t testing.TB, parts ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		w, err := z.Create(parts[i].(string))
		if err == nil {
			_, err = w.Write(parts[i+1].([]byte))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// wantError materialises s and checks where and what the mistake is, and that nothing
// is left of it.
func wantError(t *testing.T, s Spec, path []string, says ...string) {
	t.Helper()
	dir := t.TempDir()
	_, err := Materialise(context.Background(), s, dir, nil)
	var bad *Error
	if !errors.As(err, &bad) {
		t.Fatalf("got %v, want a *dataset.Error", err)
	}
	if !slices.Equal(bad.Path, path) {
		t.Errorf("the path is %q, want %q (%s)", bad.Path, path, err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("the error %q does not say %q", err, s)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\x00") || bad.Summary == "" || bad.Detail == "" {
		t.Errorf("the error is badly worded: %q", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("%v is left", entries)
	}
}

func TestBlockMistakes(t *testing.T) {
	in := func(i Input) []Input { return []Input{i} }
	for name, c := range map[string]struct {
		spec Spec
		path []string
		says []string
	}{
		"unknown field":   {Spec{Inputs: in(Input{Name: "x", Field: "image"})}, []string{"input", "x", "field"}, []string{`no field "image"`, "c float32 [4 2 3]", "label uint8 [4]", "text <U3 [4]"}},
		"implied field":   {Spec{Inputs: in(Input{Name: "x"})}, []string{"input", "x"}, []string{`no field "x"`, "c float32 [4 2 3]"}},
		"unknown label":   {Spec{Inputs: in(Input{Name: "c"}), Label: "labels"}, []string{"label"}, []string{`no field "labels"`, "label uint8 [4]"}},
		"float label":     {Spec{Inputs: in(Input{Name: "c"}), Label: "score"}, []string{"label"}, []string{"not integers", "score", "float64 [4]"}},
		"bool label":      {Spec{Inputs: in(Input{Name: "c"}), Label: "bool"}, []string{"label"}, []string{"not integers"}},
		"one-hot label":   {Spec{Inputs: in(Input{Name: "c"}), Label: "onehot"}, []string{"label"}, []string{"int64 [4 4]", "argmax"}},
		"text label":      {Spec{Inputs: in(Input{Name: "c"}), Label: "text"}, []string{"label"}, []string{"Unicode"}},
		"object":          {Spec{Inputs: in(Input{Name: "object"})}, []string{"input", "object"}, []string{"Python objects", "pickled"}},
		"unicode":         {Spec{Inputs: in(Input{Name: "x", Field: "text"})}, []string{"input", "x", "field"}, []string{"Unicode text"}},
		"bytes":           {Spec{Inputs: in(Input{Name: "bytes"})}, []string{"input", "bytes"}, []string{"byte strings"}},
		"complex":         {Spec{Inputs: in(Input{Name: "complex"})}, []string{"input", "complex"}, []string{"complex numbers"}},
		"dates":           {Spec{Inputs: in(Input{Name: "date"})}, []string{"input", "date"}, []string{"dates"}},
		"record":          {Spec{Inputs: in(Input{Name: "record"})}, []string{"input", "record"}, []string{"structured"}},
		"scalar":          {Spec{Inputs: in(Input{Name: "scalar"})}, []string{"input", "scalar"}, []string{"axis"}},
		"no samples":      {Spec{Inputs: in(Input{Name: "none"})}, []string{"input", "none"}, []string{"no samples", "float32 [0 2]"}},
		"empty samples":   {Spec{Inputs: in(Input{Name: "hollow"})}, []string{"input", "hollow"}, []string{"no elements"}},
		"sample counts":   {Spec{Inputs: []Input{{Name: "c"}, {Name: "x", Field: "short"}}}, []string{"input", "x", "field"}, []string{"c has 4", "short has 3"}},
		"label count":     {Spec{Inputs: in(Input{Name: "short"}), Label: "label"}, []string{"label"}, []string{"short has 3", "label has 4"}},
		"twice":           {Spec{Inputs: []Input{{Name: "c"}, {Name: "c", Field: "big"}}}, []string{"input", "c"}, []string{"two blocks"}},
		"reserved":        {Spec{Inputs: in(Input{Name: "__label__", Field: "c"})}, []string{"input", "__label__"}, []string{"underscores"}},
		"negative limit":  {Spec{Limit: -1}, []string{"limit"}, []string{"-1"}},
		"std 0":           {Spec{Inputs: in(Input{Name: "c", Std: []float64{0}})}, []string{"input", "c", "std"}, []string{"not 0"}},
		"scale NaN":       {Spec{Inputs: in(Input{Name: "c", Scale: ptr(math.NaN())})}, []string{"input", "c", "scale"}, []string{"finite"}},
		"dtype":           {Spec{Inputs: in(Input{Name: "c", DType: "float"})}, []string{"input", "c", "dtype"}, []string{"float32", `"float"`}},
		"fraction":        {Spec{Inputs: in(Input{Name: "half", DType: "int8"})}, []string{"input", "half"}, []string{"sample 0", "0.125", "whole number"}},
		"range":           {Spec{Inputs: in(Input{Name: "c", DType: "uint8", Scale: ptr(100)})}, []string{"input", "c"}, []string{"sample 0", "300", "uint8"}},
		"range in order":  {Spec{Inputs: in(Input{Name: "fortran", DType: "bool"})}, []string{"input", "fortran"}, []string{"sample 0", "2, which does not fit into bool"}},
		"overflow":        {Spec{Inputs: in(Input{Name: "c", DType: "float16", Scale: ptr(10000)})}, []string{"input", "c"}, []string{"sample 1", "70000", "float16"}},
		"everything":      {Spec{}, []string{"source"}, []string{"none", "input blocks"}},
		"long field name": {Spec{Inputs: in(Input{Name: "c", Field: strings.Repeat("x", 999)})}, []string{"input", "c", "field"}, []string{"..."}},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Source = "testdata/stored.npz"
			wantError(t, c.spec, c.path, c.says...)
		})
	}
}

func TestBadSources(t *testing.T) {
	good, err := os.ReadFile(digitsTest)
	if err != nil {
		t.Fatal(err)
	}
	corrupt := slices.Clone(good)
	for i := 1000; i < 2000; i++ {
		corrupt[i] ^= 0x5a
	}
	// The claim in the directory is what counts, so lie there: uncompressed size.
	lying := npz(t, "x.npy", npy("|u1", "(4, 2)", make([]byte, 8)))
	at := bytes.LastIndex(lying, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(lying[at+24:], 1<<31)

	small := npy("|u1", "(4, 2)", make([]byte, 8))
	for name, c := range map[string]struct {
		content []byte
		says    []string
	}{
		"empty":           {nil, []string{"is empty"}},
		"one byte":        {[]byte("P"), []string{"of no known format"}},
		"text":            {[]byte("image,label\n1,2\n"), []string{"no known format", `"image,la"`}},
		"hdf5":            {[]byte("\x89HDF\r\n\x1a\n"), []string{"HDF5"}},
		"UTF-16":          {[]byte("\xff\xfea\x00,\x00"), []string{"UTF-16", "save it as UTF-8"}},
		"JSON array":      {[]byte(`[{"x": 1}, {"x": 2}]`), []string{"JSON array", "JSON lines"}},
		"truncated":       {good[:len(good)/2], []string{"truncated"}},
		"no directory":    {good[:len(good)-10], []string{"truncated"}},
		"zip of nothing":  {npz(t), []string{"no arrays"}},
		"zip of text":     {npz(t, "readme.txt", []byte("hello")), []string{"none is an .npy"}},
		"field twice":     {npz(t, "x.npy", small, "x.npy", small), []string{"twice"}},
		"claims too much": {lying, []string{"claims to be 2147483648 bytes"}},
		"short npy":       {npy("<f4", "(4, 2)", make([]byte, 31)), []string{"float32 [4 2], 32 bytes", "truncated"}},
		"short header":    {small[:40], []string{"truncated"}},
		"magic only":      {small[:6], []string{"truncated"}},
		"version 9":       {append([]byte("\x93NUMPY\x09\x00"), small[8:]...), []string{"version 9.0"}},
		"huge header":     {[]byte("\x93NUMPY\x02\x00\xff\xff\xff\xff{"), []string{"claims a header"}},
		"huge shape":      {npy("<f4", "(9223372036854775807, 4)", nil), []string{"64 bits"}},
		"huge array":      {npy("<f4", "(1000000000, 1000)", nil), []string{"truncated"}},
		"negative shape":  {npy("<f4", "(-1, 4)", nil), []string{"shape"}},
		"bad dictionary":  {npy("<f4", "(4", nil), []string{"not understood"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data.npz")
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			wantError(t, Spec{Source: path}, []string{"source"}, append(c.says, path)...)
		})
	}
	t.Run("corrupt", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "data.npz")
		if err := os.WriteFile(path, corrupt, 0o600); err != nil {
			t.Fatal(err)
		}
		wantError(t, Spec{Source: path, Inputs: []Input{{Name: "x", Field: "image"}}}, []string{"input", "x", "field"}, `"image"`, "again")
	})
	t.Run("short entry", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "data.npz")
		if err := os.WriteFile(path, npz(t, "x.npy", small[:len(small)-1], "y.npy", small), 0o600); err != nil {
			t.Fatal(err)
		}
		wantError(t, Spec{Source: path, Inputs: []Input{{Name: "x"}}}, []string{"input", "x"}, "promises uint8 [4 2]", "truncated")
		// A field that is not asked for may be as it likes.
		open(t, Spec{Source: path, Inputs: []Input{{Name: "y"}}})
	})
	t.Run("missing", func(t *testing.T) {
		wantError(t, Spec{Source: filepath.Join(t.TempDir(), "nowhere.npz")}, []string{"source"}, "no such file", "nowhere.npz", "relative to the recipe")
	})
	t.Run("empty folder", func(t *testing.T) {
		wantError(t, Spec{Source: t.TempDir()}, []string{"source"}, "neither arrays (.npy")
	})
	t.Run("only a label", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "label.npy")
		writeNPY(t, path, "|u1", "(4,)", make([]byte, 4))
		wantError(t, Spec{Source: path, Label: "label"}, []string{"source"}, "label uint8 [4]")
	})
	t.Run("label out of range", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "l.npz")
		if err := os.WriteFile(path, npz(t, "x.npy", npy("|u1", "(2,)", make([]byte, 2)), "label.npy", npy("<u8", "(2,)", bytes.Repeat([]byte{255}, 16))), 0o600); err != nil {
			t.Fatal(err)
		}
		wantError(t, Spec{Source: path, Label: "label"}, []string{"label"}, "sample 0", "18446744073709551615")
	})
}

// TestAnimation: an animated WebP is told from a broken one.
func TestAnimation(t *testing.T) {
	file := []byte("RIFF\x20\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02\x00\x00\x00\x1e\x00\x00\x1c\x00\x00")
	if _, _, err := imageSize(file, false); err == nil || !strings.Contains(err.Error(), "animation") {
		t.Error(err)
	}
}

// TestManyScans: a JPEG whose scans would take minutes is refused by its header, so that no decoder begins with it.
func TestManyScans(t *testing.T) {
	file := []byte("\xff\xd8\xff\xc2\x00\x0b\x08\x20\x00\x20\x00\x01\x01\x11\x00") // 8192 by 8192
	file = append(file, bytes.Repeat([]byte("\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x10"), 7000)...)
	if _, _, err := imageSize(file, false); err == nil || !strings.Contains(err.Error(), "scans") {
		t.Error(err)
	}
}

// TestNoNumbers: a message about a field of texts shows one of them, and what is wrong with it where that is known.
func TestNoNumbers(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		says []string
	}{
		"comma.csv":  {"a;b\n1,5;2\n3;4\n", []string{`"1,5"`, "write a point, 1.5"}},
		"hex.csv":    {"a\n0x10\n1\n", []string{`Its first one is "0x10"`}},
		"list.jsonl": {"[1, 2]\n", []string{"no JSON object, but of type array", `{"x"`}},
		"null.jsonl": {"null\n", []string{"no JSON object, but null"}},
	} {
		place(t, dir, name, c.text)
		wantError(t, Spec{Source: filepath.Join(dir, name)}, []string{"source"}, c.says...)
	}
}
