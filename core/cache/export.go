package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Item is one file or tree of the store and where it shall lie.
type Item struct{ Digest, Dest string }

// Export copies an artifact to dest: see [Store.ExportSet].
func (s *Store) Export(ctx context.Context, digest, dest string) error {
	return s.ExportSet(ctx, []Item{{digest, dest}})
}

// staged is a finished copy beside its destination.
type staged struct {
	tmp, dest string
	tree      bool
}

// ExportSet copies artifacts to places that the user may write. Everything is copied, verified against its digest and
// synced under temporary names beside the destinations first; only then the renames happen, one after the other. A
// destination that has the right bytes already is left alone. Folders on the way are made.
func (s *Store) ExportSet(ctx context.Context, items []Item) (err error) {
	var done []staged
	defer func() {
		for _, st := range done {
			removeTree(st.tmp)
		}
	}()
	seen := map[string]string{}
	for _, it := range items {
		dest, err := filepath.Abs(it.Dest)
		if err != nil {
			return userFailure("write", it.Dest, err)
		}
		if other, ok := seen[dest]; ok {
			if other == it.Digest {
				continue
			}
			return fmt.Errorf("cannot write %s: two outputs have this path; give each its own", dest)
		}
		seen[dest] = it.Digest
		a, ok := s.Blob(it.Digest)
		if !ok {
			return fmt.Errorf("cannot write %s: its content %s is no longer in the cache %s; run the recipe again", dest, short(it.Digest), s.dir)
		}
		st, err := s.stage(ctx, a, dest)
		if err != nil {
			return err
		}
		if st != nil {
			done = append(done, *st)
		}
	}
	for i, st := range done {
		if st.tree { // before, so that a kill in between does not leave a folder that no run may replace
			if err := s.writeFile(s.publishedPath(st.dest), []byte(st.dest+"\n"), 0o644, false); err != nil {
				return err
			}
		}
		if err := publish(st); err != nil {
			err = userFailure("write", st.dest, err)
			if i > 0 {
				return fmt.Errorf("%w (%d of %d outputs were already in place)", err, i, len(done))
			}
			return err
		}
	}
	return nil
}

// stage copies one artifact beside dest. nil means that dest is right already.
func (s *Store) stage(ctx context.Context, a Artifact, dest string) (*staged, error) {
	info, err := os.Lstat(dest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, userFailure("write", dest, err)
	case a.Tree && !info.IsDir():
		return nil, &Error{Op: "write", Path: dest, Err: errFileThere}
	case !a.Tree && info.IsDir():
		return nil, &Error{Op: "write", Path: dest, Err: errFolderThere}
	case a.Tree:
		if s.sameTree(ctx, a.Digest, dest) {
			return nil, nil
		}
		if err := s.mayReplace(dest); err != nil {
			return nil, err
		}
	case info.Mode().IsRegular() && info.Size() == a.Size:
		if digest, _, err := s.hashFile(ctx, dest); err == nil && digest == a.Digest {
			return nil, nil
		}
	}
	parent := filepath.Dir(dest)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, userFailure("create", parent, err)
	}
	tmp, err := os.MkdirTemp(parent, ".optimize-*")
	if err != nil {
		return nil, userFailure("write", dest, err)
	}
	st := &staged{tmp: tmp, dest: dest, tree: a.Tree}
	if a.Tree {
		err = s.stageTree(ctx, a.Digest, filepath.Join(tmp, "new"))
	} else {
		err = copyVerified(ctx, a.Path, filepath.Join(tmp, "new"), a.Digest)
	}
	if err != nil {
		removeTree(tmp)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, userFailure("write", dest, err)
	}
	return st, nil
}

// mayReplace keeps a folder that the user filled from being replaced: a mistyped path must not delete someone's work.
// Only an empty one and one that a run published are.
func (s *Store) mayReplace(dest string) error {
	entries, err := os.ReadDir(dest)
	if err != nil {
		return userFailure("read", dest, err)
	}
	if len(entries) == 0 {
		return nil
	}
	if _, err := os.Lstat(s.publishedPath(dest)); err == nil {
		return nil
	}
	return &Error{Op: "write", Path: dest, Err: errors.New("a folder that this cache did not publish lies there; remove it or choose another path")}
}

func (s *Store) publishedPath(dest string) string {
	h := sha256.Sum256([]byte(dest))
	return filepath.Join(s.dir, "published", hex.EncodeToString(h[:16]))
}

// sameTree reports whether dest holds exactly the files of the tree.
func (s *Store) sameTree(ctx context.Context, digest, dest string) bool {
	m, ok := s.readManifest(digest)
	if !ok {
		return false
	}
	want := map[string]treeEntry{}
	for _, f := range m.Files {
		want[filepath.FromSlash(f.Path)] = f
	}
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dest, path)
		if err != nil {
			return err
		}
		f, ok := want[rel]
		if !ok || !d.Type().IsRegular() {
			return errors.New("another file")
		}
		got, _, err := s.hashFile(ctx, path)
		if err != nil || got != f.Digest {
			return errors.New("other bytes")
		}
		delete(want, rel)
		return nil
	})
	return err == nil && len(want) == 0
}

func (s *Store) stageTree(ctx context.Context, digest, to string) error {
	m, ok := s.readManifest(digest)
	if !ok {
		return fmt.Errorf("the manifest of %s is damaged in the cache %s; run the recipe again with --no-cache", short(digest), s.dir)
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	for _, f := range m.Files {
		path := filepath.Join(to, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := copyVerified(ctx, filepath.Join(s.treePath(digest), filepath.FromSlash(f.Path)), path, f.Digest); err != nil {
			return err
		}
	}
	return syncDir(to)
}

// copyVerified copies a blob and makes sure that the copy is what the digest says: a damaged cache must not become a
// published model.
func copyVerified(ctx context.Context, from, to, digest string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	got, _, err := copyOpen(ctx, in, to, 0) // the mode that the user's umask gives
	if err != nil {
		return err
	}
	if got != digest {
		return fmt.Errorf("%s is damaged in the cache (it hashes to %s): run `optimize cache verify --repair`, then the recipe again", from, short(got))
	}
	return nil
}

// publish renames a finished copy into place. A folder cannot be replaced in one step: the old one is put aside, and back
// when the new one does not get there.
func publish(st staged) error {
	fresh, old := filepath.Join(st.tmp, "new"), filepath.Join(st.tmp, "old")
	if st.tree {
		if err := os.Rename(st.dest, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(fresh, st.dest); err != nil {
		if st.tree {
			_ = os.Rename(old, st.dest)
		}
		return err
	}
	return syncDir(filepath.Dir(st.dest))
}
