package tensor

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// headerReader reads the JSON in front of a safetensors file. It is not left to
// encoding/json, which takes twenty times the header's memory for many small tensors,
// loses the order of the keys and takes a key given twice. What it hands out are parts of
// one copy of the header, since names outlive a mapped file.
type headerReader struct {
	s    string
	at   int
	pool []int64 // what is left of an allocation that short lists share
}

// leastEntry is the length of the shortest text of one tensor.
const leastEntry = len(`"":{"dtype":"F4","shape":[],"data_offsets":[0,0]},`)

var errEndsEarly = errors.New("its header ends too early")

// parseHeader reads the whole object.
func parseHeader(b []byte) (infos []Info, ranges [][2]int64, metadata map[string]string, err error) {
	if !utf8.Valid(b) {
		return nil, nil, nil, errors.New("its header is not text in UTF-8")
	}
	r := &headerReader{s: string(b)}
	if !r.take('{') {
		return nil, nil, nil, errors.New("its header is not a JSON object")
	}
	most := min(strings.Count(r.s, `"dtype"`), len(r.s)/leastEntry+1)
	infos, ranges = make([]Info, 0, most), make([][2]int64, 0, most)
	seen := false
	err = r.object(func(name string) error {
		if name == "__metadata__" {
			if seen {
				return errors.New(`its header names "__metadata__" twice`)
			}
			seen = true
			if metadata, err = r.strings(); err != nil {
				return fmt.Errorf("__metadata__ must map strings to strings: %w", err)
			}
			return nil
		}
		in, at, err := r.entry()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", clip(name), err)
		}
		in.Name = name
		infos, ranges = append(infos, in), append(ranges, at)
		return nil
	})
	if err != nil {
		return nil, nil, nil, err
	}
	if strings.TrimRight(r.s[r.at:], " ") != "" {
		return nil, nil, nil, errors.New("something other than spaces follows its header")
	}
	return infos, ranges, metadata, nil
}

// entry reads what the header says of one tensor.
func (r *headerReader) entry() (in Info, at [2]int64, err error) {
	if !r.take('{') {
		return in, at, r.unexpected("an object")
	}
	const dtype, shape, offsets = 1, 2, 4
	seen := 0
	err = r.object(func(key string) error {
		bit := 0
		switch key {
		case "dtype":
			bit = dtype
		case "shape":
			bit = shape
		case "data_offsets":
			bit = offsets
		}
		if seen&bit != 0 {
			return fmt.Errorf("it says %q twice", key)
		}
		seen |= bit
		switch bit {
		case dtype:
			s, err := r.str()
			if err != nil {
				return err
			}
			in.DType, err = ParseDType(s)
			return err
		case shape:
			in.Shape, err = r.ints()
			return err
		case offsets:
			list, err := r.ints()
			if err == nil && len(list) == 2 {
				at = [2]int64(list)
			} else {
				seen &^= offsets
			}
			return err
		}
		return r.skip()
	})
	if err != nil {
		return in, at, err
	}
	if seen&dtype == 0 {
		return in, at, errors.New("it lacks a dtype")
	}
	if seen != dtype|shape|offsets || at[0] < 0 || at[1] < at[0] {
		return in, at, errors.New("it lacks a shape or has no data_offsets [begin, end]")
	}
	return in, at, nil
}

// strings reads an object of strings. It is read twice, to make a map that need not grow.
func (r *headerReader) strings() (map[string]string, error) {
	if !r.take('{') {
		return nil, r.unexpected("an object")
	}
	var out map[string]string
	for start := r.at; ; r.at = start {
		n := 0
		err := r.object(func(key string) error {
			v, err := r.str()
			if n++; out != nil {
				out[key] = v
			}
			return err
		})
		if err != nil || out != nil {
			return out, err
		}
		out = make(map[string]string, n)
	}
}

// object reads the members of an object after its opening bracket; member reads the
// value of a key.
func (r *headerReader) object(member func(key string) error) error {
	if r.take('}') {
		return nil
	}
	for {
		key, err := r.str()
		if err != nil {
			return err
		}
		if !r.take(':') {
			return r.unexpected("a colon")
		}
		if err := member(key); err != nil {
			return err
		}
		if r.take('}') {
			return nil
		}
		if !r.take(',') {
			return r.unexpected("a comma or the end of the object")
		}
	}
}

// ints reads a list of whole numbers.
func (r *headerReader) ints() ([]int64, error) {
	if !r.take('[') {
		return nil, r.unexpected("a list of whole numbers")
	}
	if r.take(']') {
		return []int64{}, nil
	}
	end := strings.IndexByte(r.s[r.at:], ']')
	if end < 0 {
		return nil, errEndsEarly
	}
	n := 1 + strings.Count(r.s[r.at:r.at+end], ",")
	const short, shared = 8, 256
	var out []int64
	if n > short {
		out = make([]int64, 0, n)
	} else {
		if n > len(r.pool) {
			r.pool = make([]int64, shared)
		}
		out, r.pool = r.pool[:0:n], r.pool[n:]
	}
	for {
		r.space()
		start := r.at
		for r.at < len(r.s) && (r.s[r.at] == '-' || r.s[r.at] >= '0' && r.s[r.at] <= '9') {
			r.at++
		}
		word := r.s[start:r.at]
		if word == "" {
			return nil, r.unexpected("a whole number")
		}
		v, err := strconv.ParseInt(word, 10, 64)
		if bare := strings.TrimPrefix(word, "-"); err != nil || len(bare) > 1 && bare[0] == '0' {
			return nil, fmt.Errorf("%q is no whole number of 64 bits", clip(word))
		}
		out = append(out, v)
		if r.take(']') {
			return out, nil
		}
		if !r.take(',') {
			return nil, r.unexpected("a whole number, a comma or the end of the list")
		}
	}
}

// str reads a string; one without escapes is not copied.
func (r *headerReader) str() (string, error) {
	if !r.take('"') {
		return "", r.unexpected("a string")
	}
	start, escaped := r.at, false
	for r.at < len(r.s) {
		switch c := r.s[r.at]; {
		case c == '"':
			r.at++
			if !escaped {
				return r.s[start : r.at-1], nil
			}
			var s string
			if err := json.Unmarshal([]byte(r.s[start-1:r.at]), &s); err != nil {
				return "", fmt.Errorf("the string at character %d: %w", start, err)
			}
			return s, nil
		case c == '\\':
			escaped = true
			r.at++
		case c < ' ':
			return "", fmt.Errorf("a string has the control character %q at %d", c, r.at)
		}
		r.at++
	}
	r.at = len(r.s)
	return "", errEndsEarly
}

// skip passes over a value that nobody asked for.
func (r *headerReader) skip() error {
	r.space()
	start, depth := r.at, 0
	for r.at < len(r.s) {
		switch c := r.s[r.at]; c {
		case '"':
			if _, err := r.str(); err != nil {
				return err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']', ',':
			if depth == 0 {
				if !json.Valid([]byte(r.s[start:r.at])) {
					return fmt.Errorf("what it holds at character %d is not JSON", start)
				}
				return nil
			}
			if c != ',' {
				depth--
			}
		}
		r.at++
	}
	return errEndsEarly
}

func (r *headerReader) space() {
	for r.at < len(r.s) && strings.IndexByte(" \t\r\n", r.s[r.at]) >= 0 {
		r.at++
	}
}

// take passes over c after spaces, and tells whether it was there.
func (r *headerReader) take(c byte) bool {
	r.space()
	if r.at < len(r.s) && r.s[r.at] == c {
		r.at++
		return true
	}
	return false
}

func (r *headerReader) unexpected(want string) error {
	if r.at >= len(r.s) {
		return errEndsEarly
	}
	rest := []rune(r.s[r.at:min(len(r.s), r.at+4)])
	return fmt.Errorf("%s was expected at character %d, not %q", want, r.at, rest[0])
}
