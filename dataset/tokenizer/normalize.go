package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/dlclark/regexp2/v2"
	"golang.org/x/text/unicode/norm"
)

type normalizer func(string) string

// pattern is a text or a regular expression of the file.
type pattern struct {
	String *string
	Regex  *string
}

func parseNormalizer(b json.RawMessage, depth int) (normalizer, error) {
	if isNull(b) {
		return func(s string) string { return s }, nil
	}
	kind, err := kindOf(b)
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errors.New("its normalizers lie too deep in each other")
	}
	var p struct {
		Normalizers            json.RawMessage
		CleanText              bool  `json:"clean_text"`
		HandleChineseChars     bool  `json:"handle_chinese_chars"`
		StripAccents           *bool `json:"strip_accents"`
		Lowercase              bool
		StripLeft              bool `json:"strip_left"`
		StripRight             bool `json:"strip_right"`
		Pattern                pattern
		Content, Prepend, Type string
		Charsmap               string `json:"precompiled_charsmap"`
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("its normalizer cannot be read: %w", err)
	}
	switch kind {
	case "Sequence":
		list, err := parts("normalizers", p.Normalizers)
		if err != nil {
			return nil, err
		}
		var all []normalizer
		for _, part := range list {
			n, err := parseNormalizer(part, depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, n)
		}
		return func(s string) string {
			for _, n := range all {
				s = n(s)
			}
			return s
		}, nil
	case "BertNormalizer":
		accents := p.Lowercase
		if p.StripAccents != nil {
			accents = *p.StripAccents
		}
		return func(s string) string {
			if p.CleanText || p.HandleChineseChars {
				s = bertClean(s, p.CleanText, p.HandleChineseChars)
			}
			if accents {
				s = stripMarks(norm.NFD.String(s))
			}
			if p.Lowercase {
				s = lower(s)
			}
			return s
		}, nil
	case "Precompiled":
		return parseCharmap(p.Charsmap)
	case "Lowercase":
		return lower, nil
	case "NFC":
		return norm.NFC.String, nil
	case "NFD":
		return norm.NFD.String, nil
	case "NFKC":
		return norm.NFKC.String, nil
	case "NFKD":
		return norm.NFKD.String, nil
	case "StripAccents":
		return stripMarks, nil
	case "Strip":
		return func(s string) string {
			if p.StripLeft {
				s = strings.TrimLeftFunc(s, unicode.IsSpace)
			}
			if p.StripRight {
				s = strings.TrimRightFunc(s, unicode.IsSpace)
			}
			return s
		}, nil
	case "Prepend":
		return func(s string) string {
			if s == "" {
				return s
			}
			bound(len(s) + len(p.Prepend))
			return p.Prepend + s
		}, nil
	case "Replace":
		if p.Pattern.String != nil {
			old := *p.Pattern.String
			if old == "" {
				return nil, errors.New("its normalizer replaces an empty text")
			}
			return func(s string) string { return replaceAll(s, old, p.Content) }, nil
		}
		find, err := compile(p.Pattern)
		if err != nil {
			return nil, err
		}
		return func(s string) string {
			var out strings.Builder
			at := 0
			for _, m := range find(s) {
				bound(out.Len() + len(p.Content))
				out.WriteString(s[at:m[0]])
				out.WriteString(p.Content)
				at = m[1]
			}
			out.WriteString(s[at:])
			return out.String()
		}, nil
	}
	return nil, unknown("normalizer", kind)
}

// maxNormalized bounds what a normalizer makes of a text. Four that each put a
// thousand letters in the place of one would fill any memory.
const maxNormalized = 64 << 20

// bound gives up when a text would become too long.
func bound(length int) {
	if length > maxNormalized {
		panic(failure{fmt.Errorf("it makes a text longer than %d bytes", maxNormalized)})
	}
}

// replaceAll is strings.ReplaceAll within the bound.
func replaceAll(s, from, to string) string {
	if len(to) > len(from) {
		if n := strings.Count(s, from); n > 0 {
			bound(len(s) + min(n, maxNormalized)*min(len(to)-len(from), maxNormalized))
		}
	}
	return strings.ReplaceAll(s, from, to)
}

// finder gives the places in bytes where a pattern matches.
type finder func(s string) [][2]int

// compile prepares a pattern. Go's own regular expressions know no look-ahead, which
// most files use.
func compile(p pattern) (finder, error) {
	if p.String != nil {
		text := *p.String
		if text == "" {
			return nil, errors.New("it splits at an empty text")
		}
		return func(s string) (out [][2]int) {
			for at := 0; ; {
				i := strings.Index(s[at:], text)
				if i < 0 {
					return out
				}
				out = append(out, [2]int{at + i, at + i + len(text)})
				at += i + len(text)
			}
		}, nil
	}
	if p.Regex == nil {
		return nil, errors.New("a pattern of it is neither a text nor a regular expression")
	}
	re, err := regexp2.Compile(*p.Regex)
	if err != nil {
		return nil, fmt.Errorf("its regular expression %q is not understood: %w", clip(*p.Regex), err)
	}
	// It goes back over the text, and a bad expression would do so without end.
	re.MatchTimeout = 5 * time.Second
	return func(s string) (out [][2]int) {
		all, err := re.FindAllStringIndex(s, -1)
		if err != nil {
			panic(failure{fmt.Errorf("the regular expression %q: %w", clip(*p.Regex), err)})
		}
		for _, m := range all {
			if m[1] > m[0] {
				out = append(out, [2]int{m[0], m[1]})
			}
		}
		return out
	}, nil
}

// failure carries an error out of nested functions to Encode, which returns it.
type failure struct{ error }

// runeLen is the length of a code point by its first byte in valid UTF-8.
func runeLen(b byte) int {
	switch {
	case b < 0x80:
		return 1
	case b < 0xe0:
		return 2
	case b < 0xf0:
		return 3
	}
	return 4
}

func stripMarks(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, s)
}

// bertClean drops what cannot be seen, makes every white space a plain one, and puts
// spaces round CJK characters.
func bertClean(s string, clean, chinese bool) string {
	var b strings.Builder
	b.Grow(len(s) + 16)
	for _, r := range s {
		if clean {
			space := unicode.IsSpace(r)
			if r == 0 || r == 0xfffd || unicode.Is(unicode.C, r) && !space {
				continue
			}
			if space {
				r = ' '
			}
		}
		if chinese && isChinese(r) {
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// isChinese is the block of CJK ideographs that BERT's own code names.
func isChinese(r rune) bool {
	return r >= 0x4e00 && r <= 0x9fff || r >= 0x3400 && r <= 0x4dbf || r >= 0x20000 && r <= 0x2a6df ||
		r >= 0x2a700 && r <= 0x2b73f || r >= 0x2b740 && r <= 0x2b81f || r >= 0x2b920 && r <= 0x2ceaf ||
		r >= 0xf900 && r <= 0xfaff || r >= 0x2f800 && r <= 0x2fa1f
}

// lower lowers every letter by itself, as Unicode's SpecialCasing does it without a context: the Turkish capital I keeps
// its dot as a letter of its own, which strings.ToLower drops.
func lower(s string) string {
	s = strings.ReplaceAll(s, "\u0130", "i\u0307")
	return strings.ToLower(s)
}
