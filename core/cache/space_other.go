//go:build !linux && !darwin && !freebsd && !windows

package cache

// freeSpace does not know.
func freeSpace(string) (int64, bool) { return 0, false }
