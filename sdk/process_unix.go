//go:build unix

package sdk

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
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
	if err := errors.Join(dup2(int(null.Fd()), 0), null.Close()); err != nil {
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

// orphan gives a function that tells whether whoever started this process is gone.
func orphan() func() bool {
	first := os.Getppid()
	adopted := first == 1 && os.Getenv(pluginv1.HostPIDVariable) != "" && os.Getenv(pluginv1.HostPIDVariable) != strconv.Itoa(first)
	return func() bool { return adopted || os.Getppid() != first }
}
