package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
)

// ImportTree copies files of a user's folder into the store, as Import does each, and returns the folder of the store
// that holds them under the same names. files are relative to dir, with forward slashes, sorted, and at least one. Bytes
// that were imported before are neither read nor stored again.
func (s *Store) ImportTree(ctx context.Context, dir string, files []string) (Artifact, error) {
	m := manifest{Schema: treeSchema}
	for _, f := range files {
		a, err := s.Import(ctx, filepath.Join(dir, filepath.FromSlash(f)))
		if err != nil {
			return Artifact{}, err
		}
		m.Files = append(m.Files, treeEntry{Path: f, Digest: a.Digest, Size: a.Size})
	}
	data, err := m.encode()
	if err != nil {
		return Artifact{}, err
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	art := Artifact{Digest: digest, Size: m.size(), Tree: true, Path: s.treePath(digest)}
	if to := s.blobPath(digest); isFileOfSize(to, int64(len(data))) && s.treeComplete(digest, m) {
		s.touchBlob(to)
		return art, nil
	}
	work, err := s.scratch()
	if err != nil {
		return Artifact{}, err
	}
	stage, err := os.MkdirTemp(work, "import")
	if err != nil {
		return Artifact{}, failure("create", work, err)
	}
	defer removeTree(stage)
	tmp := filepath.Join(stage, "m")
	if err := os.WriteFile(tmp, data, 0o444); err != nil {
		return Artifact{}, failure("write", tmp, err)
	}
	if err := s.adopt(tmp, digest, int64(len(data))); err != nil {
		return Artifact{}, err
	}
	if err := s.syncBlobs(map[string]bool{filepath.Dir(s.blobPath(digest)): true}); err != nil {
		return Artifact{}, err
	}
	return art, s.materialise(stage, digest, m)
}
