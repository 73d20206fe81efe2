//go:build unix

package cache

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func mkfifo(t *testing.T, out string) {
	os.Mkdir(filepath.Join(out, "d"), 0o755)
	if err := syscall.Mkfifo(filepath.Join(out, "d", "p"), 0o644); err != nil {
		t.Skip(err)
	}
}

var errNoSpace, errReadOnly error = syscall.ENOSPC, syscall.EROFS
