package cache

import (
	"os"

	"golang.org/x/sys/unix"
)

// clone makes out share the blocks of in (Btrfs, XFS, ...). Both files must be new or unread.
func clone(out, in *os.File) bool {
	return unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil
}
