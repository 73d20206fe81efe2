package ort

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// EnvLibrary names a library file, or a folder that holds one; it wins over every other place.
const EnvLibrary = "OPTIMIZE_ONNXRUNTIME"

// EnvVersion narrows which of several installed versions is taken, by a constraint as
// in recipes: "1.27.0", "~> 1.27", ">= 1.24, < 1.30". What [EnvLibrary] names must meet it too.
const EnvVersion = "OPTIMIZE_ONNXRUNTIME_VERSION"

// EnvData names the folder that `optimize init` installs native runtimes into.
const EnvData = "OPTIMIZE_DATA"

// MinVersion is the oldest release whose interface this package speaks.
const MinVersion = "1.24"

// receiptFile is what the installer leaves beside the library, with sizes, times and digests.
const receiptFile = "install.json"

// Library is a shared library of ONNX Runtime on this machine.
type Library struct {
	Path    string // absolute
	Version string // "1.32.0"; empty when neither a receipt nor the file's name tells it
	Digest  string // SHA-256 of the file, lower-case hex; empty from [Locate]
}

// Place is one place where a library was looked for.
type Place struct {
	Path   string
	Reason string // why it did not serve
}

// NotFoundError tells that no usable library is on this machine.
type NotFoundError struct {
	Tried []Place
	// Named tells that the variable [EnvLibrary] is what leads to no library: installing one would not help.
	Named bool
	// Wanted is the constraint on the version, beside [MinVersion]; empty when there is none.
	Wanted string
	// Chosen tells that the variable [EnvVersion] is where Wanted comes from.
	Chosen bool
}

// Command is what brings the library.
func (e *NotFoundError) Command() string {
	switch {
	case e.Named && e.Chosen:
		return "unset " + EnvLibrary + " " + EnvVersion + "; optimize init"
	case e.Named:
		return "unset " + EnvLibrary + "; optimize init"
	case e.Chosen:
		return "unset " + EnvVersion + "; optimize init"
	}
	return "optimize init"
}

func (e *NotFoundError) Error() string {
	var b strings.Builder
	what := MinVersion + " or newer"
	if e.Wanted != "" {
		what += " that meets " + strconv.Quote(e.Wanted)
	}
	switch {
	case e.Named:
		fmt.Fprintf(&b, "%s does not lead to ONNX Runtime %s. Set it to libonnxruntime, or unset it and run `optimize init`.", EnvLibrary, what)
	case e.Chosen:
		fmt.Fprintf(&b, "ONNX Runtime %s is not installed here. Change or unset %s, or set %s to such a library.", what, EnvVersion, EnvLibrary)
	default:
		fmt.Fprintf(&b, "ONNX Runtime %s is not installed here. Run `optimize init`, or set %s to the library.", what, EnvLibrary)
	}
	for i, p := range e.Tried {
		sep := "; "
		if i == 0 {
			sep = " Looked in: "
		}
		fmt.Fprintf(&b, "%s%s (%s)", sep, p.Path, p.Reason)
	}
	return b.String()
}

// Find locates the library and takes its digest: from the installer's receipt when
// the file is as the receipt says, else by reading the file. The places are, in
// order: $OPTIMIZE_ONNXRUNTIME; the newest version under $OPTIMIZE_DATA, or under
// the user's data folder when that is not set; the system's library folders. With
// $OPTIMIZE_ONNXRUNTIME_VERSION only versions that meet it count. When
// there is none the error is a [*NotFoundError].
func Find() (Library, error) {
	lib, err := Locate()
	if err != nil {
		return Library{}, err
	}
	if lib.Digest, err = digest(lib.Path); err != nil {
		return Library{}, fmt.Errorf("ONNX Runtime's library cannot be read: %w", err)
	}
	return lib, nil
}

// Locate is [Find] without the digest: it does not read the library.
func Locate() (Library, error) {
	return first(os.Getenv(EnvVersion), true)
}

// LocateVersion is [Locate] with a constraint of the caller's in place of the
// variable [EnvVersion]: "~> 1.27", ">= 1.24, < 1.30"; empty: any from [MinVersion] on.
func LocateVersion(constraint string) (Library, error) {
	return first(constraint, false)
}

// Installed lists every library that would do, in the order of preference, and what
// else was looked at with the reason why not. It obeys the variables as [Locate] does.
func Installed() ([]Library, []Place, error) {
	s, err := newSearch(os.Getenv(EnvVersion), true)
	if err != nil {
		return nil, nil, err
	}
	found, err := s.places(true)
	return found, s.Tried, err
}

func reason(err error) string {
	if errors.Is(err, os.ErrNotExist) {
		return "it does not exist"
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

func dataDir() (string, error) {
	if d := os.Getenv(EnvData); d != "" {
		return filepath.Abs(d)
	}
	if runtime.GOOS == "windows" {
		if d := os.Getenv("LocalAppData"); d != "" {
			return filepath.Join(d, "optimize"), nil
		}
		return "", errors.New("%LocalAppData% is not set")
	}
	if d := os.Getenv("XDG_DATA_HOME"); runtime.GOOS != "darwin" && filepath.IsAbs(d) {
		return filepath.Join(d, "optimize"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", "optimize"), nil
	}
	return filepath.Join(home, ".local", "share", "optimize"), nil
}

// systemDirs are the folders of the dynamic linker. On Windows there are none: the
// onnxruntime.dll of the system itself is years old and would be taken by mistake.
func systemDirs() []string {
	switch runtime.GOOS {
	case "windows":
		return nil
	case "darwin":
		return []string{"/opt/homebrew/lib", "/usr/local/lib"}
	}
	dirs := filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))
	dirs = slices.DeleteFunc(dirs, func(d string) bool { return !filepath.IsAbs(d) })
	dirs = append(dirs, "/usr/local/lib", "/usr/lib")
	switch runtime.GOARCH {
	case "amd64":
		dirs = append(dirs, "/usr/lib64", "/usr/lib/x86_64-linux-gnu")
	case "arm64":
		dirs = append(dirs, "/usr/lib64", "/usr/lib/aarch64-linux-gnu")
	}
	return dirs
}

func pattern() string {
	switch runtime.GOOS {
	case "windows":
		return "onnxruntime.dll"
	case "darwin":
		return "libonnxruntime*.dylib"
	}
	return "libonnxruntime.so*"
}

// libraries lists the libraries in a folder: directly, or where a wheel or a release archive has them.
func libraries(dir string) []Library {
	var out []Library
	for _, sub := range []string{".", "lib", "capi", filepath.Join("onnxruntime", "capi")} {
		// A glob would read meaning into a folder's own name.
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if ok, err := filepath.Match(pattern(), e.Name()); err != nil || !ok {
				continue
			}
			p := filepath.Join(dir, sub, e.Name())
			if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
				out = append(out, describe(p))
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}

var versionInName = regexp.MustCompile(`(?:\.so\.|libonnxruntime\.)(\d+\.\d+(?:\.\d+)*)`)

// describe reads what a path says about its version; links are followed, since
// libonnxruntime.so is usually one to the file with the number.
func describe(path string) Library {
	lib := Library{Path: path}
	file := path
	if p, err := filepath.EvalSymlinks(path); err == nil {
		file = p
	}
	if r, _, ok := readReceipt(file); ok && r.Version != "" {
		lib.Version = r.Version
		return lib
	}
	for _, p := range []string{path, file} {
		// A soname such as .so.1 has no minor version and says nothing here.
		if m := versionInName.FindStringSubmatch(filepath.Base(p)); m != nil {
			lib.Version = m[1]
			return lib
		}
	}
	for _, up := range []string{".", ".."} {
		if b, err := os.ReadFile(filepath.Join(filepath.Dir(file), up, "VERSION")); err == nil && len(b) < 64 {
			lib.Version = strings.TrimSpace(string(b))
			return lib
		}
	}
	return lib
}

// receipt is what `optimize init` leaves beside an installed library.
type receipt struct {
	Version string         `json:"version"`
	Files   []receiptFacts `json:"files"`
}

type receiptFacts struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	MTime  int64  `json:"mtime_ns"`
	SHA256 string `json:"sha256"`
}

// readReceipt finds the receipt of a library in its folder or one of the two above
// (a wheel's layout is two folders deep), and the library's path relative to it.
func readReceipt(lib string) (receipt, string, bool) {
	dir := filepath.Dir(lib)
	for range 3 {
		if b, err := os.ReadFile(filepath.Join(dir, receiptFile)); err == nil {
			var r receipt
			rel, err := filepath.Rel(dir, lib)
			if err != nil || json.Unmarshal(b, &r) != nil {
				return receipt{}, "", false
			}
			return r, filepath.ToSlash(rel), true
		}
		dir = filepath.Dir(dir)
	}
	return receipt{}, "", false
}

func digest(path string) (string, error) {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		path = p
	}
	if r, rel, ok := readReceipt(path); ok {
		st, err := os.Stat(path)
		for _, f := range r.Files {
			if err == nil && f.Path == rel && f.Size == st.Size() && f.MTime == st.ModTime().UnixNano() && len(f.SHA256) == 64 {
				return f.SHA256, nil
			}
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// compareVersions orders dotted numbers; an unknown version comes before every other.
func compareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if d := number(as, i) - number(bs, i); d != 0 {
			return d
		}
	}
	return 0
}

func number(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	digits := strings.IndexFunc(parts[i], func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(parts[i])
	}
	n, err := strconv.Atoi(parts[i][:digits])
	if err != nil {
		return -1
	}
	return n
}
