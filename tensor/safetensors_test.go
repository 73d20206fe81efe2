package tensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// raw makes a file from a header and a body.
func raw(header, body string) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), body...)
}

func TestWriteAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	want := []Named{
		{"odd", Of([]int64{3}, []uint8{1, 2, 3})},
		{"weight \"ü\"", Of([]int64{2, 1}, []float32{1.5, -2})},
		{"scalar", Of([]int64{}, []int64{7})},
		{"none", Tensor{F64, []int64{0, 4}, nil}},
		{"nibbles", Tensor{I4, []int64{3}, []byte{0x21, 0x03}}},
	}
	meta := map[string]string{"b": "2", "a": "1"}
	if err := WriteFile(path, want, meta); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(first); n%8 != 0 {
		t.Errorf("the header takes %d bytes, not a multiple of 8", n)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, w := range want {
		names = append(names, w.Name)
		got, err := f.Tensor(w.Name)
		if err != nil || got.DType != w.Tensor.DType || !slices.Equal(got.Shape, w.Tensor.Shape) || string(got.Data) != string(w.Tensor.Data) {
			t.Errorf("%s: got %v, %v", w.Name, got, err)
		}
	}
	if !slices.Equal(f.Names(), names) {
		t.Errorf("the order is %q", f.Names())
	}
	if m := f.Metadata(); len(m) != 2 || m["a"] != "1" {
		t.Errorf("metadata %v", m)
	}
	if _, err := f.Tensor("weight"); err == nil || !strings.Contains(err.Error(), `"scalar"`) {
		t.Errorf("a missing tensor: %v", err)
	}
	if f.Close() != nil || f.Close() != nil || len(f.Names()) != 0 {
		t.Error("close twice")
	}
	if err := WriteFile(path, want, map[string]string{"a": "1", "b": "2"}); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(path); string(again) != string(first) {
		t.Error("the bytes are not deterministic")
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%v is left", entries)
	}
}

// The bytes that the reference implementation in Python writes for
// save({"a": np.array([1, 2], np.uint8)}).
func TestReferenceBytes(t *testing.T) {
	f, err := Parse(raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}   `, "\x01\x02"))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := f.Tensor("a"); err != nil || string(a.Data) != "\x01\x02" {
		t.Error(a, err)
	}
}

var badFiles = map[string]struct {
	data []byte
	says string
}{
	"empty":          {nil, "0 bytes"},
	"short":          {[]byte{1, 0, 0}, "3 bytes"},
	"huge header":    {binary.LittleEndian.AppendUint64(nil, 1<<40), "claims a header"},
	"cut header":     {raw(`{"a":{"dtype":"U8"`, "")[:20], "truncated"},
	"not JSON":       {raw("<html>", ""), "not a JSON object"},
	"array":          {raw("[1]", ""), "not a JSON object"},
	"open object":    {raw(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, ""), "ends too early"},
	"trailing":       {raw(`{} {}`, ""), "follows its header"},
	"twice":          {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "x"), "twice"},
	"dtype":          {raw(`{"a":{"dtype":"U7","shape":[1],"data_offsets":[0,1]}}`, "x"), "unknown element type"},
	"no shape":       {raw(`{"a":{"dtype":"U8","data_offsets":[0,1]}}`, "x"), "lacks a shape"},
	"float shape":    {raw(`{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, "x"), `tensor "a"`},
	"negative shape": {raw(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, "x"), "negative"},
	"overflow":       {raw(`{"a":{"dtype":"F64","shape":[4611686018427387904,4],"data_offsets":[0,1]}}`, "x"), "64 bits"},
	"one offset":     {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}`, "x"), "data_offsets"},
	"backwards":      {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, "x"), "data_offsets"},
	"size":           {raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,3]}}`, "xxx"), "bytes 0 to 4"},
	"gap":            {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "xx"), "bytes 0 to 1"},
	"overlap":        {raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, "xxx"), `tensor "b"`},
	"cut body":       {raw(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, "xxx"), "truncated"},
	"long body":      {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "xx"), "2 follow"},
	"metadata":       {raw(`{"__metadata__":{"a":1}}`, ""), "__metadata__"},
	"two metadata":   {raw(`{"__metadata__":{},"__metadata__":{}}`, ""), "twice"},
	"two dtypes":     {raw(`{"a":{"dtype":"U8","shape":[1],"dtype":"U8","data_offsets":[0,1]}}`, "x"), "twice"},
	"no dtype":       {raw(`{"a":{"shape":[1],"data_offsets":[0,1]}}`, "x"), "lacks a dtype"},
	"no object":      {raw(`{"a":[]}`, ""), "an object was expected"},
	"large number":   {raw(`{"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,1]}}`, "x"), "64 bits"},
	"leading zero":   {raw(`{"a":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}}`, "x"), "no whole number"},
	"empty number":   {raw(`{"a":{"dtype":"U8","shape":[1,],"data_offsets":[0,1]}}`, "x"), "a whole number was expected"},
	"open list":      {raw(`{"a":{"dtype":"U8","shape":[1`, ""), "ends too early"},
	"null":           {raw(`{"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}}`, "x"), "a list of whole numbers"},
	"unknown":        {raw(`{"a":{"x":{]},"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "x"), "not JSON"},
	"no colon":       {raw(`{"a"}`, ""), "a colon was expected"},
	"no comma":       {raw(`{"a":{"dtype":"U8" "shape":[1]}}`, ""), "a comma"},
	"bad escape":     {raw(`{"\q":{}}`, ""), "escape"},
	"raw control":    {raw("{\"\n\":{}}", ""), "control"},
	"not UTF-8":      {raw("{\"\xff\":{}}", ""), "UTF-8"},
}

func TestBadFiles(t *testing.T) {
	for name, c := range badFiles {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.safetensors")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path)
			var bad *FormatError
			if !errors.As(err, &bad) || bad.Path != path || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a folder was opened")
	}
}

func TestWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	w, err := Create(path, []Info{{"a", U16, []int64{2}}, {"b", U8, []int64{3}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []error{
		w.Write("b", []byte("xy")),
		w.Write("a", []byte{1, 0}),
		w.WriteAt("a", []byte{2, 0}, 2),
		w.Write("b", []byte("z")),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if err := w.Write("b", []byte("!")); err == nil {
		t.Error("wrote past the end")
	}
	if err := w.WriteAt("a", []byte("!"), -1); err == nil {
		t.Error("wrote before the beginning")
	}
	if err := w.Write("c", nil); err == nil || !strings.Contains(err.Error(), `"a", "b"`) {
		t.Errorf("an unknown tensor: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file is seen before it is whole")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if w.Close() == nil || w.Write("a", nil) == nil {
		t.Error("a spent writer still works")
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, _ := f.Tensor("a")
	b, _ := f.Tensor("b")
	if string(a.Data) != "\x01\x00\x02\x00" || string(b.Data) != "xyz" {
		t.Errorf("got %q and %q", a.Data, b.Data)
	}
}

func TestWriterFailures(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	for name, infos := range map[string][]Info{
		"twice":    {{"a", U8, nil}, {"a", U8, nil}},
		"reserved": {{"__metadata__", U8, nil}},
		"negative": {{"a", U8, []int64{-1}}},
		"dtype":    {{"a", Invalid, nil}},
		"too much": {{"a", U8, []int64{1 << 62}}, {"b", U8, []int64{1 << 62}}},
	} {
		if _, err := Create(path, infos, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	w, err := Create(path, []Info{{"a", U8, []int64{2}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "0 were written") {
		t.Errorf("incomplete: %v", err)
	}
	if err := WriteFile(path, []Named{{"a", Tensor{F32, []int64{2}, []byte{1}}}}, nil); err == nil {
		t.Error("wrote a tensor whose bytes do not fit its shape")
	}
	if err := WriteFile(filepath.Join(dir, "no", "x"), nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("%v is left", entries)
	}
}

// What no writer writes, and readers of JSON take all the same.
func TestUnusualHeader(t *testing.T) {
	f, err := Parse(raw(" {\t\"\\u00e9 \\\"\" : {\"note\":[{\"a,]\":null},1.5e3], \"shape\" : [ 2 , 1 ] ,\r\n\"data_offsets\":[0,2],\"dtype\":\"U8\"}, \"__metadata__\":{\"k\":\"\\n\",\"\":\"\"}}", "ab"))
	if err != nil {
		t.Fatal(err)
	}
	if in, ok := f.Info("é \""); !ok || !slices.Equal(in.Shape, []int64{2, 1}) {
		t.Error(in, f.Names())
	}
	if m := f.Metadata(); len(m) != 2 || m["k"] != "\n" {
		t.Error(m)
	}
}

// maxParseBytes is the most that parsing n bytes may allocate, whatever they say.
func maxParseBytes(n int) uint64 { return 1<<20 + 10*uint64(n) }

// parseBytes returns what parsing allocates in all, garbage included.
func parseBytes(b []byte) (uint64, *File, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f, err := Parse(b)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, f, err
}

// TestParseMemory feeds the parser headers that are nothing but the shortest parts there are.
func TestParseMemory(t *testing.T) {
	const n = 35_000 // just over a power of two, where a map has just grown
	many := func(part func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(part(i))
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	tensor := func(name, shape, rest string) string {
		return `"` + name + `":{"dtype":"U8","shape":[` + shape + `],"data_offsets":[0,0]` + rest + `},`
	}
	one := func(shape, rest string) string { return "{" + strings.TrimSuffix(tensor("a", shape, rest), ",") + "}" }
	zeros := strings.Repeat("0,", n) + "0"
	for name, header := range map[string]string{
		"tensors":    "{" + many(func(i int) string { return tensor(strconv.FormatInt(int64(i), 36), "0", "") }) + "}",
		"scalars":    "{" + many(func(i int) string { return fmt.Sprintf(`"%x":{"dtype":"F4","shape":[]},`, i) }) + "}",
		"axes":       one(zeros, ""),
		"offsets":    strings.Replace(one("0", ""), "[0,0]", "["+zeros+"]", 1),
		"metadata":   `{"__metadata__":{` + many(func(i int) string { return `"` + strconv.FormatInt(int64(i), 36) + `":"",` }) + `}}`,
		"unknown":    one("0", `,"x":[`+zeros+"]"),
		"dtypes":     one("0", `,"x":[`+strings.Repeat(`{"dtype":0},`, n)+"0]"),
		"deep":       one("0", `,"x":`+strings.Repeat("[", n)),
		"escapes":    "{" + tensor(strings.Repeat(`\n`, n), "0", "") + "}",
		"long names": "{" + many(func(i int) string { return tensor(fmt.Sprintf("\\u00ff%d", i), "0", "") }) + "}",
	} {
		in := raw(header, "")
		if got, _, err := parseBytes(in); got > maxParseBytes(len(in)) {
			t.Errorf("%s: %d bytes take %d, %.1f times as much (%v)", name, len(in), got, float64(got)/float64(len(in)), err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	var header strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&header, `,"model.layers.%d.weight":{"dtype":"F32","shape":[0,4096],"data_offsets":[0,0]}`, i)
	}
	in := raw("{"+header.String()[1:]+"}", "")
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(in); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range badFiles {
		f.Add(c.data)
	}
	f.Add(raw(`{"__metadata__":{"a":"b"},"x":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]}}`, "abcd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, file, err := parseBytes(b)
		if most := maxParseBytes(len(b)); got > most {
			t.Errorf("%d bytes took %d bytes of memory, more than %d", len(b), got, most)
		}
		if err != nil {
			return
		}
		for _, name := range file.Names() {
			x, err := file.Tensor(name)
			if err != nil || x.Validate() != nil {
				t.Errorf("%q: %v", name, err)
			}
			if _, err := ToFloat32(x); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
}
