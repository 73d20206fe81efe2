package telemetry

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A socket's path has at most 103 bytes on macOS and 107 on Linux. Names below the folder take 40: go-plugin makes a
// folder and a socket with random numbers in their names.
const (
	maxSocket = 103
	below     = 40
)

// SocketDir makes a folder for unix sockets that only its owner may enter. The temporary folder's own path may use up
// most of what a socket's may have: then another place is taken. Folders of the same prefix that a killed process left
// are removed.
func SocketDir(prefix string) (string, error) {
	base, err := filepath.Abs(os.TempDir()) // plugins work in folders of their own
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(base, prefix) // mode 0700
	if err != nil {
		return "", err // also where the sockets would lie elsewhere: plugins put their own files there
	}
	if len(dir)+below <= maxSocket || runtime.GOOS == "windows" {
		sweep(base, prefix, time.Hour)
		return dir, nil
	}
	_ = os.Remove(dir)
	for _, other := range []string{"/tmp", os.Getenv("XDG_RUNTIME_DIR")} {
		if !filepath.IsAbs(other) || len(other) > len("/run/user/4294967295") {
			continue
		}
		if dir, err := os.MkdirTemp(other, prefix); err == nil {
			sweep(other, prefix, time.Hour)
			return dir, nil
		}
	}
	return "", fmt.Errorf("%s is too long for the path of a socket, and /tmp cannot be written", base)
}

// sweep removes folders whose sockets nobody listens to any more, and those that have none long after they were made.
func sweep(base, prefix string, old time.Duration) {
	dir, err := os.Open(base)
	if err != nil {
		return
	}
	names, _ := dir.Readdirnames(4096) // a temporary folder may be huge
	_ = dir.Close()
	for _, n := range names {
		if !strings.HasPrefix(n, prefix) {
			continue
		}
		path := filepath.Join(base, n)
		st, err := os.Lstat(path)
		if err != nil || !st.IsDir() {
			continue
		}
		sockets, alive := 0, false
		err = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.Type()&fs.ModeSocket == 0 {
				return err // another user's folder ends here
			}
			sockets++
			if c, derr := net.DialTimeout("unix", p, time.Second); derr == nil {
				alive = true
				_ = c.Close()
			}
			return nil
		})
		if err == nil && !alive && (sockets > 0 || time.Since(st.ModTime()) > old) {
			_ = os.RemoveAll(path)
		}
	}
}
