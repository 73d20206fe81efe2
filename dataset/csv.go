package dataset

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// maxNames bounds the different texts of a field that are remembered as classes.
	maxNames = 1 << 16
	// maxColumns bounds the fields of a table.
	maxColumns = 1 << 16
)

// openStream opens a file for reading from its start, without its gzip.
func openStream(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return unpacked(f)
}

type readCloser struct {
	io.Reader
	io.Closer
}

// skipMark passes over the byte order mark that some programs write.
func skipMark(r *bufio.Reader) {
	if b, _ := r.Peek(3); string(b) == "\xef\xbb\xbf" {
		_, _ = r.Discard(3) // the three that were seen
	}
}

// openCSV reads a table of comma-separated values once, to learn its fields. The first
// line names them unless all its cells are numbers. The separator is the one of comma,
// semicolon and tab that the first line has most of.
func openCSV(path, label string) (*table, error) {
	t := &table{dir: filepath.Dir(path)}
	comma, header, err := csvHeader(path)
	if err != nil {
		return nil, err
	}
	names := header
	if allNumbers(header) {
		names = make([]string, len(header))
		for i := range names {
			names[i] = fmt.Sprintf("column%d", i)
		}
	}
	seen := map[string]bool{}
	for i, n := range names {
		if n == "" {
			n = fmt.Sprintf("column%d", i) // pandas leaves the name of its index empty
		}
		if seen[n] {
			return nil, sourceError("Two columns have one name", fmt.Sprintf("%s names %q twice in its first line.", path, clip(n)), nil)
		}
		seen[n] = true
		t.fields = append(t.fields, &tableField{name: n})
	}
	headed := !allNumbers(header)
	t.rows = func(ctx context.Context, yield func(r row) error) error {
		return csvRows(ctx, path, comma, headed, yield)
	}
	return t, learn(t, path, label)
}

// allNumbers tells whether every cell is a number; a table of one empty line is none.
func allNumbers(cells []string) bool {
	for _, c := range cells {
		if _, err := strconv.ParseFloat(c, 64); err != nil {
			return false
		}
	}
	return true
}

func csvHeader(path string) (comma rune, cells []string, err error) {
	f, err := openStream(path)
	if err != nil {
		return 0, nil, sourceError("The source cannot be read", err.Error(), err)
	}
	defer f.Close()
	b := bufio.NewReaderSize(f, 1<<16)
	skipMark(b)
	head, _ := b.Peek(1 << 15)
	line, _, _ := bytes.Cut(head, []byte("\n"))
	comma = ','
	for _, c := range ";\t" {
		if bytes.Count(line, []byte(string(c))) > bytes.Count(line, []byte(string(comma))) {
			comma = c
		}
	}
	r := csv.NewReader(bufio.NewReaderSize(&lineGuard{r: b, comma: byte(comma)}, 1<<16))
	r.Comma = comma
	cells, err = r.Read()
	if err != nil {
		return 0, nil, sourceError("The source is no table", fmt.Sprintf("The first line of %s cannot be read as comma-separated values: %s.", path, csvProblem(err)), err)
	}
	if len(cells) > maxColumns {
		return 0, nil, sourceError("The source has too many columns", fmt.Sprintf("%s has %d; up to %d are read.", path, len(cells), maxColumns), nil)
	}
	return comma, cells, nil
}

// lineGuard ends a table with a line of many times the cells that a table may have: each
// takes the memory of a string, though it is one byte in the file.
type lineGuard struct {
	r      io.Reader
	comma  byte
	cells  int  // since the last end of a line
	quoted bool // a quote is open, in which a line does not end
}

func (g *lineGuard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	search := bytes.LastIndexByte // without quotes only the last line matters
	if g.quoted || bytes.IndexByte(p[:n], '"') >= 0 {
		search = bytes.IndexByte
	}
	for rest := p[:n]; len(rest) > 0; {
		end := search(rest, '\n')
		line := rest
		if end >= 0 {
			line, rest = rest[:end], rest[end+1:]
		} else {
			rest = nil
		}
		if bytes.Count(line, []byte{'"'})%2 == 1 {
			g.quoted = !g.quoted
		}
		if end >= 0 && !g.quoted {
			g.cells = 0 // at most as many as there are bytes in p were in it
			continue
		}
		g.cells += bytes.Count(line, []byte{g.comma})
		if g.cells > 2*maxColumns {
			return 0, fmt.Errorf("a line has more than %d cells; up to %d are read", 2*maxColumns, maxColumns)
		}
	}
	return n, err
}

func csvProblem(err error) string {
	if errors.Is(err, io.EOF) {
		return "it is empty"
	}
	return err.Error()
}

func csvRows(ctx context.Context, path string, comma rune, headed bool, yield func(r row) error) error {
	f, err := openStream(path)
	if err != nil {
		return sourceError("The source cannot be read", err.Error(), err)
	}
	defer f.Close()
	b := bufio.NewReaderSize(f, 1<<16)
	skipMark(b)
	r := csv.NewReader(bufio.NewReaderSize(&lineGuard{r: b, comma: byte(comma)}, 1<<16))
	r.Comma = comma
	for i := int64(0); ; i++ {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return sourceError("The table cannot be read", fmt.Sprintf("%s: %s.", path, err), err)
		}
		if i&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if headed {
			headed = false
			i--
			continue
		}
		line, _ := r.FieldPos(0)
		if err := yield(row{index: i, file: path, line: line, cells: cells}); err != nil {
			return err
		}
	}
}

// learn passes all rows once: it counts them and finds what the cells of each field
// have in common. Of the label it keeps the different texts.
func learn(t *table, path, label string) error {
	if _, f := t.find(label); f != nil {
		f.names = map[string]int64{}
	}
	kinds := make([]learner, len(t.fields))
	cells := make([]string, len(t.fields))
	err := t.rows(context.Background(), func(r row) error {
		t.count++
		if t.cut != nil {
			if err := t.cut(r.raw, cells); err != nil {
				return rowError(r, err)
			}
			r.cells = cells
		}
		for i := range kinds {
			kinds[i].see(t.fields[i], r.cells[i], r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if t.count == 0 {
		return sourceError("There are no samples", fmt.Sprintf("%s has a first line and no other.", path), nil)
	}
	for i, f := range t.fields {
		kinds[i].end(f)
	}
	return nil
}

// learner narrows down what one field holds.
type learner struct {
	seen                                   bool
	notInt, notFloat, notList              bool
	notImage, notSound, notFile, listReals bool
}

func (l *learner) see(f *tableField, s string, r row) {
	f.longest = max(f.longest, int64(len(s)))
	if !l.seen {
		f.first = strings.Clone(clip(s))
	}
	if !l.notInt {
		if _, err := wholeCell(s); err != nil {
			l.notInt = true
		}
	}
	if l.notInt && !l.notFloat {
		if _, err := realCell(s); err != nil {
			l.notFloat = true
			if l.seen && f.note == "" {
				f.note = fmt.Sprintf("%s is %q", r.where(), clip(s))
			}
		}
	}
	if !l.notList {
		shape, reals, ok := listShape(s)
		switch {
		case !ok:
			l.notList = true
			if l.seen { // all before were lists
				f.note = fmt.Sprintf("%s is %q, and the first sample a list of shape %v", r.where(), clip(s), f.shape)
			}
		case !l.seen:
			f.shape = shape
		case !sameShape(shape, f.shape):
			l.notList = true
			f.note = fmt.Sprintf("%s has the shape %v, and the first sample %v", r.where(), shape, f.shape)
		}
		l.listReals = l.listReals || reals
	}
	if !l.notImage || !l.notSound || !l.notFile {
		ext := strings.ToLower(filepath.Ext(s))
		l.notImage = l.notImage || !imageFiles[ext]
		l.notSound = l.notSound || !soundFiles[ext]
		l.notFile = l.notFile || ext != ".txt" || strings.ContainsAny(s, " \n")
	}
	if f.names != nil && !f.excess {
		if _, ok := f.names[s]; !ok {
			f.names[strings.Clone(s)] = 0 // a clone, so that one cell does not keep its whole line
		}
		if f.excess = len(f.names) > maxNames || len(s) > 1<<10; f.excess {
			clear(f.names)
		}
	}
	l.seen = true
}

func (l *learner) end(f *tableField) {
	switch {
	case !l.notInt:
		f.kind = kindInt
	case !l.notFloat:
		f.kind = kindFloat
	case !l.notList:
		f.kind, f.reals = kindList, l.listReals
	case !l.notImage:
		f.kind = kindImage
	case !l.notSound:
		f.kind = kindSound
	case !l.notFile:
		f.kind = kindFile
	default:
		f.kind = kindText
	}
}

var (
	imageFiles = map[string]bool{".png": true, ".jpg": true, ".jpeg": true, ".webp": true}
	soundFiles = map[string]bool{".wav": true}
)
