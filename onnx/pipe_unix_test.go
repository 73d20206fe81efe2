//go:build unix

package onnx

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestPipes: what is no file is refused at once; to open a pipe waits for who writes to it.
func TestPipes(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"model.onnx", "data"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Skip(err)
		}
	}
	if _, err := ReadFile(filepath.Join(dir, "model.onnx")); err == nil {
		t.Error("a pipe was read as a model")
	}
	if _, _, err := MapFile(filepath.Join(dir, "model.onnx")); err == nil {
		t.Error("a pipe was mapped as a model")
	}
	model := filepath.Join(dir, "real.onnx")
	if err := os.WriteFile(model, marshal(t, external("data", "0", "12")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(model); err == nil {
		t.Error("a pipe was read as external data")
	}
}
