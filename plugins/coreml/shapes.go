package coreml

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

// extent is how long an axis may be: low to high, which is -1 where there is no end.
type extent struct{ low, high int64 }

func (e extent) fixed() bool { return e.low == e.high }

// parseExtent reads an axis of a shape: "224", "1..8", "1..", or "?" for any length.
func parseExtent(s string) (extent, error) {
	s = strings.TrimSpace(s)
	if s == "?" {
		return extent{1, -1}, nil
	}
	low, high, ranged := strings.Cut(s, "..")
	a, err := parseLength(low)
	switch {
	case err != nil:
		return extent{}, err
	case !ranged:
		return extent{a, a}, nil
	case strings.TrimSpace(high) == "":
		return extent{a, -1}, nil
	}
	b, err := parseLength(high)
	if err == nil && b < a {
		err = fmt.Errorf("the range %s ends before it begins", s)
	}
	return extent{a, b}, err
}

func parseLength(s string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 1 || n > math.MaxInt32 {
		return 0, fmt.Errorf("%q is no length of an axis", s)
	}
	return n, nil
}

// checkShapes tells what is wrong with the argument shapes by itself.
func checkShapes(shapes map[string][]string) (ds sdk.Diagnostics) {
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		for i, s := range shapes[name] {
			if _, err := parseExtent(s); err != nil {
				ds = append(ds, sdk.Diagnostic{Path: []any{"shapes", sdk.Key(name), sdk.Index(i)}, Summary: err.Error(),
					Detail: "An axis is a number, a range such as \"1..8\", or \"1..\" for one without end."})
			}
		}
	}
	return ds
}

// checkEnumerated tells what is wrong with the argument enumerated_shapes by itself.
func checkEnumerated(c Config) (ds sdk.Diagnostics) {
	bad := func(summary, detail string, path ...any) {
		ds = append(ds, sdk.Diagnostic{Path: append([]any{"enumerated_shapes"}, path...), Summary: summary, Detail: detail})
	}
	if len(c.Enumerated) > 1 && opsetOf(c.Target) < 8 {
		bad(fmt.Sprintf("%d inputs have shapes of their own", len(c.Enumerated)), "Before iOS18 and macOS15 one input may have them. Use shapes with ranges for the others.")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Enumerated)) {
		all := c.Enumerated[name]
		if _, both := c.Shapes[name]; both {
			bad(fmt.Sprintf("input %q is in shapes, too", name), "Say its shapes in one of the two.", sdk.Key(name))
		}
		if len(all) == 0 || len(all) > 128 {
			bad(fmt.Sprintf("input %q has %d shapes", name, len(all)), "Core ML takes 1 to 128.", sdk.Key(name))
		}
		for i, s := range all {
			if len(s) != len(all[0]) || len(s) == 0 || slices.Min(s) < 1 || slices.Max(s) > math.MaxInt32 {
				bad(fmt.Sprintf("%v is no shape of input %q", s, name), "All have as many axes, each at least 1 long.", sdk.Key(name), sdk.Index(i))
			}
		}
	}
	return ds
}

// sizes are the shapes of the model's inputs as the recipe has them.
type sizes struct {
	fixed      map[string][]int64 // for onnx.FixInputs: -1 leaves an axis open
	open       map[string][]extent
	enumerated map[string][][]int64
}

// sizesOf puts the arguments shapes and enumerated_shapes and what the model says of its inputs together.
func sizesOf(c Config, m *onnx.Model) (sizes, error) {
	s := sizes{fixed: map[string][]int64{}, open: map[string][]extent{}, enumerated: map[string][][]int64{}}
	feeds := map[string]*onnx.ValueInfo{}
	for _, v := range m.Graph.Feeds() {
		feeds[v.Name()] = v
	}
	named := map[string]extent{} // by the name of an axis
	for _, name := range slices.Sorted(maps.Keys(c.Shapes)) {
		v, err := inputNamed(feeds, name, "shapes")
		if err != nil {
			return s, err
		}
		es := make([]extent, 0, len(c.Shapes[name]))
		for _, t := range c.Shapes[name] {
			e, err := parseExtent(t)
			if err != nil {
				return s, sdk.AttrError("shapes", err.Error(), "")
			}
			es = append(es, e)
		}
		if v.Type == nil || !v.Type.HasShape || len(v.Type.Shape) != len(es) {
			return s, rankError("shapes", v, len(es))
		}
		for i, d := range v.Type.Shape {
			if d.Fixed() && d.Value > 0 && (es[i].low > d.Value || es[i].high >= 0 && es[i].high < d.Value || !es[i].fixed()) {
				return s, sdk.Diagnostic{Code: codeShape, Path: []any{"shapes", sdk.Key(name), sdk.Index(i)}, Summary: fmt.Sprintf("axis %d of input %q is %d long in the model", i, name, d.Value),
					Detail: "Write that length, or export the model with an open axis. The model says " + shapeText(v) + "."}
			}
			if !d.Fixed() && d.Param != "" && d.Param != "?" {
				named[d.Param] = es[i]
			}
		}
		s.open[name] = es
	}
	for _, name := range slices.Sorted(maps.Keys(c.Enumerated)) {
		v, err := inputNamed(feeds, name, "enumerated_shapes")
		if err != nil {
			return s, err
		}
		all := c.Enumerated[name]
		if v.Type == nil || !v.Type.HasShape || len(v.Type.Shape) != len(all[0]) {
			return s, rankError("enumerated_shapes", v, len(all[0]))
		}
		s.enumerated[name] = all
		for i, d := range v.Type.Shape {
			for j, t := range all {
				if d.Fixed() && d.Value > 0 && t[i] != d.Value {
					return s, sdk.Diagnostic{Code: codeShape, Path: []any{"enumerated_shapes", sdk.Key(name), sdk.Index(j)}, Summary: fmt.Sprintf("axis %d of input %q is %d long in the model", i, name, d.Value),
						Detail: "Write that length, or export the model with an open axis. The model says " + shapeText(v) + "."}
				}
			}
		}
		fixed := slices.Clone(all[0])
		for _, t := range all[1:] {
			for i := range t {
				if t[i] != fixed[i] {
					fixed[i] = -1
				}
			}
		}
		s.fixed[name] = fixed
	}
	for _, v := range m.Graph.Feeds() {
		name := v.Name()
		if s.fixed[name] != nil || v.Type == nil || !v.Type.HasShape {
			continue
		}
		es, given := s.open[name]
		fixed := make([]int64, len(v.Type.Shape))
		for i, d := range v.Type.Shape {
			e, known := named[d.Param]
			switch {
			case given:
				e = es[i]
			case d.Fixed():
				e = extent{d.Value, d.Value}
			case known && d.Param != "":
			case i == 0:
				e = extent{1, 1} // an app has one sample at a time
				if d.Param != "" && d.Param != "?" {
					named[d.Param] = e
				}
			default:
				e = extent{-1, -1} // told by the lowering
			}
			if !given {
				s.open[name] = append(s.open[name], e)
			}
			fixed[i] = -1
			if e.fixed() {
				fixed[i] = e.low
			}
		}
		s.fixed[name] = fixed
	}
	return s, nil
}

// bounds are the open axes of an input for its description; nil where all is fixed or not said.
func (s sizes) bounds(name string) (low, high, def []int64) {
	open := false
	for _, e := range s.open[name] {
		if e.low < 1 {
			return nil, nil, nil
		}
		open = open || !e.fixed()
		low, high, def = append(low, e.low), append(high, e.high), append(def, e.low)
	}
	if !open {
		return nil, nil, nil
	}
	return low, high, def
}

func rankError(argument string, v *onnx.ValueInfo, got int) error {
	return sdk.Diagnostic{Code: codeShape, Path: []any{argument, sdk.Key(v.Name())}, Summary: fmt.Sprintf("input %q has another number of axes than %d", v.Name(), got),
		Detail: "The model says " + shapeText(v) + "."}
}

// inputNamed finds an input, or says at the argument which there are.
func inputNamed(feeds map[string]*onnx.ValueInfo, name, argument string) (*onnx.ValueInfo, error) {
	if v := feeds[name]; v != nil {
		return v, nil
	}
	return nil, sdk.Diagnostic{Code: codeInput, Path: []any{argument, sdk.Key(name)}, Summary: fmt.Sprintf("the model has no input %q", name),
		Detail: "Its inputs are " + strings.Join(slices.Sorted(maps.Keys(feeds)), ", ") + "."}
}

// shapeText is a value's shape for people: image [N, 3, 224, 224].
func shapeText(v *onnx.ValueInfo) string {
	if v.Type == nil || !v.Type.HasShape {
		return v.Name() + " of any shape"
	}
	dims := make([]string, 0, len(v.Type.Shape))
	for _, d := range v.Type.Shape {
		switch {
		case d.Fixed():
			dims = append(dims, strconv.FormatInt(d.Value, 10))
		case d.Param != "":
			dims = append(dims, d.Param)
		default:
			dims = append(dims, "?")
		}
	}
	return v.Name() + " [" + strings.Join(dims, ", ") + "]"
}
