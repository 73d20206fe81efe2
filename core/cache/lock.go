package cache

import (
	"context"
	"os"
	"sync"
	"time"
)

func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
}

// sameFile reports whether the open lock is still the one at its path: the holder before may have removed it.
func sameFile(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(open, named)
}

// LockFile waits for the exclusive lock at path, a file that comes and goes with its holders. Other packages guard their
// own folders with it. It returns ctx.Err() when ctx ends first, and the system's error otherwise.
func LockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := lockFile(ctx, path)
	if err != nil {
		return nil, err
	}
	var once sync.Once
	return func() { once.Do(func() { releaseAndRemove(f) }) }, nil
}

// lockFile takes the exclusive lock at path, asking again until ctx ends: a blocking flock could not be cancelled.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	wait := time.Millisecond
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := openLock(path)
		if err != nil {
			return nil, err
		}
		ok, err := tryLock(f)
		if err != nil {
			f.Close()
			return nil, err
		}
		if ok && sameFile(f) {
			return f, nil
		}
		f.Close()
		if ok {
			continue // removed by the holder before: the path is free or has a new file
		}
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
	free, err := tryLock(f)
	return true, err == nil && !free
}
