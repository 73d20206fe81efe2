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
	_, changed := s.Watch(context.Background(), []Artifact{a})
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

// A step that begins after another one has changed the input they share, and ends before that one does, would see the
// same bytes from its first moment to its last.
func TestWatchSeesWhatAnotherStepIsChanging(t *testing.T) {
	ctx := context.Background()
	s := open(t)
	commit := func() Artifact {
		txn, err := s.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer txn.Discard()
		write(t, filepath.Join(txn.OutDir, "m"), "bytes")
		rec, err := txn.Commit(ctx, testKey(`{}`), "x", map[string]Output{"model": {Path: "m"}}, nil, Meta{})
		if err != nil {
			t.Fatal(err)
		}
		return rec.Outputs["model"]
	}
	a := commit()
	early, first := s.Watch(ctx, []Artifact{a})
	if len(early) > 0 {
		t.Fatal("spoilt before anybody did anything")
	}
	if early, again := s.Watch(ctx, []Artifact{a}); len(early) > 0 || len(again(ctx)) > 0 {
		t.Fatal("a second reader is told of changes that nobody made")
	}
	time.Sleep(20 * time.Millisecond) // change times have the resolution of a tick
	if err := os.Chmod(a.Path, 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, a.Path, "BYTES")
	early, second := s.Watch(ctx, []Artifact{a})
	if len(early) != 1 {
		t.Errorf("%d spoilt, want 1", len(early))
	}
	if got := second(ctx); len(got) != 1 {
		t.Errorf("%d changed for the second reader, want 1", len(got))
	}
	if got := first(ctx); len(got) != 1 {
		t.Errorf("%d changed for the one that did it, want 1", len(got))
	}
	if _, err := os.Stat(a.Path); err == nil {
		t.Error("the changed blob is still in the store")
	}
	// Made anew it is another file with the same bytes.
	if early, changed := s.Watch(ctx, []Artifact{commit()}); len(early) > 0 || len(changed(ctx)) > 0 {
		t.Error("a good copy is taken for a spoilt one")
	}
}
