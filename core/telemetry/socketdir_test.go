//go:build unix

package telemetry

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSweep(t *testing.T) {
	base := t.TempDir()
	t.Setenv("TMPDIR", base)
	folder := func(name string) string {
		p := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Join(p, "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
		return p
	}
	live, remove, err := makeOwned(base, "x-live-")
	if err != nil {
		t.Fatal(err)
	}
	// The lock of a process that was killed is free.
	if err := os.WriteFile(filepath.Join(folder("x-dead"), owned), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	folder("x-starting")
	if err := os.Chtimes(folder("x-old"), time.Time{}, time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder("other-dead"), owned), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(base, "other-dead"), filepath.Join(base, "x-link")); err != nil {
		t.Fatal(err)
	}
	left := func() string {
		var names []string
		entries, _ := os.ReadDir(base)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	}
	sweep(base, "x-", time.Hour)
	if got, want := left(), "other-dead x-link "+filepath.Base(live)+" x-starting"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	remove()
	remove()
	if got := left(); got != "other-dead x-link x-starting" {
		t.Error(got)
	}
}

// TestSweepRace: many runs start at once, and each removes what it takes for dead. A socket is not there when its folder
// is made, and does not answer yet when it is: neither may be taken for a sign of death.
func TestSweepRace(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "opt-sweep-") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	t.Setenv("TMPDIR", base)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				dir, remove, err := SocketDir("x-")
				if err != nil {
					t.Error(err)
					return
				}
				socket := filepath.Join(dir, "s")
				l, err := net.Listen("unix", socket)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Lstat(socket); err != nil {
					t.Error(err)
				}
				_ = l.Close()
				remove()
			}
		})
	}
	wg.Wait()
	if entries, _ := os.ReadDir(base); len(entries) != 0 {
		t.Errorf("%d folders are left", len(entries))
	}
}
