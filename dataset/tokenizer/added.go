package tokenizer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token that is looked for before anything else.
type addedToken struct {
	text                   string
	id                     int64
	single, lstrip, rstrip bool
}

// added are such tokens by their first byte, the longest first.
type added struct{ by map[byte][]addedToken }

func (a *added) add(t addedToken) {
	if t.text == "" {
		return
	}
	if a.by == nil {
		a.by = map[byte][]addedToken{}
	}
	a.by[t.text[0]] = append(a.by[t.text[0]], t)
}

// sort puts the longest first; it comes after the last add.
func (a *added) sort() {
	for _, list := range a.by {
		slices.SortStableFunc(list, func(a, b addedToken) int { return len(b.text) - len(a.text) })
	}
}

func (a *added) find(text string) (int64, bool) {
	if text != "" {
		for _, t := range a.by[text[0]] {
			if t.text == text {
				return t.id, true
			}
		}
	}
	return 0, false
}

// split calls do with the parts of a text between added tokens and with these. first
// tells whether a part begins where the text does.
func (a *added) split(text string, do func(part string, first bool, id int64, token bool)) {
	if len(a.by) == 0 {
		do(text, true, 0, false)
		return
	}
	begin := 0
	for i := 0; i < len(text); {
		t, ok := a.match(text, i)
		if !ok {
			i++
			continue
		}
		from, to := i, i+len(t.text)
		if t.lstrip {
			from = begin + len(strings.TrimRightFunc(text[begin:from], unicode.IsSpace))
		}
		if t.rstrip {
			to = len(text) - len(strings.TrimLeftFunc(text[to:], unicode.IsSpace))
		}
		if from > begin {
			do(text[begin:from], begin == 0, 0, false)
		}
		do("", false, t.id, true)
		begin, i = to, to
	}
	if begin < len(text) {
		do(text[begin:], begin == 0, 0, false)
	}
}

func (a *added) match(text string, i int) (addedToken, bool) {
	for _, t := range a.by[text[i]] {
		if !strings.HasPrefix(text[i:], t.text) {
			continue
		}
		if t.single {
			before, _ := utf8.DecodeLastRuneInString(text[:i])
			after, _ := utf8.DecodeRuneInString(text[i+len(t.text):])
			if i > 0 && isWord(before) || i+len(t.text) < len(text) && isWord(after) {
				continue
			}
		}
		return t, true
	}
	return addedToken{}, false
}

// isWord is the class \w of Unicode's regular expressions (UTS #18).
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.In(r, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic) || r == 0x200c || r == 0x200d
}
