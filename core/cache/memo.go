package cache

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// fileID is what tells one state of a file from another without reading it. Change times cannot be set by a program,
// so a file overwritten with its old size and modification time is still noticed.
type fileID struct {
	regular      bool
	dev, ino     uint64
	links        uint64
	size         int64
	mtime, ctime int64 // nanoseconds since 1970
}

// memoAge is how long a file must have rested before its state is trusted: within the resolution of a clock a second
// write would leave the same times.
const memoAge = 2 * time.Second

func (id fileID) rested(now time.Time) bool {
	return id.ino != 0 && now.UnixNano()-max(id.mtime, id.ctime) >= int64(memoAge)
}

func (s *Store) memoPath(id fileID) string {
	return filepath.Join(s.dir, "memo", fmt.Sprintf("%02x", id.ino&0xff), fmt.Sprintf("%x-%x", id.dev, id.ino))
}

// recall is the digest of a file in this very state, if it was read before.
func (s *Store) recall(id fileID, now time.Time) (string, bool) {
	if !id.rested(now) {
		return "", false
	}
	data, err := os.ReadFile(s.memoPath(id))
	if err != nil || len(data) > 256 {
		return "", false
	}
	var size, mtime, ctime int64
	var digest string
	if _, err := fmt.Sscanf(string(data), "1 %d %d %d %s\n", &size, &mtime, &ctime, &digest); err != nil {
		return "", false
	}
	if size != id.size || mtime != id.mtime || ctime != id.ctime || !isDigest(digest) {
		return "", false
	}
	s.touchBlob(s.memoPath(id)) // else a collection takes it for forgotten
	return digest, true
}

// remember keeps a digest. began is when reading began; failing to write costs only another read later.
func (s *Store) remember(id fileID, digest string, began time.Time) {
	if id.rested(began) {
		_ = s.writeFile(s.memoPath(id), fmt.Appendf(nil, "1 %d %d %d %s\n", id.size, id.mtime, id.ctime, digest), 0o644, false)
	}
}

// HashFile is the SHA-256 and the size of a file. A file in a state that was hashed before is not read again.
func (s *Store) HashFile(path string) (digest string, size int64, err error) {
	return s.hashFile(context.Background(), path)
}

func (s *Store) hashFile(ctx context.Context, path string) (digest string, size int64, err error) {
	f, id, err := openRegular(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	began := time.Now()
	if digest, ok := s.recall(id, began); ok {
		return digest, id.size, nil
	}
	digest, size, err = hashReader(ctx, f, nil)
	if err != nil {
		return "", 0, userFailure("read", path, err)
	}
	if err := unchanged(f, id, size); err != nil {
		return "", 0, userFailure("read", path, err)
	}
	s.remember(id, digest, began)
	return digest, size, nil
}

// openRegular opens a user's file for reading. A folder, a pipe or a device is an error; a link is followed.
func openRegular(path string) (*os.File, fileID, error) {
	// Looking first: opening a pipe would wait for a writer.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		what := "it is not a regular file"
		if info.IsDir() {
			what = "it is a folder, where a file is needed"
		}
		return nil, fileID{}, &Error{Op: "read", Path: path, Err: fmt.Errorf("%s", what)}
	}
	if err != nil {
		return nil, fileID{}, userFailure("read", path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fileID{}, userFailure("read", path, err)
	}
	id, err := identify(f)
	if err != nil {
		f.Close()
		return nil, fileID{}, userFailure("read", path, err)
	}
	return f, id, nil
}

// unchanged makes sure that a file kept its state while it was read.
func unchanged(f *os.File, before fileID, read int64) error {
	after, err := identify(f)
	if err != nil {
		return err
	}
	after.links = before.links
	if after.ctime != before.ctime && after.size == before.size && after.mtime == before.mtime {
		after.ctime = before.ctime // a chmod or a new link is no change of content
	}
	if after != before || read != before.size {
		return fmt.Errorf("it was changed while it was read; try again when nothing writes to it")
	}
	return nil
}
