package dataset

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/optimize-hcl/optimize/dataset/tokenizer"
	"github.com/optimize-hcl/optimize/tensor"
)

// planTable matches the block with a table, and gives the names of the classes when
// the label has names.
func planTable(ctx context.Context, s Spec, src *source) ([]*column, []string, error) {
	if err := checkSpec(s); err != nil {
		return nil, nil, err
	}
	t := src.table
	inputs := s.Inputs
	implied := len(inputs) == 0
	if implied {
		for _, f := range t.fields {
			if f.name != s.Label && !s.isTarget(f.name) {
				inputs = append(inputs, Input{Name: f.name})
			}
		}
		if len(inputs) == 0 {
			return nil, nil, sourceError("The source has no field for an input", fmt.Sprintf("%s has %s, and that is the label.", src.path, t.describe()), nil)
		}
	}
	p := &tablePlan{ctx: ctx, src: src, t: t}
	var cols []*column
	for _, in := range inputs {
		if in.Name == "" || strings.HasPrefix(in.Name, "__") {
			return nil, nil, badName(in.Name)
		}
		if slices.ContainsFunc(cols, func(o *column) bool { return o.name == in.Name }) {
			return nil, nil, twice(in.Name)
		}
		c, err := p.input(in, implied)
		if err != nil {
			return nil, nil, err
		}
		cols = append(cols, c)
	}
	var classes []string
	if s.Label != "" {
		c, names, err := p.label(s.Label)
		if err != nil {
			return nil, nil, err
		}
		cols, classes = append(cols, c), names
	}
	p.targets = true
	for i, in := range s.Targets {
		var err error
		if in.Name == "" || strings.HasPrefix(in.Name, "__") {
			err = badName(in.Name)
		}
		var c *column
		if err == nil {
			c, err = p.input(in, false)
		}
		if cols, err = s.target(cols, i, c, err); err != nil {
			return nil, nil, err
		}
	}
	return cols, classes, nil
}

type tablePlan struct {
	ctx context.Context
	src *source
	t   *table

	tokenizers map[string]*tokenizer.Tokenizer // by path
	targets    bool                            // the inputs are targets
}

func (p *tablePlan) missing(path []string, name string) error {
	return &Error{Path: path, Summary: fmt.Sprintf("There is no field %q", clip(name)), Detail: fmt.Sprintf("%s has %s.", p.src.path, p.t.describe())}
}

func (p *tablePlan) input(in Input, implied bool) (*column, error) {
	if in.Value != nil {
		c, same, err := planValue(in, p.t.count)
		if err != nil {
			return nil, err
		}
		if p.targets {
			return nil, noSamples(c)
		}
		c.fill = func(_ *worker, _ row, raw []byte) error {
			copy(raw, same)
			return nil
		}
		return c, nil
	}
	name, path := in.Field, []string{"input", in.Name, "field"}
	if name == "" {
		name, path = in.Name, []string{"input", in.Name}
	}
	if implied {
		path = []string{"source"}
	}
	var which []int
	if i, _ := p.t.find(name); i >= 0 {
		which = []int{i}
	} else if prefix, ok := strings.CutSuffix(name, "*"); ok {
		for i, f := range p.t.fields {
			if strings.HasPrefix(f.name, prefix) {
				which = append(which, i)
			}
		}
	}
	if len(which) == 0 {
		return nil, p.missing(path, name)
	}
	f := p.t.fields[which[0]]
	if p.isText(in, f) {
		return p.words(in, path, which[0])
	}
	if err := argumentsFit(in, f.kind); err != nil {
		return nil, err
	}
	var c *column
	var err error
	switch {
	case len(which) > 1 || f.name != name:
		c, err = p.vector(in, path, name, which)
	case f.kind == kindInt || f.kind == kindFloat:
		c, err = p.scalar(in, path, which[0])
	case f.kind == kindList:
		c, err = p.list(in, path, which[0])
	case f.kind == kindImage:
		c, err = p.image(in, path, which[0])
	case f.kind == kindSound:
		c, err = p.sound(in, path, which[0])
	case in.Tokenizer != "":
		c, err = p.text(in, path, which[0])
	default:
		detail := fmt.Sprintf("Models take numbers. Write the tokenizer that the model was trained with: tokenizer = \"tokenizer.json\". %s has %s.", p.src.path, p.t.describe())
		if f.note != "" {
			detail = "It would hold numbers, but " + f.note + ". " + detail
		} else if point := strings.Replace(f.first, ",", ".", 1); point != f.first && isReal(point) {
			detail = fmt.Sprintf("Its first one is %q, which is no number: write a point, %s. ", f.first, point) + detail
		} else {
			detail = fmt.Sprintf("Its first one is %q. ", f.first) + detail
		}
		err = &Error{Path: path, Summary: fmt.Sprintf("The field %q is text", clip(f.name)), Detail: detail}
	}
	if e, ok := err.(*Error); ok && implied {
		e.Detail += ` Without input blocks every field but the label is an input; name the ones that are with input "NAME" blocks.`
	}
	return c, err
}

// column finishes an input whose raw samples are d of the given shape.
func (p *tablePlan) column(in Input, path []string, name string, d, to tensor.DType, sample []int64, fill filler) (*column, error) {
	a, err := pseudo(name, d, p.t.count, sample)
	if err != nil {
		return nil, &Error{Path: path, Summary: "The field is too large", Detail: err.Error() + "."}
	}
	c, err := prepareInput(in, path, a, to)
	if err != nil {
		return nil, err
	}
	c.fill = fill
	return c, nil
}

func (p *tablePlan) scalar(in Input, path []string, i int) (*column, error) {
	f := p.t.fields[i]
	if f.kind == kindInt {
		return p.column(in, path, f.name, tensor.I64, tensor.I64, nil, func(_ *worker, r row, raw []byte) (err error) {
			elements[int64](raw)[0], err = wholeCell(r.cells[i])
			return err
		})
	}
	// Decimals are written for people; models that want them in 64 bits are rare.
	return p.column(in, path, f.name, tensor.F64, tensor.F32, nil, func(_ *worker, r row, raw []byte) (err error) {
		elements[float64](raw)[0], err = realCell(r.cells[i])
		return err
	})
}

func (p *tablePlan) vector(in Input, path []string, name string, which []int) (*column, error) {
	whole := true
	for _, i := range which {
		f := p.t.fields[i]
		if f.kind != kindInt && f.kind != kindFloat {
			return nil, &Error{Path: path, Summary: fmt.Sprintf("The field %q is not numeric", clip(f.name)), Detail: fmt.Sprintf("%q takes the %d columns that begin so, and each must hold numbers; this one holds %s.", clip(name), len(which), kindNames[f.kind])}
		}
		whole = whole && f.kind == kindInt
	}
	shape := []int64{int64(len(which))}
	if whole {
		return p.column(in, path, name, tensor.I64, tensor.I64, shape, func(_ *worker, r row, raw []byte) (err error) {
			out := elements[int64](raw)
			for k, i := range which {
				if out[k], err = wholeCell(r.cells[i]); err != nil {
					return fmt.Errorf("column %q: %w", clip(p.t.fields[i].name), err)
				}
			}
			return nil
		})
	}
	return p.column(in, path, name, tensor.F64, tensor.F32, shape, func(_ *worker, r row, raw []byte) (err error) {
		out := elements[float64](raw)
		for k, i := range which {
			if out[k], err = realCell(r.cells[i]); err != nil {
				return fmt.Errorf("column %q: %w", clip(p.t.fields[i].name), err)
			}
		}
		return nil
	})
}

func (p *tablePlan) list(in Input, path []string, i int) (*column, error) {
	f := p.t.fields[i]
	if !f.reals {
		return p.column(in, path, f.name, tensor.I64, tensor.I64, f.shape, func(_ *worker, r row, raw []byte) error {
			return fillWhole(elements[int64](raw), r.cells[i])
		})
	}
	return p.column(in, path, f.name, tensor.F64, tensor.F32, f.shape, func(_ *worker, r row, raw []byte) error {
		return fillReals(elements[float64](raw), r.cells[i])
	})
}

// label makes class numbers of a field: whole numbers as they are, and names in the
// order of their bytes.
func (p *tablePlan) label(name string) (*column, []string, error) {
	path := []string{"label"}
	i, f := p.t.find(name)
	if f == nil {
		return nil, nil, p.missing(path, name)
	}
	fill := func(_ *worker, r row, raw []byte) (err error) {
		elements[int64](raw)[0], err = wholeCell(r.cells[i])
		return err
	}
	var classes []string
	switch {
	case f.kind == kindInt:
		if p.t.classes != nil && f.name == "label" {
			classes = p.t.classes
		}
	case f.kind == kindText && !f.excess:
		for n := range f.names {
			classes = append(classes, n)
		}
		slices.Sort(classes)
		for k, n := range classes {
			f.names[n] = int64(k)
		}
		fill = func(_ *worker, r row, raw []byte) error {
			k, ok := f.names[r.cells[i]]
			if !ok {
				return fmt.Errorf("the class %q was not there when the classes were counted", clip(r.cells[i]))
			}
			elements[int64](raw)[0] = k
			return nil
		}
	default:
		detail := fmt.Sprintf("The field %q holds %s; a label is the number of the sample's class, or its name.", clip(name), kindNames[f.kind])
		if f.excess {
			detail = fmt.Sprintf("The field %q holds more than %d different texts.", clip(name), maxNames)
		}
		return nil, nil, &Error{Path: path, Summary: "The labels are no classes", Detail: detail}
	}
	a, err := pseudo(name, tensor.I64, p.t.count, nil)
	if err != nil {
		return nil, nil, &Error{Path: path, Summary: "There are too many samples", Detail: err.Error() + "."}
	}
	c, err := newColumn(tensor.LabelName, path, a, tensor.I64, newConverter(tensor.I64, tensor.I64, false, nil, nil, nil, 1))
	if err != nil {
		return nil, nil, err
	}
	c.fill = fill
	return c, classes, nil
}

func wholeCell(s string) (int64, error) {
	switch s {
	case "true":
		return 1, nil
	case "false":
		return 0, nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no whole number of 64 bits", clip(s))
	}
	return v, nil
}

func realCell(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", clip(s))
	}
	return v, nil
}

func badName(name string) error {
	return &Error{Path: []string{"input", name}, Summary: "An input cannot have this name", Detail: fmt.Sprintf("%q is empty or begins with two underscores, which are kept for labels and notes.", clip(name))}
}

func twice(name string) error {
	return &Error{Path: []string{"input", name}, Summary: "An input is given twice", Detail: fmt.Sprintf("There are two blocks input %q; each input of the model takes one field.", clip(name))}
}

// argument is a use of one of Input's arguments that only some fields take.
type argument struct {
	name  string
	set   bool
	kinds []kind
}

func arguments(in Input) []argument {
	image, sound, text := []kind{kindImage}, []kind{kindSound}, []kind{kindText, kindFile}
	return []argument{
		{"color", in.Color != "", image}, {"resize", in.Resize != nil, image}, {"crop", in.Crop != nil, image},
		{"resample", in.Resample != "", image}, {"orient", in.Orient, image},
		{"tokenizer", in.Tokenizer != "", text}, {"tokens", in.Tokens != "", text},
		{"length", in.Length != 0, []kind{kindSound, kindText, kindFile}}, {"rate", in.Rate != 0, sound},
	}
}

// argumentsFit refuses what would do nothing.
func argumentsFit(in Input, k kind) error {
	for _, a := range arguments(in) {
		if a.set && !slices.Contains(a.kinds, k) {
			return unfit(in, a, kindNames[k])
		}
	}
	return nil
}

// arrayOnly refuses what an array cannot do.
func arrayOnly(in Input) error {
	for _, a := range arguments(in) {
		if a.set {
			return unfit(in, a, "an array of numbers")
		}
	}
	return nil
}

func unfit(in Input, a argument, is string) error {
	var takes []string
	for _, k := range a.kinds {
		takes = append(takes, kindNames[k])
	}
	return &Error{Path: []string{"input", in.Name, a.name}, Summary: a.name + " does nothing here", Detail: fmt.Sprintf("The field is %s; %s is for %s. Leave it out.", is, a.name, strings.Join(takes, ", "))}
}

func isReal(s string) bool { _, err := realCell(s); return err == nil }
