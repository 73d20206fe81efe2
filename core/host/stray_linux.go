package host

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// killStrays ends the processes that a plugin started and that left its group, with setsid as daemons do. Whoever their
// parent is by now, they have the plugin's environment, and in it dir, which no other process was given.
func killStrays(dir string) {
	if !strings.HasPrefix(filepath.Base(dir), workDirPrefix) { // it would mark others too
		return
	}
	mark := []byte(dir + string(filepath.Separator))
	for range 3 { // one of them may have started another meanwhile
		found := false
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil || pid == os.Getpid() {
				continue
			}
			if env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ")); err != nil || !bytes.Contains(env, mark) {
				continue
			}
			// The handle first and the look again: the id may belong to another by now.
			p, err := os.FindProcess(pid)
			if err != nil {
				continue
			}
			if env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ")); err == nil && bytes.Contains(env, mark) {
				found = p.Kill() == nil || found
			}
			_ = p.Release()
		}
		if !found {
			return
		}
	}
}
