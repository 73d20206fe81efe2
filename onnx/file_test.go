package onnx

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// external is a model with one tensor of three floats in another file.
func external(location, offset, length string) *Model {
	m := chain()
	w := &Tensor{name: "w", DataType: Float, Dims: []int64{3}, location: 1}
	for _, p := range [][2]string{{"location", location}, {"offset", offset}, {"length", length}} {
		if p[1] != "" {
			setRare(&w.rare, func(r *tensorRare) { r.external = append(r.external, StringPair{Key: p[0], Value: p[1]}) })
		}
	}
	m.Graph.AddInitializer(w)
	return m
}

func TestReadExternalData(t *testing.T) {
	dir := t.TempDir()
	model := filepath.Join(dir, "in", "model.onnx")
	if err := os.MkdirAll(filepath.Join(dir, "in", "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	data := []byte{0, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0x40, 0x40}
	for _, f := range []string{"in/data", "in/sub/data", "secret"} {
		if err := os.WriteFile(filepath.Join(dir, f), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "secret"), filepath.Join(dir, "in", "link")); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	for _, test := range []struct{ location, offset, length, want string }{
		{"data", "4", "12", ""},
		{"sub/data", "4", "12", ""},
		{"data", "4", "", ""}, // as long as the shape says
		{"", "4", "12", "name no file"},
		{"../secret", "4", "12", "outside the model's folder"},
		{"sub/../../secret", "4", "12", "outside the model's folder"},
		{filepath.Join(dir, "secret"), "4", "12", "outside the model's folder"},
		{"link", "4", "12", "a link out of the model's folder is refused"},
		{"sub", "4", "12", "cannot be read"},
		{"none", "4", "12", "missing"},
		{"data", "8", "12", "but it has only 16"},
		{"data", "99", "12", "but it has only 16"},
		{"data", "9", "9223372036854775807", "the 9223372036854775807 bytes of"},
		{"data", "4", "9223372036854775807", "but it has only 16"},
		{"data", "-4", "12", "not a number of bytes"},
		{"data", "x", "12", "not a number of bytes"},
		{"data", "4", "-12", "not a number of bytes"},
	} {
		if test.location == "link" && runtime.GOOS == "windows" {
			continue
		}
		if err := os.WriteFile(model, marshal(t, external(test.location, test.offset, test.length)), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := ReadFile(model)
		if test.want != "" {
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `tensor "w"`) {
				t.Errorf("%v: %v", test, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", test, err)
			continue
		}
		v, err := m.Graph.Initializer("w").Float32s()
		if err != nil || !slices.Equal(v, []float32{1, 2, 3}) {
			t.Errorf("%v: %v, %v", test, v, err)
		}
		if again, err := reparse(t, m).Graph.Initializer("w").Float32s(); err != nil || !slices.Equal(again, v) {
			t.Errorf("%v: the data are not in the model: %v", test, err)
		}
	}
}

func TestReadFileErrors(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.onnx")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	nothing, two := t.TempDir(), t.TempDir()
	for _, name := range []string{"a.onnx", "b.ONNX"} {
		if err := os.WriteFile(filepath.Join(two, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.onnx"): "none.onnx",
		dir:                             "empty.onnx: not an ONNX model: it is empty",
		nothing:                         "holds no file that ends in .onnx",
		two:                             "more than one model, a.onnx and b.ONNX",
		os.DevNull:                      "not a file",
		empty:                           "it is empty",
	} {
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.onnx")
	m, b := readDigits(t)
	for range 2 { // the second over the first
		if err := m.WriteFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, b) {
		t.Error("an untouched model is written as it was read", err)
	}
	m.ProducerName = "changed"
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, marshal(t, m)) {
		t.Error("WriteFile and Marshal agree", err)
	}
	if err := m.WriteFile(filepath.Join(dir, "none", "model.onnx")); err == nil {
		t.Error("a folder that is not there")
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Errorf("%d files are left", len(entries))
	}
}

func TestWriteFileExternal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.onnx")
	m, _ := readDigits(t)
	before := marshal(t, m)
	if err := m.WriteFileExternal(path, 1000); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(marshal(t, m), before) {
		t.Error("the model in memory changed")
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > int64(len(before))/4 {
		t.Errorf("the weights are still in the model: %v, %v", info, err)
	}
	got, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for w := range m.Graph.Initializers() {
		want, _ := w.Tensor()
		have, err := got.Graph.Initializer(w.Name()).Tensor()
		if err != nil || !bytes.Equal(have.Data, want.Data) {
			t.Errorf("%s differs: %v", w.Name(), err)
		}
	}
}

// A file of three gigabytes without a byte on the disk: only what tensors name is read.
func TestReadHugeExternalData(t *testing.T) {
	dir := t.TempDir()
	m := NewModel("huge", 17)
	const far = 3 << 30
	for i, at := range []int64{0, 16, far - 16} {
		m.Graph.AddInitializer(&Tensor{name: fmt.Sprint("t", i), DataType: Float, Dims: []int64{4}, location: 1, rare: &tensorRare{external: []StringPair{
			{Key: "location", Value: "data"}, {Key: "offset", Value: strconv.FormatInt(at, 10)}, {Key: "length", Value: "16"},
		}}})
	}
	path := filepath.Join(dir, "model.onnx")
	if err := m.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(far); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	if _, err := f.WriteAt([]byte{0, 0, 128, 63}, far-4); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d bytes were allocated for 48", used)
	}
	v, err := got.Graph.Initializer("t2").Float32s()
	if err != nil || v[3] != 1 || v[0] != 0 {
		t.Errorf("the last bytes are %v, %v", v, err)
	}
}

func TestMapFile(t *testing.T) {
	m, close, err := MapFile(digits)
	if err != nil {
		t.Fatal(err)
	}
	m.ProducerName = "other"
	out := filepath.Join(t.TempDir(), "out.onnx")
	if err := m.WriteFile(out); err != nil {
		t.Fatal(err)
	}
	if err := close(); err != nil {
		t.Error(err)
	}
	again, err := ReadFile(out)
	if err != nil || again.ProducerName != "other" || Check(again) != nil {
		t.Errorf("the copy is not the model: %v", err)
	}
	if _, _, err := MapFile(t.TempDir()); err == nil {
		t.Error("a folder can be mapped")
	}
	bad := filepath.Join(t.TempDir(), "bad.onnx")
	if err := os.WriteFile(bad, []byte("no model"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := MapFile(bad); err == nil {
		t.Error("no model can be mapped")
	}
}
