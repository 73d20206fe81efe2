package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Problem is something in the store that is not as it should be.
type Problem struct {
	// Path is the file or the folder.
	Path string
	// Reason says what is wrong: "its bytes hash to 12ab…".
	Reason string
	// Steps are those that have to run again when it is removed.
	Steps []Use
}

// Verify hashes every blob and checks every tree and record. It changes nothing; the error is about not being able to
// look. A record whose outputs are missing is no problem: it is a miss.
func (s *Store) Verify(ctx context.Context) ([]Problem, error) {
	var mu sync.Mutex
	var problems []Problem
	report := func(path, reason string) {
		mu.Lock()
		defer mu.Unlock()
		problems = append(problems, Problem{Path: path, Reason: reason})
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	err := walkFiles(gctx, filepath.Join(s.dir, "blobs", "sha256"), func(path string) {
		g.Go(func() error { return s.verifyBlob(gctx, path, report) })
	})
	if err = errors.Join(err, g.Wait()); err != nil {
		return nil, err
	}
	if err := s.verifyTrees(ctx, report); err != nil {
		return nil, err
	}
	c, err := s.contents(ctx)
	if err != nil {
		return nil, err
	}
	for _, path := range c.damaged {
		report(path, "it is no record that can be read")
	}
	if key, err := os.ReadFile(filepath.Join(s.dir, "secret")); err == nil && len(key) != secretSize {
		report(filepath.Join(s.dir, "secret"), fmt.Sprintf("it has %d bytes instead of %d", len(key), secretSize))
	}
	concern(problems, c.entries)
	sort.Slice(problems, func(i, j int) bool { return problems[i].Path < problems[j].Path })
	return problems, nil
}

// concern notes which steps need what is damaged.
func concern(problems []Problem, entries []Entry) {
	needs := map[string][]Use{}
	for _, e := range entries {
		if e.Record == nil {
			continue
		}
		uses := e.Uses
		if len(uses) == 0 {
			uses = []Use{{Addr: e.Record.Name}}
		}
		for _, d := range e.blobs { // a tree's own digest is among them
			needs[d] = append(needs[d], uses...)
		}
	}
	for i := range problems {
		for _, u := range needs[filepath.Base(problems[i].Path)] {
			if !slices.Contains(problems[i].Steps, u) {
				problems[i].Steps = append(problems[i].Steps, u)
			}
		}
	}
}

// Repair removes what Verify reported, so that the steps concerned run again.
func (s *Store) Repair(problems []Problem) error {
	var errs []error
	for _, p := range problems {
		errs = append(errs, s.discard(p.Path))
	}
	return errors.Join(errs...)
}

func (s *Store) verifyBlob(ctx context.Context, path string, report func(path, reason string)) error {
	f, err := os.Open(path)
	if err != nil {
		return failure("read", path, err)
	}
	defer f.Close()
	digest, _, err := hashReader(ctx, f, nil)
	if err != nil {
		return failure("read", path, err)
	}
	if digest != filepath.Base(path) {
		report(path, "its bytes hash to "+short(digest))
	}
	return nil
}

func (s *Store) verifyTrees(ctx context.Context, report func(path, reason string)) error {
	roots, err := filepath.Glob(filepath.Join(s.dir, "trees", "sha256", "*", "*"))
	if err != nil {
		return failure("read", s.dir, err)
	}
	for _, root := range roots {
		digest := filepath.Base(root)
		m, ok := manifest{}, false
		if isDigest(digest) {
			m, ok = s.readManifest(digest)
		}
		if !ok {
			report(root, "its manifest is missing or damaged")
			continue
		}
		for _, f := range m.Files {
			path := filepath.Join(root, filepath.FromSlash(f.Path))
			got, err := verifyFile(ctx, path)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil || got != f.Digest {
				report(root, f.Path+" is missing or damaged")
				break
			}
		}
	}
	return nil
}

// verifyFile never uses the memo: it looks for what the memo cannot see.
func verifyFile(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	digest, _, err := hashReader(ctx, f, nil)
	return digest, err
}

// walkFiles calls visit for every file. What vanishes meanwhile is passed over.
func walkFiles(ctx context.Context, root string, visit func(path string)) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return failure("read", path, err)
		}
		if !d.IsDir() {
			visit(path)
		}
		return nil
	})
}
