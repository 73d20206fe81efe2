package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// preTokenizer cuts a text into words; first tells whether it is the beginning of the
// whole text.
type preTokenizer func(s string, first bool, do func(word string))

func parsePreTokenizer(b json.RawMessage, depth int) (preTokenizer, error) {
	if isNull(b) {
		return func(s string, _ bool, do func(string)) { do(s) }, nil
	}
	kind, err := kindOf(b)
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errors.New("its pre-tokenizers lie too deep in each other")
	}
	var p struct {
		PreTokenizers    json.RawMessage
		AddPrefixSpace   *bool `json:"add_prefix_space"`
		UseRegex         *bool `json:"use_regex"`
		Replacement      string
		PrependScheme    string `json:"prepend_scheme"`
		Split            *bool
		Behavior         string
		Delimiter        string
		Invert           bool
		IndividualDigits bool `json:"individual_digits"`
		Pattern          pattern
	}
	if err := json.Unmarshal(b, &p); err != nil {
		// Of these keys other pre-tokenizers may have other types.
		return nil, fmt.Errorf("its pre-tokenizer cannot be read: %w", err)
	}
	switch kind {
	case "Sequence":
		next := preTokenizer(func(s string, _ bool, do func(string)) { do(s) })
		list, err := parts("pre-tokenizers", p.PreTokenizers)
		if err != nil {
			return nil, err
		}
		for _, part := range slices.Backward(list) {
			one, err := parsePreTokenizer(part, depth+1)
			if err != nil {
				return nil, err
			}
			rest := next
			next = func(s string, first bool, do func(string)) {
				one(s, first, func(word string) {
					if word != "" {
						rest(word, first, do)
						first = false
					}
				})
			}
		}
		return next, nil
	case "BertPreTokenizer":
		return func(s string, _ bool, do func(string)) {
			cutRunes(s, unicode.IsSpace, isPunctuation, do)
		}, nil
	case "WhitespaceSplit":
		return func(s string, _ bool, do func(string)) {
			cutRunes(s, unicode.IsSpace, nil, do)
		}, nil
	case "CharDelimiterSplit":
		mark, size := utf8.DecodeRuneInString(p.Delimiter)
		if size == 0 || size != len(p.Delimiter) {
			return nil, fmt.Errorf("its CharDelimiterSplit cuts at %q, which is not one letter", p.Delimiter)
		}
		return func(s string, _ bool, do func(string)) {
			cutRunes(s, func(r rune) bool { return r == mark }, nil, do)
		}, nil
	case "Whitespace":
		return func(s string, _ bool, do func(string)) { runs(s, do) }, nil
	case "ByteLevel":
		prefix, regex := p.AddPrefixSpace == nil || *p.AddPrefixSpace, p.UseRegex == nil || *p.UseRegex
		return func(s string, _ bool, do func(string)) {
			if prefix && !strings.HasPrefix(s, " ") {
				s = " " + s
			}
			if !regex {
				do(byteLevel(s))
				return
			}
			for len(s) > 0 {
				n := gptWord(s)
				do(byteLevel(s[:n]))
				s = s[n:]
			}
		}, nil
	case "Metaspace":
		mark := p.Replacement
		if mark == "" {
			mark = "▁"
		}
		scheme := p.PrependScheme
		if scheme == "" {
			scheme = "always"
			if p.AddPrefixSpace != nil && !*p.AddPrefixSpace {
				scheme = "never"
			}
		}
		split := p.Split == nil || *p.Split
		return func(s string, first bool, do func(string)) {
			s = replaceAll(s, " ", mark)
			if (scheme == "always" || scheme == "first" && first) && !strings.HasPrefix(s, mark) {
				s = mark + s
			}
			if !split {
				do(s)
				return
			}
			for len(s) > 0 {
				n := len(mark)
				if !strings.HasPrefix(s, mark) {
					n = 0
				}
				if next := strings.Index(s[n:], mark); next >= 0 && n+next > 0 {
					n += next
				} else {
					n = len(s)
				}
				do(s[:n])
				s = s[n:]
			}
		}, nil
	case "Punctuation":
		return splitter(runeFinder(isPunctuation), cmpOr(p.Behavior, "Isolated"), false)
	case "Digits":
		behavior := "Contiguous"
		if p.IndividualDigits {
			behavior = "Isolated"
		}
		return splitter(runeFinder(func(r rune) bool { return unicode.Is(unicode.N, r) }), behavior, false)
	case "Split":
		find, err := compile(p.Pattern)
		if err != nil {
			return nil, err
		}
		return splitter(find, p.Behavior, p.Invert)
	}
	return nil, unknown("pre-tokenizer", kind)
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// splitter cuts where find matches and does with the matches what behavior says.
func splitter(find finder, behavior string, invert bool) (preTokenizer, error) {
	switch behavior {
	case "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous":
	default:
		return nil, unknown("behavior of splitting", behavior)
	}
	return func(s string, _ bool, do func(string)) {
		type part struct {
			from, to int
			match    bool
		}
		var parts []part
		at := 0
		for _, m := range find(s) {
			if m[0] > at {
				parts = append(parts, part{at, m[0], invert})
			}
			parts = append(parts, part{m[0], m[1], !invert})
			at = m[1]
		}
		if at < len(s) {
			parts = append(parts, part{at, len(s), invert})
		}
		for i := 0; i < len(parts); i++ {
			p := parts[i]
			switch behavior {
			case "Removed":
				if p.match {
					continue
				}
			case "Contiguous":
				for i+1 < len(parts) && parts[i+1].match == p.match {
					i++
					p.to = parts[i].to
				}
			case "MergedWithPrevious":
				if !p.match && i+1 < len(parts) && parts[i+1].match {
					i++
					p.to = parts[i].to
				}
			case "MergedWithNext":
				if p.match && i+1 < len(parts) && !parts[i+1].match {
					i++
					p.to = parts[i].to
				}
			}
			do(s[p.from:p.to])
		}
	}, nil
}

func runeFinder(is func(rune) bool) finder {
	return func(s string) (out [][2]int) {
		for i, r := range s {
			if is(r) {
				out = append(out, [2]int{i, i + utf8.RuneLen(r)})
			}
		}
		return out
	}
}

// cutRunes drops what is a space and lets stand alone what is a sign.
func cutRunes(s string, space, sign func(rune) bool, do func(string)) {
	begin := 0
	for i, r := range s {
		isSign := sign != nil && sign(r)
		if !isSign && !space(r) {
			continue
		}
		if i > begin {
			do(s[begin:i])
		}
		begin = i + utf8.RuneLen(r)
		if isSign {
			do(s[i:begin])
		}
	}
	if begin < len(s) {
		do(s[begin:])
	}
}

// isPunctuation is what BERT's own code takes for it: all ASCII signs, and Unicode's.
func isPunctuation(r rune) bool {
	return r > ' ' && r < 0x7f && !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') || r >= 0x7f && unicode.IsPunct(r)
}

// runs gives runs of word characters and runs of other signs.
func runs(s string, do func(string)) {
	class := func(r rune) int {
		switch {
		case unicode.IsSpace(r):
			return 0
		case isWord(r):
			return 1
		}
		return 2
	}
	begin, last := 0, 0
	for i, r := range s {
		if c := class(r); c != last {
			if last != 0 {
				do(s[begin:i])
			}
			begin, last = i, c
		}
	}
	if last != 0 {
		do(s[begin:])
	}
}

// gptWord is the length of the first word as GPT-2 cuts them: a contraction; letters,
// digits or signs, with one space before; or white space, of which the last character
// is left to the word after it.
func gptWord(s string) int {
	if s[0] == '\'' {
		for _, c := range []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
			if strings.HasPrefix(s, c) {
				return len(c)
			}
		}
	}
	class := func(r rune) int {
		switch {
		case unicode.IsLetter(r):
			return 1
		case unicode.Is(unicode.N, r):
			return 2
		case unicode.IsSpace(r):
			return 0
		}
		return 3
	}
	begin := 0
	if s[0] == ' ' {
		begin = 1
	}
	if begin < len(s) {
		r, n := utf8.DecodeRuneInString(s[begin:])
		if c := class(r); c != 0 {
			end := begin + n
			for i, r := range s[end:] {
				if class(r) != c {
					return end + i
				}
			}
			return len(s)
		}
	}
	last := 0
	for i, r := range s {
		if class(r) != 0 {
			if last > 0 {
				return last
			}
			return i
		}
		last = i
	}
	return len(s)
}

// byteRunes shows each byte as a character that can be seen, as GPT-2's vocabulary
// writes them: printable ones as they are, the others from U+0100 on.
var byteRunes = func() (t [256]string) {
	next := rune(0x100)
	for i := range 256 {
		if r := rune(i); r >= '!' && r <= '~' || r >= 0xa1 && r <= 0xac || r >= 0xae {
			t[i] = string(r)
			continue
		}
		t[i] = string(next)
		next++
	}
	return t
}()

func byteLevel(s string) string {
	var b strings.Builder
	b.Grow(len(s) + len(s)/4)
	for i := range len(s) {
		b.WriteString(byteRunes[s[i]])
	}
	return b.String()
}
