package dataset

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/dataset/internal/heaptest"
)

// archive is an .npz whose entries all have the same contents.
func archive(t *testing.T, entries int, contents string) string {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range entries {
		w, err := z.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("%x.npy", i), Method: zip.Store})
		if err == nil {
			_, err = w.Write([]byte(contents))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestSourceMemory opens files that are nothing but the smallest parts there are. The
// constant is for what every source has, like buffers, and for what the collector is behind.
func TestSourceMemory(t *testing.T) {
	const n = 200_000
	header := func(dict string) string {
		h := binary.LittleEndian.AppendUint16([]byte("\x93NUMPY\x01\x00"), uint16(len(dict)))
		return string(h) + dict
	}
	var keys strings.Builder
	for i := range n {
		fmt.Fprintf(&keys, `,"%x":0`, i)
	}
	const rows = `{"a":1}` + "\n"
	for name, c := range map[string]struct{ file, contents, says string }{
		"cells of a first line": {"a.csv", strings.Repeat(",", 20*n) + "\n1\n", "cells"},
		"cells of a line":       {"a.csv", "a,b\n" + strings.Repeat(",", 20*n), "cells"},
		"cells in quotes":       {"a.csv", "a,b\n" + strings.Repeat("\"\n\",", n), "cells"},
		"many cells a line":     {"a.csv", strings.Repeat(strings.Repeat(",", 6_000)+"\n", 200), "-"},
		"one quote":             {"a.csv", "a,b\n\"" + strings.Repeat("x\n", 5*n), ""},
		"rows":                  {"a.csv", "a\n" + strings.Repeat("1\n", 5*n), "-"},
		"keys of a first line":  {"a.jsonl", "{" + keys.String()[1:] + "}\n", "more than 65536"},
		"keys of a line":        {"a.jsonl", rows + `{"a":1` + keys.String() + "}\n" + rows, "-"},
		"same key":              {"a.jsonl", rows + `{"a":1` + strings.Repeat(`,"a":0`, n) + "}\n", "-"},
		"nested":                {"a.jsonl", rows + `{"a":` + strings.Repeat("[", n) + "\n", "JSON"},
		"list":                  {"a.jsonl", `{"a":[` + strings.Repeat("0,", n) + "0]}\n", "-"},
		"null":                  {"a.jsonl", rows + "null\n", "null"},
		"axes":                  {"a.npy", header("{'descr':'<f4','fortran_order':False,'shape':(" + strings.Repeat("0,", 30000) + ")}"), "-"},
		"axes without end":      {"a.npy", header("{'descr':" + strings.Repeat("[", 60000)), "brackets"},
		"columns":               {"a.npy", header("{'descr':[" + strings.Repeat("(),", 20000) + "],'fortran_order':False,'shape':()}"), "-"},
		"arrays":                {"a.npz", archive(t, 10_000, header("{'descr':'<f4','fortran_order':False,'shape':(0,)}")), "-"},
		"empty arrays":          {"a.npz", archive(t, 10_000, ""), "-"},
		"too many arrays":       {"a.npz", archive(t, 20_000, ""), "20000 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(path, []byte(c.contents), 0o600); err != nil {
				t.Fatal(err)
			}
			var src *source
			var err error
			got := heaptest.Peak(func() { src, err = openSource(path, "") })
			if err == nil {
				err = src.close()
			}
			if most := int64(8<<20 + 10*len(c.contents)); got > most {
				t.Errorf("%d bytes take %d, %.1f times as much", len(c.contents), got, float64(got)/float64(len(c.contents)))
			}
			if c.says == "-" && err != nil || c.says != "-" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

// TestSoundRatio: a file may claim any rate; the filter and the result must not follow it
// beyond reason.
func TestSoundRatio(t *testing.T) {
	for name, c := range map[string]struct {
		from, to int64
		frames   int
		says     string
	}{
		"coprime":  {1<<22 - 3, 16000, 16, "cannot be changed"},
		"too long": {1, 1 << 22, 1000, "too long"},
		"usual":    {44100, 16000, 100, ""},
		"odd":      {196_607, 16000, 100, ""},
	} {
		dir := t.TempDir()
		samples := make([]int16, c.frames)
		if err := os.WriteFile(filepath.Join(dir, "a.wav"), []byte(wave(int(c.from), 1, samples...)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Materialise(context.Background(), Spec{Source: dir, Inputs: []Input{{Name: "x", Field: "sound", Rate: c.to}}}, t.TempDir(), nil)
		var e *Error
		if c.says == "" && err != nil || c.says != "" && (!errors.As(err, &e) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
