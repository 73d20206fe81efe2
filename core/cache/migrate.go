package cache

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// portableRecords is the step from format 1 to 2. A record of format 1 has no schema, and its name begins with the
// folder of the recipe: "/home/ada/digits:step.int8". In format 2 nothing in a record is about this machine; which
// recipes use it stands in used/, and what a step gave last names the step instead of a hash alone.
//
// Names move first and records change last: as long as one record is of format 1, the names of all that changed are safe.
func portableRecords(s *Store) error {
	olds := map[string]*Record{}
	err := walkFiles(context.Background(), filepath.Join(s.dir, "records"), func(path string) {
		sum := strings.TrimSuffix(filepath.Base(path), ".json")
		if rec := readOldRecord(path, sum); rec != nil {
			olds[sum] = rec
		}
	})
	if err != nil {
		return err
	}
	for sum, rec := range olds {
		s.noteUse(oldName(rec.Name), sum)
		if info, err := os.Stat(s.recordPath(sum)); err == nil {
			_ = os.Chtimes(s.usedPath(sum), info.ModTime(), info.ModTime()) // else it counts as used now
		}
	}
	if err := s.moveLatest(olds); err != nil {
		return err
	}
	for sum, rec := range olds {
		_, rec.Name = SplitName(oldName(rec.Name))
		if err := s.writeRecord(rec); err != nil {
			return err
		}
		delete(olds, sum)
	}
	return nil
}

// moveLatest writes the files of latest/ anew under the names of format 2. One whose name nobody knows is removed: a plan
// says "no earlier run" then.
func (s *Store) moveLatest(olds map[string]*Record) error {
	dir := filepath.Join(s.dir, "latest")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return failure("read", dir, err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		text, err := readBounded(path)
		sum := strings.TrimSpace(string(text))
		if err != nil || !isDigest(sum) {
			continue // moved already
		}
		if rec := olds[sum]; rec != nil && filepath.Base(s.latestPath(rec.Name)) == e.Name() {
			s.setLatest(oldName(rec.Name), sum)
		}
		if err := os.Remove(path); err != nil {
			return failure("remove", path, err)
		}
	}
	return nil
}

// oldName turns a name of format 1 into one of today: the folder ended at the colon before the kind of the block.
func oldName(name string) string {
	at := -1
	for _, kind := range []string{":step.", ":dataset.", ":evaluate."} {
		if i := strings.Index(name, kind); i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	if at < 0 {
		return name
	}
	return Name(name[:at], name[at+1:])
}

// readOldRecord reads a record of format 1; nil for everything else.
func readOldRecord(path, sum string) *Record {
	data, err := readBounded(path)
	if err != nil {
		return nil
	}
	rec := &Record{}
	if json.Unmarshal(data, rec) != nil || rec.Schema != "" || rec.check(sum) != nil {
		return nil
	}
	return rec
}

var errRecord = errors.New("it is not a record of this version")
