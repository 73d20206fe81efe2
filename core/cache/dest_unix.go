//go:build unix

package cache

import "golang.org/x/sys/unix"

// writable tells whether files may be made in a folder. It asks the system, which knows of read-only disks too.
func writable(dir string) error { return unix.Access(dir, unix.W_OK|unix.X_OK) }
