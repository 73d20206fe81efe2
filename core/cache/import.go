package cache

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Import copies a user's file into the store and returns its blob, so that later changes to the file touch nothing. The
// bytes are hashed while they are copied; a file in a state that was imported before is not read again. A folder is
// refused.
func (s *Store) Import(ctx context.Context, path string) (Artifact, error) {
	f, id, err := openRegular(path)
	if err != nil {
		return Artifact{}, err
	}
	defer f.Close()
	began := time.Now()
	if digest, ok := s.recall(id, began); ok {
		if to := s.blobPath(digest); isFileOfSize(to, id.size) {
			s.touchBlob(to)
			return Artifact{Digest: digest, Size: id.size, Path: to}, nil
		}
	}
	if s.readOnly { // then it must be there already
		digest, size, err := s.hashFile(ctx, path)
		if to := s.blobPath(digest); err == nil && isFileOfSize(to, size) {
			return Artifact{Digest: digest, Size: size, Path: to}, nil
		}
		return Artifact{}, failure("copy", path+" into the cache "+s.dir, fs.ErrPermission)
	}
	dir, err := s.scratch()
	if err != nil {
		return Artifact{}, err
	}
	stage, err := os.MkdirTemp(dir, "import")
	if err != nil {
		return Artifact{}, failure("create", dir, err)
	}
	defer os.RemoveAll(stage)
	tmp := filepath.Join(stage, "f")
	digest, size, err := copyOpen(ctx, f, tmp, 0o444)
	if ctx.Err() != nil {
		return Artifact{}, ctx.Err()
	}
	if err != nil {
		// Reading and writing fail in one loop; only writing meets a full disk, and that is the common case.
		return Artifact{}, failureIn(s.dir, "copy", path+" into the cache", err)
	}
	if err := unchanged(f, id, size); err != nil {
		return Artifact{}, userFailure("read", path, err)
	}
	if err := s.adopt(tmp, digest, size); err != nil {
		return Artifact{}, err
	}
	to := s.blobPath(digest)
	if err := s.syncBlobs(map[string]bool{filepath.Dir(to): true}); err != nil {
		return Artifact{}, err
	}
	s.remember(id, digest, began)
	return Artifact{Digest: digest, Size: size, Path: to}, nil
}

// touchBlob notes that a file which was read in is used still: its own time says so, since no record does.
func (s *Store) touchBlob(path string) {
	if info, err := os.Stat(path); err == nil && !s.readOnly && time.Since(info.ModTime()) >= useGrain {
		now := time.Now()
		_ = os.Chtimes(path, now, now)
	}
}
