//go:build !windows

package term

import "io"

// Prepare has the console obey control sequences and tells whether it does.
func Prepare(io.Writer) bool { return true }
