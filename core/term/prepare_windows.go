package term

import (
	"io"

	"golang.org/x/sys/windows"
)

// Prepare has the console obey control sequences and tells whether it does.
func Prepare(w io.Writer) bool {
	f, ok := w.(file)
	if !ok {
		return false
	}
	var mode uint32
	h := windows.Handle(f.Fd())
	if windows.GetConsoleMode(h, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
