// Package lockfile locks files between processes. A lock ends with the process that holds it, however that process
// ends, so a lock that is free says that its owner is gone.
package lockfile

import (
	"context"
	"os"
	"sync"
	"time"
)

// Open opens the lock at path, and makes the file when there is none. It does not lock it.
func Open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
}

// Try takes the exclusive lock if it is free. Who got it must ask [Current] before relying on it. An error is the
// system's: some network file systems have no locks.
func Try(f *os.File) (bool, error) { return try(f) }

// Shared waits for a shared lock, which many may hold while nobody holds the exclusive one.
func Shared(f *os.File) error { return shared(f) }

// Current reports whether the open lock is still the one at its path: the holder before may have removed it.
func Current(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(open, named)
}

// Remove releases a lock that is held and removes its file.
func Remove(f *os.File) { remove(f) }

// Wait waits for the exclusive lock at path, a file that comes and goes with its holders. It returns ctx.Err() when ctx
// ends first, and the system's error otherwise.
func Wait(ctx context.Context, path string) (unlock func(), err error) {
	wait := time.Millisecond
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := Open(path)
		if err != nil {
			return nil, err
		}
		ok, err := try(f)
		if err != nil {
			f.Close()
			return nil, err
		}
		if ok && Current(f) {
			var once sync.Once
			return func() { once.Do(func() { remove(f) }) }, nil
		}
		f.Close()
		if ok {
			continue // removed by the holder before: the path is free or has a new file
		}
		// A blocking flock could not be cancelled, so it is asked again.
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
		wait = min(wait*2, 50*time.Millisecond)
	}
}

// Locked reports whether there is a file at path, and whether somebody holds its lock.
func Locked(path string) (there, locked bool) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		_, err = os.Lstat(path)
		return err == nil, false
	}
	defer f.Close()
	free, err := try(f)
	return true, err == nil && !free
}
