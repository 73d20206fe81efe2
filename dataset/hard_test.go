package dataset

import (
	"bytes"
	"encoding/binary"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// riff makes a WAV file of frames as they are; valid bits other than 0 write the extensible form.
func riff(code, channels, bits, valid int, data []byte) string {
	le := binary.LittleEndian
	head := le.AppendUint16(nil, uint16(code))
	if valid > 0 {
		head = le.AppendUint16(nil, wavExtensible)
	}
	head = le.AppendUint16(head, uint16(channels))
	head = le.AppendUint32(head, 8000)
	head = le.AppendUint32(head, uint32(8000*channels*bits/8))
	head = le.AppendUint16(head, uint16(channels*bits/8))
	head = le.AppendUint16(head, uint16(bits))
	if valid > 0 {
		head = le.AppendUint16(head, 22)
		head = le.AppendUint16(head, uint16(valid))
		head = le.AppendUint32(head, 0)
		head = le.AppendUint16(head, uint16(code))
		head = append(head, "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"...)
	}
	b := append([]byte("RIFF\x00\x00\x00\x00WAVEfmt "), le.AppendUint32(nil, uint32(len(head)))...)
	b = append(append(b, head...), "data"...)
	return string(append(le.AppendUint32(b, uint32(len(data))), data...))
}

// TestSoundsOfAllKinds puts files of several widths and numbers of channels into one dataset: all become the same numbers.
func TestSoundsOfAllKinds(t *testing.T) {
	dir := t.TempDir()
	le := binary.LittleEndian
	half := []byte{0, 0, 0x40}                                                  // 0.5 in 24 bits
	wide := append(le.AppendUint32(nil, 1<<30), le.AppendUint32(nil, 1<<31)...) // 0.5 and -1 in 32
	for i, file := range []string{
		riff(1, 1, 24, 0, slices.Concat(half, []byte{0, 0, 0x80})),
		riff(1, 1, 24, 20, slices.Concat(half, []byte{0, 0, 0x80})), // 20 bits that count, from the top
		riff(1, 1, 32, 24, wide), riff(1, 1, 32, 0, wide),
		riff(1, 1, 16, 16, []byte{0, 0x40, 0, 0x80}),
		riff(1, 6, 16, 16, bytes.Repeat([]byte{0, 0x40}, 6)) + strings.Repeat("\x00\x80", 6), // 5.1 channels; one frame is told, one follows
		riff(3, 2, 32, 32, slices.Concat(le.AppendUint32(nil, 0x3f800000), make([]byte, 4), le.AppendUint32(nil, 0xbf800000), le.AppendUint32(nil, 0xbf800000))),
	} {
		place(t, dir, string(rune('a'+i))+".wav", file)
	}
	d, info := open(t, Spec{Source: dir, Inputs: []Input{{Name: "x", Field: "sound", Length: 2}}})
	got := floats(t, d, "x")
	if info.Samples != 7 {
		t.Fatal(info.Samples)
	}
	for i := range 7 {
		want := []float32{0.5, -1}
		if i == 5 {
			want[1] = 0 // what is behind the told size is no sound
		}
		if !slices.Equal(got[2*i:2*i+2], want) {
			t.Errorf("sound %d is %v, want %v", i, got[2*i:2*i+2], want)
		}
	}
}

// TestBadSounds: each is an error that names the file, also when it is not the first one.
func TestBadSounds(t *testing.T) {
	good := wave(8000, 1, 1, 2, 3)
	for name, c := range map[string]struct{ file, says string }{
		"compressed":     {riff(6, 1, 8, 0, []byte{1}), "format 6 with 8 bits"},
		"12 bits":        {riff(1, 1, 12, 0, []byte{1, 2}), "12 bits"},
		"half floats":    {riff(3, 1, 16, 0, []byte{1, 2}), "format 3 with 16 bits"},
		"no channels":    {riff(1, 0, 16, 0, []byte{1, 2}), "0 channels"},
		"no samples":     {riff(1, 2, 16, 0, []byte{1, 2, 3}), "no samples"},
		"extensible cut": {"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\xfe\xff\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00data\x02\x00\x00\x00\x01\x02", "format 65534"},
		"truncated head": {good[:30], "too early"},
		"no data":        {good[:40], "no samples"},
		"not a wave":     {"RIFF\x00\x00\x00\x00AVI ", "no WAV file"},
		"empty":          {"", "no WAV file"},
	} {
		for _, at := range []string{"a.wav", "c.wav"} {
			dir := t.TempDir()
			place(t, dir, "b.wav", good)
			place(t, dir, at, c.file)
			t.Run(name+" "+at, func(t *testing.T) {
				wantError(t, Spec{Source: dir, Inputs: []Input{{Name: "x", Field: "sound", Length: 3}}}, []string{"input", "x", "field"}, at, c.says)
			})
		}
	}
}

// TestQuotedTables: quotes, separators and line ends inside of cells, marks of byte order, and lines of Windows.
func TestQuotedTables(t *testing.T) {
	dir := t.TempDir()
	tok := place(t, dir, "tokenizer.json", wordTokenizer)
	text := "\ufeff\"text, of a\r\nletter\",\"the \"\"class\"\"\",n\r\n\"good, film\",\"a\nb\",1\r\n\"bad \"\"film\"\"\",c,\"2\"\r\n"
	d, info := open(t, Spec{Source: place(t, dir, "t.csv", text), Label: `the "class"`, Inputs: []Input{
		{Name: "ids", Field: "text, of a\nletter", Tokenizer: tok, Length: 8}, {Name: "n"},
	}})
	if !slices.Equal(info.Classes, []string{"a\nb", "c"}) || !slices.Equal(ints(t, d, "n"), []int64{1, 2}) {
		t.Errorf("classes %q, n %v", info.Classes, ints(t, d, "n"))
	}
	if got := ints(t, d, "ids"); got[1] != 2 || got[9] != 3 {
		t.Errorf("ids %v", got)
	}
	for name, c := range map[string]struct{ text, says string }{
		"open quote":  {"a,b\n1,\"2\n3,4\n", `"`},
		"bare quote":  {"a,b\n1,2\"3\n", `"`},
		"NUL":         {"a,b\n1,\x002\n", "no known format"},
		"only a mark": {"\ufeff", "no known format"},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, Spec{Source: place(t, t.TempDir(), "t.csv", c.text)}, []string{"source"}, c.says)
		})
	}
}

// TestNestedLists: lists in JSON lines keep their shape, and what differs is told by its line.
func TestNestedLists(t *testing.T) {
	line := func(x string) string { return `{"x": ` + x + `, "y": 1}` + "\n" }
	cube := "[[[1, 2], [3, 4.5]], [[-5e-1, 6], [7, 8]]]"
	d, info := open(t, Spec{Source: place(t, t.TempDir(), "t.jsonl", line(cube)+"\n"+line(strings.ReplaceAll(cube, " ", ""))+`{"y": 1, "x": `+cube+`}`), Label: "y", Inputs: []Input{{Name: "x"}}})
	if f := info.Fields[0]; !slices.Equal(f.Shape, []int64{2, 2, 2}) || info.Samples != 3 {
		t.Fatal(f, info.Samples)
	}
	for i := range 3 {
		if got := floats(t, d, "x")[8*i : 8*i+8]; !slices.Equal(got, []float32{1, 2, 3, 4.5, -0.5, 6, 7, 8}) {
			t.Errorf("sample %d: %v", i, got)
		}
	}
	for name, c := range map[string]struct {
		second string
		says   []string
	}{
		"flat":       {"[1, 2, 3, 4, 5, 6, 7, 8]", []string{"[8]", "[2 2 2]"}},
		"ragged":     {"[[[1, 2], [3]], [[5, 6], [7, 8]]]", []string{"line 2"}},
		"a text":     {`[[[1, 2], [3, "4"]], [[5, 6], [7, 8]]]`, []string{"line 2"}},
		"one number": {"7", []string{"line 2"}},
		"cut":        {"[[[1, 2]", []string{"line 2"}},
		"an object":  {`{"a": 1}`, []string{"line 2", "object"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := []string{"input", "x"}
			if name == "cut" || name == "an object" {
				path = []string{"source"}
			}
			wantError(t, Spec{Source: place(t, t.TempDir(), "t.jsonl", line(cube)+line(c.second)), Inputs: []Input{{Name: "x"}}}, path, c.says...)
		})
	}
}

// TestDamageInTheMiddle: a manifest whose 500th file is lost, cut, or another image than its name says. The error names file
// and row, and nothing is left behind, on any number of cores.
func TestDamageInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	image := dot(t, 8, 8, color.RGBA{9, 8, 7, 255})
	place(t, dir, "good.png", image)
	place(t, dir, "cut.png", image[:len(image)-20])
	place(t, dir, "flipped.png", image[:45]+string(image[45]^0x55)+image[46:])
	place(t, dir, "empty.png", "")
	place(t, dir, "text.png", "these are no pixels")
	place(t, dir, "header.png", image[:33])
	if err := os.Mkdir(filepath.Join(dir, "folder.png"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"lost.png", "cut.png", "flipped.png", "empty.png", "text.png", "header.png", "folder.png"} {
		rows := slices.Repeat([]string{"good.png,1"}, 1000)
		rows[500] = bad + ",1"
		csv := place(t, dir, "list.csv", "image,label\n"+strings.Join(rows, "\n")+"\n")
		t.Run(bad, func(t *testing.T) {
			wantError(t, Spec{Source: csv, Label: "label", Inputs: []Input{{Name: "x", Field: "image"}}}, []string{"input", "x", "field"}, bad, "Sample 500", "line 502")
		})
	}
}
