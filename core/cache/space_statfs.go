//go:build linux || darwin || freebsd

package cache

import "golang.org/x/sys/unix"

// freeSpace is what this user may still write on the disk of dir.
func freeSpace(dir string) (int64, bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true //nolint:unconvert // its type differs between systems
}
