package mil

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// failing is a weight that cannot be written.
type failing struct{ err error }

func (f failing) Settle(*Operation, *Weights) ([]*Operation, error) { return nil, f.err }

// TestWritePackage: the same model gives the same bytes; a folder that is there stays as it is; what fails leaves nothing.
func TestWritePackage(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.mlpackage"), filepath.Join(dir, "b.mlpackage")
	for _, p := range []string{a, b} {
		if _, err := WritePackage(p, tiny()); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{manifestFile, dataFolder + "/" + specFile, dataFolder + "/" + weightFile} {
		x, err := os.ReadFile(filepath.Join(a, f))
		y, err2 := os.ReadFile(filepath.Join(b, f))
		if err != nil || err2 != nil || !bytes.Equal(x, y) {
			t.Errorf("%s differs: %v, %v", f, err, err2)
		}
	}
	if _, err := WritePackage(a, tiny()); !errors.Is(err, os.ErrExist) {
		t.Errorf("a package that is there: %v", err)
	}
	m := tiny()
	for _, op := range m.Main.Ops {
		if op.Weight != nil {
			op.Weight = failing{syscall.ENOSPC}
		}
	}
	if _, err := WritePackage(filepath.Join(dir, "c.mlpackage"), m); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "conv_w") {
		t.Errorf("a full disk: %v", err)
	}
	wrong := tiny()
	wrong.Main.Ops[len(wrong.Main.Ops)-1].Inputs = nil
	if _, err := WritePackage(filepath.Join(dir, "d.mlpackage"), wrong); err == nil || !strings.Contains(err.Error(), "no argument x") {
		t.Errorf("a program that is wrong: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("there is %v, %v", left, err)
	}
}

// full is a file that takes so many bytes.
type full struct {
	room int
	bytes.Buffer
}

func (f *full) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, syscall.ENOSPC
	}
	return f.Buffer.Write(b)
}

func (f *full) Seek(int64, int) (int64, error) { return 0, nil }

// TestWeights: equal constants lie in the file once; elements of few bits count what is padded; a disk that is full is told.
func TestWeights(t *testing.T) {
	f := &full{room: 1 << 20}
	w, err := NewWeights(f)
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.Add(of(Float32, 2), make([]byte, 8))
	b, err2 := w.Add(of(Float32, 2), make([]byte, 8))
	c, err3 := w.Add(of(Uint1, 13), []byte{255, 31})
	if err := errors.Join(err, err2, err3, w.Close()); err != nil {
		t.Fatal(err)
	}
	if a.Offset != 64 || b.Offset != 64 || c.Offset != 192 || w.Size() != 320 {
		t.Errorf("blobs at %d, %d and %d of %d bytes", a.Offset, b.Offset, c.Offset, w.Size())
	}
	if pad := le.Uint64(f.Bytes()[192+24:]); pad != 3 {
		t.Errorf("13 bits in 2 bytes are padded by %d", pad)
	}
	if _, err := w.Add(of(Float32, 2), make([]byte, 7)); err == nil {
		t.Error("7 bytes were taken for two floats")
	}
	w, err = NewWeights(&full{room: 64})
	if err == nil {
		_, err = w.Add(of(Float32, 1<<17), make([]byte, 1<<19))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
}

// TestIdentifier: what names become.
func TestIdentifier(t *testing.T) {
	for in, want := range map[string]string{"x": "x", "a/b.c:0": "a_b_c_0", "1st": "_1st", "": "_", "/": "_", "größe": "gr__e", "_x": "_x", "gpu_0/data_0": "gpu_0_data_0"} {
		if got := Identifier(in); got != want {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
	}
}

// FuzzUnmarshal: no bytes panic, and what is read is written as what reads the same.
func FuzzUnmarshal(f *testing.F) {
	f.Add(tinySpec(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, odd, err := Unmarshal(b)
		if err != nil || len(odd) > 0 {
			return
		}
		Lint(m, nil)
	})
}

func tinySpec(t testing.TB) []byte {
	dir := filepath.Join(t.TempDir(), "x.mlpackage")
	if _, err := WritePackage(dir, tiny()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, dataFolder, specFile))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestForms: each operation of ops.txt has types worked out for it, and the other way.
func TestForms(t *testing.T) {
	for op := range forms() {
		if inferences[op] == nil {
			t.Errorf("it is not known what %s gives", op)
		}
	}
	for op := range inferences {
		if forms()[op] == nil {
			t.Errorf("ops.txt has no %s", op)
		}
	}
}
