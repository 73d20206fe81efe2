package cache

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A step that overwrites its input and gives it its old times and mode is found out all the same.
func TestWatchSeesHiddenChanges(t *testing.T) {
	s := open(t)
	txn, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Discard()
	write(t, filepath.Join(txn.OutDir, "m"), "bytes")
	rec, err := txn.Commit(context.Background(), testKey(`{}`), "x", map[string]Output{"model": {Path: "m"}}, nil, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	a := rec.Outputs["model"]
	changed := s.Watch([]Artifact{a})
	before, err := os.Stat(a.Path)
	if err != nil {
		t.Fatal(err)
	}
	if got := changed(context.Background()); len(got) > 0 {
		t.Fatalf("%v changed although nobody did anything", got)
	}
	time.Sleep(20 * time.Millisecond) // change times have the resolution of a tick
	if err := os.Chmod(a.Path, 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, a.Path, "BYTES")
	if err := os.Chtimes(a.Path, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(a.Path, before.Mode()); err != nil {
		t.Fatal(err)
	}
	if got := changed(context.Background()); len(got) != 1 {
		t.Fatalf("%d changed, want 1", len(got))
	}
	if _, err := os.Stat(a.Path); err == nil {
		t.Fatal("the changed blob is still in the store")
	}
}

// A step that replaces its output folder by a link to a folder of others must not have their files moved into the store.
func TestCommitRefusesLinkedOutputFolder(t *testing.T) {
	s := open(t)
	others := t.TempDir()
	mine := write(t, filepath.Join(others, "m"), "bytes")
	txn, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Discard()
	if err := os.Remove(txn.OutDir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(others, txn.OutDir); err != nil {
		t.Skip(err)
	}
	_, err = txn.Commit(context.Background(), testKey(`{}`), "x", map[string]Output{"model": {Path: "m"}}, nil, Meta{})
	if err == nil {
		t.Error("it was committed")
	}
	if got := read(t, mine); got != "bytes" {
		t.Fatalf("the file behind the link is %q", got)
	}
}
