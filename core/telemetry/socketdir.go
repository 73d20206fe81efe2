package telemetry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/optimize-hcl/optimize/core/lockfile"
)

// Names below the folder take 40 bytes: go-plugin makes a folder and a socket with random numbers in their names. A
// socket's path has at most 103 bytes on macOS and 107 on Linux.
const (
	maxSocket = 103
	below     = 40
)

// owned is the file in such a folder whose lock its maker holds until it removes the folder, or dies.
const owned = "owned"

// SocketDir makes a folder for unix sockets that only its owner may enter, and remove, which ends it with all that it
// holds. The temporary folder's own path may use up most of what a socket's may have: then another place is taken.
// Folders of the same prefix that a killed process left are removed.
func SocketDir(prefix string) (dir string, remove func(), err error) {
	base, err := filepath.Abs(os.TempDir()) // plugins work in folders of their own
	if err != nil {
		return "", nil, err
	}
	dir, remove, err = makeOwned(base, prefix)
	if err != nil {
		return "", nil, err // also where the sockets would lie elsewhere: plugins put their own files there
	}
	if len(dir)+below <= maxSocket || runtime.GOOS == "windows" {
		sweep(base, prefix, time.Hour)
		return dir, remove, nil
	}
	remove()
	for _, other := range []string{"/tmp", os.Getenv("XDG_RUNTIME_DIR")} {
		if !filepath.IsAbs(other) || len(other) > len("/run/user/4294967295") {
			continue
		}
		if dir, remove, err := makeOwned(other, prefix); err == nil {
			sweep(other, prefix, time.Hour)
			return dir, remove, nil
		}
	}
	return "", nil, fmt.Errorf("%s is too long for the path of a socket, and /tmp cannot be written", base)
}

// makeOwned makes a folder and holds its lock.
func makeOwned(base, prefix string) (dir string, remove func(), err error) {
	for {
		dir, err := os.MkdirTemp(base, prefix) // mode 0700
		if err != nil {
			return "", nil, err
		}
		lock, err := lockfile.Open(filepath.Join(dir, owned))
		if err != nil {
			_ = os.RemoveAll(dir)
			return "", nil, err
		}
		// Where there are no locks, nobody can take this one either: the folder stays if we are killed.
		if ok, err := lockfile.Try(lock); err == nil && (!ok || !lockfile.Current(lock)) {
			_ = lock.Close() // a sweep took it in between, and removes it
			continue
		}
		var once sync.Once
		return dir, func() { once.Do(func() { removeOwned(dir, lock) }) }, nil
	}
}

// removeOwned removes the folder first: once the lock is free, a sweep may do so too.
func removeOwned(dir string, lock *os.File) {
	if runtime.GOOS == "windows" { // an open file cannot be removed there
		_ = lock.Close()
	}
	_ = os.RemoveAll(dir)
	_ = lock.Close()
}

// sweep removes the folders whose makers are gone: their locks are free. One without a lock is just being made, or its
// maker was killed at that very moment, which an age of old tells.
func sweep(base, prefix string, old time.Duration) {
	dir, err := os.Open(base)
	if err != nil {
		return
	}
	names, _ := dir.Readdirnames(4096) // a temporary folder may be huge
	_ = dir.Close()
	for _, n := range names {
		if !strings.HasPrefix(n, prefix) {
			continue
		}
		path := filepath.Join(base, n)
		st, err := os.Lstat(path)
		if err != nil || !st.IsDir() {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(path, owned), os.O_RDWR, 0) // another user's folder ends here
		switch {
		case errors.Is(err, fs.ErrNotExist) && time.Since(st.ModTime()) > old:
			_ = os.RemoveAll(path)
		case err != nil:
		default:
			if ok, err := lockfile.Try(lock); err == nil && ok {
				removeOwned(path, lock)
			} else {
				_ = lock.Close()
			}
		}
	}
}
