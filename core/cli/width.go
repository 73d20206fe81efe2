package cli

import (
	"io"

	"github.com/optimize-hcl/optimize/core/term"
)

// plainWidth is how wide text is that goes to a file, a pipe or a terminal that does not say how wide it is.
const plainWidth = 100

// widthOf is how many columns a text for w may have. Lines that are much longer are hard to read.
func widthOf(w io.Writer) int {
	if n, _ := term.Size(w); n > 0 {
		return max(min(n, 120), 40)
	}
	return plainWidth
}
