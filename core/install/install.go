package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/optimize-hcl/optimize/core/lockfile"
)

// Receipt is install.json in an installed runtime's folder. With a file's size and time unchanged, its digest need not
// be taken again.
type Receipt struct {
	Name    string        `json:"name"`
	Version string        `json:"version"`
	Files   []ReceiptFile `json:"files"`
}

// ReceiptFile is an installed file. Path is relative to the receipt, with forward slashes; MTime is the modification
// time in nanoseconds since 1970, as the file was unpacked.
type ReceiptFile struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	MTime  int64  `json:"mtime_ns"`
	SHA256 string `json:"sha256"`
}

const receiptName = "install.json"

// Result is an installed runtime.
type Result struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Dir is absolute.
	Dir string `json:"dir"`
	// Library is the path of the shared library.
	Library string `json:"library"`
	// Fresh is set when this call installed it.
	Fresh bool `json:"fresh"`
}

// Options say what to install and where from.
type Options struct {
	// DataDir is as [DataDir] gives it.
	DataDir string
	// Name is one of [Runtimes].
	Name string
	// From is a wheel, or a folder that holds the wheel or the unpacked library. Empty: download through pip or uv.
	From string
	// Progress is told in words what is going on; it may be nil.
	Progress func(text string)

	// Replaced by tests.
	spec     *Runtime
	platform string
	tools    []tool
}

// DataDir is $OPTIMIZE_DATA, else "optimize" in the user's data folder. getenv is usually os.Getenv.
func DataDir(getenv func(string) string) (string, error) {
	if dir := getenv("OPTIMIZE_DATA"); dir != "" {
		return filepath.Abs(dir)
	}
	switch runtime.GOOS {
	case "windows":
		if dir := getenv("LocalAppData"); dir != "" {
			return filepath.Join(dir, "optimize"), nil
		}
	case "darwin":
		if home := getenv("HOME"); home != "" {
			return filepath.Join(home, "Library", "Application Support", "optimize"), nil
		}
	default:
		if dir := getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
			return filepath.Join(dir, "optimize"), nil
		}
		if home := getenv("HOME"); home != "" {
			return filepath.Join(home, ".local", "share", "optimize"), nil
		}
	}
	return "", errors.New("there is no data folder for this user (no home folder is set): set OPTIMIZE_DATA to a folder that may be written")
}

// Installed looks for the pinned version of a runtime. It is there when every file of its receipt is as it was
// installed.
func Installed(dataDir, name string) (Result, bool) {
	spec, ok := find(name)
	if !ok {
		return Result{}, false
	}
	return installed(dataDir, spec, runtime.GOOS+"/"+runtime.GOARCH)
}

func installed(dataDir string, spec Runtime, platform string) (Result, bool) {
	wheel, ok := spec.Wheels[platform]
	if !ok {
		return Result{}, false
	}
	dir := filepath.Join(dataDir, "runtimes", spec.Name, spec.Version)
	data, err := os.ReadFile(filepath.Join(dir, receiptName))
	if err != nil {
		return Result{}, false
	}
	var r Receipt
	if json.Unmarshal(data, &r) != nil || r.Name != spec.Name || r.Version != spec.Version {
		return Result{}, false
	}
	held := map[string]string{}
	for _, f := range r.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || !intact(filepath.Join(dir, filepath.FromSlash(f.Path)), f) {
			return Result{}, false
		}
		held[f.Path] = f.SHA256
	}
	for _, f := range wheel.Files {
		if !wheel.optional(f) && held[f.Base()] != f.SHA256 {
			return Result{}, false
		}
	}
	library := wheel.Files[0]
	return Result{Name: spec.Name, Version: spec.Version, Dir: dir, Library: filepath.Join(dir, library.Base())}, true
}

func intact(path string, f ReceiptFile) bool {
	info, err := os.Stat(path)
	if err != nil || info.Size() != f.Size {
		return false
	}
	if info.ModTime().UnixNano() == f.MTime {
		return true
	}
	got, err := hashFile(path)
	return err == nil && got == f.SHA256
}

// Install brings a runtime, or finds that it is there. Only one process installs at a time. Whenever it is killed, what
// is in the runtimes folder is whole or absent.
func Install(ctx context.Context, o Options) (Result, error) {
	spec, platform := o.spec, o.platform
	if spec == nil {
		found, ok := find(o.Name)
		if !ok {
			return Result{}, fmt.Errorf("there is no runtime %q; there are: %s", o.Name, names())
		}
		spec = &found
	}
	if platform == "" {
		platform = runtime.GOOS + "/" + runtime.GOARCH
	}
	wheel, ok := spec.Wheels[platform]
	if !ok {
		return Result{}, fmt.Errorf("%s %s has no package for %s: set %s to a library of that kind", spec.Title, spec.Version, platform, spec.Variable)
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	dataDir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return Result{}, inWords("create", o.DataDir, err)
	}
	root := filepath.Join(dataDir, "runtimes")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return Result{}, inWords("create", root, err)
	}
	if r, ok := installed(dataDir, *spec, platform); ok {
		return r, nil
	}
	unlock, err := lockfile.Wait(ctx, filepath.Join(root, ".lock"))
	if err != nil {
		if ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
		return Result{}, inWords("lock", root, err)
	}
	defer unlock()
	if r, ok := installed(dataDir, *spec, platform); ok {
		return r, nil // another process was at it
	}
	// Whoever holds the lock owns everything temporary; what is there is left by the dead.
	work := filepath.Join(root, ".tmp")
	os.RemoveAll(work)
	if err := os.Mkdir(work, 0o755); err != nil {
		return Result{}, inWords("create", work, err)
	}
	defer os.RemoveAll(work)

	j := job{spec: *spec, wheel: wheel, platform: platform, work: work, progress: o.Progress, tools: o.tools}
	src, err := j.source(ctx, o.From)
	if err != nil {
		return Result{}, err
	}
	defer src.Close()
	return j.install(ctx, src, filepath.Join(root, spec.Name, spec.Version))
}

// job is one installation at work.
type job struct {
	spec     Runtime
	wheel    Wheel
	platform string
	work     string
	progress func(string)
	tools    []tool
}

// source is a package from which files are taken by their names in the package.
type source interface {
	io.Closer
	// Open returns fs.ErrNotExist for a file that the source lacks.
	Open(name string) (io.ReadCloser, error)
	// Where names the source in messages.
	Where() string
}

// install copies the pinned files out of a source, each checked against its digest, and moves the folder into place.
func (j job) install(ctx context.Context, src source, final string) (Result, error) {
	stage := filepath.Join(j.work, "new")
	if err := os.Mkdir(stage, 0o755); err != nil {
		return Result{}, inWords("create", stage, err)
	}
	j.progress("Unpacking " + j.spec.Title + " " + j.spec.Version)
	receipt := Receipt{Name: j.spec.Name, Version: j.spec.Version}
	for _, f := range j.wheel.Files {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		got, err := j.unpack(src, f, filepath.Join(stage, f.Base()))
		if errors.Is(err, fs.ErrNotExist) && j.wheel.optional(f) && !isWheel(src) {
			continue
		}
		if err != nil {
			return Result{}, err
		}
		receipt.Files = append(receipt.Files, got)
	}
	data, err := json.MarshalIndent(receipt, "", "  ")
	if err != nil {
		return Result{}, err
	}
	if err := writeSynced(filepath.Join(stage, receiptName), append(data, '\n')); err != nil {
		return Result{}, inWords("write", stage, err)
	}
	if err := replace(stage, final, filepath.Join(j.work, "old")); err != nil {
		return Result{}, inWords("write", final, err)
	}
	return Result{Name: j.spec.Name, Version: j.spec.Version, Dir: final, Library: filepath.Join(final, j.wheel.Files[0].Base()), Fresh: true}, nil
}

// unpack copies one file. It reads at most one byte more than is pinned, so a package cannot fill the disk.
func (j job) unpack(src source, f File, to string) (ReceiptFile, error) {
	in, err := src.Open(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return ReceiptFile{}, fmt.Errorf("%s holds no %s: %w", src.Where(), f.Path, fs.ErrNotExist)
	}
	if err != nil {
		return ReceiptFile{}, inWords("read", src.Where(), err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return ReceiptFile{}, inWords("write", to, err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, h), io.LimitReader(in, f.Size+1))
	err = errors.Join(err, out.Sync(), out.Close())
	if err != nil {
		return ReceiptFile{}, inWords("write", to, fmt.Errorf("unpacking %s: %w", f.Path, err))
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if n != f.Size || sum != f.SHA256 {
		return ReceiptFile{}, j.mismatch(filepath.Join(src.Where(), filepath.FromSlash(f.Path)), f.SHA256, sum)
	}
	info, err := os.Stat(to)
	if err != nil {
		return ReceiptFile{}, inWords("read", to, err)
	}
	return ReceiptFile{Path: f.Base(), Size: n, MTime: info.ModTime().UnixNano(), SHA256: sum}, nil
}

func (j job) mismatch(what, want, got string) error {
	return fmt.Errorf("%s is not the pinned %s %s for %s (SHA-256 %s, expected %s), so it was not installed. To use a library of your own, set %s to its path",
		what, j.spec.Title, j.spec.Version, j.platform, short(got), short(want), j.spec.Variable)
}

// replace moves stage to final. A folder cannot be replaced in one step: a damaged one is put aside first, and back when
// the new one does not get there.
func replace(stage, final, old string) error {
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return err
	}
	if err := os.Rename(final, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(stage, final); err != nil {
		_ = os.Rename(old, final)
		return err
	}
	return nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func short(digest string) string {
	if len(digest) > 12 {
		return digest[:12] + "…"
	}
	return digest
}

// inWords says what could not be done with a file, and what to do about it.
func inWords(op, path string, err error) error {
	cause := err
	var pe *fs.PathError
	if errors.As(err, &pe) {
		cause = pe.Err
	}
	hint := ""
	switch {
	case isNoSpace(err):
		hint = ". Free some space, or set OPTIMIZE_DATA to a folder on another disk"
	case errors.Is(err, fs.ErrPermission), isReadOnly(err):
		hint = ". Make it accessible for this user, or set OPTIMIZE_DATA to a folder that is"
	}
	return fmt.Errorf("cannot %s %s: %w%s", op, path, cause, hint)
}

// oneLine joins what a tool said into one line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
