package tensor

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestShardsLetGo: who reads a dataset of 48 MB batch by batch never has it in memory, and reads the same on every pass.
func TestShardsLetGo(t *testing.T) {
	const samples, width = 48, 1 << 18 // 1 MB each, in two shards
	dir := t.TempDir()
	x := Index{Version: ShardsVersion, Samples: samples, Fields: []Field{{"x", F32, []int64{width}}}}
	for k := range 2 {
		v := make([]float32, samples/2*width)
		for i := range v {
			v[i] = float32(k*samples/2 + i/width)
		}
		name := fmt.Sprintf("shard-%d.safetensors", k)
		if err := WriteFile(filepath.Join(dir, name), []Named{{"x", Of([]int64{samples / 2, width}, v)}}, nil); err != nil {
			t.Fatal(err)
		}
		x.Shards = append(x.Shards, Shard{File: name, Samples: samples / 2})
	}
	if err := WriteIndex(dir, x); err != nil {
		t.Fatal(err)
	}
	s, err := OpenShards(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for pass := range 3 {
		for at := int64(0); at < samples; at += 2 {
			b, err := s.Batch(at, 2)
			if err != nil {
				t.Fatal(err)
			}
			v, err := View[float32](b["x"])
			if err != nil {
				t.Fatal(err)
			}
			for i, got := range v {
				if want := float32(at) + float32(i/width); got != want {
					t.Fatalf("pass %d, batch %d: element %d is %v, not %v", pass, at, i, got, want)
				}
			}
			if kb := residentUnder(t, dir); kb > 14<<10 {
				t.Fatalf("pass %d, batch %d: %d KB of the dataset are in memory", pass, at, kb)
			}
		}
	}
}

// residentUnder tells how many KB of the mapped files of a folder are in this process's memory.
func residentUnder(t *testing.T, dir string) (kb int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	rss := regexp.MustCompile(`(?m)^Rss:\s+(\d+) kB`)
	for _, m := range regexp.MustCompile(`(?m)^[0-9a-f]+-[0-9a-f]+ `).Split(string(b), -1) {
		if !strings.Contains(m, dir) {
			continue
		}
		if f := rss.FindStringSubmatch(m); f != nil {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			kb += n
		}
	}
	return kb
}
