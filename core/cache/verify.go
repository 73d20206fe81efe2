package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Problem is something in the store that is not as it should be.
type Problem struct {
	// Path is the file or the folder.
	Path string
	// Reason says what is wrong: "its bytes hash to 12ab…".
	Reason string
}

// Verify hashes every blob and checks every tree and record. It changes nothing; the error is about not being able to
// look. A record whose outputs are missing is no problem: it is a miss.
func (s *Store) Verify(ctx context.Context) ([]Problem, error) {
	var mu sync.Mutex
	var problems []Problem
	report := func(path, reason string) {
		mu.Lock()
		defer mu.Unlock()
		problems = append(problems, Problem{path, reason})
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
	err = walkFiles(ctx, filepath.Join(s.dir, "records"), func(path string) {
		sum := strings.TrimSuffix(filepath.Base(path), ".json")
		if !isDigest(sum) || path != s.recordPath(sum) || s.readRecord(sum) == nil {
			report(path, "it is not a record of this version")
		}
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(problems, func(i, j int) bool { return problems[i].Path < problems[j].Path })
	return problems, nil
}

// Repair removes what Verify reported, so that the steps concerned run again.
func (s *Store) Repair(problems []Problem) error {
	var errs []error
	for _, p := range problems {
		removeTree(p.Path)
		if _, err := os.Lstat(p.Path); err == nil {
			errs = append(errs, failure("remove", p.Path, fs.ErrPermission))
		}
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
