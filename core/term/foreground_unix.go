//go:build unix

package term

import (
	"io"

	"golang.org/x/sys/unix"
)

// Foreground tells whether this process is in the foreground of the terminal w, so that nobody else writes there. Where
// that cannot be told, it is.
func Foreground(w io.Writer) bool {
	f, ok := w.(file)
	if !ok {
		return true
	}
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}
