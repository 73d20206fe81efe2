package cache

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		removeTree(s.Dir()) // t.TempDir cannot remove read-only trees
	})
	return s
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func testKey(config string) Key {
	return Key{
		Format: FormatVersion, StepType: "quantize_static", Plugin: "quantize", PluginVersion: "0.1.0", Revision: 2,
		Config:      json.RawMessage(config),
		Inputs:      map[string]string{"model": strings.Repeat("a", 64), "calibration": strings.Repeat("b", 64)},
		Fingerprint: map[string]string{"onnxruntime": "1.32.0", "target": "onnxruntime-x86-vnni"},
		Platform:    "linux/amd64", Seed: 7,
	}
}

// commit records one file output "model" with the given text.
func commit(t testing.TB, s *Store, key Key, name, text string) *Record {
	t.Helper()
	txn, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Discard()
	write(t, filepath.Join(txn.OutDir, "m.onnx"), text)
	rec, err := txn.Commit(context.Background(), key, name, map[string]Output{"model": {Kind: "model", Format: "onnx", Path: "m.onnx", Labels: map[string]string{"q": "int8"}}},
		json.RawMessage(`{"layers":9}`), Meta{Started: time.Unix(1, 0).UTC(), Duration: time.Second, PluginVersion: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestCommitLookup(t *testing.T) {
	s := open(t)
	key := testKey(`{"per_channel":true,"text":"a<b"}`)
	if _, ok := s.Lookup(key.Sum()); ok {
		t.Fatal("a hit in an empty store")
	}
	rec := commit(t, s, key, "quantize_static.int8", "bytes")
	if got := read(t, rec.Outputs["model"].Path); got != "bytes" {
		t.Fatalf("blob holds %q", got)
	}
	info, err := os.Stat(rec.Outputs["model"].Path)
	if err != nil || info.Mode().Perm() != 0o444 {
		t.Fatalf("blob mode %v, %v", info.Mode(), err)
	}
	got, ok := s.Lookup(key.Sum())
	if !ok {
		t.Fatal("a miss after Commit")
	}
	a := got.Outputs["model"]
	if a.Path != rec.Outputs["model"].Path || a.Size != 5 || a.Kind != "model" || a.Format != "onnx" || a.Labels["q"] != "int8" || a.Digest != sumOf("bytes") {
		t.Fatalf("artifact %+v", a)
	}
	var facts struct{ Layers int }
	if err := json.Unmarshal(got.Result, &facts); err != nil || facts.Layers != 9 || got.Duration != time.Second || got.Name != "quantize_static.int8" || got.PluginVersion != "0.1.0" {
		t.Fatalf("record %+v", got)
	}
	// Another process sees it.
	other, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, ok := other.Lookup(key.Sum()); !ok {
		t.Fatal("a miss in a second store on the same folder")
	}
	if entries, _ := os.ReadDir(filepath.Join(s.Dir(), "tmp")); len(entries) > 2 {
		t.Fatalf("tmp holds more than the session: %v", entries)
	}
}

func TestDamageIsAMiss(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, s *Store, rec *Record){
		"blob gone": func(t *testing.T, s *Store, rec *Record) { os.Remove(rec.Outputs["model"].Path) },
		"blob cut":  func(t *testing.T, s *Store, rec *Record) { overwrite(t, rec.Outputs["model"].Path, "byt") },
		"blob is folder": func(t *testing.T, s *Store, rec *Record) {
			p := rec.Outputs["model"].Path
			os.Remove(p)
			os.Mkdir(p, 0o755)
		},
		"record cut": func(t *testing.T, s *Store, rec *Record) {
			p := s.recordPath(rec.Sum)
			overwrite(t, p, read(t, p)[:40])
		},
		"record empty": func(t *testing.T, s *Store, rec *Record) { overwrite(t, s.recordPath(rec.Sum), "") },
		"record of another key": func(t *testing.T, s *Store, rec *Record) {
			p := s.recordPath(rec.Sum)
			overwrite(t, p, strings.Replace(read(t, p), `"seed":7`, `"seed":8`, 1))
		},
		"digest leads out": func(t *testing.T, s *Store, rec *Record) {
			p := s.recordPath(rec.Sum)
			overwrite(t, p, strings.Replace(read(t, p), rec.Outputs["model"].Digest, "../../../../etc/passwd", 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			key := testKey(`{}`)
			damage(t, s, commit(t, s, key, "x", "bytes"))
			if _, ok := s.Lookup(key.Sum()); ok {
				t.Fatal("a hit")
			}
			if name == "blob is folder" {
				return // a folder among the blobs is nothing that a rename can mend
			}
			// Running again mends it.
			commit(t, s, key, "x", "bytes")
			if _, ok := s.Lookup(key.Sum()); !ok {
				t.Fatal("still a miss after another Commit")
			}
		})
	}
	s := open(t)
	for _, sum := range []string{"", "x", "../../x", strings.Repeat("g", 64)} {
		if _, ok := s.Lookup(sum); ok {
			t.Errorf("Lookup(%q) is a hit", sum)
		}
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	os.Chmod(path, 0o644)
	write(t, path, text)
}

func TestTree(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	key := testKey(`{}`)
	run := func() *Record {
		txn, err := s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer txn.Discard()
		write(t, filepath.Join(txn.OutDir, "ir", "model.xml"), "<net/>")
		write(t, filepath.Join(txn.OutDir, "ir", "sub", "model.bin"), "weights")
		write(t, filepath.Join(txn.OutDir, "left-over"), "dropped")
		rec, err := txn.Commit(ctx, key, "x", map[string]Output{"model": {Kind: "model", Format: "ir", Path: "ir"}, "weights": {Path: "ir/sub/model.bin"}, "all": {Path: "."}}, nil, Meta{})
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	rec := run()
	a := rec.Outputs["model"]
	if !a.Tree || a.Size != 13 || read(t, filepath.Join(a.Path, "sub", "model.bin")) != "weights" {
		t.Fatalf("artifact %+v", a)
	}
	if digest, size, err := s.HashPath(ctx, a.Path, true); err != nil || digest != a.Digest || size != a.Size {
		t.Fatalf("hashed where it lies: %s %d %v", digest, size, err)
	}
	if w := rec.Outputs["weights"]; w.Tree || read(t, w.Path) != "weights" {
		t.Fatalf("artifact %+v", w)
	}
	if all := rec.Outputs["all"]; !all.Tree || read(t, filepath.Join(all.Path, "left-over")) != "dropped" || read(t, filepath.Join(all.Path, "ir", "model.xml")) != "<net/>" {
		t.Fatalf("artifact %+v", all)
	}
	if info, _ := os.Stat(filepath.Join(a.Path, "sub")); info.Mode().Perm() != 0o555 {
		t.Fatalf("folder mode %v", info.Mode())
	}
	if got, ok := s.Lookup(key.Sum()); !ok || got.Outputs["model"].Path != a.Path {
		t.Fatal("a miss")
	}
	// A tree without one of its files is a miss, and mended by the next run.
	os.Chmod(filepath.Join(a.Path, "sub"), 0o755)
	os.Remove(filepath.Join(a.Path, "sub", "model.bin"))
	if _, ok := s.Lookup(key.Sum()); ok {
		t.Fatal("a hit on a broken tree")
	}
	if again := run(); again.Outputs["model"].Digest != a.Digest {
		t.Fatal("the same files gave another digest")
	}
	if _, ok := s.Lookup(key.Sum()); !ok {
		t.Fatal("a miss after mending")
	}
	if problems, err := s.Verify(ctx); err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
}

func TestCommitRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		make func(t *testing.T, out string)
		want string
	}{
		"missing":           {"m", func(t *testing.T, out string) {}, "was declared but not written"},
		"empty path":        {"", func(t *testing.T, out string) {}, "not a path in"},
		"the folder, empty": {".", func(t *testing.T, out string) {}, "empty folder"},
		"escape":            {"../m", func(t *testing.T, out string) { write(t, filepath.Join(out, "..", "m"), "x") }, "not a path in"},
		"absolute":          {"/etc/passwd", func(t *testing.T, out string) {}, "not a path in"},
		"link":              {"m", func(t *testing.T, out string) { os.Symlink("/etc/passwd", filepath.Join(out, "m")) }, "is a link"},
		"link on way":       {"d/passwd", func(t *testing.T, out string) { os.Symlink("/etc", filepath.Join(out, "d")) }, "is a link"},
		"link in tree": {"d", func(t *testing.T, out string) {
			os.Mkdir(filepath.Join(out, "d"), 0o755)
			os.Symlink("/etc", filepath.Join(out, "d", "l"))
		}, "d/l is a link"},
		"empty tree":    {"d", func(t *testing.T, out string) { os.Mkdir(filepath.Join(out, "d"), 0o755) }, "empty folder"},
		"name":          {"d", func(t *testing.T, out string) { write(t, filepath.Join(out, "d", `a\b`), "x") }, "not every system"},
		"not UTF-8":     {"d", func(t *testing.T, out string) { write(t, filepath.Join(out, "d", "a\xff"), "x") }, "not every system"},
		"special files": {"d", mkfifo, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			txn, err := s.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer txn.Discard()
			c.make(t, txn.OutDir)
			_, err = txn.Commit(context.Background(), testKey(`{}`), "x", map[string]Output{"model": {Path: c.path}}, nil, Meta{})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `output "model"`) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if _, ok := s.Lookup(testKey(`{}`).Sum()); ok {
				t.Fatal("it was recorded")
			}
		})
	}
}

// A file with a second name outside must not become a blob by rename: its owner could change the blob.
func TestCommitCopiesHardLinks(t *testing.T) {
	s := open(t)
	outside := write(t, filepath.Join(t.TempDir(), "mine"), "bytes")
	txn, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Discard()
	if err := os.Link(outside, filepath.Join(txn.OutDir, "m")); err != nil {
		t.Skip(err)
	}
	rec, err := txn.Commit(context.Background(), testKey(`{}`), "x", map[string]Output{"model": {Path: "m"}, "same": {Path: "m"}}, nil, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, outside, "other")
	if got := read(t, rec.Outputs["model"].Path); got != "bytes" {
		t.Fatalf("the blob changed to %q", got)
	}
	if rec.Outputs["same"].Digest != rec.Outputs["model"].Digest {
		t.Fatal("two outputs of one file differ")
	}
}

func TestCommitStops(t *testing.T) {
	s := open(t)
	txn, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(txn.OutDir, "m"), "x")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := txn.Commit(ctx, testKey(`{}`), "x", map[string]Output{"model": {Path: "m"}}, nil, Meta{}); err == nil {
		t.Fatal("committed after the end")
	}
	txn.Discard()
	txn.Discard()
	if _, err := os.Stat(txn.OutDir); err == nil {
		t.Fatal("Discard left the folder")
	}
}

func TestOpen(t *testing.T) {
	t.Run("other version", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "FORMAT"), "optimize-cache 9\n")
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "has format 9") || !strings.Contains(err.Error(), "OPTIMIZE_CACHE") {
			t.Fatal(err)
		}
	})
	t.Run("damaged", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "FORMAT"), "\x00")
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Fatal(err)
		}
	})
	t.Run("someone's folder", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "thesis.tex"), "")
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "thesis.tex") {
			t.Fatal(err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Fatal("it was touched")
		}
	})
	t.Run("a file", func(t *testing.T) {
		path := write(t, filepath.Join(t.TempDir(), "f"), "")
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Fatal(err)
		}
	})
	t.Run("sweeps the dead, spares the living", func(t *testing.T) {
		s := open(t)
		living, err := s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer living.Discard()
		dead, err := s.newWorkdir()
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dead.path, "sub", "f"), "x")
		os.Chmod(filepath.Join(dead.path, "sub"), 0o555)
		dead.lock.Close() // as the end of a process does
		orphan := filepath.Join(s.Dir(), "tmp", "orphan")
		os.Mkdir(orphan, 0o755)
		again, err := Open(s.Dir())
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		for _, gone := range []string{dead.path, dead.path + ".lock", orphan} {
			if _, err := os.Lstat(gone); err == nil {
				t.Errorf("%s was left", gone)
			}
		}
		if _, err := os.Lstat(living.OutDir); err != nil {
			t.Error("a living transaction was swept")
		}
	})
}

func TestDefaultDir(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	if dir, err := DefaultDir(env(map[string]string{"OPTIMIZE_CACHE": "/c/x", "HOME": "/h"})); err != nil || dir != filepath.FromSlash("/c/x") && filepath.VolumeName(dir) == "" {
		t.Fatal(dir, err)
	}
	if dir, err := DefaultDir(env(nil)); err == nil || !strings.Contains(err.Error(), "OPTIMIZE_CACHE") {
		t.Fatal(dir, err)
	}
}

func BenchmarkLookup(b *testing.B) {
	s := open(b)
	key := testKey(`{"per_channel":true}`)
	commit(b, s, key, "x", "bytes")
	for b.Loop() {
		if _, ok := s.Lookup(key.Sum()); !ok {
			b.Fatal("miss")
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	s := open(b)
	for b.Loop() {
		again, err := Open(s.Dir())
		if err != nil {
			b.Fatal(err)
		}
		again.Close()
	}
}
