package cache

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/optimize-hcl/optimize/core/lockfile"
)

// FormatVersion is the version of the keys: raising it has every step run again.
const FormatVersion = 1

// Store is an open cache folder. It is safe for concurrent use, by goroutines and by processes.
type Store struct {
	dir string
	// use is the store-wide lock: shared while a store is open, so that a collector can wait for it.
	// It is nil where the store may not be written and has no lock.
	use *os.File
	// readOnly says that the store may be read, but not written: hits work, and nothing is noted.
	readOnly bool

	sessionOnce sync.Once
	session     *workdir
	sessionErr  error

	firstSeen sync.Map // path of a file that a step read → its fileID then; see Watch

	secretMu sync.Mutex
	secret   []byte
}

// DefaultDir is $OPTIMIZE_CACHE, else "optimize" in the user's cache folder. getenv is usually os.Getenv.
func DefaultDir(getenv func(string) string) (string, error) {
	if dir := getenv("OPTIMIZE_CACHE"); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("OPTIMIZE_CACHE=%q cannot be made absolute: %w", dir, err)
		}
		return abs, nil
	}
	var base string
	switch runtime.GOOS {
	case "windows":
		base = getenv("LocalAppData")
	case "darwin":
		if home := getenv("HOME"); home != "" {
			base = filepath.Join(home, "Library", "Caches")
		}
	default:
		base = getenv("XDG_CACHE_HOME")
		if !filepath.IsAbs(base) {
			base = "" // the XDG specification says to ignore a relative one
		}
		if home := getenv("HOME"); base == "" && home != "" {
			base = filepath.Join(home, ".cache")
		}
	}
	if base == "" {
		return "", errors.New("there is no cache folder for this user (no home folder is set): set OPTIMIZE_CACHE to a folder that may be written")
	}
	return filepath.Join(base, "optimize"), nil
}

// Open opens the store in dir, creating it when the folder is absent or empty, migrating it when an older version of
// optimize wrote it, and sweeps what dead processes left. A store that may only be read is opened too: see [Store.ReadOnly].
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, failure("open", dir, err)
	}
	for {
		version, err := checkFormat(dir)
		if err != nil {
			return nil, err
		}
		if version < StoreVersion {
			if err := migrate(dir); err != nil {
				return nil, err
			}
			continue
		}
		s, err := openShared(dir)
		if err != nil {
			return nil, err
		}
		// Whoever held the lock meanwhile may have been another version.
		if again, err := checkFormat(dir); err != nil || again != version {
			s.Close()
			if err != nil {
				return nil, err
			}
			continue
		}
		s.sweep()
		return s, nil
	}
}

// folders are those that every store has.
var folders = []string{"blobs/sha256", "trees/sha256", "records", "used", "latest", "memo", "locks", "tmp"}

func openShared(dir string) (*Store, error) {
	s := &Store{dir: dir}
	path := filepath.Join(dir, "in-use")
	use, err := lockfile.Open(path)
	if unwritable(err) {
		// A store on a read-only disk, or someone else's: nothing is collected by us, so a lock for reading is enough.
		s.readOnly = true
		if use, err = os.Open(path); errors.Is(err, fs.ErrNotExist) {
			return s, nil
		}
	}
	if err != nil {
		return nil, failure("open", path, err)
	}
	if err := lockfile.Shared(use); err != nil {
		use.Close()
		return nil, failure("lock", use.Name(), err)
	}
	s.use = use
	if s.readOnly {
		return s, nil
	}
	if err := s.makeFolders(); err != nil {
		use.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) makeFolders() error {
	for _, sub := range folders {
		if err := os.MkdirAll(filepath.Join(s.dir, filepath.FromSlash(sub)), 0o755); err != nil {
			return failure("create", filepath.Join(s.dir, sub), err)
		}
	}
	return nil
}

func unwritable(err error) bool {
	return err != nil && (isReadOnly(err) || errors.Is(err, fs.ErrPermission))
}

// ReadOnly reports whether the store may only be read: what it holds is found, and nothing can be added.
func (s *Store) ReadOnly() bool { return s.readOnly }

// Close releases the store and removes its temporary files. Transactions that are still open stay usable.
func (s *Store) Close() error {
	s.sessionOnce.Do(func() { s.sessionErr = errors.New("the cache is closed") })
	if s.session != nil {
		s.session.remove()
	}
	if s.use == nil {
		return nil
	}
	return s.use.Close()
}

// Dir is the store's folder, absolute.
func (s *Store) Dir() string { return s.dir }

// workdir is a folder under tmp that belongs to a living process: the lock beside it is held until remove.
type workdir struct {
	path string
	lock *os.File
	once sync.Once
}

func (s *Store) newWorkdir() (*workdir, error) {
	for {
		var raw [12]byte
		rand.Read(raw[:]) // never fails
		path := filepath.Join(s.dir, "tmp", hex.EncodeToString(raw[:]))
		// The lock exists and is held before the folder does, so a sweep never sees a folder without an owner.
		lock, err := lockfile.Open(path + ".lock")
		if err != nil {
			return nil, failure("create", path+".lock", err)
		}
		ok, err := lockfile.Try(lock)
		if err != nil {
			lock.Close()
			return nil, failure("lock", path+".lock", err)
		}
		if !ok || !lockfile.Current(lock) { // a sweep took it in between
			lock.Close()
			continue
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			os.Remove(path + ".lock")
			lock.Close()
			return nil, failure("create", path, err)
		}
		return &workdir{path: path, lock: lock}, nil
	}
}

func (w *workdir) remove() {
	w.once.Do(func() {
		removeTree(w.path)
		lockfile.Remove(w.lock)
	})
}

// scratch is the store's own temporary folder, made when the first file is written.
func (s *Store) scratch() (string, error) {
	s.sessionOnce.Do(func() { s.session, s.sessionErr = s.newWorkdir() })
	if s.sessionErr != nil {
		return "", s.sessionErr
	}
	return s.session.path, nil
}

// sweep removes the temporary folders of processes that ended. It is best effort: what it cannot remove now, a later
// one will.
func (s *Store) sweep() {
	tmp := filepath.Join(s.dir, "tmp")
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(tmp, e.Name())
		if !strings.HasSuffix(e.Name(), ".lock") {
			if _, err := os.Lstat(path + ".lock"); errors.Is(err, fs.ErrNotExist) {
				removeTree(path)
			}
			continue
		}
		lock, err := lockfile.Open(path)
		if err != nil {
			continue
		}
		if ok, err := lockfile.Try(lock); err != nil || !ok || !lockfile.Current(lock) {
			lock.Close()
			continue
		}
		removeTree(strings.TrimSuffix(path, ".lock"))
		lockfile.Remove(lock)
	}
}

// removeTree is os.RemoveAll for folders without write permission.
func removeTree(path string) {
	if os.RemoveAll(path) == nil {
		return
	}
	// What cannot be removed here is swept at the next Open.
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(p, 0o755)
		}
		return nil
	})
	_ = os.RemoveAll(path)
}

// writeFile writes a file of the store: temporary, synced when durable, renamed.
func (s *Store) writeFile(path string, data []byte, mode fs.FileMode, durable bool) error {
	dir, err := s.scratch()
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "w*")
	if err != nil {
		return failure("write", path, err)
	}
	_, err = tmp.Write(data)
	if durable {
		err = errors.Join(err, tmp.Sync())
	}
	err = errors.Join(err, tmp.Chmod(mode), tmp.Close())
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err == nil && durable {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		os.Remove(tmp.Name())
		return failure("write", path, err)
	}
	return nil
}

// Lock waits until no other goroutine or process holds the key's lock, and takes it. sum is [Key.Sum]. It returns
// ctx.Err() when ctx ends first. The lock of a process that dies is free.
func (s *Store) Lock(ctx context.Context, sum string) (unlock func(), err error) {
	if !isName(sum) {
		return nil, fmt.Errorf("cannot lock %q: not a sum", sum)
	}
	path := filepath.Join(s.dir, "locks", sum)
	unlock, err = lockfile.Wait(ctx, path)
	if err != nil && ctx.Err() == nil {
		return nil, failure("lock", path, err)
	}
	return unlock, err
}

// isName guards paths: sums and digests come from records, which anyone may have edited.
func isName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// isDigest reports whether s is a SHA-256 in lower-case hex.
func isDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func (s *Store) blobPath(digest string) string {
	return filepath.Join(s.dir, "blobs", "sha256", digest[:2], digest)
}

func (s *Store) treePath(digest string) string {
	return filepath.Join(s.dir, "trees", "sha256", digest[:2], digest)
}

func (s *Store) recordPath(sum string) string {
	return filepath.Join(s.dir, "records", sum[:2], sum+".json")
}
