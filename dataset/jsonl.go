package dataset

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// maxLine bounds one line of JSON.
const maxLine = 64 << 20

// openJSONL reads JSON lines once, to learn their fields: each line is an object, and
// all have the keys of the first one.
func openJSONL(path, label string) (*table, error) {
	t := &table{dir: filepath.Dir(path)}
	t.rows = func(ctx context.Context, yield func(r row) error) error { return jsonRows(ctx, path, yield) }
	err := t.rows(context.Background(), func(r row) error {
		seen := map[string]bool{}
		err := jsonMembers(r.raw, func(key, _ []byte) error {
			if !seen[string(key)] && len(seen) <= maxColumns {
				seen[string(key)] = true
				t.fields = append(t.fields, &tableField{name: string(key)})
			}
			return nil
		})
		if err != nil {
			return rowError(r, err)
		}
		return errStop
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	if len(t.fields) == 0 || len(t.fields) > maxColumns {
		return nil, sourceError("The source has no fields", fmt.Sprintf("The first line of %s has %s keys; from 1 to %d are read.", path, countOf(len(t.fields)), maxColumns), nil)
	}
	// A map has no order; that of the names is as good as any and always the same.
	slices.SortFunc(t.fields, func(a, b *tableField) int { return strings.Compare(a.name, b.name) })
	place := make(map[string]int, len(t.fields))
	for i, f := range t.fields {
		place[f.name] = i
	}
	t.cut = func(raw []byte, cells []string) error {
		// The cells are parts of the line, but for texts with escapes.
		line := unsafe.String(unsafe.SliceData(raw), len(raw))
		clear(cells)
		ok, err := plainMembers(line, func(key, value string) error {
			if i, ok := place[key]; ok {
				cells[i] = value // of a key given twice the last one counts
			}
			return nil
		})
		if err != nil {
			return err
		}
		if ok {
			for i, v := range cells {
				if v == "" {
					return fmt.Errorf("it lacks the key %q", clip(t.fields[i].name))
				}
				if v[0] == '"' {
					cells[i] = v[1 : len(v)-1]
				}
			}
			return nil
		}
		values := make([][]byte, len(cells))
		err = jsonMembers(raw, func(key, value []byte) error {
			if i, ok := place[string(key)]; ok {
				values[i] = value
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, v := range values {
			if v == nil {
				return fmt.Errorf("it lacks the key %q", clip(t.fields[i].name))
			}
			if cells[i], err = jsonCell(v); err != nil {
				return fmt.Errorf("the key %q: %w", clip(t.fields[i].name), err)
			}
		}
		return nil
	}
	return t, learn(t, path, label)
}

// countOf says how many there are of what is not counted above maxColumns.
func countOf(n int) string {
	if n > maxColumns {
		return fmt.Sprintf("more than %d", maxColumns)
	}
	return strconv.Itoa(n)
}

// jsonMembers gives the keys and values of an object as parts of the line. A map of them
// would take many times the memory of the line, and each line would make one.
func jsonMembers(line []byte, do func(key, value []byte) error) error {
	line = bytes.TrimSpace(line)
	if !json.Valid(line) || line[0] != '{' {
		var wrong *json.UnmarshalTypeError
		switch err := json.Unmarshal(line, &struct{}{}); {
		case errors.As(err, &wrong):
			return fmt.Errorf("it is no JSON object, but of type %s; each line is one like {\"x\": [1, 2], \"label\": 0}", wrong.Value)
		case err != nil:
			return fmt.Errorf("it is no JSON object: %w", err)
		}
		return errors.New("it is no JSON object, but null")
	}
	var key []byte
	depth, start := 0, 1
	for i := 1; i < len(line); i++ {
		switch c := line[i]; c {
		case '"':
			for i++; line[i] != '"'; i++ {
				if line[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			depth++
		case ':':
			if depth == 0 {
				key, start = bytes.TrimSpace(line[start:i]), i+1
			}
		case ']', '}', ',':
			if depth > 0 {
				if c != ',' {
					depth--
				}
				continue
			}
			if key != nil { // nil: the object is empty
				name := key[1 : len(key)-1]
				if bytes.IndexByte(name, '\\') >= 0 || !utf8.Valid(name) {
					var s string
					if err := json.Unmarshal(key, &s); err != nil {
						return err
					}
					name = []byte(s)
				}
				if err := do(name, bytes.TrimSpace(line[start:i])); err != nil {
					return err
				}
			}
			key, start = nil, i+1
		}
	}
	return nil
}

// jsonCell gives a value as the cell of a table: a string without its quotes, a list
// as it is written.
func jsonCell(v []byte) (string, error) {
	switch v = bytes.TrimSpace(v); {
	case len(v) == 0 || string(v) == "null":
		return "", errors.New("it has no value")
	case v[0] == '"':
		var s string
		err := json.Unmarshal(v, &s)
		return s, err
	case v[0] == '{':
		return "", errors.New("it is an object; fields are numbers, texts, or lists of numbers")
	}
	return string(v), nil
}

// jsonRows gives each line that is not blank. The bytes are the row's own.
func jsonRows(ctx context.Context, path string, yield func(r row) error) error {
	f, err := openStream(path)
	if err != nil {
		return sourceError("The source cannot be read", err.Error(), err)
	}
	defer f.Close()
	b := bufio.NewReaderSize(f, 1<<16)
	skipMark(b)
	index := int64(0)
	for line := 1; ; line++ {
		if line&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		raw, err := readLine(b)
		if err != nil && !errors.Is(err, io.EOF) {
			return sourceError("The table cannot be read", fmt.Sprintf("%s, line %d: %s.", path, line, err), err)
		}
		if len(bytes.TrimSpace(raw)) > 0 {
			if err := yield(row{index: index, file: path, line: line, raw: raw}); err != nil {
				return err
			}
			index++
		}
		if err != nil {
			return nil
		}
	}
}

// readLine copies one line; with the last one comes io.EOF.
func readLine(b *bufio.Reader) ([]byte, error) {
	var out []byte
	for {
		part, err := b.ReadSlice('\n')
		out = append(out, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return out, err
		}
		if len(out) > maxLine {
			return nil, fmt.Errorf("it is longer than %d bytes", maxLine)
		}
	}
}

// listShape reads the shape of numbers in brackets, such as [[1, 2], [3, 4]], and
// whether some are not whole. It is not a list when the brackets do not match, a
// list is empty, or lists beside each other differ in length.
func listShape(s string) (shape []int64, reals, ok bool) {
	if !strings.HasPrefix(s, "[") {
		return nil, false, false
	}
	const deepest = 8
	var counts [deepest]int64
	depth, leaf := 0, 0
	var lengths []int64
	value := false // a value ended, so that a comma or bracket must follow
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '[':
			if value || depth == deepest || leaf > 0 && depth == leaf {
				return nil, false, false
			}
			counts[depth] = 0
			depth++
			i++
		case c == ']':
			if !value || depth == 0 {
				return nil, false, false
			}
			n := counts[depth-1] + 1
			if l := &lengths[depth-1]; *l == 0 {
				*l = n
			} else if *l != n {
				return nil, false, false
			}
			depth--
			i++
		case c == ',':
			if !value || depth == 0 {
				return nil, false, false
			}
			counts[depth-1]++
			value = false
			i++
		default:
			if value || leaf > 0 && depth != leaf || depth == 0 {
				return nil, false, false
			}
			if leaf == 0 { // how deep the numbers lie
				leaf, lengths = depth, make([]int64, depth)
			}
			n, whole, sure := scanNumber(s[i:])
			end := i + n
			if !sure || end < len(s) && !separates[s[end]] {
				for end = i; end < len(s) && !separates[s[end]]; {
					end++
				}
				_, err := wholeCell(s[i:end])
				if whole = err == nil; !whole {
					if _, err := realCell(s[i:end]); err != nil {
						return nil, false, false
					}
				}
			}
			reals = reals || !whole
			value = true
			i = end
		}
	}
	return lengths, reals, depth == 0 && leaf > 0
}

func sameShape(a, b []int64) bool { return slices.Equal(a, b) }
