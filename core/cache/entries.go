package cache

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Entry is something that the store keeps and can give up: a record with the files that it needs, or a file that was
// read in.
type Entry struct {
	// Record is nil for a file that was read in, such as a model.
	Record *Record
	// Sum is the record's, or the digest of the file.
	Sum string
	// Size is in bytes, over all files that it needs; several entries may share some.
	Size int64
	// Used is when it served last, to about an hour.
	Used time.Time
	// Uses are the steps that the record served.
	Uses []Use
	// Whole says that all its files are there.
	Whole bool

	blobs, trees []string
}

// contents is what lies in a store.
type contents struct {
	entries []Entry          // newest use first
	sizes   map[string]int64 // of the blobs
	trees   map[string]int64 // of the folders: what they take beside their blobs
	damaged []string         // paths of records that cannot be read
}

// Entries lists what the store keeps, the newest use first, and how many bytes all of it takes on the disk.
func (s *Store) Entries(ctx context.Context) (entries []Entry, total int64, err error) {
	c, err := s.contents(ctx)
	if err != nil {
		return nil, 0, err
	}
	return c.entries, c.total(), nil
}

func (c *contents) total() (n int64) {
	for _, size := range c.sizes {
		n += size
	}
	for _, size := range c.trees {
		n += size
	}
	return n
}

func (s *Store) contents(ctx context.Context) (*contents, error) {
	c := &contents{sizes: map[string]int64{}, trees: map[string]int64{}}
	times := map[string]time.Time{}
	err := walkFiles(ctx, filepath.Join(s.dir, "blobs", "sha256"), func(path string) {
		if info, err := os.Lstat(path); err == nil && isDigest(filepath.Base(path)) {
			c.sizes[filepath.Base(path)], times[filepath.Base(path)] = info.Size(), info.ModTime()
		}
	})
	if err != nil {
		return nil, err
	}
	roots, err := filepath.Glob(filepath.Join(s.dir, "trees", "sha256", "*", "*"))
	if err != nil {
		return nil, failure("read", s.dir, err)
	}
	needed := map[string]bool{}
	for _, root := range roots {
		c.trees[filepath.Base(root)] = s.copiedSize(ctx, root)
	}
	err = walkFiles(ctx, filepath.Join(s.dir, "records"), func(path string) {
		sum := strings.TrimSuffix(filepath.Base(path), ".json")
		var rec *Record
		if isDigest(sum) && path == s.recordPath(sum) {
			rec = s.readRecord(sum)
		}
		if rec == nil {
			c.damaged = append(c.damaged, path)
			return
		}
		e := s.entryOf(rec, c)
		for _, b := range e.blobs {
			needed[b] = true
		}
		c.entries = append(c.entries, e)
	})
	if err != nil {
		return nil, err
	}
	for digest, size := range c.sizes {
		if !needed[digest] {
			c.entries = append(c.entries, Entry{Sum: digest, Size: size, Used: times[digest], Whole: true, blobs: []string{digest}})
		}
	}
	slices.SortFunc(c.entries, func(a, b Entry) int { return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Sum, b.Sum)) })
	return c, nil
}

func (s *Store) entryOf(rec *Record, c *contents) Entry {
	e := Entry{Record: rec, Sum: rec.Sum, Used: s.lastUse(rec.Sum), Uses: s.uses(rec.Sum), Whole: true}
	seen := map[string]bool{}
	add := func(digest string) {
		size, ok := c.sizes[digest]
		if e.Whole = e.Whole && ok; !seen[digest] {
			seen[digest] = true
			e.Size += size
			e.blobs = append(e.blobs, digest)
		}
	}
	for _, o := range rec.Outputs {
		add(o.Digest)
		if !o.Tree {
			continue
		}
		e.trees = append(e.trees, o.Digest)
		m, ok := s.readManifest(o.Digest)
		e.Whole = e.Whole && ok && s.treeComplete(o.Digest, m)
		for _, f := range m.Files {
			add(f.Digest)
		}
		e.Size += c.trees[o.Digest]
	}
	return e
}

// copiedSize is what the folder of a tree takes beside its blobs: nothing where its files are links to them.
func (s *Store) copiedSize(ctx context.Context, root string) (n int64) {
	m, ok := s.readManifest(filepath.Base(root))
	blobs := map[string]string{}
	for _, f := range m.Files {
		blobs[filepath.Join(root, filepath.FromSlash(f.Path))] = s.blobPath(f.Digest)
	}
	// A folder that vanishes meanwhile takes nothing.
	_ = walkFiles(ctx, root, func(path string) {
		info, err := os.Lstat(path)
		if err != nil {
			return
		}
		if blob, err := os.Lstat(blobs[path]); ok && err == nil && os.SameFile(info, blob) {
			return
		}
		n += info.Size()
	})
	return n
}
