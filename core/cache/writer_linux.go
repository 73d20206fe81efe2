package cache

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// beingWritten tells whether somebody has the file open for writing, or mapped so: the system grants no read lease on it
// then. f must be open for reading alone. Where a file system has no leases the answer is no.
func beingWritten(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}
