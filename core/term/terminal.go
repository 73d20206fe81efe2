package term

import (
	"io"
	"runtime"
	"strings"

	"golang.org/x/term"
)

// file is an *os.File, or what leads to one.
type file interface{ Fd() uintptr }

// Is tells whether w is a terminal.
func Is(w io.Writer) bool {
	f, ok := w.(file)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Size gives the columns and rows of the terminal w, 0 when it does not tell or is none.
func Size(w io.Writer) (columns, rows int) {
	f, ok := w.(file)
	if !ok {
		return 0, 0
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, rows
}

// UTF8 tells whether the user's locale shows more than ASCII.
func UTF8(getenv func(string) string) bool {
	if runtime.GOOS == "windows" {
		return true // the console takes UTF-16, whatever its code page
	}
	for _, k := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(k); v != "" {
			v = strings.ToUpper(v)
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return runtime.GOOS == "darwin" // its terminals are UTF-8 without being told
}
