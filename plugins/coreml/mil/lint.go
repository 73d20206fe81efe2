package mil

import (
	"fmt"
	"regexp"
	"slices"
)

// identifier is what names of values look like (MIL's own rule, without the @ that only Apple's passes write).
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Operator sets that are written.
const (
	OldestOpset = 5
	NewestOpset = 8
)

// linter finds what is wrong with a model.
type linter struct {
	m      *Model
	blobs  []byte
	known  map[string]Known
	first  map[string]bool // names of inputs
	errors []error
}

// Lint finds what Core ML would refuse, also where coremltools does not: every argument of an operation must be written
// out and be of a type that its operator set allows, declared types must be those that the operations give, names legal
// and unique, constants whole and where they are said to be, and the description must tell the same as the function.
// blobs are the bytes of the file of weights.
func Lint(m *Model, blobs []byte) []error {
	l := &linter{m: m, blobs: blobs, known: map[string]Known{}, first: map[string]bool{}}
	if err := checkWeights(blobs); err != nil {
		l.errors = append(l.errors, err)
	}
	if o := m.Main.Opset; o < OldestOpset || o > NewestOpset {
		l.failf("", "there is no operator set %s", OpsetName(o))
		return l.errors
	}
	l.inputs()
	for _, op := range m.Main.Ops {
		l.operation(op)
	}
	l.outputs()
	if m.Detector != nil {
		l.detector()
	}
	return l.errors
}

// failf records an error of an operation, or of the model.
func (l *linter) failf(where, format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if where != "" {
		err = fmt.Errorf("%s: %w", where, err)
	}
	l.errors = append(l.errors, err)
}

// define adds a name.
func (l *linter) define(where, name string, k Known) {
	if !identifier.MatchString(name) {
		l.failf(where, "%q is no legal name", name)
	}
	if _, ok := l.known[name]; ok {
		l.failf(where, "the name %q is given twice", name)
	}
	l.known[name] = k
}

// tensorType checks what any tensor of a program must be.
func (l *linter) tensorType(where string, t Type) {
	if t.DataType == Int64 || types[t.DataType].name == "" && !t.Dictionary {
		l.failf(where, "a program has no tensors of %s", t.DataType)
	}
	if len(t.Shape) > maxRank {
		l.failf(where, "a tensor has %d axes, and Core ML has none of more than %d", len(t.Shape), maxRank)
	}
	if slices.ContainsFunc(t.Shape, func(d int64) bool { return d < -1 || d == 0 }) {
		l.failf(where, "a tensor has the shape %v", t.Shape)
	}
}

func (l *linter) inputs() {
	features := map[string]*Feature{}
	for i := range l.m.Inputs {
		features[l.m.Inputs[i].Name] = &l.m.Inputs[i]
	}
	for i := range l.m.States {
		features[l.m.States[i].Name] = &l.m.States[i]
	}
	if want := len(l.m.Inputs) + len(l.m.States); len(l.m.Main.Inputs) != want || len(features) != want {
		l.failf("", "the function has %d inputs, and the description %d", len(l.m.Main.Inputs), want)
	}
	for _, in := range l.m.Main.Inputs {
		where := "input " + in.Name
		l.tensorType(where, in.Type)
		l.define(where, in.Name, Known{Type: in.Type})
		l.first[in.Name] = true
		f := features[in.Name]
		if f == nil {
			l.failf(where, "the description has no such input")
			continue
		}
		if in.Type.State != slices.ContainsFunc(l.m.States, func(s Feature) bool { return s.Name == in.Name }) {
			l.failf(where, "the function and the description do not agree that it is a state")
		}
		if in.Type.State && (l.m.Main.Opset < 8 || in.Type.DataType != Float16) {
			l.failf(where, "a state is of fp16 and came with CoreML8")
		}
		l.feature(where, f, in.Type)
	}
}

// feature compares a description with the type in the function.
func (l *linter) feature(where string, f *Feature, t Type) {
	t.State = false
	d := f.Type
	d.State = false
	if f.Text || f.Dictionary {
		if f.Text != (t.DataType == String && !t.Dictionary) || f.Dictionary != t.Dictionary {
			l.failf(where, "the description and the function do not tell the same type")
		}
		return
	}
	if d.DataType != t.DataType || len(d.Shape) != len(t.Shape) {
		l.failf(where, "the description tells %s, and the function %s", d, t)
		return
	}
	if len(t.Shape) == 0 {
		l.failf(where, "a scalar cannot be given or taken: it needs an axis")
	}
	switch {
	case t.DataType == Float32, t.DataType == Int32, t.DataType == Float16 && l.m.Main.Opset >= 6:
	default:
		l.failf(where, "%s cannot be given or taken", t.DataType)
	}
	for i, n := range t.Shape {
		open := f.Upper != nil && f.Lower[i] != f.Upper[i] || slices.ContainsFunc(f.Enumerated, func(s []int64) bool { return s[i] != d.Shape[i] })
		switch {
		case n >= 0 && open:
			l.failf(where, "axis %d is fixed in the function, and open in the description", i)
		case n >= 0 && d.Shape[i] != n:
			l.failf(where, "the description tells %s, and the function %s", d, t)
		case n < 0 && !open && d.Shape[i] >= 0:
			l.failf(where, "axis %d is open in the function, and fixed in the description", i)
		}
	}
	if f.Image != 0 {
		channels := int64(3)
		if f.Image == Gray {
			channels = 1
		}
		if len(t.Shape) != 4 || t.Shape[0] != 1 || t.Shape[1] != channels || t.DataType != Float32 {
			l.failf(where, "a picture is fp32 [1 %d height width], not %s", channels, t)
		}
	}
}

// look tells what is known of a name.
func (l *linter) look(name string) (Known, bool) {
	k, ok := l.known[name]
	return k, ok
}

func (l *linter) operation(op *Operation) {
	where := op.Type + " " + op.Called()
	if len(op.Outputs) == 0 {
		l.define(where, op.Name, Known{})
		if op.Type != "write_state" {
			l.failf(where, "it has no output")
			return
		}
	}
	if op.Of != "" {
		where += " (" + op.Of + ")"
	}
	for _, o := range op.Outputs {
		l.tensorType(where, o.Type)
	}
	for _, a := range op.Inputs {
		if a.Value != nil {
			if a.Key == "lut" {
				l.lut(where, *a.Value)
				continue
			}
			l.constant(where, *a.Value)
		}
	}
	if op.Type == "const" {
		l.constantOp(where, op)
		return
	}
	if len(op.Attrs) > 0 {
		if c := (&call{op: op, spec: l.m.SpecVersion()}); !c.attributes() {
			l.failf(where, "it has an attribute %s", op.Attrs[0].Key)
		}
		for _, a := range op.Attrs {
			l.constant(where, a.Value)
		}
	}
	got, err := Infer(op, l.m.Main.Opset, l.look)
	switch {
	case err != nil:
		l.failf(where, "%w", err)
	case len(got) != len(op.Outputs):
		l.failf(where, "it has %d outputs, and gives %d", len(op.Outputs), len(got))
	default:
		for i, o := range op.Outputs {
			if !l.agrees(o.Type, got[i]) {
				l.failf(where, "its output is declared as %s, and is %s", o.Type, got[i])
			}
		}
	}
	constant := isConstexpr(op.Type)
	for _, o := range op.Outputs {
		l.define(where, o.Name, Known{Type: o.Type, Const: constant})
	}
}

// isConstexpr tells whether an operation's results are constants.
func isConstexpr(op string) bool { return len(op) > 10 && op[:10] == "constexpr_" }

// agrees compares a declared type with what was worked out. Where a program has open axes either may know more.
func (l *linter) agrees(declared, got Type) bool {
	if len(declared.Shape) != len(got.Shape) {
		return false
	}
	for i := range got.Shape {
		if a, b := declared.Shape[i], got.Shape[i]; a >= 0 && b >= 0 && a != b {
			return false
		}
	}
	declared.Shape = got.Shape
	return declared.Equal(got)
}

// constantOp checks an operation const.
func (l *linter) constantOp(where string, op *Operation) {
	if len(op.Attrs) != 1 || op.Attrs[0].Key != "val" || len(op.Inputs) > 0 || len(op.Outputs) != 1 {
		l.failf(where, "a constant has one value and one output")
		l.define(where, op.Outputs[0].Name, Known{Type: op.Outputs[0].Type, Const: true})
		return
	}
	v := &op.Attrs[0].Value
	if !v.Type.Equal(op.Outputs[0].Type) {
		l.failf(where, "it is declared as %s, and its value is %s", op.Outputs[0].Type, v.Type)
	}
	l.constant(where, *v)
	k := Known{Type: op.Outputs[0].Type, Const: true}
	if !v.Blob {
		k.Value = v
	}
	l.define(where, op.Outputs[0].Name, k)
}

// constant checks that a value is whole.
func (l *linter) constant(where string, v Value) {
	l.tensorType(where, v.Type)
	l.whole(where, v)
}

// lut checks tables of values: they have two axes more than the weight.
func (l *linter) lut(where string, v Value) {
	t := v.Type
	t.Shape = t.Shape[:max(len(t.Shape)-2, 0)]
	l.tensorType(where, t)
	l.whole(where, v)
}

// whole checks that a constant has the bytes that its type says.
func (l *linter) whole(where string, v Value) {
	n := v.Elements()
	switch {
	case n < 0:
		l.failf(where, "a constant has an open axis")
	case v.Blob:
		if err := readBlob(l.blobs, v); err != nil {
			l.failf(where, "%w", err)
		}
	case v.Strings > 0, v.DataType == String:
		if want := max(int64(v.Strings), 1); int64(len(v.Texts)) != want {
			l.failf(where, "a constant has %d texts, and says that it has %d", len(v.Texts), want)
		}
	case int64(len(v.Data)) != (n*int64(v.DataType.Bits())+7)/8:
		l.failf(where, "a constant %s has %d bytes", v.Type, len(v.Data))
	case v.DataType == Float16 && len(v.Type.Shape) > 0:
		// The runtime was reported to stop at those.
		l.failf(where, "a constant of fp16 that is no scalar must be in the file of weights")
	}
}

func (l *linter) outputs() {
	want := map[string]*Feature{}
	for i := range l.m.Outputs {
		want[l.m.Outputs[i].Name] = &l.m.Outputs[i]
	}
	if len(want) != len(l.m.Outputs) || len(want) != len(l.m.Main.Outputs) || len(want) == 0 {
		l.failf("", "the function has %d outputs, and the description %d", len(l.m.Main.Outputs), len(l.m.Outputs))
	}
	for _, name := range l.m.Main.Outputs {
		where := "output " + name
		k, ok := l.known[name]
		f := want[name]
		switch {
		case !ok:
			l.failf(where, "no operation makes it")
		case l.first[name]:
			l.failf(where, "it is an input as it is")
		case f == nil:
			l.failf(where, "the description has no such output")
		case len(f.Type.Shape) == 0 && slices.Contains(k.Type.Shape, -1):
			// The shape of an output with an open axis is left out of a written description.
			open := *f
			open.Type.Shape = k.Type.Shape
			l.feature(where, &open, k.Type)
		default:
			l.feature(where, f, l.described(k.Type, f))
		}
	}
	for _, n := range []string{l.m.Label, l.m.Chances} {
		if n != "" && want[n] == nil {
			l.failf("output "+n, "the description names it as a classifier's, and has no such output")
		}
	}
}

// described is the type of an output as far as the description has to tell it: open axes have no bounds there.
func (l *linter) described(t Type, f *Feature) Type {
	if !slices.Contains(t.Shape, -1) || len(f.Type.Shape) != len(t.Shape) {
		return t
	}
	t.Shape = slices.Clone(t.Shape)
	for i, d := range f.Type.Shape {
		if t.Shape[i] < 0 {
			t.Shape[i] = d
		}
	}
	return t
}
