package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/optimize-hcl/optimize/core/term"
)

// written is standard output where it is a file or a pipe. It keeps the first failure: most writers of a command line
// look at none, and a document that is cut off by a full disk must not end with exit code 0.
type written struct {
	f   *os.File
	mu  sync.Mutex
	err error
}

// output guards f, unless it is a terminal, which others must know as such.
func output(f *os.File) io.Writer {
	if term.Is(f) {
		return f
	}
	return &written{f: f}
}

func (w *written) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	// A reader that went away has seen what it wanted.
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		w.mu.Lock()
		if w.err == nil {
			w.err = err
		}
		w.mu.Unlock()
	}
	return n, err
}

// checkOutput turns a success whose output was lost into a failure.
func (a *app) checkOutput(code int) int {
	w, ok := a.stdout.(*written)
	if !ok {
		return code
	}
	w.mu.Lock()
	err := w.err
	w.mu.Unlock()
	if err == nil || code != ExitOK {
		return code
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	fmt.Fprintf(a.stderr, "Error: Standard output cannot be written: %s. What the command did is done; what it printed is cut off.\n", err)
	return ExitFailed
}
