//go:build unix

package sdk

import (
	"os"

	"golang.org/x/sys/unix"
)

// takeStdio returns the real standard output. Afterwards file descriptor 1 is standard error, for C libraries and
// children too, and standard input is empty: a plugin must not read the user's terminal.
func takeStdio() (*os.File, error) {
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := dup2(2, 1); err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	if err := dup2(int(null.Fd()), 0); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "stdout"), nil
}

// killGroup ends this process and its children, when the host gave it a process group of its own.
func killGroup() {
	if unix.Getpgrp() == os.Getpid() {
		_ = unix.Kill(0, unix.SIGKILL)
	}
}
