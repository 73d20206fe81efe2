package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/core/lockfile"
)

// StoreVersion is the version of the folder's layout. A store of an older one is migrated when it is opened; see
// [migrations].
const StoreVersion = 2

const formatPrefix = "optimize-cache "

// checkFormat reads the version from FORMAT, or writes it in a new folder. A folder with other things in it is left
// alone: a mistyped OPTIMIZE_CACHE must not scatter files over someone's work.
func checkFormat(dir string) (version int, err error) {
	path := filepath.Join(dir, "FORMAT")
	text, err := readBounded(path)
	if err == nil {
		return parseFormat(dir, string(text))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return 0, failure("read", path, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, failure("create", dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, failure("read", dir, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "FORMAT") {
			continue
		}
		// Another process may have created the store since the first look.
		if text, err := readBounded(path); err == nil {
			return parseFormat(dir, string(text))
		}
		return 0, fmt.Errorf("%s is not a cache of optimize (it holds %q and no FORMAT file): set OPTIMIZE_CACHE to an empty or a new folder", dir, e.Name())
	}
	return StoreVersion, writeFormat(dir, StoreVersion)
}

// writeFormat replaces FORMAT in one step.
func writeFormat(dir string, version int) error {
	path := filepath.Join(dir, "FORMAT")
	tmp, err := os.CreateTemp(dir, "FORMAT.*")
	if err != nil {
		return failure("create", path, err)
	}
	_, err = fmt.Fprintf(tmp, "%s%d\n", formatPrefix, version)
	err = errors.Join(err, tmp.Sync(), tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return failure("write", path, err)
	}
	return nil
}

func parseFormat(dir, text string) (int, error) {
	number, ok := strings.CutPrefix(strings.TrimSpace(text), formatPrefix)
	v, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil || v < 1:
		return 0, fmt.Errorf("the FORMAT file of the cache %s is damaged (%.40q): delete the folder, or set OPTIMIZE_CACHE to another one", dir, text)
	case v > StoreVersion:
		return 0, fmt.Errorf("the cache %s has format %d, which a newer version of optimize wrote; this one reads up to format %d: update optimize, or set OPTIMIZE_CACHE to another folder", dir, v, StoreVersion)
	}
	return v, nil
}

// migrations bring a store from a version to the next one. A step may be cut off anywhere and is then done again from its
// beginning, so it must pass over what it has done already.
var migrations = map[int]func(s *Store) error{1: portableRecords}

// migrateWait is how long a migration waits for other processes to leave the store.
var migrateWait = 10 * time.Second

// migrate brings an old store to StoreVersion, step by step, while nobody else has it open. FORMAT changes after each
// step, so one that is killed is found again by the next Open.
func migrate(dir string) error {
	s := &Store{dir: dir}
	ctx, cancel := context.WithTimeout(context.Background(), migrateWait)
	defer cancel()
	lock, err := waitExclusive(ctx, filepath.Join(dir, "in-use"))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the cache %s has an older format, and it cannot be changed to format %d while another optimize uses it: try again when that one has ended, or set OPTIMIZE_CACHE to another folder", dir, StoreVersion)
	case err != nil:
		return failure("migrate", dir, err)
	}
	s.use = lock
	defer s.Close()
	if err := s.makeFolders(); err != nil {
		return err
	}
	s.sweep()
	for {
		version, err := checkFormat(dir)
		if err != nil || version >= StoreVersion {
			return err // another process may have been faster
		}
		if err := migrations[version](s); err != nil {
			return err
		}
		if err := writeFormat(dir, version+1); err != nil {
			return err
		}
	}
}

// waitExclusive takes the lock at path for this process alone, or gives ctx's error. The file stays.
func waitExclusive(ctx context.Context, path string) (*os.File, error) {
	f, err := lockfile.Open(path)
	if err != nil {
		return nil, err
	}
	for wait := time.Millisecond; ; wait = min(wait*2, 50*time.Millisecond) {
		ok, err := lockfile.Try(f)
		if ok && err == nil {
			return f, nil
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}
