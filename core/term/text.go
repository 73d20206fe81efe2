// Package term knows what a terminal shows: how wide a text is, which characters would steer it, and what it can do.
package term

import (
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// Width counts the columns that s takes: two for a wide character, none for what joins the one before it.
func Width(s string) int { return displaywidth.String(s) }

// Truncate cuts s to n columns; what is cut ends with an ellipsis.
func Truncate(s string, n int) string {
	if n <= 0 {
		return ""
	}
	if Width(s) <= n {
		return s
	}
	return displaywidth.TruncateString(s, n, "…")
}

// Pad fills s with spaces to n columns.
func Pad(s string, n int) string { return s + strings.Repeat(" ", max(0, n-Width(s))) }

// Clean makes one harmless line of a text that somebody else wrote: what would steer a terminal or turn the reading
// direction becomes U+FFFD, a line end or tab becomes a space.
func Clean(s string) string { return clean(s, false) }

// CleanLines is Clean for a text of several lines.
func CleanLines(s string) string { return clean(s, true) }

func clean(s string, lines bool) string {
	if !dirty(s) {
		return s
	}
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' && lines:
			return c
		case c == '\n', c == '\t', c == '\r', c == '\u2028', c == '\u2029':
			return ' '
		case steers(c):
			return utf8.RuneError
		}
		return c
	}, s)
}

func dirty(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return true // as a rule; clean looks closer
		}
	}
	return false
}

// steers tells whether a character does something to a terminal or to the order of what stands beside it.
func steers(c rune) bool {
	switch {
	case c < ' ', c >= 0x7f && c < 0xa0: // C0, DEL, C1
		return true
	case c >= '\u202a' && c <= '\u202e', c >= '\u2066' && c <= '\u2069', c == '\u200e', c == '\u200f', c == '\u061c': // direction
		return true
	case c == '\ufeff', c == '\u00ad', c&0xfffe == 0xfffe: // invisible, or no character at all
		return true
	}
	return false
}

// Graphemes gives the characters of s as a reader sees them, each with its columns.
func Graphemes(s string) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		for g := displaywidth.StringGraphemes(s); g.Next(); {
			if !yield(g.Value(), g.Width()) {
				return
			}
		}
	}
}
