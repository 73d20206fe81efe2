package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// plainWidth is how wide text is that goes to a file, a pipe or a terminal that does not say how wide it is.
const plainWidth = 100

// widthOf is how many columns a text for w may have.
func widthOf(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return max(min(n, 120), 40)
		}
	}
	return plainWidth
}
