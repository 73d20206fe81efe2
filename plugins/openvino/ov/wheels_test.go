package ov

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inner tells a process that TestWheels started which release it should find: a process takes one library.
const inner = "OPTIMIZE_TEST_OPENVINO"

// TestWheels drives other releases, which pip fetches: the last with the older ABI of libstdc++, the first with the newer, and one
// that is refused. It needs OPTIMIZE_REFEREE_PYTHON, and a package index to reach.
func TestWheels(t *testing.T) {
	if want := os.Getenv(inner); want != "" {
		insideWheel(t, want)
		return
	}
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"2024.6.0", "2025.4.1", "2026.0.0"} {
		dir := filepath.Join(t.TempDir(), "own")
		if out, err := exec.Command(python, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--target", dir, "openvino=="+version).CombinedOutput(); err != nil {
			t.Logf("openvino %s cannot be had here: %s", version, out)
			continue
		}
		c := exec.Command(self, "-test.run", "^TestWheels$", "-test.v")
		c.Env = append(os.Environ(), inner+"="+version, EnvLibrary+"="+dir)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", version, err, out)
		}
		t.Logf("%s: %s", version, out)
		os.RemoveAll(dir) // some hundred megabytes each
	}
}

func insideWheel(t *testing.T, version string) {
	l, err := Find()
	if strings.HasPrefix(version, "2024") {
		if err == nil || !strings.Contains(err.Error(), "it is version "+version) {
			t.Error(l, err)
		}
		return
	}
	if err != nil || l.Version != version {
		t.Fatal(l, err)
	}
	if err := Load(l); err != nil {
		t.Fatal(err)
	}
	m := read(t, digits)
	if done, err := m.Simplify(); err != nil || !done {
		t.Error(done, err)
	}
	xml := filepath.Join(t.TempDir(), "m.xml")
	if err := m.Save(xml, false); err != nil {
		t.Fatal(err)
	}
	near(t, answer(t, read(t, xml), image()), answer(t, read(t, digits), image()))
	// An exception of the library's C++ comes back as an error in this ABI too.
	if err := m.Save(filepath.Join(xml, "no.xml"), false); err == nil {
		t.Error("written below a file")
	} else {
		t.Log(err)
	}
}

func near(t *testing.T, got, want []float32) {
	t.Helper()
	for i := range want {
		if d := got[i] - want[i]; d > 1e-4 || d < -1e-4 {
			t.Fatalf("%v, not %v", got, want)
		}
	}
}

// Simplify leaves a model that answers the same, of fewer layers and bytes.
func TestSimplify(t *testing.T) {
	needLibrary(t)
	m := read(t, digits)
	if done, err := m.Simplify(); err != nil || !done {
		t.Fatal(done, err)
	}
	plain, small := filepath.Join(t.TempDir(), "plain.xml"), filepath.Join(t.TempDir(), "small.xml")
	if err := read(t, digits).Save(plain, false); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(small, false); err != nil {
		t.Fatal(err)
	}
	a, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(small)
	if err != nil {
		t.Fatal(err)
	}
	if x, y := strings.Count(string(a), "<layer "), strings.Count(string(b), "<layer "); y >= x || size(t, small) > size(t, plain) {
		t.Errorf("%d layers of %d, %d bytes of %d", y, x, size(t, small), size(t, plain))
	}
	near(t, answer(t, read(t, small), image()), answer(t, read(t, digits), image()))
}
