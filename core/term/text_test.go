package term

import (
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                "plain",
		"größe 漢字 👩‍👩‍👧":       "größe 漢字 👩‍👩‍👧",
		"a\x1b[31mred\x1b[0m":  "a\uFFFD[31mred\uFFFD[0m",
		"\x1b]0;title\a":       "\uFFFD]0;title\uFFFD",
		"\u009b31m":            "\uFFFD31m", // C1: CSI in one character
		"a\nb\tc\r\nd\re":      "a b c d e",
		"user\u202etxt.exe":    "user\uFFFDtxt.exe",
		"\u2066a\u2069\u200f":  "\uFFFDa\uFFFD\uFFFD",
		"bad\xffutf8":          "bad\uFFFDutf8",
		"no\ufffe\U0010ffff":   "no\uFFFD\uFFFD",
		"line\u2028para\u2029": "line para ",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := CleanLines("a\r\nb\x1b\nc"); got != "a\nb\uFFFD\nc" {
		t.Errorf("CleanLines: %q", got)
	}
}

func TestWidth(t *testing.T) {
	for in, want := range map[string]int{"": 0, "abc": 3, "漢字": 4, "e\u0301": 1, "👩‍👩‍👧": 2, "│": 1, "…": 1} {
		if got := Width(in); got != want {
			t.Errorf("Width(%q) = %d, want %d", in, got, want)
		}
	}
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{{"abcdef", 4, "abc…"}, {"abc", 3, "abc"}, {"漢字漢字", 5, "漢字…"}, {"漢字漢字", 4, "漢…"}, {"abc", 0, ""}, {"abc", -1, ""}, {"abc", 1, "…"}, {"漢", 1, "…"}} {
		if got := Truncate(c.in, c.n); got != c.want {
			t.Errorf("Truncate(%q, %d) = %q, want %q", c.in, c.n, got, c.want)
		}
	}
	if got := Pad("漢", 4); got != "漢  " || Pad("abcd", 2) != "abcd" {
		t.Errorf("Pad: %q", got)
	}
}

func TestUTF8(t *testing.T) {
	for _, c := range []struct {
		env  string
		want bool
	}{{"LANG=en_GB.UTF-8", true}, {"LANG=C", false}, {"LANG=de_DE.utf8", true}, {"LC_ALL=C LANG=en_GB.UTF-8", false}, {"LC_CTYPE=C.UTF-8 LANG=C", true}} {
		vars := map[string]string{}
		for _, kv := range strings.Fields(c.env) {
			k, v, _ := strings.Cut(kv, "=")
			vars[k] = v
		}
		if got := UTF8(func(k string) string { return vars[k] }); got != c.want {
			t.Errorf("%s: %v", c.env, got)
		}
	}
}
