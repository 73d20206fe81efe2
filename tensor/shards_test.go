package tensor

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// makeShards writes a dataset in which field x of sample i is {i, -i}.
func makeShards(t *testing.T, label bool, counts ...int64) string {
	t.Helper()
	dir := t.TempDir()
	x := Index{Fields: []Field{{"x", F32, []int64{2}}, {"k", U8, nil}}, Label: label}
	for s, n := range counts {
		var v []float32
		var k []uint8
		var l []int64
		for range n {
			i := x.Samples
			v, k, l = append(v, float32(i), -float32(i)), append(k, uint8(i)), append(l, i*i)
			x.Samples++
		}
		file := fmt.Sprintf("shard-%05d.safetensors", s)
		ts := []Named{{"x", Of([]int64{n, 2}, v)}, {"k", Of([]int64{n}, k)}}
		if label {
			ts = append([]Named{{LabelName, Of([]int64{n}, l)}}, ts...)
		}
		if err := WriteFile(filepath.Join(dir, file), ts, nil); err != nil {
			t.Fatal(err)
		}
		x.Shards = append(x.Shards, Shard{file, n})
	}
	if err := WriteIndex(dir, x); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestShards(t *testing.T) {
	for _, counts := range [][]int64{{10}, {3, 4, 3}, {0, 5, 0, 0, 5, 0}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}} {
		s, err := OpenShards(makeShards(t, true, counts...))
		if err != nil {
			t.Fatal(err)
		}
		want := []Field{{"x", F32, []int64{2}}, {"k", U8, []int64{}}}
		if s.Samples() != 10 || !reflect.DeepEqual(s.Fields(), want) || !s.HasLabels() {
			t.Fatalf("got %d, %v", s.Samples(), s.Fields())
		}
		for start := range int64(10) {
			for n := int64(1); n <= 11; n++ {
				b, err := s.Batch(start, n)
				if err != nil {
					t.Fatal(err)
				}
				got := min(n, 10-start)
				v, err := View[float32](b["x"])
				k, _ := View[uint8](b["k"])
				if err != nil || len(b) != 2 || !slices.Equal(b["x"].Shape, []int64{got, 2}) || !slices.Equal(b["k"].Shape, []int64{got}) {
					t.Fatalf("%v: batch %d+%d is %v, %v", counts, start, n, b, err)
				}
				for i := range got {
					if v[2*i] != float32(start+i) || v[2*i+1] != -float32(start+i) || k[i] != uint8(start+i) {
						t.Fatalf("%v: batch %d+%d holds %v", counts, start, n, v)
					}
				}
			}
		}
		l, ok := s.Labels()
		v, err := View[int64](l)
		if !ok || err != nil || len(v) != 10 || v[9] != 81 || v[3] != 9 {
			t.Errorf("%v: labels %v, %v", counts, v, err)
		}
		if x, err := s.Field("x"); err != nil || x.Elements() != 20 {
			t.Error(x, err)
		}
		if _, err := s.Field("y"); err == nil || !strings.Contains(err.Error(), `"x", "k"`) {
			t.Errorf("an unknown field: %v", err)
		}
		for _, at := range [][2]int64{{-1, 1}, {10, 1}, {0, 0}, {0, -1}} {
			if _, err := s.Batch(at[0], at[1]); err == nil {
				t.Errorf("batch %v: no error", at)
			}
		}
		if s.Close() != nil || s.Close() != nil {
			t.Error("close")
		}
		if _, err := s.Batch(0, 1); err == nil {
			t.Error("a closed dataset has no batches")
		}
		if l, ok := s.Labels(); ok && l.Elements() != 0 {
			t.Error("a closed dataset has no labels")
		}
	}
}

func TestShardsWithoutLabels(t *testing.T) {
	s, err := OpenShards(makeShards(t, false, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, ok := s.Labels(); ok || s.HasLabels() || s.Samples() != 5 {
		t.Error("there are no labels")
	}
}

func TestBatchDoesNotCopy(t *testing.T) {
	s, err := OpenShards(makeShards(t, true, 10))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, _ := s.Batch(2, 3)
	b, _ := s.Batch(2, 5)
	if &a["x"].Data[0] != &b["x"].Data[0] {
		t.Error("a batch in one shard was copied")
	}
}

func TestBadShards(t *testing.T) {
	replace := func(old, new string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, IndexFile)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := strings.Replace(string(b), old, new, 1)
			if s == string(b) {
				t.Fatalf("%q is not in %s", old, b)
			}
			if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*testing.T, string)
		says   string
	}{
		"no index":      {func(t *testing.T, d string) { os.Remove(filepath.Join(d, IndexFile)) }, IndexFile},
		"no shard":      {func(t *testing.T, d string) { os.Remove(filepath.Join(d, "shard-00001.safetensors")) }, "shard-00001"},
		"cut shard":     {func(t *testing.T, d string) { os.Truncate(filepath.Join(d, "shard-00001.safetensors"), 100) }, "shard-00001"},
		"not JSON":      {replace("{", "["), "no dataset index"},
		"version":       {replace(`"version": 1`, `"version": 2`), "version 2"},
		"samples":       {replace(`"samples": 7`, `"samples": 8`), "promises 8"},
		"shard samples": {replace(`"samples": 4`, `"samples": 5`), "promises"},
		"negative":      {replace(`"samples": 4`, `"samples": -4`), "promises"},
		"dtype":         {replace(`"F32"`, `"I32"`), "promises I32"},
		"bad dtype":     {replace(`"F32"`, `"F33"`), "F33"},
		"field":         {replace(`"x"`, `"y"`), `"y"`},
		"label":         {replace(`"label": true`, `"label": false`), "2 tensors"},
		"escape":        {replace("shard-00000.safetensors", "../shard-00000.safetensors"), "not a file of this folder"},
		"dots":          {replace("shard-00000.safetensors", ".."), "not a file of this folder"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := makeShards(t, true, 3, 4)
			c.change(t, dir)
			if _, err := OpenShards(dir); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}
