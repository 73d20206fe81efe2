package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/core/lockfile"
	"github.com/zclconf/go-cty/cty"
)

const migratorEnv = "OPTIMIZE_TEST_CACHE_MIGRATOR"

// oldStore copies testdata/format1, which the version of optimize that knew format 1 wrote.
func oldStore(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	t.Cleanup(func() { removeTree(dir) })
	err := filepath.WalkDir("testdata/format1", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel("testdata/format1", path)
		write(t, filepath.Join(dir, rel), read(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// The sums in testdata/format1.
const (
	oldDigits = "45224d463a2f8b50239c23d092d2f116caf9fcdae8b023e1e882176c57a753e5"
	oldTrain  = "19078d5514996169adacb17d3b73b22a8f187eb10f41e3873c9895e38cc703e6"
)

func TestMigrate(t *testing.T) {
	dir := oldStore(t)
	then := time.Now().Add(-100 * time.Hour).Truncate(time.Second)
	at := filepath.Join(dir, "records", oldTrain[:2], oldTrain+".json")
	if err := os.Chtimes(at, then, then); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := read(t, filepath.Join(dir, "FORMAT")); got != "optimize-cache 2\n" {
		t.Fatalf("FORMAT %q", got)
	}
	sound(t, s)
	entries, _, err := s.Entries(context.Background())
	if err != nil || len(entries) != 4 {
		t.Fatal(len(entries), err)
	}
	for _, e := range entries {
		rec, ok := s.Lookup(e.Sum)
		if !ok || rec.Schema != recordSchema || strings.Contains(rec.Name, "/") || len(e.Uses) != 1 || !strings.HasPrefix(e.Uses[0].Place, "/home/") || e.Uses[0].Addr != rec.Name {
			t.Errorf("%s: hit %v, %+v, uses %v", e.Sum, ok, rec, e.Uses)
		}
		if strings.Contains(read(t, s.recordPath(e.Sum)), "/home") {
			t.Errorf("record %s names a folder of this machine", e.Sum)
		}
	}
	// What a step gave last, and when it served, is known still.
	rec, ok := s.Latest(Name("/home/ada/digits", "step.int8"))
	if !ok || string(rec.Key.Config) != `{"per_channel":false}` || rec.Duration != 1500*time.Millisecond || string(rec.Result) != `{"nodes":8}` {
		t.Fatalf("%+v", rec)
	}
	if rec, ok := s.Latest(Name("/home/bob/r", `step.q["a:b"]`)); !ok || rec.Name != `step.q["a:b"]` {
		t.Fatal("the colon in a key of for_each was taken for the end of the folder")
	}
	changes := s.Explain(Name("/home/ada/digits", "step.int8"), testKey(`{"per_channel":true}`))
	if fmt.Sprint(changes) != "[config.per_channel false → true]" {
		t.Errorf("changes %v", changes)
	}
	// The secret is the same, so steps with sensitive values hit too.
	k := testKey("")
	k.StepType = "demo_copy"
	if k.Config, err = s.CanonicalConfig(cty.ObjectVal(map[string]cty.Value{"token": cty.StringVal("hunter2").Mark("sensitive")})); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Lookup(k.Sum()); !ok {
		t.Error("a step with a sensitive value runs again")
	}
	// A second time nothing is left to do.
	before := read(t, s.recordPath(oldDigits))
	if err := portableRecords(s); err != nil {
		t.Fatal(err)
	}
	if read(t, s.recordPath(oldDigits)) != before {
		t.Error("the migration is not done after it was done")
	}
}

func TestMigrateKeepsLastUse(t *testing.T) {
	dir := oldStore(t)
	then := time.Now().Add(-100 * time.Hour).Truncate(time.Second)
	at := filepath.Join(dir, "records", oldTrain[:2], oldTrain+".json")
	if err := os.Chtimes(at, then, then); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	info, err := os.Stat(s.usedPath(oldTrain))
	if err != nil || !info.ModTime().Equal(then) {
		t.Fatalf("last use %v, want %v: %v", info.ModTime(), then, err)
	}
}

// While another process has the old store open it cannot be changed; the message says what to do.
func TestMigrateInUse(t *testing.T) {
	dir := oldStore(t)
	use, err := lockfile.Open(filepath.Join(dir, "in-use"))
	if err != nil {
		t.Fatal(err)
	}
	if err := lockfile.Shared(use); err != nil {
		t.Fatal(err)
	}
	defer func(d time.Duration) { migrateWait = d }(migrateWait)
	migrateWait = 30 * time.Millisecond
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "try again when that one has ended") {
		t.Fatal(err)
	}
	migrateWait = 10 * time.Second
	go func() { time.Sleep(50 * time.Millisecond); use.Close() }()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestNewerStore(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "FORMAT"), "optimize-cache 3\n")
	_, err := Open(dir)
	if err == nil || !strings.Contains(err.Error(), "update optimize, or set OPTIMIZE_CACHE to another folder") {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Error("a store that is not ours was changed")
	}
}

func migrator(dir string) {
	s, err := Open(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.Close()
}

// A migration that is killed at any moment is finished by the next Open, and nothing is lost.
func TestKillMigration(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rounds, many := 3, 60
	if testing.Short() {
		rounds, many = 1, 30
	}
	for range rounds {
		dir := oldStore(t)
		var model map[string]any
		if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "records", oldDigits[:2], oldDigits+".json"))), &model); err != nil {
			t.Fatal(err)
		}
		sums := map[string]string{} // by name
		for i := range many {
			key := testKey(fmt.Sprintf(`{"n":%d}`, i))
			name := fmt.Sprintf("/home/ada/digits:step.q[\"%d\"]", i)
			model["key"], model["sum"], model["name"] = key, key.Sum(), name
			text, err := json.MarshalIndent(model, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "records", key.Sum()[:2], key.Sum()+".json"), string(text))
			write(t, (&Store{dir: dir}).latestPath(name), key.Sum()+"\n")
			sums[oldName(name)] = key.Sum()
		}
		kills := 0
		for i := range 15 {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), migratorEnv+"="+dir)
			var said strings.Builder
			cmd.Stderr = &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(5+rand.IntN(20)+4*i) * time.Millisecond)
			cmd.Process.Kill()
			cmd.Wait()
			if said.Len() > 0 {
				t.Fatal(said.String())
			}
			if read(t, filepath.Join(dir, "FORMAT")) == "optimize-cache 2\n" {
				break
			}
			kills++
		}
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		sound(t, s)
		for name, sum := range sums {
			if _, ok := s.Lookup(sum); !ok {
				t.Errorf("record %s is lost", sum)
			}
			if rec, ok := s.Latest(name); !ok || rec.Sum != sum {
				t.Errorf("what %q gave last is lost", name)
			}
		}
		if entries, _, _ := s.Entries(context.Background()); len(entries) != 4+many {
			t.Errorf("%d entries, want %d", len(entries), 4+many)
		}
		s.Close()
		t.Logf("killed %d times before it came to its end", kills)
	}
}
