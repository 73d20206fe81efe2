package cache

import (
	"context"
	"os"
	"path/filepath"
)

// watched is a file of the store while somebody works with it.
type watched struct {
	path, digest string
	artifact     int // index
	state        fileID
}

// stateOf is a zero value for what is no regular file, or is not there.
func stateOf(path string) fileID {
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		return fileID{}
	}
	f, id, err := openRegular(path)
	if err != nil {
		return fileID{}
	}
	f.Close()
	return id
}

// Watch notes the state of artifacts that a step is about to read. The function it returns tells which of them the step
// changed, by index, and takes those out of the store: they are made or imported again when they are needed.
func (s *Store) Watch(arts []Artifact) func(ctx context.Context) []int {
	var files []watched
	add := func(i int, path, digest string) {
		if id := stateOf(path); id.regular {
			files = append(files, watched{path, digest, i, id})
		}
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
	return func(ctx context.Context) (changed []int) {
		var problems []Problem
		for _, f := range files {
			now := stateOf(f.path)
			if now == f.state {
				continue // its change time too, which no program can set
			}
			if now.regular {
				if digest, err := verifyFile(ctx, f.path); err == nil && digest == f.digest {
					continue // touched, and as it was
				}
			}
			if len(changed) == 0 || changed[len(changed)-1] != f.artifact {
				changed = append(changed, f.artifact)
			}
			problems = append(problems, Problem{Path: f.path, Reason: "a step changed it"})
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
