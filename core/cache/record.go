package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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

// recordSchema names the version of a record's JSON.
const recordSchema = "optimize.record/v1"

// Record is what a key gave. Only success is recorded. Its JSON says nothing about the machine that made it, so it means
// the same in every store: see docs/cache.md.
type Record struct {
	Schema string `json:"schema"`
	Key    Key    `json:"key"`
	Sum    string `json:"sum"`
	// Name is the address of the step that made it first: "step.int8".
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
	s.touch(sum)
	return rec, true
}

// readRecord reads a record without looking at its outputs. nil when there is none that can be trusted.
func (s *Store) readRecord(sum string) *Record {
	data, err := readBounded(s.recordPath(sum))
	if err != nil {
		return nil
	}
	rec, err := parseRecord(data, sum)
	if err != nil {
		return nil
	}
	return rec
}

// parseRecord reads a record that must be of this sum.
func parseRecord(data []byte, sum string) (*Record, error) {
	rec := &Record{}
	if err := json.Unmarshal(data, rec); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if rec.Schema != recordSchema {
		return nil, errRecord
	}
	return rec, rec.check(sum)
}

// check refuses a record that is not what its key and its name say, or that could lead out of the store.
func (r *Record) check(sum string) error {
	if r.Sum != sum || r.Key.Sum() != sum {
		return errors.New("it is not the record of the key in its name")
	}
	for _, a := range r.Outputs {
		if !isDigest(a.Digest) || a.Size < 0 {
			return errors.New("one of its outputs has no proper digest")
		}
	}
	return nil
}

// encode writes the record as canonical JSON, so that equal records are equal files.
func (r *Record) encode() ([]byte, error) {
	c := *r
	c.Schema, c.Started = recordSchema, r.Started.UTC()
	data, err := json.Marshal(&c)
	if err != nil {
		return nil, err
	}
	v, err := decodeJSON(data)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	writeCanonical(&b, v)
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func (s *Store) writeRecord(r *Record) error {
	data, err := r.encode()
	if err != nil {
		return fmt.Errorf("cannot record %s: %w", r.Name, err)
	}
	// A record that a power failure took is a miss. What took no time is not worth waiting for the disk; the blobs that a
	// record names were waited for in any case.
	durable := r.Duration <= 0 || r.Duration > cheap
	return s.writeFile(s.recordPath(r.Sum), data, 0o644, durable)
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
