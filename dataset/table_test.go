package dataset

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// place writes a file under a new folder and returns its path.
func place(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func packed(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func ints(t *testing.T, d *tensor.Shards, name string) []int64 {
	t.Helper()
	v, err := d.Field(name)
	if err != nil {
		t.Fatal(err)
	}
	x, err := tensor.View[int64](v)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

const people = "name,age,height,class\nAnn,31,1.70,red\n\"Bob, Jr.\",7,1.25,blue\nCid,44,1.81,red\n"

func TestCSV(t *testing.T) {
	for name, source := range map[string]string{
		"plain": people, "gzip": packed(t, people), "mark": "\ufeff" + people, "CRLF": strings.ReplaceAll(people, "\n", "\r\n"),
		"semicolons": strings.NewReplacer("\"Bob, Jr.\"", "\"Bob, Jr.\"", ",", ";").Replace(strings.Replace(people, "\"Bob, Jr.\"", "Bob", 1)),
	} {
		ext := ".csv"
		if name == "gzip" {
			ext = ".csv.gz"
		}
		d, info := open(t, Spec{Source: place(t, t.TempDir(), "people"+ext, source), Label: "class", Inputs: []Input{
			{Name: "age"}, {Name: "h", Field: "height"}, {Name: "both", Field: "*", DType: "float32"},
		}[:2]})
		want := []Field{{Name: "age", DType: tensor.I64, Shape: []int64{}}, {Name: "h", DType: tensor.F32, Shape: []int64{}}}
		if info.Samples != 3 || !reflect.DeepEqual(d.Fields(), want) || !slices.Equal(info.Classes, []string{"blue", "red"}) {
			t.Errorf("%s: got %+v", name, info)
		}
		if got := ints(t, d, "age"); !slices.Equal(got, []int64{31, 7, 44}) {
			t.Errorf("%s: ages %v", name, got)
		}
		if got := floats(t, d, "h"); !slices.Equal(got, []float32{1.70, 1.25, 1.81}) {
			t.Errorf("%s: heights %v", name, got)
		}
		if got := labels(t, d); !slices.Equal(got, []int64{1, 0, 1}) {
			t.Errorf("%s: labels %v", name, got)
		}
	}
}

// TestColumns: pixels side by side, as tables of MNIST have them, are one input.
func TestColumns(t *testing.T) {
	path := place(t, t.TempDir(), "digits.csv", "label,p0,p1,p2,p3\n5,0,64,128,255\n3,1,2,3,4\n")
	d, _ := open(t, Spec{Source: path, Label: "label", Inputs: []Input{{Name: "x", Field: "p*", Shape: []int64{1, 2, 2}, Scale: ptr(1.0 / 255)}}})
	if got := d.Fields()[0]; got.DType != tensor.F32 || !slices.Equal(got.Shape, []int64{1, 2, 2}) {
		t.Errorf("got %+v", got)
	}
	if got := floats(t, d, "x"); got[3] != 1 || got[7] != float32(4.0/255) {
		t.Errorf("got %v", got)
	}
	bare, info := open(t, Spec{Source: place(t, t.TempDir(), "bare.csv", "1,2\n3,4\n"), Label: "column0"})
	if got := ints(t, bare, "column1"); info.Samples != 2 || !slices.Equal(got, []int64{2, 4}) || !slices.Equal(labels(t, bare), []int64{1, 3}) {
		t.Errorf("a table without names: %+v %v", info, got)
	}
}

const points = `{"id": 1, "x": [[1, 2], [3, 4]], "y": 0.5, "ok": true, "t": "café"}

{"t": "b", "y": 2, "x": [[5, 6], [7, 8.5]], "id": 9007199254740993, "ok": false}
`

func TestJSONL(t *testing.T) {
	for name, source := range map[string]string{"plain": points, "gzip": packed(t, points), "no end": strings.TrimSpace(points)} {
		d, _ := open(t, Spec{Source: place(t, t.TempDir(), "points.jsonl", source), Label: "t", Inputs: []Input{{Name: "id"}, {Name: "x"}, {Name: "y"}, {Name: "ok", DType: "bool"}}})
		if got := ints(t, d, "id"); !slices.Equal(got, []int64{1, 9007199254740993}) {
			t.Errorf("%s: ids %v", name, got)
		}
		if got := floats(t, d, "x"); !slices.Equal(got, []float32{1, 2, 3, 4, 5, 6, 7, 8.5}) || !slices.Equal(d.Fields()[1].Shape, []int64{2, 2}) {
			t.Errorf("%s: x %v", name, got)
		}
		if got := floats(t, d, "ok"); !slices.Equal(got, []float32{1, 0}) || d.Fields()[3].DType != tensor.Bool {
			t.Errorf("%s: ok %v", name, got)
		}
		if got := labels(t, d); !slices.Equal(got, []int64{1, 0}) {
			t.Errorf("%s: labels %v", name, got)
		}
	}
}

// idx makes a file of bytes.
func idx(shape []uint32, data string) string {
	b := []byte{0, 0, 8, byte(len(shape))}
	for _, d := range shape {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return string(b) + data
}

func TestIDX(t *testing.T) {
	dir := t.TempDir()
	place(t, dir, "train-images-idx3-ubyte.gz", packed(t, idx([]uint32{3, 2, 2}, "abcdefghijkl")))
	place(t, dir, "train-labels-idx1-ubyte", idx([]uint32{3}, "\x07\x00\x09"))
	place(t, dir, "shorts-idx1-ubyte", "\x00\x00\x0b\x01\x00\x00\x00\x03\x00\x01\xff\xff\x01\x00")
	d, _ := open(t, Spec{Source: dir, Label: "train-labels", Inputs: []Input{{Name: "x", Field: "train-images"}, {Name: "s", Field: "shorts"}}})
	if got := floats(t, d, "x"); got[0] != 'a' || got[11] != 'l' {
		t.Errorf("got %v", got)
	}
	if got := floats(t, d, "s"); !slices.Equal(got, []float32{1, -1, 256}) {
		t.Errorf("big-endian: got %v", got)
	}
	if got := labels(t, d); !slices.Equal(got, []int64{7, 0, 9}) {
		t.Errorf("labels %v", got)
	}
	one, _ := open(t, Spec{Source: filepath.Join(dir, "train-images-idx3-ubyte.gz")})
	if one.Fields()[0].Name != "train-images" {
		t.Errorf("alone it is called %q", one.Fields()[0].Name)
	}
	files, err := Files(context.Background(), dir)
	if err != nil || len(files) != 3 {
		t.Errorf("files %v, %v", files, err)
	}
}

// dot is a picture of one colour.
func dot(t testing.TB, w, h int, c color.Color) string {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.Set(i%w, i/w, c)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestImageFolder(t *testing.T) {
	dir := t.TempDir()
	place(t, dir, "cat/b.png", dot(t, 8, 6, color.RGBA{10, 20, 30, 255}))
	place(t, dir, "cat/a.png", dot(t, 9, 9, color.RGBA{40, 50, 60, 255}))
	place(t, dir, "dog/deep/x.PNG", dot(t, 8, 8, color.RGBA{70, 80, 90, 255}))
	place(t, dir, "dog/.hidden.txt", "no")
	place(t, dir, "empty/notes.md", "no")
	in := Input{Name: "x", Field: "image", Resize: []int64{6}, Crop: []int64{4}, Mean: []float64{10, 20, 30}, Std: []float64{2, 4, 8}}
	d, info := open(t, Spec{Source: dir, Label: "label", Inputs: []Input{in}})
	if !slices.Equal(info.Classes, []string{"cat", "dog"}) || !slices.Equal(labels(t, d), []int64{0, 0, 1}) {
		t.Errorf("got %+v %v", info, labels(t, d))
	}
	if got := d.Fields()[0]; !slices.Equal(got.Shape, []int64{3, 4, 4}) || got.DType != tensor.F32 {
		t.Errorf("got %+v", got)
	}
	x := floats(t, d, "x")
	for i, want := range []float32{15, 7.5, 3.75, 0, 0, 0, 30, 15, 7.5} { // a.png, b.png, x.PNG
		if x[i*16] != want || x[i*16+15] != want {
			t.Errorf("plane %d is %v to %v, want %v", i, x[i*16], x[i*16+15], want)
		}
	}
	in.Layout, in.Color = "nhwc", "bgr"
	d, _ = open(t, Spec{Source: dir, Inputs: []Input{in}})
	if got := floats(t, d, "x")[48:51]; !slices.Equal(got, []float32{10, 0, -2.5}) || !slices.Equal(d.Fields()[0].Shape, []int64{4, 4, 3}) {
		t.Errorf("blue first: got %v", got)
	}
	in = Input{Name: "x", Field: "image", Color: "gray", Resize: []int64{2, 3}}
	d, _ = open(t, Spec{Source: dir, Inputs: []Input{in}})
	if got := d.Fields()[0]; !slices.Equal(got.Shape, []int64{1, 2, 3}) || got.DType != tensor.U8 {
		t.Errorf("gray: %+v", got)
	}
}

func TestManifest(t *testing.T) {
	dir := t.TempDir()
	place(t, dir, "pics/1.png", dot(t, 2, 2, color.RGBA{1, 2, 3, 255}))
	place(t, dir, "pics/2.png", dot(t, 2, 2, color.RGBA{4, 5, 6, 255}))
	csv := place(t, dir, "list.csv", "path,kind,weight\npics/2.png,b,0.5\npics/1.png,a,1\npics/2.png,b,2\n")
	jsonl := place(t, dir, "list.jsonl", `{"path":"pics/2.png","kind":"b","weight":0.5}`+"\n"+`{"path":"pics/1.png","kind":"a","weight":1}`+"\n"+`{"path":"pics/2.png","kind":"b","weight":2}`)
	for _, source := range []string{csv, jsonl} {
		d, info := open(t, Spec{Source: source, Label: "kind", Inputs: []Input{{Name: "image", Field: "path"}, {Name: "weight"}}})
		if got := floats(t, d, "image"); got[0] != 4 || got[12] != 1 || got[24] != 4 {
			t.Errorf("%s: %v", source, got)
		}
		if !slices.Equal(labels(t, d), []int64{1, 0, 1}) || !slices.Equal(info.Classes, []string{"a", "b"}) {
			t.Errorf("%s: %v %v", source, labels(t, d), info.Classes)
		}
		files, err := Files(context.Background(), source)
		if err != nil || len(files) != 3 || files[0] != source {
			t.Errorf("%s: files %v, %v", source, files, err)
		}
	}
}

// wave makes a WAV file of 16 bits.
func wave(rate, channels int, samples ...int16) string {
	b := []byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00")
	le := binary.LittleEndian
	b = le.AppendUint16(b, uint16(channels))
	b = le.AppendUint32(b, uint32(rate))
	b = le.AppendUint32(b, uint32(rate*channels*2))
	b = le.AppendUint16(b, uint16(channels*2))
	b = le.AppendUint16(b, 16)
	b = append(b, "odd \x03\x00\x00\x00abc\x00data"...)
	b = le.AppendUint32(b, uint32(2*len(samples)))
	for _, s := range samples {
		b = le.AppendUint16(b, uint16(s))
	}
	return string(b)
}

func TestSounds(t *testing.T) {
	dir := t.TempDir()
	place(t, dir, "no/a.wav", wave(8000, 1, 16384, -16384, 8192))
	place(t, dir, "yes/b.wav", wave(8000, 2, 16384, 0, -32768, -32768, 100, 300, 1, 1, 2, 2))
	d, _ := open(t, Spec{Source: dir, Label: "label", Inputs: []Input{{Name: "x", Field: "sound", Length: 4}}})
	if got := floats(t, d, "x"); !slices.Equal(got, []float32{0.5, -0.5, 0.25, 0, 0.25, -1, 200.0 / 32768, 1.0 / 32768}) {
		t.Errorf("got %v", got)
	}
	d, _ = open(t, Spec{Source: dir, Inputs: []Input{{Name: "x", Field: "sound", Length: 8, Rate: 16000, Shape: []int64{1, 8}}}})
	if got := floats(t, d, "x"); len(got) != 16 || got[0] == 0 || got[6] != 0 || got[7] != 0 {
		t.Errorf("resampled: %v", got)
	}
	wantError(t, Spec{Source: dir, Inputs: []Input{{Name: "x", Field: "sound"}}}, []string{"input", "x", "field"}, "5 samples", "first sound 3", "length = 3")
}

// TestSoundFormats reads one value in every format.
func TestSoundFormats(t *testing.T) {
	for _, c := range []struct {
		code, bits int
		data       []byte
		want       float64
	}{
		{1, 8, []byte{192}, 0.5}, {1, 16, []byte{0, 0xc0}, -0.5}, {1, 24, []byte{0, 0, 0x40}, 0.5}, {1, 32, []byte{0, 0, 0, 0xc0}, -0.5},
		{3, 32, binary.LittleEndian.AppendUint32(nil, math.Float32bits(0.25)), 0.25},
		{3, 64, binary.LittleEndian.AppendUint64(nil, math.Float64bits(-0.75)), -0.75},
	} {
		for _, extensible := range []bool{false, true} {
			f := binary.LittleEndian.AppendUint16(nil, uint16(c.code))
			if extensible {
				f = binary.LittleEndian.AppendUint16(nil, wavExtensible)
			}
			f = append(f, 1, 0, 0x40, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, byte(c.bits), 0)
			if extensible {
				f = append(f, 22, 0, byte(c.bits), 0, 0, 0, 0, 0)
				f = binary.LittleEndian.AppendUint16(f, uint16(c.code))
				f = append(f, make([]byte, 14)...)
			}
			b := append([]byte("RIFF....WAVEfmt "), byte(len(f)), 0, 0, 0)
			b = append(append(b, f...), "data\xff\xff\xff\xff"...) // a pipe's size
			s, err := parseWAV(append(b, c.data...))
			if err != nil {
				t.Fatal(err)
			}
			if got := s.mono(1)[0]; float64(got) != c.want {
				t.Errorf("format %d of %d bits: got %v, want %v", c.code, c.bits, got, c.want)
			}
		}
	}
}

const wordTokenizer = `{"model":{"type":"WordLevel","unk_token":"[UNK]","vocab":{"[PAD]":0,"[UNK]":1,"good":2,"bad":3,"film":4}},
"pre_tokenizer":{"type":"Whitespace"},"post_processor":{"type":"BertProcessing","sep":["[SEP]",9],"cls":["[CLS]",8]}}`

func TestText(t *testing.T) {
	dir := t.TempDir()
	tok := place(t, dir, "tokenizer.json", wordTokenizer)
	place(t, dir, "mails/ham/1.txt", "good film")
	place(t, dir, "mails/spam/1.txt", "bad bad film good good")
	csv := place(t, dir, "mails.csv", "text,class\ngood film,ham\nbad bad film good good,spam\n")
	for _, source := range []string{csv, filepath.Join(dir, "mails")} {
		label := map[bool]string{true: "class", false: "label"}[source == csv]
		d, info := open(t, Spec{Source: source, Label: label, Inputs: []Input{
			{Name: "input_ids", Field: "text", Tokenizer: tok, Length: 6},
			{Name: "attention_mask", Field: "text", Tokenizer: tok, Length: 6, DType: "int32"},
			{Name: "token_type_ids", Field: "text", Tokenizer: tok, Length: 6},
		}})
		if got := ints(t, d, "input_ids"); !slices.Equal(got, []int64{8, 2, 4, 9, 0, 0, 8, 3, 3, 4, 2, 9}) {
			t.Errorf("ids %v", got)
		}
		if got := floats(t, d, "attention_mask"); !slices.Equal(got, []float32{1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1}) {
			t.Errorf("mask %v", got)
		}
		if !slices.Equal(info.Classes, []string{"ham", "spam"}) {
			t.Errorf("classes %v", info.Classes)
		}
	}
	in := func(i Input) Spec { i.Name, i.Field = "x", "text"; return Spec{Source: csv, Inputs: []Input{i}} }
	wantError(t, in(Input{}), []string{"input", "x", "field"}, "is text", "tokenizer")
	wantError(t, in(Input{Tokenizer: tok}), []string{"input", "x", "tokenizer"}, "length = 128")
	wantError(t, in(Input{Tokenizer: tok, Length: 4, Tokens: "words"}), []string{"input", "x", "tokens"}, "type_ids")
	wantError(t, in(Input{Tokenizer: csv, Length: 4}), []string{"input", "x", "tokenizer"}, "no tokenizer.json")
	wantError(t, in(Input{Tokenizer: filepath.Join(dir, "none.json"), Length: 4}), []string{"input", "x", "tokenizer"}, "no such file")
}

// TestSplit: both parts together are everything, whatever the order and source.
func TestSplit(t *testing.T) {
	dir := t.TempDir()
	var rows strings.Builder
	rows.WriteString("x\n")
	values := make([]byte, 100)
	for i := range 100 {
		fmt.Fprintf(&rows, "%d\n", i)
		values[i] = byte(i)
	}
	csv := place(t, dir, "x.csv", rows.String())
	writeNPY(t, filepath.Join(dir, "x.npy"), "|u1", "(100,)", values)
	var parts [2][]int64
	for _, shuffle := range []bool{false, true} {
		for k, split := range []string{"train", "test"} {
			var both [2][]float32
			for j, source := range []string{csv, filepath.Join(dir, "x.npy")} {
				d, info := open(t, Spec{Source: source, Split: split, TestFraction: 0.25, Shuffle: shuffle, Seed: 3})
				if want := []int64{75, 25}[k]; info.Samples != want {
					t.Errorf("%s has %d samples, want %d", split, info.Samples, want)
				}
				both[j] = floats(t, d, "x")
			}
			if !slices.Equal(both[0], both[1]) {
				t.Errorf("%s differs between a table and an array: %v and %v", split, both[0], both[1])
			}
			if !shuffle {
				if !slices.IsSorted(both[0]) {
					t.Errorf("without shuffle %s is out of order: %v", split, both[0])
				}
				for _, v := range both[0] {
					parts[k] = append(parts[k], int64(v))
				}
			} else if slices.IsSorted(both[0]) {
				t.Errorf("shuffled, %s is in order", split)
			}
		}
	}
	all := slices.Concat(parts[0], parts[1])
	slices.Sort(all)
	for i, v := range all {
		if int64(i) != v {
			t.Fatalf("together the parts are %v", all)
		}
	}
	limited, _ := open(t, Spec{Source: csv, Split: "test", TestFraction: 0.25, Seed: 3, Limit: 5})
	if got := ints(t, limited, "x"); !slices.Equal(got, parts[1][:5]) {
		t.Errorf("limited to %v", got)
	}
	for _, s := range []Spec{{Split: "valid", TestFraction: 0.5}, {Split: "test"}, {Split: "test", TestFraction: 1}, {TestFraction: 0.5}, {Split: "test", TestFraction: 0.001}} {
		s.Source = csv
		path := "test_fraction"
		if s.Split == "valid" {
			path = "split"
		}
		wantError(t, s, []string{path})
	}
}

// TestParallel: the bytes do not depend on how many cores there are, shuffled or not.
func TestParallel(t *testing.T) {
	var rows strings.Builder
	rows.WriteString("a,b,c\n")
	for i := range 5000 {
		fmt.Fprintf(&rows, "%d,%d.5,%c\n", i, i*7%1000, 'a'+i%5)
	}
	csv := place(t, t.TempDir(), "x.csv", rows.String())
	for _, shuffle := range []bool{false, true} {
		var first map[string][]byte
		for _, cores := range []int{1, 2, 5} {
			before := runtime.GOMAXPROCS(cores)
			dir := t.TempDir()
			last, total := int64(0), int64(0)
			_, err := Materialise(context.Background(), Spec{Source: csv, Label: "c", Shuffle: shuffle, Seed: 9}, dir, func(d, all int64) {
				if d > all {
					t.Errorf("%d of %d samples are done", d, all)
				}
				last, total = d, all
			})
			runtime.GOMAXPROCS(before)
			if err != nil || last != 5000 || total != 5000 {
				t.Fatal(err, last, total)
			}
			got := map[string][]byte{}
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				got[e.Name()], _ = os.ReadFile(filepath.Join(dir, e.Name()))
			}
			if first == nil {
				first = got
			} else if !reflect.DeepEqual(first, got) {
				t.Errorf("shuffle %v: %d cores write other bytes", shuffle, cores)
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	_, err := Materialise(ctx, Spec{Source: csv, Label: "c"}, dir, func(int64, int64) { cancel() })
	if err == nil {
		t.Error("it was stopped, but there is no error")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("%v is left", entries)
	}
}

func TestTableMistakes(t *testing.T) {
	dir := t.TempDir()
	csv := func(s string) string { return place(t, t.TempDir(), "t.csv", s) }
	jsonl := func(s string) string { return place(t, t.TempDir(), "t.jsonl", s) }
	x := []Input{{Name: "x"}}
	folder := func(files ...string) string {
		d := t.TempDir()
		for _, f := range files {
			place(t, d, f, dot(t, 2+len(f), 3, color.White))
		}
		return d
	}
	img := []Input{{Name: "x", Field: "image"}}
	for name, c := range map[string]struct {
		spec Spec
		path []string
		says []string
	}{
		"no field":        {Spec{Source: csv("a,b\n1,2\n"), Inputs: x}, []string{"input", "x"}, []string{`no field "x"`, "a (integers), b (integers)"}},
		"no label":        {Spec{Source: csv("x,b\n1,2\n"), Inputs: x, Label: "y"}, []string{"label"}, []string{`no field "y"`}},
		"real label":      {Spec{Source: csv("x,b\n1,2.5\n"), Inputs: x, Label: "b"}, []string{"label"}, []string{"no classes"}},
		"gap":             {Spec{Source: csv("x,b\n1,2\n,3\n"), Inputs: x}, []string{"input", "x"}, []string{"is text", `line 3 is ""`}},
		"ragged":          {Spec{Source: csv("x,b\n1,2\n3\n"), Inputs: x}, []string{"source"}, []string{"wrong number of fields"}},
		"twice":           {Spec{Source: csv("x,x\n1,2\n"), Inputs: x}, []string{"source"}, []string{"twice"}},
		"only names":      {Spec{Source: csv("x,y\n"), Inputs: x}, []string{"source"}, []string{"no samples"}},
		"vector of text":  {Spec{Source: csv("xa,xb\n1,q\n"), Inputs: []Input{{Name: "x", Field: "x*"}}}, []string{"input", "x", "field"}, []string{"xb"}},
		"shape":           {Spec{Source: csv("xa,xb\n1,2\n"), Inputs: []Input{{Name: "x", Field: "x*", Shape: []int64{3}}}}, []string{"input", "x", "shape"}, []string{"2 elements", "has 3"}},
		"resize":          {Spec{Source: csv("x\n1\n"), Inputs: []Input{{Name: "x", Resize: []int64{3}}}}, []string{"input", "x", "resize"}, []string{"images", "integers"}},
		"resize an array": {Spec{Source: digitsTest, Inputs: []Input{{Name: "image", Resize: []int64{3}}}}, []string{"input", "image", "resize"}, []string{"array"}},
		"channels":        {Spec{Source: digitsTest, Inputs: []Input{{Name: "image", Mean: []float64{1, 2, 3}}}}, []string{"input", "image", "mean"}, []string{"3 numbers", "[2000 1 28 28]", "axis 1"}},
		"no object":       {Spec{Source: jsonl("{\"x\":1}\n[1]\n"), Inputs: x}, []string{"source"}, []string{"line 2", "no JSON object"}},
		"lost key":        {Spec{Source: jsonl("{\"x\":1}\n{\"y\":1}\n"), Inputs: x}, []string{"source"}, []string{"line 2", `key "x"`}},
		"null":            {Spec{Source: jsonl("{\"x\":1}\n{\"x\":null}\n"), Inputs: x}, []string{"source"}, []string{"line 2", "no value"}},
		"shapes differ":   {Spec{Source: jsonl("{\"x\":[1,2]}\n{\"x\":[1]}\n"), Inputs: x}, []string{"input", "x"}, []string{"[1]", "[2]"}},
		"too large":       {Spec{Source: csv("x\n1\n300\n"), Inputs: []Input{{Name: "x", DType: "uint8"}}}, []string{"input", "x"}, []string{"sample 1", "300"}},
		"sizes differ":    {Spec{Source: folder("a.png", "bcd.png"), Inputs: img}, []string{"input", "x", "field"}, []string{"9 wide", "first image 7", "resize"}},
		"crop":            {Spec{Source: folder("a.png"), Inputs: []Input{{Name: "x", Field: "image", Crop: []int64{9}}}}, []string{"input", "x", "field"}, []string{"too small"}},
		"resample":        {Spec{Source: folder("a.png"), Inputs: []Input{{Name: "x", Field: "image", Resample: "cubic"}}}, []string{"input", "x", "resample"}, []string{"bicubic"}},
		"color":           {Spec{Source: folder("a.png"), Inputs: []Input{{Name: "x", Field: "image", Color: "yuv"}}}, []string{"input", "x", "color"}, []string{"bgr"}},
		"layout":          {Spec{Source: folder("a.png"), Inputs: []Input{{Name: "x", Field: "image", Layout: "chw"}}}, []string{"input", "x", "layout"}, []string{"nhwc"}},
		"mixed folder":    {Spec{Source: folder("a/a.png", "a/b.txt")}, []string{"source"}, []string{"mixes", "a.png", "b.txt"}},
		"beside":          {Spec{Source: folder("a/a.png", "b.png")}, []string{"source"}, []string{"beside"}},
		"no image":        {Spec{Source: filepath.Dir(place(t, dir, "bad/x.png", "nothing"))}, []string{"source"}, []string{"x.png", "no JPEG, PNG or WebP"}},
		"lost image":      {Spec{Source: csv("x\nlost.png\n"), Inputs: x}, []string{"input", "x"}, []string{"lost.png"}},
		"late":            {Spec{Source: filepath.Dir(place(t, filepath.Dir(place(t, dir, "late/a.png", dot(t, 2, 2, color.White))), "b.png", dot(t, 2, 2, color.White)[:60]))}, []string{"source"}, []string{"b.png", "Sample 1"}},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, c.spec, c.path, c.says...) })
	}
}

func TestListShape(t *testing.T) {
	for s, want := range map[string][]int64{
		"[1]": {1}, "[1, 2.5]": {2}, " [1]": nil, "[]": nil, "[[]]": nil, "[[1,2],[3,4],[5,6]]": {3, 2}, "[[1],[2,3]]": nil, "[1,[2]]": nil, "[[1],2]": nil,
		"[1": nil, "[1]]": nil, "[1,]": nil, "[,1]": nil, "[1 2]": nil, "[1][2]": nil, "[[[1]]]": {1, 1, 1}, "[[[[[[[[[1]]]]]]]]]": nil, "[a]": nil, "[true,false]": {2}, "[ [1 , 2] , [ 3,4 ] ]": {2, 2},
	} {
		got, _, ok := listShape(s)
		if ok != (want != nil) || ok && !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", s, got, ok, want)
		}
	}
}
