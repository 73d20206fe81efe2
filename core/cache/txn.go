package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"
)

// Txn is a step at work: a place for its outputs on the store's file system.
type Txn struct {
	// OutDir is empty; only what lands here can be kept.
	OutDir string
	// ScratchDir is for the step's temporary files.
	ScratchDir string

	store *Store
	work  *workdir
}

// Output says where a step put one of its outputs.
type Output struct {
	Kind, Format string
	// Path is relative to OutDir: a file or a folder; "." is all of OutDir.
	Path   string
	Labels map[string]string
}

// Meta is what a record tells beside the key and the outputs.
type Meta struct {
	Started          time.Time
	Duration         time.Duration
	PluginVersion    string
	Nondeterministic bool
}

// Begin makes room for a step's outputs. The caller must call Discard in the end, also after Commit.
func (s *Store) Begin() (*Txn, error) {
	w, err := s.newWorkdir()
	if err != nil {
		return nil, err
	}
	t := &Txn{OutDir: filepath.Join(w.path, "out"), ScratchDir: filepath.Join(w.path, "scratch"), store: s, work: w}
	for _, dir := range []string{t.OutDir, t.ScratchDir, t.host()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			w.remove()
			return nil, failure("create", dir, err)
		}
	}
	return t, nil
}

// Discard removes everything that was not committed. It may be called more than once.
func (t *Txn) Discard() { t.work.remove() }

// host is the store's own folder within the transaction.
func (t *Txn) host() string { return filepath.Join(t.work.path, "host") }

// outputFile is one regular file below OutDir.
type outputFile struct {
	path   string // absolute, where the step wrote it
	sealed string // what becomes the blob: path, or a copy of it
	rel    string // in its tree, with forward slashes; empty for a file output
	digest string
	size   int64
}

// cheap is work that is done again sooner than its record is on the disk.
const cheap = 20 * time.Millisecond

// Commit moves the outputs into the store and then records them under the key. Files are hashed in parallel, synced,
// made read-only and renamed; the record comes last. Links, special files and paths that leave OutDir are refused.
// name is the step's address, for [Store.Explain]. Whatever lies in OutDir beside the outputs is dropped.
func (t *Txn) Commit(ctx context.Context, key Key, name string, outputs map[string]Output, result json.RawMessage, meta Meta) (*Record, error) {
	if len(result) > 0 && !json.Valid(result) {
		return nil, errors.New("the step's result is not valid JSON: this is a bug in the plugin")
	}
	names := make([]string, 0, len(outputs))
	for n := range outputs {
		names = append(names, n)
	}
	sort.Strings(names)

	files := make(map[string][]*outputFile, len(outputs)) // by output
	trees := make(map[string]bool, len(outputs))
	byPath := map[string]*outputFile{}
	for _, n := range names {
		list, tree, err := t.collect(n, outputs[n].Path)
		if err != nil {
			return nil, err
		}
		files[n], trees[n] = list, tree
		for _, f := range list {
			byPath[f.path] = f
		}
	}
	if err := t.ingest(ctx, byPath); err != nil {
		return nil, err
	}
	_, addr := SplitName(name)
	rec := &Record{
		Schema: recordSchema, Key: key, Sum: key.Sum(), Name: addr, Outputs: make(map[string]Artifact, len(outputs)), Result: result,
		Started: meta.Started, Duration: meta.Duration, PluginVersion: meta.PluginVersion, Nondeterministic: meta.Nondeterministic,
	}
	for _, n := range names {
		o := outputs[n]
		a := Artifact{Kind: o.Kind, Format: o.Format, Labels: o.Labels, Tree: trees[n]}
		if !a.Tree {
			f := byPath[files[n][0].path] // two outputs may name one file
			a.Digest, a.Size, a.Path = f.digest, f.size, t.store.blobPath(f.digest)
		} else if err := t.commitTree(ctx, &a, files[n], byPath); err != nil {
			return nil, err
		}
		rec.Outputs[n] = a
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// First, so that a record is never older than the last use that is known of it.
	t.store.noteUse(name, rec.Sum)
	if err := t.store.writeRecord(rec); err != nil {
		return nil, err
	}
	t.store.setLatest(name, rec.Sum)
	return rec, nil
}

// collect lists the regular files of one output and refuses everything else.
func (t *Txn) collect(output, rel string) (files []*outputFile, tree bool, err error) {
	refuse := func(path, why string) error {
		return fmt.Errorf("output %q: %s %s: this is a bug in the plugin", output, filepath.ToSlash(path), why)
	}
	local := filepath.Clean(filepath.FromSlash(rel))
	if rel == "" || !filepath.IsLocal(local) {
		return nil, false, refuse(fmt.Sprintf("%q", rel), "is not a path in the output folder")
	}
	// What is committed is moved: behind a link lie files that are somebody else's.
	for _, dir := range []string{t.work.path, t.OutDir} {
		if info, err := os.Lstat(dir); err != nil {
			return nil, false, failure("read", dir, err)
		} else if !info.IsDir() {
			return nil, false, refuse("the output folder", "was replaced by something that is no folder")
		}
	}
	// Each folder on the way must be a folder, not a link to elsewhere.
	at := t.OutDir
	var info fs.FileInfo
	for _, part := range strings.Split(local, string(filepath.Separator)) {
		at = filepath.Join(at, part)
		info, err = os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, false, refuse(rel, "was declared but not written")
		}
		if err != nil {
			return nil, false, failure("read", at, err)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return nil, false, refuse(rel, "is a link; outputs must be files of their own")
		}
	}
	if info.Mode().IsRegular() {
		return []*outputFile{{path: at, size: info.Size()}}, false, nil
	}
	if !info.IsDir() {
		return nil, false, refuse(rel, "is neither a file nor a folder")
	}
	err = filepath.WalkDir(at, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return failure("read", path, err)
		}
		if d.IsDir() {
			return nil
		}
		in, err := filepath.Rel(at, path)
		if err != nil {
			return err
		}
		slash := filepath.ToSlash(in)
		shown := filepath.Join(rel, in)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			return refuse(shown, "is a link; outputs must be files of their own")
		case !d.Type().IsRegular():
			return refuse(shown, "is not a regular file")
		case !utf8.ValidString(slash) || !isTreePath(slash):
			return refuse(fmt.Sprintf("%q", shown), "is a name that not every system can hold")
		}
		files = append(files, &outputFile{path: path, rel: slash})
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	if len(files) == 0 {
		return nil, false, refuse(rel, "is an empty folder")
	}
	sort.Slice(files, func(i, j int) bool { return files[i].rel < files[j].rel })
	return files, true, nil
}

// ingest hashes the files and moves them into the blobs. Folders are synced once each at the end.
func (t *Txn) ingest(ctx context.Context, files map[string]*outputFile) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, f := range files {
		g.Go(func() error { return t.seal(ctx, f) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	dirs := map[string]bool{}
	for _, f := range files {
		if err := t.store.adopt(f.sealed, f.digest, f.size); err != nil {
			return err
		}
		dirs[filepath.Dir(t.store.blobPath(f.digest))] = true
	}
	return t.store.syncBlobs(dirs)
}

// seal hashes and syncs one file and takes its write permission. A file with a second name is copied first, as is one that
// is still open for writing: whoever has it could go on.
func (t *Txn) seal(ctx context.Context, f *outputFile) error {
	in, err := os.Open(f.path)
	if err != nil {
		return failure("read", f.path, err)
	}
	id, err := identify(in)
	if err == nil && (id.links > 1 || beingWritten(in)) {
		err = t.sealCopy(ctx, f, in)
	}
	in.Close()
	if err != nil {
		return failure("read", f.path, err)
	}
	if f.sealed != "" {
		return nil
	}
	// The plugin may have made it read-only; syncing wants it writable on some systems.
	_ = os.Chmod(f.path, 0o644)
	if in, err = os.OpenFile(f.path, os.O_RDWR, 0); err != nil {
		return failure("read", f.path, err)
	}
	defer in.Close()
	if f.digest, f.size, err = hashReader(ctx, in, nil); err != nil {
		return failure("read", f.path, err)
	}
	if err := errors.Join(in.Sync(), in.Chmod(0o444)); err != nil {
		return failure("write", f.path, err)
	}
	f.sealed = f.path
	return nil
}

func (t *Txn) sealCopy(ctx context.Context, f *outputFile, in *os.File) error {
	stage, err := os.MkdirTemp(t.host(), "copy")
	if err != nil {
		return failure("write", f.path, err)
	}
	to := filepath.Join(stage, "f")
	if f.digest, f.size, err = copyOpen(ctx, in, to, 0o444); err != nil {
		return failure("write", to, err)
	}
	f.sealed = to
	return nil
}

// adopt moves a sealed file to its place among the blobs; the folder is synced by the caller.
func (s *Store) adopt(path, digest string, size int64) error {
	to := s.blobPath(digest)
	if isFileOfSize(to, size) {
		return nil // the same bytes are there; the file goes with the temporary folder
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return failure("create", to, err)
	}
	if err := os.Rename(path, to); err != nil && !isFileOfSize(to, size) {
		return failure("write", to, err)
	}
	return nil
}

// syncBlobs makes the renames into these folders durable, and the folders themselves.
func (s *Store) syncBlobs(dirs map[string]bool) error {
	dirs[filepath.Join(s.dir, "blobs", "sha256")] = true
	for d := range dirs {
		if err := syncDir(d); err != nil {
			return failure("write", d, err)
		}
	}
	return nil
}

// commitTree writes the manifest of a tree whose files are blobs already, and its folder.
func (t *Txn) commitTree(ctx context.Context, a *Artifact, files []*outputFile, byPath map[string]*outputFile) error {
	m := manifest{Schema: treeSchema}
	for _, f := range files {
		sealed := byPath[f.path]
		m.Files = append(m.Files, treeEntry{Path: f.rel, Digest: sealed.digest, Size: sealed.size})
	}
	data, err := m.encode()
	if err != nil {
		return err
	}
	stage, err := os.MkdirTemp(t.host(), "manifest")
	if err != nil {
		return failure("write", t.host(), err)
	}
	f := &outputFile{path: filepath.Join(stage, "m")}
	if err := os.WriteFile(f.path, data, 0o644); err != nil {
		return failure("write", f.path, err)
	}
	if err := t.ingest(ctx, map[string]*outputFile{f.path: f}); err != nil {
		return err
	}
	if err := t.store.materialise(t.host(), f.digest, m); err != nil {
		return err
	}
	a.Digest, a.Size, a.Path = f.digest, m.size(), t.store.treePath(f.digest)
	return nil
}
