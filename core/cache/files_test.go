package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestImport(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	path := write(t, filepath.Join(t.TempDir(), "model.onnx"), "weights")
	a, err := s.Import(ctx, path)
	if err != nil || a.Digest != sumOf("weights") || a.Size != 7 || read(t, a.Path) != "weights" {
		t.Fatalf("%+v, %v", a, err)
	}
	write(t, path, "changed")
	if read(t, a.Path) != "weights" {
		t.Fatal("the blob follows the user's file")
	}
	if b, err := s.Import(ctx, path); err != nil || b.Digest != sumOf("changed") {
		t.Fatal("a change right after was not seen", b, err)
	}
	if got, ok := s.Blob(a.Digest); !ok || got.Path != a.Path || got.Size != 7 {
		t.Fatal(got, ok)
	}
	os.Remove(a.Path)
	if _, ok := s.Blob(a.Digest); ok {
		t.Fatal("a blob that is gone was found")
	}
	for name, c := range map[string]struct{ path, want string }{
		"folder": {t.TempDir(), "it is a folder"}, "absent": {filepath.Join(t.TempDir(), "no.onnx"), "no such file"}, "device": {os.DevNull, "not a regular file"},
	} {
		if _, err := s.Import(ctx, c.path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Import(canceled, path); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestMemo(t *testing.T) {
	s := open(t)
	path := write(t, filepath.Join(t.TempDir(), "f"), "first")
	f, id, err := openRegular(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	now := time.Now()
	later := now.Add(3 * time.Second)
	if id.ino == 0 {
		t.Skip("no file identity on this system")
	}
	s.remember(id, sumOf("first"), now)
	if _, ok := s.recall(id, later); ok {
		t.Fatal("a young file was remembered")
	}
	s.remember(id, sumOf("first"), later)
	if digest, ok := s.recall(id, later); !ok || digest != sumOf("first") {
		t.Fatal("a rested file was not remembered")
	}
	if _, ok := s.recall(id, now); ok {
		t.Fatal("a young file was trusted")
	}
	for name, change := range map[string]func(*fileID){
		"size": func(id *fileID) { id.size++ }, "mtime": func(id *fileID) { id.mtime-- }, "ctime": func(id *fileID) { id.ctime-- },
		"inode": func(id *fileID) { id.ino++ }, "device": func(id *fileID) { id.dev++ },
	} {
		other := id
		change(&other)
		if _, ok := s.recall(other, later); ok {
			t.Errorf("another %s was taken for the same file", name)
		}
	}
	for _, text := range []string{"", "1 2 3", "2 0 0 0 x\n", strings.Repeat("9", 300)} {
		write(t, s.memoPath(id), text)
		if _, ok := s.recall(id, later); ok {
			t.Errorf("memo %q was believed", text)
		}
	}
}

// A file that was hashed before and has rested is not read again. The blob is planted under a wrong digest to see that.
func TestHashFileUsesMemo(t *testing.T) {
	s := open(t)
	path := write(t, filepath.Join(t.TempDir(), "f"), "text")
	if digest, size, err := s.HashFile(path); err != nil || digest != sumOf("text") || size != 4 {
		t.Fatal(digest, size, err)
	}
	if testing.Short() {
		t.Skip("waits for a file to rest")
	}
	time.Sleep(memoAge + 50*time.Millisecond)
	if _, _, err := s.HashFile(path); err != nil {
		t.Fatal(err)
	}
	f, id, err := openRegular(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if id.ino == 0 {
		t.Skip("no file identity on this system")
	}
	s.remember(id, sumOf("planted"), time.Now())
	if digest, _, _ := s.HashFile(path); digest != sumOf("planted") {
		t.Fatal("the file was read again")
	}
	// Overwritten with its old size and modification time: the change time tells.
	info, _ := os.Stat(path)
	write(t, path, "TEXT")
	os.Chtimes(path, info.ModTime(), info.ModTime())
	if digest, _, _ := s.HashFile(path); digest != sumOf("TEXT") {
		t.Fatal("an overwrite was not seen")
	}
}

func TestExport(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	rec := commit(t, s, testKey(`{}`), "x", "model bytes")
	digest := rec.Outputs["model"].Digest
	dir := t.TempDir()
	dest := filepath.Join(dir, "dist", "m.onnx")
	if err := s.Export(ctx, digest, dest); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dest)
	if err != nil || read(t, dest) != "model bytes" || info.Mode().Perm()&0o200 == 0 {
		t.Fatal(info, err)
	}
	blob, _ := os.Stat(rec.Outputs["model"].Path)
	if os.SameFile(blob, info) {
		t.Fatal("the output is the blob itself")
	}
	// The right bytes are left alone; others are replaced.
	if err := s.Export(ctx, digest, dest); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.Stat(dest); !os.SameFile(info, again) {
		t.Error("an output with the right bytes was written again")
	}
	write(t, dest, "MODEL BYTES")
	if err := s.Export(ctx, digest, dest); err != nil || read(t, dest) != "model bytes" {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(filepath.Dir(dest))
	if len(entries) != 1 {
		t.Errorf("temporary files were left: %v", entries)
	}
	for name, c := range map[string]struct {
		digest, dest, want string
	}{
		"folder in the way": {digest, dir, "a folder lies there"},
		"file on the way":   {digest, filepath.Join(dest, "m.onnx"), "cannot"},
		"unknown":           {strings.Repeat("0", 64), filepath.Join(dir, "n"), "no longer in the cache"},
		"no digest":         {"../../etc/passwd", filepath.Join(dir, "n"), "no longer in the cache"},
	} {
		if err := s.Export(ctx, c.digest, c.dest); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.dest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExportSetIsAllOrNothing(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	a := commit(t, s, testKey(`1`), "x", "a").Outputs["model"]
	b := commit(t, s, testKey(`2`), "x", "b").Outputs["model"]
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	write(t, one, "old")
	// b is damaged, with its size unchanged: the copy is what notices.
	overwrite(t, b.Path, "X")
	err := s.ExportSet(ctx, []Item{{a.Digest, one}, {b.Digest, two}})
	if err == nil || !strings.Contains(err.Error(), "damaged in the cache") {
		t.Fatal(err)
	}
	if read(t, one) != "old" {
		t.Fatal("one output was published without the other")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Fatalf("temporary files were left: %v", entries)
	}
	problems, err := s.Verify(ctx)
	if err != nil || len(problems) != 1 || problems[0].Path != b.Path {
		t.Fatal(problems, err)
	}
	if err := s.Repair(problems); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Lookup(testKey(`2`).Sum()); ok {
		t.Fatal("a hit after Repair")
	}
	commit(t, s, testKey(`2`), "x", "b")
	if err := s.ExportSet(ctx, []Item{{a.Digest, one}, {b.Digest, two}, {a.Digest, one}}); err != nil || read(t, one)+read(t, two) != "ab" {
		t.Fatal(err)
	}
	if err := s.ExportSet(ctx, []Item{{a.Digest, one}, {b.Digest, one}}); err == nil || !strings.Contains(err.Error(), "two outputs") {
		t.Fatal(err)
	}
}

func TestExportTree(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	tree := func(text string) Artifact {
		txn, err := s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer txn.Discard()
		write(t, filepath.Join(txn.OutDir, "t", "sub", "f"), text)
		rec, err := txn.Commit(ctx, testKey(`"`+text+`"`), "x", map[string]Output{"m": {Path: "t"}}, nil, Meta{})
		if err != nil {
			t.Fatal(err)
		}
		return rec.Outputs["m"]
	}
	a, b := tree("a"), tree("b")
	dir := t.TempDir()
	dest := filepath.Join(dir, "pkg")
	if err := s.Export(ctx, a.Digest, dest); err != nil || read(t, filepath.Join(dest, "sub", "f")) != "a" {
		t.Fatal(err)
	}
	write(t, filepath.Join(dest, "sub", "f"), "mine") // a test that the user may write it
	if err := s.Export(ctx, b.Digest, dest); err != nil || read(t, filepath.Join(dest, "sub", "f")) != "b" {
		t.Fatal(err)
	}
	info, _ := os.Stat(dest)
	if err := s.Export(ctx, b.Digest, dest); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.Stat(dest); !os.SameFile(info, again) {
		t.Error("a folder with the right bytes was written again")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("temporary files were left: %v", entries)
	}
	home := filepath.Join(dir, "home")
	write(t, filepath.Join(home, "thesis.tex"), "years")
	if err := s.Export(ctx, a.Digest, home); err == nil || !strings.Contains(err.Error(), "did not publish") {
		t.Fatal(err)
	}
	if read(t, filepath.Join(home, "thesis.tex")) != "years" {
		t.Fatal("gone")
	}
}

func TestLock(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	var inside, most atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				unlock, err := s.Lock(ctx, "abc")
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(100 * time.Microsecond)
				inside.Add(-1)
				unlock()
				unlock()
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Fatalf("%d holders at once", most.Load())
	}
	unlock, err := s.Lock(ctx, "abc")
	if err != nil {
		t.Fatal(err)
	}
	if free, err := s.Lock(ctx, "abd"); err != nil {
		t.Fatal(err)
	} else {
		free()
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(short, "abc"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	unlock()
	if entries, _ := os.ReadDir(filepath.Join(s.Dir(), "locks")); len(entries) != 0 {
		t.Errorf("locks were left: %v", entries)
	}
	if _, err := s.Lock(ctx, "../x"); err == nil {
		t.Error("a lock outside the store")
	}
}

func TestErrorsInWords(t *testing.T) {
	for _, c := range []struct {
		err  error
		want []string
	}{
		{failure("write", "/c/blob", &fs.PathError{Op: "write", Path: "/c/blob", Err: errNoSpace}), []string{"cannot write /c/blob: ", "Free some space", "OPTIMIZE_CACHE"}},
		{failure("create", "/c", &fs.PathError{Op: "mkdir", Path: "/c", Err: errReadOnly}), []string{"cannot create /c: ", "read-only", "OPTIMIZE_CACHE"}},
		{failure("create", "/c", fs.ErrPermission), []string{"cannot create /c: ", "Make it writable"}},
		{userFailure("read", "/m.onnx", fs.ErrPermission), []string{"cannot read /m.onnx: ", "Make it readable"}},
		{userFailure("write", "/m.onnx", fs.ErrPermission), []string{"cannot write /m.onnx: ", "Make it writable", "choose a folder"}},
		{userFailure("write", "/m.onnx", failure("read", "/x", fs.ErrClosed)), []string{"cannot read /x: "}},
	} {
		for _, want := range c.want {
			if !strings.Contains(c.err.Error(), want) {
				t.Errorf("%v lacks %q", c.err, want)
			}
		}
	}
	if os.Geteuid() > 0 {
		dir := t.TempDir()
		os.Chmod(dir, 0o555)
		if _, err := Open(filepath.Join(dir, "store")); err == nil || !strings.Contains(err.Error(), "Make it writable") {
			t.Error(err)
		}
	}
}

func TestImportTree(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "m.onnx"), "graph")
	write(t, filepath.Join(dir, "m.onnx.data"), "weights")
	files := []string{"m.onnx", "m.onnx.data"}
	a, err := s.ImportTree(ctx, dir, files)
	if err != nil || !a.Tree || a.Size != 12 || read(t, filepath.Join(a.Path, "m.onnx.data")) != "weights" {
		t.Fatalf("%+v, %v", a, err)
	}
	if b, err := s.ImportTree(ctx, dir, files); err != nil || b.Digest != a.Digest || b.Path != a.Path {
		t.Fatalf("again: %+v, %v", b, err)
	}
	if got, ok := s.Blob(a.Digest); !ok || !got.Tree || got.Size != 12 {
		t.Fatal(got, ok)
	}
	write(t, filepath.Join(dir, "m.onnx.data"), "others")
	b, err := s.ImportTree(ctx, dir, files)
	if err != nil || b.Digest == a.Digest || read(t, filepath.Join(b.Path, "m.onnx.data")) != "others" || read(t, filepath.Join(a.Path, "m.onnx.data")) != "weights" {
		t.Fatalf("changed: %+v, %v", b, err)
	}
	if _, err := s.ImportTree(ctx, dir, []string{"m.onnx", "none"}); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a missing file: %v", err)
	}
}
