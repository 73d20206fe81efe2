//go:build unix

package telemetry

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSweep(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "opt-sweep-") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	dir := func(name string) string {
		p := filepath.Join(base, name, "deep")
		if err := os.MkdirAll(p, 0o700); err != nil {
			t.Fatal(err)
		}
		return p
	}
	listen := func(name string) *net.UnixListener {
		l, err := net.Listen("unix", filepath.Join(dir(name), "s"))
		if err != nil {
			t.Fatal(err)
		}
		return l.(*net.UnixListener)
	}
	live := listen("x-live")
	defer live.Close()
	dead := listen("x-dead")
	dead.SetUnlinkOnClose(false) // as a killed process does
	_ = dead.Close()
	dir("x-starting")
	dir("x-old")
	dir("other-dead")
	if err := os.Chtimes(filepath.Join(base, "x-old"), time.Time{}, time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(base, "other-dead"), filepath.Join(base, "x-link")); err != nil {
		t.Fatal(err)
	}
	sweep(base, "x-", time.Hour)
	var left []string
	entries, _ := os.ReadDir(base)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got := strings.Join(left, " "); got != "other-dead x-link x-live x-starting" {
		t.Error(got)
	}
}
