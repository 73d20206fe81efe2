package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Artifact is a file or a tree of the store.
type Artifact struct {
	// Kind and Format are the plugin's words: "model", "onnx". An imported file has neither.
	Kind   string `json:"kind,omitempty"`
	Format string `json:"format,omitempty"`
	// Digest is the SHA-256 of the file, or of the tree's manifest, in lower-case hex.
	Digest string `json:"digest"`
	// Size is in bytes; of a tree, the sum over its files.
	Size int64 `json:"size"`
	// Tree tells a folder from a file.
	Tree   bool              `json:"tree,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// Path is absolute and read-only. It is worked out from the digest, never recorded, so that a store can move.
	Path string `json:"-"`
}

// Record is what a key gave. Only success is recorded.
type Record struct {
	Key     Key                 `json:"key"`
	Sum     string              `json:"sum"`
	Name    string              `json:"name"`
	Outputs map[string]Artifact `json:"outputs"`
	// Result holds the step's facts as JSON, as given to Commit.
	Result        json.RawMessage `json:"result,omitempty"`
	Started       time.Time       `json:"started"`
	Duration      time.Duration   `json:"duration_ns"`
	PluginVersion string          `json:"plugin_version"`
	// Nondeterministic says that another run may give other bytes; this record holds one valid outcome.
	Nondeterministic bool `json:"nondeterministic,omitempty"`
}

// maxRecord bounds the size of a record or a manifest that is read into memory.
const maxRecord = 64 << 20

// Lookup finds the record of a key whose outputs are all there with their right sizes. Anything else, a damaged record
// included, is a miss: the step runs again and writes it anew.
func (s *Store) Lookup(sum string) (*Record, bool) {
	if !isDigest(sum) {
		return nil, false
	}
	rec := s.readRecord(sum)
	if rec == nil {
		return nil, false
	}
	for name, a := range rec.Outputs {
		if !s.resolve(&a) {
			return nil, false
		}
		rec.Outputs[name] = a
	}
	return rec, true
}

// readRecord reads a record without looking at its outputs. nil when there is none that can be trusted.
func (s *Store) readRecord(sum string) *Record {
	data, err := readBounded(s.recordPath(sum))
	if err != nil {
		return nil
	}
	rec := &Record{}
	if json.Unmarshal(data, rec) != nil || rec.Sum != sum || rec.Key.Sum() != sum {
		return nil
	}
	for _, a := range rec.Outputs {
		if !isDigest(a.Digest) {
			return nil
		}
	}
	return rec
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxRecord))
}

// resolve checks that an artifact's bytes are there, by stat alone, and sets its path.
func (s *Store) resolve(a *Artifact) bool {
	if !isDigest(a.Digest) {
		return false
	}
	if a.Tree {
		m, ok := s.readManifest(a.Digest)
		if !ok || m.size() != a.Size || !s.treeComplete(a.Digest, m) {
			return false
		}
		a.Path = s.treePath(a.Digest)
		return true
	}
	a.Path = s.blobPath(a.Digest)
	return isFileOfSize(a.Path, a.Size)
}

func isFileOfSize(path string, size int64) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

// Blob finds a file or a tree by its digest.
func (s *Store) Blob(digest string) (Artifact, bool) {
	if !isDigest(digest) {
		return Artifact{}, false
	}
	if _, err := os.Lstat(s.treePath(digest)); err == nil {
		if m, ok := s.readManifest(digest); ok && s.treeComplete(digest, m) {
			return Artifact{Digest: digest, Size: m.size(), Tree: true, Path: s.treePath(digest)}, true
		}
		return Artifact{}, false
	}
	info, err := os.Lstat(s.blobPath(digest))
	if err != nil || !info.Mode().IsRegular() {
		return Artifact{}, false
	}
	return Artifact{Digest: digest, Size: info.Size(), Path: s.blobPath(digest)}, true
}

func (s *Store) latestPath(name string) string {
	h := sha256.Sum256([]byte(name))
	return filepath.Join(s.dir, "latest", hex.EncodeToString(h[:16]))
}

// Used notes that the step of that name had this sum last, so that Explain compares with what the user saw last. Commit
// does it too; call it after a hit. It is a convenience: failing, it changes nothing.
func (s *Store) Used(name, sum string) {
	if !isDigest(sum) {
		return
	}
	path := s.latestPath(name)
	if old, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(old)) == sum {
		return
	}
	_ = s.writeFile(path, []byte(sum+"\n"), 0o644, false)
}

func (s *Store) latest(name string) *Record {
	data, err := os.ReadFile(s.latestPath(name))
	if err != nil {
		return nil
	}
	sum := strings.TrimSpace(string(data))
	if !isDigest(sum) {
		return nil
	}
	return s.readRecord(sum)
}
