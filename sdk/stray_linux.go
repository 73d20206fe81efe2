package sdk

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// killStrays ends the processes that this one started and that left its process group, as daemons do. They inherited the
// name of the folder for sockets, which the host makes anew for each plugin.
func killStrays() {
	dir := os.Getenv("PLUGIN_UNIX_SOCKET_DIR")
	if !filepath.IsAbs(dir) || dir == filepath.Clean(os.TempDir()) {
		return
	}
	mark := []byte("PLUGIN_UNIX_SOCKET_DIR=" + dir + "\x00")
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// The handle first: the id may belong to another by the time of the kill.
		p, err := os.FindProcess(pid)
		if err != nil {
			continue
		}
		if env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ")); err == nil && bytes.Contains(env, mark) {
			_ = p.Kill()
		}
		_ = p.Release()
	}
}
