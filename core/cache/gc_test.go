package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const collectorEnv = "OPTIMIZE_TEST_CACHE_COLLECTOR"

func forever() Limits { return Limits{MaxSize: -1, Keep: -1, Wait: time.Second} }

// age makes a record one that was used so long ago.
func age(t testing.TB, s *Store, rec *Record, by time.Duration) {
	t.Helper()
	at := time.Now().Add(-by)
	for _, path := range []string{s.usedPath(rec.Sum), s.recordPath(rec.Sum)} {
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func commitTree(t testing.TB, s *Store, key Key, name string, files map[string]string) *Record {
	t.Helper()
	txn, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Discard()
	for p, text := range files {
		write(t, filepath.Join(txn.OutDir, filepath.FromSlash(p)), text)
	}
	rec, err := txn.Commit(context.Background(), key, name, map[string]Output{"": {Kind: "dataset", Path: "."}}, nil, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func names(entries []Entry) (out []string) {
	for _, e := range entries {
		if e.Record != nil {
			out = append(out, e.Record.Name)
		}
	}
	return out
}

func sound(t *testing.T, s *Store) {
	t.Helper()
	problems, err := s.Verify(context.Background())
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
}

func TestCollect(t *testing.T) {
	ctx := context.Background()
	day := 24 * time.Hour
	setup := func(t *testing.T) (*Store, [3]*Record) {
		s := open(t)
		a := commit(t, s, testKey(`{"n":1}`), "a", strings.Repeat("a", 1000))
		b := commit(t, s, testKey(`{"n":2}`), "b", strings.Repeat("b", 1000))
		c := commitTree(t, s, testKey(`{"n":3}`), "c", map[string]string{"x/shared": strings.Repeat("b", 1000), "own": strings.Repeat("c", 1000)})
		age(t, s, a, 3*day)
		age(t, s, b, 2*day)
		age(t, s, c, day)
		return s, [3]*Record{a, b, c}
	}
	t.Run("age", func(t *testing.T) {
		s, recs := setup(t)
		l := forever()
		l.Keep = 36 * time.Hour
		out, err := s.Collect(ctx, l)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(out.Removed); !slices.Equal(got, []string{"a", "b"}) || out.Kept != 1 || out.Freed != 1000 {
			t.Fatalf("removed %v, kept %d, freed %d: the blob that b shares with c must stay", got, out.Kept, out.Freed)
		}
		for i, hit := range []bool{false, false, true} {
			if _, ok := s.Lookup(recs[i].Sum); ok != hit {
				t.Errorf("record %d: hit %v", i, ok)
			}
		}
		if _, ok := s.Blob(recs[0].Outputs["model"].Digest); ok {
			t.Error("a blob that nobody needs stayed")
		}
		if _, ok := s.Latest("a"); ok {
			t.Error("a removed record is still the latest of its name")
		}
		sound(t, s)
	})
	t.Run("size, least recently used first", func(t *testing.T) {
		s, _ := setup(t)
		l := forever()
		l.MaxSize = 2500
		dry := l
		dry.DryRun = true
		would, err := s.Collect(ctx, dry)
		if err != nil {
			t.Fatal(err)
		}
		if _, total, _ := s.Entries(ctx); total < 3000 {
			t.Fatal("a dry run removed something")
		}
		out, err := s.Collect(ctx, l)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(out.Removed); !slices.Equal(got, []string{"a"}) || out.Size > 2500 || out.Freed != would.Freed || out.Kept != 2 {
			t.Fatalf("removed %v, left %d, kept %d; a dry run said %d freed, it was %d", got, out.Size, out.Kept, would.Freed, out.Freed)
		}
		entries, total, err := s.Entries(ctx)
		if err != nil || total != out.Size || !slices.Equal(names(entries), []string{"c", "b"}) {
			t.Fatalf("%v hold %d, not %d: %v", names(entries), total, out.Size, err)
		}
		sound(t, s)
	})
	t.Run("everything", func(t *testing.T) {
		s, _ := setup(t)
		user := write(t, filepath.Join(t.TempDir(), "m.onnx"), "a model")
		if _, err := s.Import(ctx, user); err != nil {
			t.Fatal(err)
		}
		l := forever()
		l.MaxSize = 0
		out, err := s.Collect(ctx, l)
		if err != nil {
			t.Fatal(err)
		}
		if _, total, _ := s.Entries(ctx); total != 0 || out.Kept != 0 || len(out.Removed) != 4 {
			t.Fatalf("%d bytes stay; %+v", total, out)
		}
		for _, dir := range []string{"blobs", "trees", "records", "used", "latest", "locks"} {
			_ = walkFiles(ctx, filepath.Join(s.Dir(), dir), func(path string) { t.Errorf("%s stays", path) })
		}
		// It is a store like a new one.
		if _, err := s.Import(ctx, user); err != nil {
			t.Fatal(err)
		}
		commit(t, s, testKey(`{"n":1}`), "a", "anew")
		sound(t, s)
	})
	t.Run("a damaged record goes", func(t *testing.T) {
		s, recs := setup(t)
		overwrite(t, s.recordPath(recs[2].Sum), "{")
		out, err := s.Collect(ctx, forever())
		if err != nil || out.Damaged != 1 || !missing(s.recordPath(recs[2].Sum)) {
			t.Fatal(out, err)
		}
	})
	t.Run("small files", func(t *testing.T) {
		s, _ := setup(t)
		old := time.Now().Add(-40 * day)
		memo := write(t, filepath.Join(s.Dir(), "memo", "ab", "1-2"), "1 1 1 1 x\n")
		plug := write(t, filepath.Join(s.Dir(), "plugins", "demo-1.describe"), "x")
		gone := write(t, filepath.Join(s.Dir(), "published", "11"), filepath.Join(t.TempDir(), "gone")+"\n")
		here := write(t, filepath.Join(s.Dir(), "published", "22"), t.TempDir()+"\n")
		lock := write(t, filepath.Join(s.Dir(), "locks", "33"), "")
		for _, p := range []string{memo, plug} {
			if err := os.Chtimes(p, old, old); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Collect(ctx, forever()); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{memo, plug, gone, lock} {
			if !missing(p) {
				t.Errorf("%s stays", p)
			}
		}
		if missing(here) {
			t.Error("a folder that outputs were published to is forgotten")
		}
	})
}

// A store that another process has open is left alone.
func TestCollectInUse(t *testing.T) {
	s := open(t)
	rec := commit(t, s, testKey(`{}`), "a", "bytes")
	other, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	l := forever()
	l.MaxSize, l.Wait = 0, 20*time.Millisecond
	var busy *InUseError
	if _, err := s.Collect(context.Background(), l); !errors.As(err, &busy) || !strings.Contains(err.Error(), "--wait") {
		t.Fatal(err)
	}
	if _, ok := other.Lookup(rec.Sum); !ok {
		t.Fatal("what another process uses was removed")
	}
	// It waits for as long as it may.
	go func() { time.Sleep(50 * time.Millisecond); other.Close() }()
	l.Wait = 10 * time.Second
	if _, err := s.Collect(context.Background(), l); err != nil {
		t.Fatal(err)
	}
	// Afterwards others come in again, and the store is shared as before.
	again, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	l.Wait = 0
	if _, err := again.Collect(context.Background(), l); !errors.As(err, &busy) {
		t.Fatal("the collector gave its lock away: ", err)
	}
}

// A hit notes its use, but not more than once an hour.
func TestLastUse(t *testing.T) {
	s := open(t)
	rec := commit(t, s, testKey(`{}`), Name("/r", "step.a"), "bytes")
	s.Used(Name("/q", "step.b"), rec.Sum)
	near := time.Now().Add(-useGrain / 2)
	old := time.Now().Add(-2 * useGrain)
	for _, c := range []struct {
		at    time.Time
		moves bool
	}{{near, false}, {old, true}} {
		if err := os.Chtimes(s.usedPath(rec.Sum), c.at, c.at); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(s.recordPath(rec.Sum), old, old); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Lookup(rec.Sum); !ok {
			t.Fatal("a miss")
		}
		if moved := s.lastUse(rec.Sum).Sub(c.at).Abs() > time.Minute; moved != c.moves {
			t.Errorf("a use %s ago: noted anew is %v", time.Since(c.at).Round(time.Minute), moved)
		}
	}
	want := []Use{{"/r", "step.a"}, {"/q", "step.b"}}
	if got := s.uses(rec.Sum); !slices.Equal(got, want) {
		t.Fatalf("uses %v", got)
	}
	for i := range 2 * maxUses {
		s.Used(Name(fmt.Sprint("/", i), "step.a"), rec.Sum)
	}
	if n := len(s.uses(rec.Sum)); n != maxUses {
		t.Errorf("%d uses are remembered", n)
	}
}

// collector commits and collects until it is killed.
func collector(dir string) {
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	s, err := Open(dir)
	check(err)
	for {
		for i := range 6 {
			txn, err := s.Begin()
			check(err)
			check(os.MkdirAll(filepath.Join(txn.OutDir, "t", "sub"), 0o755))
			for j := range 8 {
				check(os.WriteFile(filepath.Join(txn.OutDir, "t", "sub", fmt.Sprint(j)), []byte(fmt.Sprint("file ", (i+j)%11)), 0o644))
			}
			check(os.WriteFile(filepath.Join(txn.OutDir, "f"), []byte(strings.Repeat(fmt.Sprint(i), 5000)), 0o644))
			_, err = txn.Commit(context.Background(), testKey(fmt.Sprint(i)), "c", map[string]Output{"f": {Path: "f"}, "t": {Path: "t"}}, nil, Meta{})
			check(err)
			txn.Discard()
		}
		fmt.Println("collects")
		_, err = s.Collect(context.Background(), Limits{MaxSize: int64(rand.IntN(20000)), Keep: -1, Wait: time.Second})
		check(err)
	}
}

// Killed in the middle of a collection, it leaves a sound store: each record that stays has all its files.
func TestKillCollector(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	defer removeTree(dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for range rounds {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), collectorEnv+"="+dir)
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 8)); err != nil { // it begins to collect
			cmd.Process.Kill()
			t.Fatal(err, cmd.Wait(), said.String())
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		cmd.Process.Kill()
		cmd.Wait()
		if said.Len() > 0 {
			t.Fatal(said.String())
		}
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		sound(t, s)
		entries, _, err := s.Entries(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !e.Whole {
				t.Errorf("record %s has lost files", e.Sum)
			}
		}
		s.Close()
	}
}
