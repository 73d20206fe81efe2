package dataset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/optimize-hcl/optimize/tensor"
)

// maxText bounds a text that is kept as it is; every sample takes as much room as the longest.
const maxText = 1 << 20

// textType is the DType of a target whose field is kept as texts, whatever it looks like.
const textType = "text"

// isTarget tells whether a field is what a target holds.
func (s Spec) isTarget(field string) bool {
	for _, t := range s.Targets {
		if t.Field == field || t.Field == "" && t.Name == field {
			return true
		}
	}
	return false
}

// target adds a column that was planned as an input, and turns its mistakes into those of a target.
func (s Spec) target(cols []*column, i int, c *column, err error) ([]*column, error) {
	name := s.Targets[i].Name
	if err != nil {
		var e *Error
		if errors.As(err, &e) && len(e.Path) > 0 && e.Path[0] == "input" {
			e.Path = append([]string{"target"}, e.Path[1:]...)
			e.Summary = strings.ReplaceAll(e.Summary, "An input", "A target")
		}
		return nil, err
	}
	for _, o := range cols {
		if o.name == tensor.TargetPrefix+name {
			return nil, &Error{Path: []string{"target", name}, Summary: "A target is given twice", Detail: fmt.Sprintf("There are two blocks target %q; give one another name.", clip(name))}
		}
	}
	c.name = tensor.TargetPrefix + name
	if len(c.path) > 0 && c.path[0] == "input" {
		c.path = append([]string{"target"}, c.path[1:]...)
	}
	return append(cols, c), nil
}

// isText tells whether a field is kept as texts.
func (p *tablePlan) isText(in Input, f *tableField) bool {
	if !p.targets {
		return false
	}
	return in.DType == textType || in.Tokenizer == "" && (f.kind == kindText || f.kind == kindFile)
}

// words makes a column of a field's texts: UTF-8 with zeros behind it, as wide as the longest.
func (p *tablePlan) words(in Input, path []string, i int) (*column, error) {
	f := p.t.fields[i]
	for _, a := range append(arguments(in), argument{"scale", in.Scale != nil, nil}, argument{"mean", in.Mean != nil, nil},
		argument{"std", in.Std != nil, nil}, argument{"shape", in.Shape != nil, nil}, argument{"layout", in.Layout != "", nil},
		argument{"dtype", in.DType != "" && in.DType != textType, nil}) {
		if a.set {
			return nil, &Error{Path: []string{"input", in.Name, a.name}, Summary: a.name + " does nothing here", Detail: fmt.Sprintf("The field %q is kept as texts. Leave it out.", clip(f.name))}
		}
	}
	length, err := p.longestText(i)
	if err != nil {
		return nil, &Error{Path: path, Summary: "The texts cannot be kept", Detail: sentenceOf(err), Err: err}
	}
	if length > maxText {
		return nil, &Error{Path: path, Summary: "A text is too long", Detail: fmt.Sprintf("The longest of the field %q has %d bytes; up to %d are kept.", clip(f.name), length, maxText)}
	}
	isFile := f.kind == kindFile
	in.DType = ""
	return p.column(in, path, f.name, tensor.U8, tensor.U8, []int64{max(1, length)}, func(w *worker, r row, raw []byte) error {
		s := r.cells[i]
		if isFile {
			b, err := w.read(p.t.dir, s)
			if err != nil {
				return err
			}
			s = string(b)
		}
		switch {
		case !utf8.ValidString(s):
			return errors.New("the text is not UTF-8")
		case strings.IndexByte(s, 0) >= 0:
			return errors.New("the text holds a zero byte")
		case len(s) > len(raw):
			return errors.New("the text became longer while the source was read")
		}
		clear(raw[copy(raw, s):])
		return nil
	})
}

// longestText is the length in bytes of the longest text of a field.
func (p *tablePlan) longestText(i int) (int64, error) {
	f := p.t.fields[i]
	if f.kind != kindFile {
		return f.longest, nil
	}
	var most int64
	cells := make([]string, len(p.t.fields))
	err := p.t.rows(p.ctx, func(r row) error {
		if p.t.cut != nil {
			if err := p.t.cut(r.raw, cells); err != nil {
				return rowError(r, err)
			}
			r.cells = cells
		}
		name := r.cells[i]
		if !filepath.IsAbs(name) {
			name = filepath.Join(p.t.dir, filepath.FromSlash(name))
		}
		st, err := os.Stat(name)
		if err != nil {
			return err
		}
		most = max(most, st.Size())
		return nil
	})
	return most, err
}

func sentenceOf(err error) string { return strings.TrimSuffix(err.Error(), ".") + "." }
