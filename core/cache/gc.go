package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/core/lockfile"
)

// Limits say what a collection leaves. Both may be given; whatever either of them rules out goes.
type Limits struct {
	// MaxSize is how many bytes may stay; negative is no bound.
	MaxSize int64
	// Keep is how long something may be unused; negative is for ever.
	Keep time.Duration
	// Wait is how long to wait for other processes to leave the store.
	Wait time.Duration
	// DryRun removes nothing.
	DryRun bool
}

// Collected is what a collection did, or would do.
type Collected struct {
	// Removed are in the order of removal: the least recently used first.
	Removed []Entry
	// Freed is in bytes on the disk: what removed entries share with kept ones stays.
	Freed int64
	// Kept counts the records and files that stay, Size their bytes on the disk.
	Kept int
	Size int64
	// Damaged counts records that could not be read; they are removed.
	Damaged int
}

// InUseError says that another process has the store open, so that nothing can be collected.
type InUseError struct{ Dir string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("the cache %s is in use by another optimize, which may need what would be removed: try again when it has ended, or wait for it with --wait 10m", e.Dir)
}

// Collect removes what the limits rule out: the least recently used records first, with the files that only they need.
// Nobody else may have the store open meanwhile, so nothing that a run works with is touched. It may be killed at any
// moment: records go before their files, and a folder goes by one rename.
func (s *Store) Collect(ctx context.Context, l Limits) (*Collected, error) {
	if l.DryRun {
		c, err := s.contents(ctx)
		if err != nil {
			return nil, err
		}
		out, _ := c.choose(l)
		return out, nil
	}
	if s.readOnly {
		return nil, failure("remove files from", s.dir, fs.ErrPermission)
	}
	release, err := s.alone(ctx, l.Wait)
	if err != nil {
		return nil, err
	}
	defer release()
	c, err := s.contents(ctx)
	if err != nil {
		return nil, err
	}
	out, keep := c.choose(l)
	if err := s.remove(ctx, c, out.Removed, keep); err != nil {
		return nil, err
	}
	s.tidy(l.Keep)
	return out, nil
}

// alone makes this process the only one that has the store open, until release.
func (s *Store) alone(ctx context.Context, wait time.Duration) (release func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	path := filepath.Join(s.dir, "in-use")
	// A lock cannot be raised from shared to exclusive everywhere, so it is given back first.
	s.use.Close()
	lock, err := waitExclusive(waiting, path)
	share := func() error {
		use, err := lockfile.Open(path)
		if err == nil {
			err = lockfile.Shared(use)
		}
		s.use = use
		return err
	}
	switch {
	case err == nil:
		s.use = lock
		return func() {
			lock.Close()
			_ = share() // whoever comes next opens the store anew
		}, nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		err = &InUseError{s.dir}
	default:
		err = failure("lock", path, err)
	}
	return nil, errors.Join(err, share())
}

// choose says what goes, the least recently used first, and which blobs and trees stay.
func (c *contents) choose(l Limits) (out *Collected, keep map[string]bool) {
	out, keep = &Collected{Damaged: len(c.damaged)}, map[string]bool{}
	now := time.Now()
	full := false
	for i, e := range c.entries {
		more := int64(0)
		for _, d := range e.blobs {
			if !keep[d] {
				more += c.sizes[d]
			}
		}
		for _, d := range e.trees {
			if !keep["tree "+d] {
				more += c.trees[d]
			}
		}
		// Once one does not fit, nothing older stays: what is left is always what was used last.
		full = full || l.MaxSize >= 0 && out.Size+more > l.MaxSize
		if full || l.Keep >= 0 && now.Sub(e.Used) > l.Keep {
			out.Removed = append([]Entry{c.entries[i]}, out.Removed...)
			continue
		}
		for _, d := range e.blobs {
			keep[d] = true
		}
		for _, d := range e.trees {
			keep["tree "+d] = true
		}
		out.Kept++
		out.Size += more
	}
	out.Freed = c.total() - out.Size
	return out, keep
}

// remove takes records away first, then the folders of trees, then blobs: whatever is left when it is cut off is only
// something that nobody needs.
func (s *Store) remove(ctx context.Context, c *contents, entries []Entry, keep map[string]bool) error {
	paths := c.damaged
	for _, e := range entries {
		if e.Record != nil {
			paths = append(paths, s.recordPath(e.Sum), s.usedPath(e.Sum))
		}
	}
	for d := range c.trees {
		if !keep["tree "+d] {
			paths = append(paths, s.treePath(d))
		}
	}
	for d := range c.sizes {
		if !keep[d] {
			paths = append(paths, s.blobPath(d))
		}
	}
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.discard(path); err != nil {
			return err
		}
	}
	return nil
}

// discard removes a file, or a folder in such a way that nobody ever sees half of it.
func (s *Store) discard(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.IsDir() {
		err = os.Remove(path)
	} else if err == nil {
		var bin, aside string
		if bin, err = s.scratch(); err == nil {
			aside, err = os.MkdirTemp(bin, "old")
		}
		if err == nil {
			_ = os.Chmod(path, 0o755) // a folder that may not be written cannot be moved
			err = os.Rename(path, filepath.Join(aside, "t"))
			removeTree(aside)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failure("remove", path, err)
	}
	return nil
}

// keepMemo is how long the small files stay that only save time, when nothing else is said.
const keepMemo = 30 * 24 * time.Hour

// tidy removes small files that nothing needs any more. It is best effort: what stays costs a few bytes.
func (s *Store) tidy(keep time.Duration) {
	s.sweep()
	if keep < 0 {
		keep = keepMemo
	}
	now := time.Now()
	each := func(dir string, gone func(path string) bool) {
		_ = walkFiles(context.Background(), filepath.Join(s.dir, dir), func(path string) {
			if gone(path) {
				_ = os.Remove(path)
			}
		})
	}
	old := func(path string) bool {
		info, err := os.Lstat(path)
		return err == nil && now.Sub(info.ModTime()) > keep
	}
	each("memo", old)
	each("plugins", func(path string) bool {
		info, err := os.Lstat(path)
		return err == nil && (now.Sub(info.ModTime()) > keep || strings.HasPrefix(filepath.Base(path), ".") && now.Sub(info.ModTime()) > time.Hour)
	})
	each("used", func(path string) bool {
		sum := filepath.Base(path)
		return !isDigest(sum) || missing(s.recordPath(sum))
	})
	each("latest", func(path string) bool {
		data, err := readBounded(path)
		doc := parseLatest(data)
		return err == nil && (doc == nil || missing(s.recordPath(doc.Sum)))
	})
	each("published", func(path string) bool {
		dest, err := readBounded(path)
		return err == nil && missing(strings.TrimSuffix(string(dest), "\n"))
	})
	each("locks", func(path string) bool {
		lock, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return false
		}
		if ok, err := lockfile.Try(lock); ok && err == nil && lockfile.Current(lock) {
			lockfile.Remove(lock)
			return false
		}
		lock.Close()
		return false
	})
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
