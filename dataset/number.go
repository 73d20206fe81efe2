package dataset

import (
	"errors"
	"fmt"
	"strings"
)

// separates tells the bytes that part the numbers of a list.
var separates = [256]bool{',': true, '[': true, ']': true, ' ': true, '\t': true, '\r': true, '\n': true}

// maxDigits is how many digits a number may have to be surely one of 64 bits, or a finite real, without being read.
const maxDigits = 18

// scanNumber finds the end of a number as JSON writes them at the start of s, 0 without one, and whether it is whole.
// sure tells that it fits into 64 bits, or is a finite real.
func scanNumber(s string) (end int, whole, sure bool) {
	i := 0
	if i < len(s) && s[i] == '-' {
		i++
	}
	first := i
	for i < len(s) && s[i]-'0' < 10 {
		i++
	}
	if i == first || s[first] == '0' && i > first+1 {
		return 0, false, false
	}
	whole, sure = true, i-first <= maxDigits
	if i < len(s) && s[i] == '.' {
		point := i
		for i++; i < len(s) && s[i]-'0' < 10; i++ {
		}
		if i == point+1 {
			return 0, false, false
		}
		whole = false
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		if i++; i < len(s) && (s[i] == '-' || s[i] == '+') {
			i++
		}
		digits := i
		for i < len(s) && s[i]-'0' < 10 {
			i++
		}
		if i == digits {
			return 0, false, false
		}
		whole, sure = false, sure && i-digits < 3 // below 1e100 · 1e18
	}
	return i, whole, sure
}

// word gives the next number of a list and what comes after it; "" at the end.
func word(s string) (number, rest string) {
	i := 0
	for i < len(s) && separates[s[i]] {
		i++
	}
	from := i
	for i < len(s) && !separates[s[i]] {
		i++
	}
	return s[from:i], s[i:]
}

// fillWhole reads the whole numbers of a list, whose shape was read before.
func fillWhole(out []int64, s string) error {
	k := 0
	for w, rest := word(s); w != ""; w, rest = word(rest) {
		if k == len(out) {
			return tooLong(len(out))
		}
		v, ok := shortWhole(w)
		if !ok {
			var err error
			if v, err = wholeCell(w); err != nil {
				return err
			}
		}
		out[k] = v
		k++
	}
	return enough(k, len(out))
}

// shortWhole reads a whole number of few digits.
func shortWhole(s string) (v int64, ok bool) {
	digits := s
	if s[0] == '-' {
		digits = s[1:]
	}
	if len(digits) == 0 || len(digits) > maxDigits {
		return 0, false
	}
	for i := range len(digits) {
		d := digits[i] - '0'
		if d > 9 {
			return 0, false
		}
		v = 10*v + int64(d)
	}
	if len(digits) < len(s) {
		v = -v
	}
	return v, true
}

// fillReals reads the numbers of a list, whose shape was read before.
func fillReals(out []float64, s string) error {
	k := 0
	for w, rest := word(s); w != ""; w, rest = word(rest) {
		if k == len(out) {
			return tooLong(len(out))
		}
		v, err := realCell(w)
		if err != nil {
			return err
		}
		out[k] = v
		k++
	}
	return enough(k, len(out))
}

func tooLong(n int) error { return fmt.Errorf("the list has more than %d numbers", n) }

func enough(k, n int) error {
	switch {
	case k == 0:
		return errors.New("the list is empty")
	case k < n:
		return fmt.Errorf("the list has %d numbers, and not %d", k, n)
	}
	return nil
}

// plainMembers gives the keys and values of an object that holds numbers, lists of them, and texts without escapes: what
// tables of samples are made of. Of anything else, and of a mistake, it is not ok, and what it gave before is void.
func plainMembers(line string, do func(key, value string) error) (ok bool, err error) {
	i := blank(line, 0)
	if i >= len(line) || line[i] != '{' {
		return false, nil
	}
	for i = blank(line, i+1); ; i = blank(line, i+1) {
		end := plainText(line, i)
		if end < 0 {
			return false, nil
		}
		key := line[i+1 : end-1]
		if i = blank(line, end); i >= len(line) || line[i] != ':' {
			return false, nil
		}
		i = blank(line, i+1)
		if end = plainValue(line, i, 8); end < 0 {
			return false, nil
		}
		if err := do(key, line[i:end]); err != nil {
			return true, err
		}
		if i = blank(line, end); i >= len(line) {
			return false, nil
		}
		if line[i] == '}' {
			return blank(line, i+1) == len(line), nil
		}
		if line[i] != ',' {
			return false, nil
		}
	}
}

// blank passes over JSON's white space.
func blank(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r') {
		i++
	}
	return i
}

// plainText gives the end of a text in quotes of ASCII without escapes, -1 without one.
func plainText(s string, i int) int {
	if i >= len(s) || s[i] != '"' {
		return -1
	}
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c == '\\' || c < ' ' || c >= 0x80:
			return -1
		}
	}
	return -1
}

// plainValue gives the end of a value at i, -1 when it is none of the plain ones; lists lie up to deep in each other.
func plainValue(s string, i, deep int) int {
	if i >= len(s) {
		return -1
	}
	switch s[i] {
	case '"':
		return plainText(s, i)
	case 't':
		if strings.HasPrefix(s[i:], "true") {
			return i + 4
		}
		return -1
	case 'f':
		if strings.HasPrefix(s[i:], "false") {
			return i + 5
		}
		return -1
	case '[':
		if deep == 0 {
			return -1
		}
		for i = blank(s, i+1); ; i = blank(s, i+1) {
			if i = plainValue(s, i, deep-1); i < 0 {
				return -1
			}
			if i = blank(s, i); i >= len(s) {
				return -1
			}
			if s[i] == ']' {
				return i + 1
			}
			if s[i] != ',' {
				return -1
			}
		}
	}
	end, _, _ := scanNumber(s[i:])
	if end == 0 {
		return -1
	}
	return i + end
}
