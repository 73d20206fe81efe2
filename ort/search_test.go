package ort

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

func TestSeveralVersions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the library's name has no version on Windows")
	}
	data := nowhere(t)
	for _, v := range []string{"1.23.2", "1.24.4", "1.27.0", "1.32.0"} {
		put(t, v, data, "runtimes", "onnxruntime", v, libName(v))
	}
	for constraint, want := range map[string]string{
		"": "1.32.0", "1.27.0": "1.27.0", "~> 1.24": "1.32.0", "~> 1.24.1": "1.24.4", ">= 1.24, < 1.30": "1.27.0", "!= 1.32.0": "1.27.0",
	} {
		t.Setenv(EnvVersion, constraint)
		if lib, err := Locate(); err != nil || lib.Version != want {
			t.Errorf("%q: %v %v", constraint, lib, err)
		}
		t.Setenv(EnvVersion, "")
		if lib, err := LocateVersion(constraint); err != nil || lib.Version != want {
			t.Errorf("%q: %v %v", constraint, lib, err)
		}
	}
	found, tried, err := Installed()
	if err != nil || len(found) < 3 || found[0].Version != "1.32.0" || found[2].Version != "1.24.4" || tried[0].Reason != "it is version 1.23.2" {
		t.Fatal(found, tried, err)
	}

	// Each place that was tried is told, with the reason.
	t.Setenv(EnvVersion, "~> 1.25.0")
	_, err = Locate()
	var none *NotFoundError
	if !errors.As(err, &none) || none.Command() != "unset "+EnvVersion+"; optimize init" {
		t.Fatal(err)
	}
	for _, want := range []string{EnvVersion, `meets "~> 1.25.0"`, libName("1.32.0") + " (it is version 1.32.0)", libName("1.23.2") + " (it is version 1.23.2)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s does not say %s", err, want)
		}
	}
	t.Setenv(EnvLibrary, put(t, "x", t.TempDir(), "libonnxruntime.so"))
	if _, err = Locate(); runtime.GOOS == "linux" && (err == nil || !strings.Contains(err.Error(), "its version is not known")) {
		t.Fatal(err)
	}
	t.Setenv(EnvVersion, "newest")
	_, err = Locate()
	oneLine(t, err, EnvVersion+` is no constraint on versions: "newest"`)
	_, err = LocateVersion("~~")
	oneLine(t, err, "the version asked for is no constraint")
}
