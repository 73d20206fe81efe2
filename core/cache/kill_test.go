package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const writerEnv = "OPTIMIZE_TEST_CACHE_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		writer(dir)
		return
	}
	if dir := os.Getenv(collectorEnv); dir != "" {
		collector(dir)
		return
	}
	if dir := os.Getenv(migratorEnv); dir != "" {
		migrator(dir)
		return
	}
	os.Exit(m.Run())
}

// writer commits until it is killed: files and trees, some shared by several keys, imports and exports in between.
func writer(dir string) {
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	ctx := context.Background()
	s, err := Open(dir)
	check(err)
	mine := filepath.Join(filepath.Dir(dir), fmt.Sprint("user-", os.Getpid()))
	for {
		n := rand.IntN(40)
		key := testKey(fmt.Sprint(n))
		unlock, err := s.Lock(ctx, key.Sum())
		check(err)
		txn, err := s.Begin()
		check(err)
		check(os.WriteFile(filepath.Join(txn.OutDir, "f"), []byte(strings.Repeat(fmt.Sprint("file ", n/2), 20000)), 0o644))
		check(os.MkdirAll(filepath.Join(txn.OutDir, "t", "sub"), 0o755))
		check(os.WriteFile(filepath.Join(txn.OutDir, "t", "sub", "g"), []byte(fmt.Sprint("tree ", n)), 0o644))
		rec, err := txn.Commit(ctx, key, "writer", map[string]Output{"f": {Path: "f"}, "t": {Path: "t"}}, json.RawMessage(`{}`), Meta{})
		check(err)
		txn.Discard()
		unlock()
		check(s.Export(ctx, rec.Outputs["f"].Digest, mine))
		_, err = s.Import(ctx, mine)
		check(err)
	}
}

// Killed at any moment, the writers leave a store in which every record is whole, and in which nothing temporary
// outlives the next Open.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	defer removeTree(dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	deadline := time.Now().Add(3 * time.Second)
	for round := 0; round < rounds && time.Now().Before(deadline); round++ {
		var writers []*exec.Cmd
		for range 2 {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), writerEnv+"="+dir)
			cmd.Stderr = &strings.Builder{}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			writers = append(writers, cmd)
		}
		time.Sleep(time.Duration(40+rand.IntN(120)) * time.Millisecond)
		for _, cmd := range writers {
			cmd.Process.Kill()
		}
		for _, cmd := range writers {
			cmd.Wait()
			if text := cmd.Stderr.(*strings.Builder).String(); text != "" {
				t.Fatalf("a writer failed: %s", text)
			}
		}
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if entries, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(entries) != 0 {
		t.Errorf("left in tmp: %v", entries)
	}
	if problems, err := s.Verify(context.Background()); err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	records, _ := filepath.Glob(filepath.Join(dir, "records", "*", "*.json"))
	if len(records) == 0 {
		t.Fatal("no writer got as far as a record")
	}
	for _, path := range records {
		if _, ok := s.Lookup(strings.TrimSuffix(filepath.Base(path), ".json")); !ok {
			t.Errorf("record %s has no bytes", path)
		}
	}
	t.Logf("%d records", len(records))
}
