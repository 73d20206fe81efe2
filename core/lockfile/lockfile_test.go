package lockfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

func TestWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if there, locked := Locked(path); there || locked {
		t.Error("a lock before there is one")
	}
	unlock, err := Wait(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if there, locked := Locked(path); !there || !locked {
		t.Errorf("there %v, locked %v", there, locked)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Wait(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second holder: %v", err)
	}
	unlock()
	unlock() // once is enough
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file is left")
	}
}

// TestWaitMany: the file comes and goes with its holders, and nobody may hold a lock on one that is gone.
func TestWaitMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var holders, most atomic.Int32
	done := make(chan error)
	for range 8 {
		go func() {
			var err error
			for range 20 {
				var unlock func()
				if unlock, err = Wait(context.Background(), path); err != nil {
					break
				}
				if n := holders.Add(1); n > 1 {
					most.Store(n)
				}
				holders.Add(-1)
				unlock()
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := most.Load(); n != 0 {
		t.Errorf("%d held the lock at once", n)
	}
}
