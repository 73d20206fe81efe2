package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Name is the name under which the runs of a step are compared: the folder of its recipe and its address in it.
func Name(place, addr string) string { return place + "\x00" + addr }

// SplitName undoes Name. A name without a place has an empty one.
func SplitName(name string) (place, addr string) {
	if place, addr, ok := strings.Cut(name, "\x00"); ok {
		return place, addr
	}
	return "", name
}

// Use is a step that a record served: in which recipe, under which address. It is known in this store only.
type Use struct {
	Place string `json:"place,omitempty"`
	Addr  string `json:"addr"`
}

// maxUses bounds how many uses of one record are remembered; the newest stay.
const maxUses = 32

// useGrain is how exactly a last use is known: a hit writes at most that often.
const useGrain = time.Hour

// latestDoc is a file of latest/: what a step gave last.
type latestDoc struct {
	Use
	Sum string `json:"sum"`
}

func (s *Store) usedPath(sum string) string { return filepath.Join(s.dir, "used", sum[:2], sum) }

func (s *Store) latestPath(name string) string {
	h := sha256.Sum256([]byte(name))
	return filepath.Join(s.dir, "latest", hex.EncodeToString(h[:16]))
}

// Used notes that the step of that name had this sum last, so that Explain compares with what the user saw last. Commit
// does it too; call it after a hit. It is a convenience: failing, it changes nothing.
func (s *Store) Used(name, sum string) {
	if !isDigest(sum) || s.readOnly {
		return
	}
	if doc := s.readLatest(name); doc != nil && doc.Sum == sum {
		return
	}
	s.noteUse(name, sum)
	s.setLatest(name, sum)
}

func (s *Store) setLatest(name, sum string) {
	place, addr := SplitName(name)
	if data, err := json.Marshal(latestDoc{Use{place, addr}, sum}); err == nil {
		_ = s.writeFile(s.latestPath(name), append(data, '\n'), 0o644, false)
	}
}

func (s *Store) readLatest(name string) *latestDoc {
	data, err := readBounded(s.latestPath(name))
	if err != nil {
		return nil
	}
	return parseLatest(data)
}

func parseLatest(data []byte) *latestDoc {
	doc := &latestDoc{}
	if json.Unmarshal(data, doc) != nil || !isDigest(doc.Sum) {
		return nil
	}
	return doc
}

func (s *Store) latest(name string) *Record {
	if doc := s.readLatest(name); doc != nil {
		return s.readRecord(doc.Sum)
	}
	return nil
}

// Latest is the newest record of a name, whether or not its files are there still: what a plan knows of earlier runs.
func (s *Store) Latest(name string) (*Record, bool) {
	rec := s.latest(name)
	return rec, rec != nil
}

// touch notes a use of a record, at most once in useGrain. It only ever fails silently: a hit on a store that may not be
// written is a hit.
func (s *Store) touch(sum string) {
	if s.readOnly {
		return
	}
	path, now := s.usedPath(sum), time.Now()
	info, err := os.Stat(path)
	switch {
	case err != nil:
		_ = s.writeFile(path, nil, 0o644, false)
	case now.Sub(info.ModTime()) >= useGrain:
		_ = os.Chtimes(path, now, now)
	}
}

// noteUse remembers which step a record served. The time of the file is that of the last use.
func (s *Store) noteUse(name, sum string) {
	place, addr := SplitName(name)
	use := Use{place, addr}
	uses := s.uses(sum)
	if i := slices.Index(uses, use); i >= 0 {
		uses = slices.Delete(uses, i, i+1)
	}
	if uses = append(uses, use); len(uses) > maxUses {
		uses = uses[len(uses)-maxUses:]
	}
	var b []byte
	for _, u := range uses {
		line, err := json.Marshal(u)
		if err != nil {
			return
		}
		b = append(append(b, line...), '\n')
	}
	_ = s.writeFile(s.usedPath(sum), b, 0o644, false)
}

func (s *Store) uses(sum string) []Use {
	data, err := readBounded(s.usedPath(sum))
	if err != nil {
		return nil
	}
	return parseUses(data)
}

// parseUses reads a line for each use; what is no such line is passed over.
func parseUses(data []byte) (uses []Use) {
	for line := range strings.Lines(string(data)) {
		var u Use
		if json.Unmarshal([]byte(line), &u) == nil && u.Addr != "" {
			uses = append(uses, u)
		}
	}
	return uses
}

// lastUse is when a record was used last, as far as that is known: by its note, else when it was written.
func (s *Store) lastUse(sum string) time.Time {
	var t time.Time
	for _, path := range []string{s.usedPath(sum), s.recordPath(sum)} {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(t) {
			t = info.ModTime()
		}
	}
	return t
}

// LastUse is when a record served last, to about an hour.
func (s *Store) LastUse(sum string) time.Time {
	if !isDigest(sum) {
		return time.Time{}
	}
	return s.lastUse(sum)
}

// RecordPath is where the record of a key lies, or would lie.
func (s *Store) RecordPath(sum string) string {
	if !isDigest(sum) {
		return ""
	}
	return s.recordPath(sum)
}
