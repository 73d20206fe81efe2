package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

// manifest lists the files of a tree, sorted by path. Its canonical text is a blob, and the digest of that is the
// tree's. Modes and times are left out: they are no content.
type manifest struct {
	Schema string      `json:"schema"`
	Files  []treeEntry `json:"files"`
}

type treeEntry struct {
	// Path is relative, with forward slashes.
	Path   string `json:"path"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

const treeSchema = "optimize.tree/v1"

func (m manifest) size() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// encode is the manifest's only spelling.
func (m manifest) encode() ([]byte, error) {
	data, err := json.Marshal(m)
	return append(data, '\n'), err
}

// parseManifest refuses whatever could lead out of the tree.
func parseManifest(data []byte) (manifest, bool) {
	var m manifest
	if json.Unmarshal(data, &m) != nil || m.Schema != treeSchema || len(m.Files) == 0 {
		return manifest{}, false
	}
	for i, f := range m.Files {
		if !isDigest(f.Digest) || f.Size < 0 || !isTreePath(f.Path) || i > 0 && m.Files[i-1].Path >= f.Path {
			return manifest{}, false
		}
	}
	return m, true
}

// isTreePath reports whether a path is relative, clean, and means the same on every system.
func isTreePath(p string) bool {
	return p != "." && !strings.ContainsAny(p, "\\:\x00") && filepath.IsLocal(filepath.FromSlash(p)) &&
		filepath.ToSlash(filepath.Clean(filepath.FromSlash(p))) == p
}

func (s *Store) readManifest(digest string) (manifest, bool) {
	data, err := readBounded(s.blobPath(digest))
	if err != nil {
		return manifest{}, false
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != digest {
		return manifest{}, false // it is small, and what it names is trusted
	}
	return parseManifest(data)
}

// treeComplete reports whether the folder of a tree holds all its files with their sizes.
func (s *Store) treeComplete(digest string, m manifest) bool {
	root := s.treePath(digest)
	for _, f := range m.Files {
		if !isFileOfSize(filepath.Join(root, filepath.FromSlash(f.Path)), f.Size) {
			return false
		}
	}
	return true
}

// materialise builds the folder of a tree from its blobs, below work, and moves it into place. The files are hard links
// to the blobs where the file system has them: both names are inside the store and read-only.
func (s *Store) materialise(work, digest string, m manifest) error {
	final := s.treePath(digest)
	if s.treeComplete(digest, m) {
		return nil
	}
	stage, err := os.MkdirTemp(work, "tree")
	if err != nil {
		return failure("create", final, err)
	}
	root := filepath.Join(stage, "t")
	dirs := map[string]bool{root: true}
	if err := os.Mkdir(root, 0o755); err != nil {
		return failure("create", final, err)
	}
	for _, f := range m.Files {
		to := filepath.Join(root, filepath.FromSlash(f.Path))
		for d := filepath.Dir(to); !dirs[d]; d = filepath.Dir(d) {
			dirs[d] = true
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return failure("create", final, err)
		}
		from := s.blobPath(f.Digest)
		if os.Link(from, to) == nil {
			continue
		}
		if _, _, err := copyFile(from, to, 0o444); err != nil {
			return failure("write", final, err)
		}
	}
	for d := range dirs {
		if err := syncDir(d); err != nil {
			return failure("write", final, err)
		}
		if d != root { // a folder without write permission cannot be renamed to another parent
			if err := os.Chmod(d, 0o555); err != nil {
				return failure("write", final, err)
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return failure("create", final, err)
	}
	if err := os.Rename(root, final); err != nil {
		if s.treeComplete(digest, m) { // another process was faster
			return nil
		}
		// A damaged folder is in the way: put it aside, where a sweep removes it.
		_ = os.Chmod(final, 0o755)
		if os.Rename(final, filepath.Join(stage, "old")) == nil {
			err = os.Rename(root, final)
		}
		if err != nil && !s.treeComplete(digest, m) {
			return failure("write", final, err)
		}
	}
	_ = os.Chmod(final, 0o555)
	return syncDir(filepath.Dir(final))
}
