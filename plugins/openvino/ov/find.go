package ov

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

const (
	// EnvLibrary names a folder with OpenVINO's libraries, the package folder around it, or the libopenvino.so in it.
	EnvLibrary = "OPTIMIZE_OPENVINO"
	// MinVersion is the oldest release that works: before it element types have other numbers.
	MinVersion = "2025.4"
)

// Library is an OpenVINO on this machine.
type Library struct {
	// Dir is the folder with its libraries, absolute.
	Dir string
	// Version is as "2026.4.1"; Build is OpenVINO's own text, known once the library is loaded.
	Version, Build string

	core, capi string
	// files are those that reading and writing a model takes.
	files []string
}

// Find locates OpenVINO: in the folder that the variable names; else the newest version that `optimize init` brought; else
// in the system's library folders. Without one the error is a [*NotFoundError].
func Find() (Library, error) {
	e := &NotFoundError{}
	if v := os.Getenv(EnvLibrary); v != "" {
		// A wrong setting is an error: falling through would run another library than the user chose.
		e.Named = true
		p, err := filepath.Abs(v)
		if err != nil {
			return Library{}, fmt.Errorf("%s: %w", EnvLibrary, err)
		}
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && strings.HasPrefix(filepath.Base(p), "libopenvino.so") {
			p = filepath.Dir(p)
		}
		if l, ok := e.look(p); ok {
			return l, nil
		}
		return Library{}, e
	}
	dir, err := dataDir()
	if err != nil {
		e.Tried = append(e.Tried, Place{"the user's data folder", err.Error()})
	} else {
		root := filepath.Join(dir, "runtimes", "openvino")
		versions, err := os.ReadDir(root)
		if err != nil {
			e.Tried = append(e.Tried, Place{root, reason(err)})
		}
		var found []Library
		for _, v := range versions {
			if l, ok := e.look(filepath.Join(root, v.Name())); v.IsDir() && ok {
				found = append(found, l)
			}
		}
		if len(found) > 0 {
			return slices.MaxFunc(found, func(a, b Library) int { return compareVersions(a.Version, b.Version) }), nil
		}
	}
	for _, dir := range systemDirs() {
		if l, ok := e.look(dir); ok {
			return l, nil
		}
	}
	return Library{}, e
}

// look looks in a folder, and below it where OpenVINO's packages have their libraries.
func (e *NotFoundError) look(dir string) (Library, bool) {
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		why := "it is no folder"
		if err != nil {
			why = reason(err)
		}
		e.Tried = append(e.Tried, Place{dir, why})
		return Library{}, false
	}
	arch := map[string]string{"amd64": "intel64", "arm64": "aarch64"}[runtime.GOARCH]
	for _, sub := range []string{"", "libs", filepath.Join("openvino", "libs"), filepath.Join("runtime", "lib", arch)} {
		p := filepath.Join(dir, sub)
		core := newest(p, "libopenvino.so")
		if core == "" {
			continue
		}
		l := Library{Dir: p, Version: fileVersion(core), core: core}
		if why := l.lacks(); why != "" {
			e.Tried = append(e.Tried, Place{p, why})
			return Library{}, false
		}
		return l, true
	}
	e.Tried = append(e.Tried, Place{dir, "no libopenvino.so"})
	return Library{}, false
}

// lacks tells why the library in a folder does not serve, as far as that shows without loading it.
func (l *Library) lacks() string {
	if l.Version != "" && compareVersions(l.Version, MinVersion) < 0 {
		return "it is version " + l.Version
	}
	l.files = []string{l.core}
	for _, name := range []string{"libopenvino_c.so", "libopenvino_onnx_frontend.so", "libopenvino_ir_frontend.so"} {
		f := newest(l.Dir, name)
		switch {
		case f == "":
			return fmt.Sprintf("%s is missing beside %s", name, filepath.Base(l.core))
		case fileVersion(f) != l.Version:
			return fmt.Sprintf("two versions lie in it: %s and %s", filepath.Base(l.core), filepath.Base(f))
		}
		l.files = append(l.files, f)
	}
	l.capi = l.files[1]
	libraries, _ := filepath.Glob(filepath.Join(l.Dir, "libopenvino*.so*"))
	tbb, _ := filepath.Glob(filepath.Join(l.Dir, "libtbb*.so*"))
	for _, f := range append(libraries, tbb...) {
		if why := cut(f); why != "" {
			return fmt.Sprintf("it is damaged: %s %s", filepath.Base(f), why)
		}
	}
	r, ok := readReceipt(l.Dir)
	if !ok {
		return ""
	}
	for _, f := range r.Files {
		st, err := os.Stat(filepath.Join(l.Dir, filepath.FromSlash(f.Path)))
		switch {
		case err != nil:
			return fmt.Sprintf("it is damaged: %s: %s", f.Path, reason(err))
		case st.Size() != f.Size:
			return fmt.Sprintf("it is damaged: %s has %d bytes, not %d", f.Path, st.Size(), f.Size)
		}
	}
	return ""
}

// newest is the library of a name in a folder, with the highest version in its own name; the bare name is a link to one.
func newest(dir, name string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	best := ""
	for _, e := range entries {
		if n := e.Name(); n == name || strings.HasPrefix(n, name+".") {
			if p := filepath.Join(dir, n); best == "" || compareVersions(fileVersion(p), fileVersion(best)) > 0 {
				best = p
			}
		}
	}
	return best
}

var (
	shortVersion = regexp.MustCompile(`\.so\.(\d\d)(\d)(\d)$`)           // libopenvino.so.2641
	longVersion  = regexp.MustCompile(`\.so\.(20\d\d\.\d+(?:\.\d+)?)$`)  // libopenvino.so.2026.4.1
	buildVersion = regexp.MustCompile(`^(20\d\d\.\d+(?:\.\d+)?)(?:-|$)`) // 2026.4.1-22982-f26b91b4f8e-releases/2026/4
)

// fileVersion is the version in a library's name, "" when it has none.
func fileVersion(path string) string {
	if m := longVersion.FindStringSubmatch(path); m != nil {
		return m[1]
	}
	if m := shortVersion.FindStringSubmatch(path); m != nil {
		return fmt.Sprintf("20%s.%s.%s", m[1], m[2], m[3])
	}
	return ""
}

// versionOf is the version in what the library says of itself.
func versionOf(build string) string {
	if m := buildVersion.FindStringSubmatch(build); m != nil {
		return m[1]
	}
	return build
}

// sameVersion compares as far as both go: a file's name may lack the third number.
func sameVersion(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	n := min(len(x), len(y))
	return compareVersions(strings.Join(x[:n], "."), strings.Join(y[:n], ".")) == 0
}

// compareVersions compares as numbers; what is missing or no number counts as 0.
func compareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		var p, q int
		if i < len(x) {
			p, _ = strconv.Atoi(x[i])
		}
		if i < len(y) {
			q, _ = strconv.Atoi(y[i])
		}
		if c := cmp.Compare(p, q); c != 0 {
			return c
		}
	}
	return 0
}

func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it is not there"
	case errors.Is(err, fs.ErrPermission):
		return "it may not be read"
	}
	return err.Error()
}

// dataDir is where `optimize init` brings libraries to.
func dataDir() (string, error) {
	if d := os.Getenv("OPTIMIZE_DATA"); d != "" {
		return filepath.Abs(d)
	}
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "optimize"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".local", "share", "optimize"), nil
}

// systemDirs are where archives and packages of Intel's put OpenVINO, and the folders of the dynamic linker.
func systemDirs() []string {
	dirs := slices.DeleteFunc(filepath.SplitList(os.Getenv("LD_LIBRARY_PATH")), func(d string) bool { return !filepath.IsAbs(d) })
	releases, _ := filepath.Glob("/opt/intel/openvino*")
	slices.Sort(releases)
	slices.Reverse(releases) // the newest first
	dirs = append(dirs, releases...)
	dirs = append(dirs, "/usr/local/lib", "/usr/lib64", "/usr/lib")
	switch runtime.GOARCH {
	case "amd64":
		dirs = append(dirs, "/usr/lib/x86_64-linux-gnu")
	case "arm64":
		dirs = append(dirs, "/usr/lib/aarch64-linux-gnu")
	}
	return dirs
}
