package cache

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// A plugin that goes on writing after its step has ended must not write into a blob.
func TestCommitCopiesFilesStillOpen(t *testing.T) {
	s := open(t)
	txn, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Discard()
	f, err := os.OpenFile(write(t, filepath.Join(txn.OutDir, "m"), "bytes"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if !beingWritten(in) {
		t.Skip("this file system has no leases")
	}
	rec, err := txn.Commit(context.Background(), testKey(`{}`), "x", map[string]Output{"model": {Path: "m"}}, nil, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("BYTES"), 0); err != nil {
		t.Fatal(err)
	}
	if got := read(t, rec.Outputs["model"].Path); got != "bytes" {
		t.Fatalf("the blob changed to %q", got)
	}
	idle, err := os.Open(write(t, filepath.Join(t.TempDir(), "idle"), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if beingWritten(idle) {
		t.Error("a file that nobody writes counts as being written")
	}
}
