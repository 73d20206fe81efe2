package telemetry

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// SocketDir makes a folder for unix sockets that only its owner may enter. A socket's path has at most 103 bytes on
// macOS, and the temporary folder's own may use up most of them. Folders of the same prefix that a killed process left
// are removed.
func SocketDir(prefix string) (string, error) {
	base := os.TempDir()
	if st, err := os.Stat("/tmp"); len(base) > 40 && err == nil && st.IsDir() && runtime.GOOS != "windows" {
		if dir, err := os.MkdirTemp("/tmp", prefix); err == nil {
			sweep("/tmp", prefix, time.Hour)
			return dir, nil
		}
	}
	sweep(base, prefix, time.Hour)
	return os.MkdirTemp(base, prefix) // mode 0700
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
