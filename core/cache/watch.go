package cache

import (
	"context"
	"io"
	"os"
	"path/filepath"
)

// watched is a file of the store while somebody works with it.
type watched struct {
	path, digest string
	artifact     int // index
	state        fileID
	file         *os.File // stays open: another step may put a good copy in the place of a changed file meanwhile
}

// openState opens a regular file and gives its state; nil for what is none, or is not there.
func openState(path string) (*os.File, fileID) {
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		return nil, fileID{}
	}
	f, id, err := openRegular(path)
	if err != nil {
		return nil, fileID{}
	}
	return f, id
}

// intact tells whether the file that was opened still holds what it did, wherever it lies by now.
func (w watched) intact(ctx context.Context) bool {
	if now, err := identify(w.file); err == nil && now == w.state {
		return true // its change time too, which no program can set
	}
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return false
	}
	digest, _, err := hashReader(ctx, w.file, nil)
	return err == nil && digest == w.digest // touched, or replaced, and as it was
}

// lies tells whether the file that was opened is still the one at its path.
func (w watched) lies() bool {
	here, err := w.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(w.path)
	return err == nil && os.SameFile(here, there)
}

// Watch notes the state of artifacts that a step is about to read. changed tells which of them the step changed, by
// index, and takes those out of the store: they are made or imported again when they are needed. spoilt are those that
// another step of this process has changed and is still at work, so that nobody found out yet: changed takes them out
// too, and must be called in any case.
func (s *Store) Watch(ctx context.Context, arts []Artifact) (spoilt []int, changed func(ctx context.Context) []int) {
	var files []watched
	add := func(i int, path, digest string) {
		f, id := openState(path)
		if f == nil {
			return
		}
		w := watched{path, digest, i, id, f}
		// The first step to read it saw it as it was: whoever comes later sees that, or reads it to be sure.
		if first, seen := s.firstSeen.LoadOrStore(path, id); seen && first != id {
			if digest, _, err := hashReader(ctx, f, nil); err == nil && digest == w.digest {
				s.firstSeen.Store(path, id) // another copy of the same bytes
			} else if ctx.Err() == nil {
				w.state = fileID{} // no file is like that
				if len(spoilt) == 0 || spoilt[len(spoilt)-1] != i {
					spoilt = append(spoilt, i)
				}
			}
		}
		files = append(files, w)
	}
	for i, a := range arts {
		if a.Path == s.blobPath(a.Digest) {
			add(i, a.Path, a.Digest)
			continue
		}
		if a.Path != s.treePath(a.Digest) {
			continue
		}
		if m, ok := s.readManifest(a.Digest); ok {
			for _, f := range m.Files {
				add(i, filepath.Join(s.treePath(a.Digest), filepath.FromSlash(f.Path)), f.Digest)
			}
		}
	}
	return spoilt, func(ctx context.Context) (changed []int) {
		var problems []Problem
		for _, f := range files {
			whole, same := f.intact(ctx), f.lies()
			f.file.Close()
			if whole && same {
				continue
			}
			digest, err := verifyFile(ctx, f.path)
			good := err == nil && digest == f.digest // also when another step that made the same bytes has put them there
			if whole && good {
				continue
			}
			if len(changed) == 0 || changed[len(changed)-1] != f.artifact {
				changed = append(changed, f.artifact)
			}
			if !good {
				problems = append(problems, Problem{Path: f.path, Reason: "a step changed it"})
			}
			// A tree's file may be a link to the blob, which has changed with it then.
			if digest, err := verifyFile(ctx, s.blobPath(f.digest)); err == nil && digest != f.digest {
				problems = append(problems, Problem{Path: s.blobPath(f.digest), Reason: "a step changed it"})
			}
		}
		if len(problems) > 0 {
			_ = s.Repair(problems)
		}
		return changed
	}
}
