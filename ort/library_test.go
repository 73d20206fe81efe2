package ort

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// libName is a library's file name with a version, where the system has such.
func libName(version string) string {
	switch runtime.GOOS {
	case "windows":
		return "onnxruntime.dll"
	case "darwin":
		return "libonnxruntime." + version + ".dylib"
	}
	return "libonnxruntime.so." + version
}

func put(t *testing.T, content string, path ...string) string {
	t.Helper()
	p := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// nowhere points every place that a test can control at empty folders.
func nowhere(t *testing.T) (data string) {
	t.Helper()
	data = t.TempDir()
	t.Setenv(EnvLibrary, "")
	t.Setenv(EnvData, data)
	t.Setenv("LD_LIBRARY_PATH", "")
	return data
}

func TestFindVariable(t *testing.T) {
	nowhere(t)
	dir := t.TempDir()
	file := put(t, "library", dir, "onnxruntime", "capi", libName("1.27.1"))
	for _, setting := range []string{dir, file} {
		t.Setenv(EnvLibrary, setting)
		lib, err := Find()
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte("library"))
		if lib.Path != file || lib.Digest != hex.EncodeToString(sum[:]) {
			t.Fatalf("%+v", lib)
		}
		if runtime.GOOS != "windows" && lib.Version != "1.27.1" {
			t.Fatalf("%+v", lib)
		}
	}
	if runtime.GOOS != "windows" {
		t.Setenv(EnvLibrary, put(t, "old", t.TempDir(), libName("1.23.2")))
		if _, err := Find(); err == nil || !strings.Contains(err.Error(), "it is version 1.23.2") {
			t.Fatal(err)
		}
	}
	// A wrong setting is said, not passed over.
	put(t, "library", os.Getenv(EnvData), "runtimes", "onnxruntime", "1.32.0", libName("1.32.0"))
	for setting, want := range map[string]string{
		filepath.Join(dir, "none"): "does not exist",
		t.TempDir():                "it holds no",
	} {
		t.Setenv(EnvLibrary, setting)
		_, err := Find()
		var nf *NotFoundError
		if !errors.As(err, &nf) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "optimize init") || !strings.Contains(err.Error(), EnvLibrary) {
			t.Fatal(err)
		}
	}
}

func TestFindTakesTheNewestInstalled(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the library's name has no version on Windows")
	}
	data := nowhere(t)
	for _, v := range []string{"1.9.0", "1.24.1", "1.32.0", "1.4.0"} {
		put(t, v, data, "runtimes", "onnxruntime", v, libName(v))
	}
	put(t, "not one", data, "runtimes", "onnxruntime", "9.9.9", "readme.txt")
	lib, err := Find()
	if err != nil || lib.Version != "1.32.0" {
		t.Fatal(lib, err)
	}
}

func TestFindUsesTheReceipt(t *testing.T) {
	data := nowhere(t)
	dir := filepath.Join(data, "runtimes", "onnxruntime", "1.32.0")
	file := put(t, "library", dir, "capi", libName("1.32.0"))
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	told := strings.Repeat("ab", 32)
	r := receipt{Version: "1.32.7", Files: []receiptFacts{{Path: "capi/" + libName("1.32.0"), Size: st.Size(), MTime: st.ModTime().UnixNano(), SHA256: told}}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	put(t, string(b), dir, receiptFile)
	if lib, err := Find(); err != nil || lib.Digest != told || lib.Version != "1.32.7" {
		t.Fatal(lib, err)
	}
	// A file that is not as the receipt says is read.
	put(t, "another", dir, "capi", libName("1.32.0"))
	sum := sha256.Sum256([]byte("another"))
	if lib, err := Find(); err != nil || lib.Digest != hex.EncodeToString(sum[:]) {
		t.Fatal(lib, err)
	}
	// So is one beside a damaged receipt.
	put(t, "{", dir, receiptFile)
	if lib, err := Find(); err != nil || lib.Digest != hex.EncodeToString(sum[:]) {
		t.Fatal(lib, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	old := Library{Path: put(t, "x", dir, libName("1.23.2")), Version: "1.23.2"}
	if _, ok := Loaded(); ok {
		// A process loads one library, so this test needs one of its own.
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(self, "-test.run=^TestLoadRefuses$", "-test.v").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestLoadRefuses") {
			t.Fatalf("%s\n%s", err, out)
		}
		return
	}
	for _, c := range []struct {
		lib  Library
		want string
	}{
		{old, "1.24 or newer is needed, but " + old.Path + " is version 1.23.2"},
		{Library{Path: put(t, "not a library", dir, libName("1.32.0"))}, "does not load"},
		{Library{Path: filepath.Join(dir, "none.so")}, "does not load"},
		{Library{Path: "libonnxruntime.so"}, "must be absolute"},
	} {
		err := Load(c.lib)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Fatal(err)
		}
		t.Log(err)
	}
	if _, err := NewSession([]byte{8, 8}, Options{}); !errors.Is(err, errNotLoaded) {
		t.Fatal(err)
	}
}

func TestLoadOnce(t *testing.T) {
	needLibrary(t)
	lib, ok := Loaded()
	if !ok || compareVersions(lib.Version, MinVersion) < 0 {
		t.Fatal(lib, ok)
	}
	if err := Load(Library{Path: lib.Path}); err != nil {
		t.Fatal(err)
	}
	if err := Load(Library{Path: put(t, "x", t.TempDir(), libName("1.32.0"))}); err == nil || !strings.Contains(err.Error(), "already loaded") {
		t.Fatal(err)
	}
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{"", "1.4", "1.23.2", "1.24", "1.24.1", "1.32.0", "2.0"}
	for i := range ordered {
		for j := range ordered {
			if got := compareVersions(ordered[i], ordered[j]); got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%q and %q: %d", ordered[i], ordered[j], got)
			}
		}
	}
}
