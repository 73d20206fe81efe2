package ort

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	engine "github.com/yalue/onnxruntime_go"
)

// The library is loaded once and never unloaded: it starts threads and registers
// exit handlers, and unloading it under them is not safe.
var loaded struct {
	sync.Mutex
	lib Library
	ok  bool
}

// Load loads the library into this process. A second call with the same path does
// nothing; one with another path is an error, since a process can hold only one. A
// library older than [MinVersion] is refused with its version.
func Load(lib Library) error {
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.ok {
		if lib.Path == loaded.lib.Path || sameFile(lib.Path, loaded.lib.Path) {
			return nil
		}
		return fmt.Errorf("ONNX Runtime is already loaded from %s; a process can hold one library, so %s was not loaded", loaded.lib.Path, lib.Path)
	}
	if !filepath.IsAbs(lib.Path) {
		// A bare name would let the dynamic linker choose, and the digest would be of another file.
		return fmt.Errorf("the path of ONNX Runtime's library must be absolute, but it is %q", lib.Path)
	}
	if lib.Version != "" && compareVersions(lib.Version, MinVersion) < 0 {
		return tooOld(lib)
	}
	engine.SetSharedLibraryPath(lib.Path)
	// The engine would write an identity for this machine into the user's home and send events to its maker. The variable
	// is read when the environment is made, before any call could forbid it; cgo hands it to the C library.
	if err := os.Setenv("ORT_DISABLE_TELEMETRY", "1"); err != nil {
		return fmt.Errorf("ONNX Runtime's telemetry cannot be switched off: %w", err)
	}
	// The engine would write its log to stderr; what matters comes back as an error.
	if err := engine.InitializeEnvironment(engine.WithLogLevelFatal()); err != nil {
		return loadError(lib, err)
	}
	lib.Version = engine.GetVersion()
	if err := engine.DisableTelemetry(); err != nil {
		return fmt.Errorf("ONNX Runtime's telemetry cannot be switched off: %s", clean(err.Error()))
	}
	loaded.lib, loaded.ok = lib, true
	return nil
}

// Loaded returns the library that this process has loaded; its version is what the
// library itself says.
func Loaded() (Library, bool) {
	loaded.Lock()
	defer loaded.Unlock()
	return loaded.lib, loaded.ok
}

func sameFile(a, b string) bool {
	a, errA := filepath.EvalSymlinks(a)
	b, errB := filepath.EvalSymlinks(b)
	return errA == nil && errB == nil && a == b
}

func tooOld(lib Library) error {
	version := "older than that"
	if lib.Version != "" {
		version = "version " + lib.Version
	}
	return fmt.Errorf("ONNX Runtime %s or newer is needed, but %s is %s. %s", MinVersion, lib.Path, version, wayOut())
}

// wayOut is what helps against a library that is none. What the variable names would win over what is installed.
func wayOut() string {
	if os.Getenv(EnvLibrary) != "" {
		return EnvLibrary + " names it: set it to libonnxruntime, or unset it and run `optimize init`"
	}
	return "Run `optimize init` to install a current one, or set " + EnvLibrary + " to one"
}

func loadError(lib Library, err error) error {
	msg := err.Error()
	switch {
	case strings.Contains(msg, "Error setting ORT API base"):
		return tooOld(lib)
	case strings.Contains(msg, "OrtGetApiBase"):
		return fmt.Errorf("%s is a shared library, but not ONNX Runtime's. %s", lib.Path, wayOut())
	}
	if _, after, ok := strings.Cut(msg, "\": "); ok {
		msg = after
	}
	msg = strings.TrimPrefix(msg, lib.Path+": ")
	return fmt.Errorf("ONNX Runtime's library %s does not load: %s. %s", lib.Path, clean(msg), wayOut())
}

var errNotLoaded = errors.New("ONNX Runtime is not loaded: call ort.Load first")
