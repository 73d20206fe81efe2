package dataset

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzTable reads any bytes as a table, learns it and prepares all that it says it has.
func FuzzTable(f *testing.F) {
	f.Add([]byte(people), true)
	f.Add([]byte(points), false)
	f.Add([]byte("1;2\n3;4\n"), true)
	f.Add([]byte("a\tb\n\"x\ny\"\t[1,2]\n"), true)
	f.Add([]byte(`{"a":[[1],[2]],"b":"x"}`), false)
	f.Fuzz(func(t *testing.T, b []byte, csv bool) {
		name := "t.jsonl"
		if csv {
			name = "t.csv"
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := openSource(path, "")
		if err != nil || src.table == nil {
			return
		}
		for _, field := range src.table.fields {
			if field.kind > kindList || field.name == "" { // a nameless field cannot be asked for
				continue
			}
			info, err := Materialise(context.Background(), Spec{Source: path, Inputs: []Input{{Name: "x", Field: field.name}}}, t.TempDir(), nil)
			if bad := (*valueError)(nil); errors.As(err, &bad) { // a number larger than the dtype holds is seen when it is read
				continue
			}
			if err != nil || info.Samples != src.table.count {
				t.Errorf("field %q, %s, was learnt from %d samples, but: %+v, %v", field.name, kindNames[field.kind], src.table.count, info, err)
			}
		}
	})
}

// FuzzImage decodes any bytes and resizes what comes of them.
func FuzzImage(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.*"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		switch filepath.Ext(path) {
		case ".png", ".jpg", ".webp":
			b, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			if len(b) < 4<<10 {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w, h, err := imageSize(b, true)
		if err != nil || w > 1<<20/h {
			return
		}
		plan, err := newImagePlan(Input{Resize: []int64{5, 7}, Resample: "bicubic", Orient: true})
		if err != nil {
			t.Fatal(err)
		}
		plan.w, plan.h = 7, 5
		raw := make([]byte, 3*5*7)
		if err := plan.into(&imageMemory{}, b, raw); err != nil && bytes.Count(raw, []byte{0}) != len(raw) {
			t.Error("pixels of an image that cannot be used")
		}
	})
}

func FuzzWAV(f *testing.F) {
	f.Add([]byte(wave(8000, 2, 1, 2, 3, 4)))
	f.Add([]byte(wave(44100, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseWAV(b)
		if err != nil {
			return
		}
		if n := len(s.mono(s.frames())); n != s.frames() || n > len(b) {
			t.Errorf("%d samples of %d bytes", n, len(b))
		}
	})
}

func FuzzIDX(f *testing.F) {
	f.Add([]byte(idx([]uint32{2, 2}, "abcd")))
	f.Add([]byte("\x00\x00\x0e\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !isIDX(b) {
			return
		}
		path := filepath.Join(t.TempDir(), "x-ubyte")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = Materialise(context.Background(), Spec{Source: path}, t.TempDir(), nil) // it must return
	})
}
