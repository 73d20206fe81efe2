package ov

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nowhere leaves no OpenVINO to be found but what the test puts into the data folder.
func nowhere(t *testing.T) (data string) {
	t.Helper()
	data = t.TempDir()
	t.Setenv(EnvLibrary, "")
	t.Setenv("OPTIMIZE_DATA", data)
	t.Setenv("LD_LIBRARY_PATH", "")
	return data
}

var sixFiles = []string{"libopenvino.so.2641", "libopenvino_c.so.2641", "libopenvino_onnx_frontend.so.2641", "libopenvino_ir_frontend.so.2641", "libopenvino_intel_cpu_plugin.so", "libtbb.so.12"}

// folder writes files that hold their own names.
func folder(t *testing.T, dir string, names ...string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), []byte(n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// versioned are the six files as a release has them, ".2641".
func versioned(suffix string) []string {
	var out []string
	for _, f := range sixFiles {
		out = append(out, strings.ReplaceAll(f, ".2641", suffix))
	}
	return out
}

func TestFind(t *testing.T) {
	data := nowhere(t)
	if l, err := Find(); err == nil {
		t.Skip("this system has an OpenVINO: ", l.Dir)
	}
	root := filepath.Join(data, "runtimes", "openvino")
	folder(t, filepath.Join(root, "2025.4.1"), versioned(".2541")...)
	folder(t, filepath.Join(root, "2024.6.0"), versioned(".2460")...)
	newer := folder(t, filepath.Join(root, "2026.4.1"), sixFiles...)
	if l, err := Find(); err != nil || l.Dir != newer || l.Version != "2026.4.1" {
		t.Error(l, err)
	}

	// The variable wins: with the folder, the package around it, or the file.
	own := filepath.Join(t.TempDir(), "own")
	libs := folder(t, filepath.Join(own, "openvino", "libs"), versioned(".2541")...)
	for _, v := range []string{own, filepath.Join(own, "openvino"), libs, filepath.Join(libs, "libopenvino.so.2541")} {
		t.Setenv(EnvLibrary, v)
		if l, err := Find(); err != nil || l.Dir != libs || l.Version != "2025.4.1" {
			t.Error(v, l, err)
		}
	}
	long := folder(t, t.TempDir(), versioned(".2026.1.0")...)
	folder(t, long, "libopenvino.so", "libopenvino_c.so")
	t.Setenv(EnvLibrary, long)
	if l, err := Find(); err != nil || l.Version != "2026.1.0" || !strings.HasSuffix(l.core, "2026.1.0") {
		t.Error(l, err)
	}
	bare := folder(t, t.TempDir(), versioned("")...)
	t.Setenv(EnvLibrary, bare)
	if l, err := Find(); err != nil || l.Version != "" {
		t.Error(l, err)
	}
}

func TestFindNothing(t *testing.T) {
	data := nowhere(t)
	damaged := folder(t, filepath.Join(t.TempDir(), "damaged"), sixFiles...)
	b, _ := json.Marshal(map[string]any{"files": []any{map[string]any{"path": "libtbb.so.12", "size": 5}}})
	if err := os.WriteFile(filepath.Join(damaged, "install.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	gone := folder(t, filepath.Join(t.TempDir(), "gone"), sixFiles...)
	if err := os.WriteFile(filepath.Join(gone, "install.json"), []byte(strings.ReplaceAll(string(b), "libtbb", "liblost")), 0o644); err != nil {
		t.Fatal(err)
	}
	mixed := versioned(".2641")
	mixed[2] = "libopenvino_onnx_frontend.so.2640"
	for dir, want := range map[string]string{
		filepath.Join(data, "none"):                                          "it is not there",
		filepath.Join(folder(t, data, "file"), "file"):                       "it is no folder",
		folder(t, filepath.Join(data, "empty")):                              "no libopenvino.so",
		folder(t, filepath.Join(data, "old"), versioned(".2460")...):         "it is version 2024.6.0",
		folder(t, filepath.Join(data, "c"), sixFiles[0]):                     "libopenvino_c.so is missing beside libopenvino.so.2641",
		folder(t, filepath.Join(data, "frontend"), sixFiles[0], sixFiles[1]): "libopenvino_onnx_frontend.so is missing",
		folder(t, filepath.Join(data, "mixed"), mixed...):                    "two versions lie in it: libopenvino.so.2641 and libopenvino_onnx_frontend.so.2640",
		damaged: "it is damaged: libtbb.so.12 has 12 bytes, not 5",
		gone:    "it is damaged: liblost.so.12: it is not there",
	} {
		t.Setenv(EnvLibrary, dir)
		_, err := Find()
		var none *NotFoundError
		if !errors.As(err, &none) || !none.Named || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), EnvLibrary+" does not lead to") {
			t.Errorf("%s: %v", want, err)
		}
		if none != nil && none.Command() != "unset OPTIMIZE_OPENVINO; optimize init" {
			t.Error(none.Command())
		}
	}
}

func TestDigest(t *testing.T) {
	nowhere(t)
	dir := folder(t, t.TempDir(), append(sixFiles, "libopenvino_intel_gpu_plugin.so", "libopenvino_paddle_frontend.so.2641", "readme")...)
	t.Setenv(EnvLibrary, dir)
	digest := func() string {
		t.Helper()
		l, err := Find()
		if err != nil {
			t.Fatal(err)
		}
		d, err := l.Digest()
		if err != nil || len(d) != 64 {
			t.Fatal(d, err)
		}
		return d
	}
	first := digest()
	for name, changes := range map[string]bool{"readme": false, "libopenvino_paddle_frontend.so.2641": false, "libopenvino_onnx_frontend.so.2641": true,
		"libopenvino_intel_cpu_plugin.so": true, "libopenvino_intel_gpu_plugin.so": true} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("another"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := digest(); got == first == changes {
			t.Errorf("%s: %v", name, got == first)
		}
		folder(t, dir, name)
	}
	if digest() != first {
		t.Error("the same files have another digest")
	}
}

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"Exception from src/inference/src/cpp/core.cpp:90:\nCheck 'util::directory_exists(path)' failed at src/core/x.cpp:12:\nNo such folder.": "No such folder.",
		"Check 'a == b' failed at src/core/src/model.cpp:1067:\n":                                                                               "its check a == b failed",
		"Exception from a.cpp:1:\nException from b.cpp:2:\nwords\nmore words\n":                                                                 "words more words",
		"Summary: Conv with a message: Check 'rank().is_static()' failed at src/op/conv.cpp:38: the rank must be known":                         "Summary: Conv with a message: the rank must be known",
		"plain": "plain", "": "",
	} {
		if got := Clean(text); got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
}

func TestVersions(t *testing.T) {
	for name, want := range map[string]string{"libopenvino.so.2641": "2026.4.1", "libopenvino.so.2026.4.1": "2026.4.1", "libopenvino.so.2025.4": "2025.4", "libopenvino.so": "", "libopenvino.so.12": ""} {
		if got := fileVersion(name); got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
	for build, want := range map[string]string{"2026.4.1-22982-f26b91b4f8e-releases/2026/4": "2026.4.1", "2025.4.0": "2025.4.0", "custom": "custom"} {
		if got := versionOf(build); got != want {
			t.Errorf("%s: %q, not %q", build, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{{"2026.4", "2026.4.1", true}, {"2026.4.1", "2026.4.2", false}, {"2025.4.1", "2026.4.1", false}} {
		if sameVersion(c.a, c.b) != c.same {
			t.Error(c)
		}
	}
}

// A library of which the end is missing would kill the process that loads it.
func TestCutLibrary(t *testing.T) {
	self, err := os.Executable() // an ELF file that is at hand
	if err != nil {
		t.Fatal(err)
	}
	if why := cut(self); why != "" {
		t.Error(why)
	}
	whole, err := os.ReadFile(self)
	if err != nil || string(whole[:4]) != "\x7fELF" {
		t.Skip("this system's programs are no ELF files")
	}
	dir := folder(t, filepath.Join(t.TempDir(), "cut"), sixFiles...)
	if err := os.WriteFile(filepath.Join(dir, "libopenvino_intel_cpu_plugin.so"), whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv(EnvLibrary, dir)
	if _, err := Find(); err == nil || !strings.Contains(err.Error(), "it is damaged: libopenvino_intel_cpu_plugin.so has") {
		t.Error(err)
	}
}
