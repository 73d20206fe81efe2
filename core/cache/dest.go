package cache

import (
	"errors"
	"os"
	"path/filepath"
)

// Dest is where an output will go.
type Dest struct {
	Path string
	// Tree tells a folder from a file, when Known.
	Known, Tree bool
}

// CheckDest tells, without writing anything, what would keep Export from writing to a place. Nothing found is no
// promise: disks fill up, and folders change.
func (s *Store) CheckDest(d Dest) error {
	dest, err := filepath.Abs(d.Path)
	if err != nil {
		return userFailure("write", d.Path, err)
	}
	info, err := os.Lstat(dest)
	switch {
	case err == nil && info.IsDir():
		if d.Known && !d.Tree {
			return &Error{Op: "write", Path: dest, Err: errFolderThere}
		}
		if err := s.mayReplace(dest); err != nil {
			return err
		}
	case err == nil && d.Known && d.Tree:
		return &Error{Op: "write", Path: dest, Err: errFileThere}
	}
	// The nearest folder that exists takes the new entry.
	for dir := filepath.Dir(dest); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return &Error{Op: "write", Path: dest, Err: errors.New(dir + " is a file, where a folder is needed; remove it or choose another path")}
		case err == nil:
			if err := writable(dir); err != nil {
				return userFailure("write in", dir, err)
			}
			return nil
		case dir == filepath.Dir(dir):
			return userFailure("write", dest, err)
		}
	}
}

var (
	errFileThere   = errors.New("the output is a folder, but a file lies there; remove it or choose another path")
	errFolderThere = errors.New("the output is a file, but a folder lies there; name a file in it, or choose another path")
)
