package sdk

import (
	"os"

	"golang.org/x/sys/windows"
)

// takeStdio returns the real standard output. Afterwards the process's standard output is its standard error, and its
// standard input is empty: a plugin must not read the user's terminal.
func takeStdio() (*os.File, error) {
	out := os.Stdout
	if err := windows.SetStdHandle(windows.STD_OUTPUT_HANDLE, windows.Handle(os.Stderr.Fd())); err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	os.Stdin = null // stays open
	return out, windows.SetStdHandle(windows.STD_INPUT_HANDLE, windows.Handle(null.Fd()))
}

// killGroup: the host's job object ends this process and its children when the host's last handle is gone.
func killGroup() {}

// orphan: the job object ends this process with its host.
func orphan() func() bool { return func() bool { return false } }
