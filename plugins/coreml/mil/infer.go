package mil

import (
	"fmt"
	"slices"
	"strings"
)

// Known is what is known of a value before a program runs.
type Known struct {
	Type Type
	// Const tells that it is a constant, Value its bytes where they are immediate.
	Const bool
	Value *Value
}

// call is an operation whose outputs' types are worked out.
type call struct {
	op   *Operation
	spec int
	args map[string][]Known
	err  error // what was found wrong first
}

// Infer checks the arguments of an operation against its form in an operator set (5 for CoreML5), and works out the types
// of its outputs. look tells what is known of a name.
func Infer(op *Operation, opset int, look func(name string) (Known, bool)) ([]Type, error) {
	f, err := formOf(op.Type, opset+1)
	if err != nil {
		return nil, err
	}
	c := &call{op: op, spec: opset + 1, args: map[string][]Known{}}
	for _, a := range op.Inputs {
		var ks []Known
		for _, n := range a.Names {
			k, ok := look(n)
			if !ok {
				return nil, fmt.Errorf("%s takes %q as %s, which no operation before it makes", op.Type, n, a.Key)
			}
			ks = append(ks, k)
		}
		if a.Value != nil {
			ks = append(ks, Known{Type: a.Value.Type, Const: true, Value: a.Value})
		}
		if err := c.given(a.Key, ks); err != nil {
			return nil, err
		}
	}
	if c.attributes() {
		for i := range op.Attrs {
			v := &op.Attrs[i].Value
			if err := c.given(op.Attrs[i].Key, []Known{{Type: v.Type, Const: true, Value: v}}); err != nil {
				return nil, err
			}
		}
	}
	if err := c.fits(f); err != nil {
		return nil, err
	}
	infer, ok := inferences[op.Type]
	if !ok {
		return nil, fmt.Errorf("it is not known what %s gives", op.Type)
	}
	out := infer(c)
	if c.err != nil {
		return nil, fmt.Errorf("%s: %w", op.Type, c.err)
	}
	for _, t := range out {
		if len(t.Shape) > maxRank {
			return nil, fmt.Errorf("%s gives a tensor of %d axes, and Core ML has none of more than %d", op.Type, len(t.Shape), maxRank)
		}
	}
	return out, nil
}

// maxRank is the largest number of axes of a tensor.
const maxRank = 5

// attributes tells whether the operation's arguments are attributes: those that decompress weights before CoreML8.
func (c *call) attributes() bool { return strings.HasPrefix(c.op.Type, "constexpr_") && c.spec < 9 }

func (c *call) given(key string, ks []Known) error {
	if _, twice := c.args[key]; twice {
		return fmt.Errorf("%s has the argument %s twice", c.op.Type, key)
	}
	if len(ks) == 0 {
		return fmt.Errorf("the argument %s of %s is empty", key, c.op.Type)
	}
	c.args[key] = ks
	return nil
}

// variadic are the arguments that hold several values.
func variadic(key string) bool { return key == "values" }

// fits checks the arguments against a form.
func (c *call) fits(f form) error {
	op := c.op.Type
	letters := map[string]DataType{}
	for _, p := range f.params {
		ks, ok := c.args[p.name]
		if !ok {
			if p.optional {
				continue
			}
			return fmt.Errorf("%s has no argument %s", op, p.name)
		}
		if len(ks) > 1 && !variadic(p.name) {
			return fmt.Errorf("the argument %s of %s has %d values", p.name, op, len(ks))
		}
		for _, k := range ks {
			switch {
			case p.constant && !k.Const:
				return fmt.Errorf("the argument %s of %s must be a constant", p.name, op)
			case p.types != nil && !slices.Contains(p.types, k.Type.DataType):
				return fmt.Errorf("the argument %s of %s cannot be %s in %s", p.name, op, k.Type.DataType, OpsetName(c.spec-1))
			}
			if p.letter == "" {
				continue
			}
			if d, ok := letters[p.letter]; ok && d != k.Type.DataType {
				return fmt.Errorf("the argument %s of %s is %s, where the others are %s", p.name, op, k.Type.DataType, d)
			}
			letters[p.letter] = k.Type.DataType
		}
	}
	for key := range c.args {
		if !slices.ContainsFunc(f.params, func(p param) bool { return p.name == key }) {
			return fmt.Errorf("%s has no argument %s in %s", op, key, OpsetName(c.spec-1))
		}
	}
	return nil
}

func (c *call) failf(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

func (c *call) has(key string) bool { return len(c.args[key]) > 0 }

// t is the type of an argument.
func (c *call) t(key string) Type {
	if ks := c.args[key]; len(ks) > 0 {
		return ks[0].Type
	}
	return Type{}
}

func (c *call) value(key string) *Value {
	if ks := c.args[key]; len(ks) > 0 {
		return ks[0].Value
	}
	return nil
}

// known are the integers or truths of an argument, where it is an immediate constant.
func (c *call) known(key string) ([]int64, bool) {
	v := c.value(key)
	if v == nil || v.Blob || len(v.Type.Shape) > 1 {
		return nil, false
	}
	switch v.DataType {
	case Int32, Uint32:
		out := make([]int64, 0, len(v.Data)/4)
		for i := 0; i+4 <= len(v.Data); i += 4 {
			out = append(out, int64(int32(le.Uint32(v.Data[i:]))))
		}
		return out, true
	case Bool:
		out := make([]int64, 0, len(v.Data))
		for _, b := range v.Data {
			out = append(out, int64(b))
		}
		return out, true
	}
	return nil, false
}

// ints are the integers of an argument that is a constant vector of n, or of any length where n is -1.
func (c *call) ints(key string, n int) []int64 {
	v, ok := c.known(key)
	if !ok || len(c.t(key).Shape) != 1 {
		c.failf("%s is no constant vector", key)
		return make([]int64, max(n, 0))
	}
	if n >= 0 && len(v) != n {
		c.failf("%s has %d numbers, and %d are needed", key, len(v), n)
		return make([]int64, n)
	}
	return v
}

// int is a constant scalar.
func (c *call) int(key string) int64 {
	v, ok := c.known(key)
	if !ok || len(v) != 1 || len(c.t(key).Shape) != 0 {
		c.failf("%s is no constant scalar", key)
		return 0
	}
	return v[0]
}

// scalars checks that arguments have no axes: a vector of one is refused by Apple's parser.
func (c *call) scalars(keys ...string) {
	for _, k := range keys {
		if c.has(k) && len(c.t(k).Shape) != 0 {
			c.failf("%s is no scalar", k)
		}
	}
}

// text is a constant text, one of those allowed.
func (c *call) text(key string, allowed ...string) string {
	v := c.value(key)
	if v == nil || v.DataType != String || len(v.Texts) != 1 || len(v.Type.Shape) != 0 {
		c.failf("%s is no constant text", key)
		return ""
	}
	if len(allowed) > 0 && !slices.Contains(allowed, v.Texts[0]) {
		c.failf("%s cannot be %q", key, v.Texts[0])
	}
	return v.Texts[0]
}

// axis is a constant axis of a tensor, counted from the front.
func (c *call) axis(key string, rank int) int { return c.normal(key, c.int(key), rank) }

func (c *call) normal(key string, a int64, rank int) int {
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) {
		c.failf("%s is no axis of a tensor of %d", key, rank)
		return 0
	}
	return int(a)
}

// axes are constant axes, counted from the front, each once.
func (c *call) axes(key string, rank int) []int {
	out := make([]int, 0, rank)
	for _, a := range c.ints(key, -1) {
		n := c.normal(key, a, rank)
		if c.err != nil {
			return nil
		}
		if slices.Contains(out, n) {
			c.failf("%s names the axis %d twice", key, n)
			return nil
		}
		out = append(out, n)
	}
	return out
}

// rank checks that an argument has from low to high axes.
func (c *call) rank(key string, low, high int) bool {
	if r := len(c.t(key).Shape); r < low || r > high {
		c.failf("%s has %d axes, and %d to %d are allowed", key, r, low, high)
		return false
	}
	return true
}

// shape checks that an argument has exactly a shape; -1 fits any length.
func (c *call) shape(key string, want ...int64) {
	if !c.has(key) || c.err != nil {
		return
	}
	got := c.t(key).Shape
	if len(got) != len(want) {
		c.failf("%s is %v, and %v is needed", key, got, want)
		return
	}
	for i := range got {
		if got[i] >= 0 && want[i] >= 0 && got[i] != want[i] {
			c.failf("%s is %v, and %v is needed", key, got, want)
			return
		}
	}
}

// broadcast is the shape of what works on both, element by element.
func (c *call) broadcast(a, b []int64) []int64 {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for i := range b {
		j := len(a) - len(b) + i
		switch x, y := a[j], b[i]; {
		case x == y, y == 1:
		case x == 1:
			out[j] = y
		case x < 0 && y > 1:
			out[j] = y
		case y < 0 && x > 1, x < 0, y < 0:
		default:
			c.failf("%v and %v do not fit together", a, b)
			return out
		}
	}
	return out
}

func one(t Type) []Type { return []Type{t} }

func of(d DataType, shape ...int64) Type { return Type{DataType: d, Shape: shape} }

func product(s []int64) int64 { return Type{Shape: s}.Elements() }
