package cache

import (
	"context"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// HashPath is the digest that a file or a folder would have in the store, and its size in bytes: the file's SHA-256, or
// that of the tree's manifest. Nothing is copied. Links and special files in a folder are refused.
func (s *Store) HashPath(ctx context.Context, path string, folder bool) (digest string, size int64, err error) {
	if !folder {
		return s.hashFile(ctx, path)
	}
	m := manifest{Schema: treeSchema}
	err = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if !e.Type().IsRegular() {
			return &Error{Op: "read", Path: p, Err: fs.ErrInvalid}
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		digest, size, err := s.hashFile(ctx, p)
		m.Files = append(m.Files, treeEntry{Path: filepath.ToSlash(rel), Digest: digest, Size: size})
		return err
	})
	if err != nil {
		return "", 0, userFailure("read", path, err)
	}
	slices.SortFunc(m.Files, func(a, b treeEntry) int { return strings.Compare(a.Path, b.Path) })
	text, err := m.encode()
	if err != nil {
		return "", 0, err
	}
	digest, _, err = hashReader(ctx, strings.NewReader(string(text)), nil)
	return digest, m.size(), err
}
