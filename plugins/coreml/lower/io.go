package lower

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// featureType is the type in which an application gives or takes a value.
func (p *program) featureType(d onnx.DataType) (mil.DataType, bool) {
	t, ok := typeOf(d)
	switch {
	case t == mil.Bool:
		t = mil.Int32
	case d == onnx.Float16 && p.main.Opset >= 6:
		t = mil.Float16
	}
	return t, ok
}

// publicName is the name of an input or output: the one that the recipe wants, or what is legal of the model's own.
func (p *program) publicName(name string, o Options, out *Lowered) string {
	want := name
	if n := o.Names[name]; n != "" {
		want = n
	}
	n := p.names.fresh(want)
	if n != name {
		out.Names[strings.Clone(name)] = n
	}
	return n
}

// inputs makes the function's inputs, and what prepares them. Names of outputs are reserved first.
func (p *program) inputs(o Options, out *Lowered) (problems []Problem) {
	fail := func(name, format string, args ...any) {
		problems = append(problems, problem(name, "input", fmt.Sprintf(format, args...)))
		p.values[name] = nil
	}
	public := map[string]string{}
	for _, v := range p.graph.Feeds() {
		public[v.Name()] = p.publicName(v.Name(), o, out)
	}
	for _, v := range p.graph.Outputs() {
		if _, ok := public[v.Name()]; !ok {
			public[v.Name()] = p.publicName(v.Name(), o, out)
		}
	}
	p.public = public
	for _, v := range p.graph.Feeds() {
		name := v.Name()
		if v.Type == nil || v.Type.Kind != onnx.KindTensor || !v.Type.HasShape {
			fail(name, "it is no tensor of a known number of axes")
			continue
		}
		t, ok := p.featureType(v.Type.Elem)
		if !ok {
			fail(name, "Core ML takes no %s", v.Type.Elem)
			continue
		}
		p.input(v, t, o, fail)
	}
	return problems
}

// input makes one input.
func (p *program) input(v *onnx.ValueInfo, t mil.DataType, o Options, fail func(string, string, ...any)) {
	name, public := v.Name(), p.public[v.Name()]
	in := o.Inputs[name]
	shape := make([]int64, 0, len(v.Type.Shape))
	for i, d := range v.Type.Shape {
		n := d.Value
		switch {
		case n == 0:
			fail(name, "its axis %d is 0 long, and Core ML has no empty tensors", i)
			return
		case n > 0:
		case in.Upper == nil && in.Enumerated == nil:
			fail(name, "its axis %d%s is open: shapes must say how long it is", i, param(d))
			return
		default:
			n = -1
			if in.Upper != nil && in.Lower[i] == in.Upper[i] {
				n = in.Upper[i]
			}
		}
		shape = append(shape, n)
	}
	if len(shape) > 5 {
		fail(name, "it has %d axes, and Core ML has no tensors of more than 5", len(shape))
		return
	}
	if o.stateOf(name) {
		if !t.Float() || slices.Contains(shape, -1) || len(shape) == 0 {
			fail(name, "a state is of floats, and its axes are fixed")
			return
		}
		p.values[name] = p.state(v, shape)
		return
	}
	scalar := len(shape) == 0
	given := shape
	if scalar {
		given = []int64{1}
	}
	f := mil.Feature{Name: public, Doc: in.Doc, Type: mil.Type{DataType: t, Shape: given}, Lower: in.Lower, Upper: in.Upper, Enumerated: in.Enumerated, Image: in.Image}
	if in.Default != nil {
		f.Type.Shape = in.Default
	}
	if in.Image != 0 {
		f.Type.DataType, t = mil.Float32, mil.Float32
	}
	seen := mil.Type{DataType: t, Shape: given}
	if in.Image != 0 && in.Last {
		// What an application gives is [1, channels, height, width] all the same.
		turn := func(s []int64) []int64 { return []int64{s[0], s[3], s[1], s[2]} }
		f.Type.Shape, seen.Shape = turn(f.Type.Shape), turn(given)
		if f.Upper != nil {
			f.Lower, f.Upper = turn(f.Lower), turn(f.Upper)
		}
		f.Enumerated = slices.Clone(f.Enumerated)
		for i, s := range f.Enumerated {
			f.Enumerated[i] = turn(s)
		}
	}
	p.model.Inputs = append(p.model.Inputs, f)
	p.main.Inputs = append(p.main.Inputs, mil.Named{Name: public, Type: seen})
	p.types[public] = mil.Known{Type: seen}
	val := &value{names: map[mil.DataType]string{t: public}, base: seen, hint: name}
	p.where = "input " + name
	if scalar || in.Image != 0 || v.Type.Elem == onnx.Bool {
		float := mil.Float32
		if o.Half {
			float = mil.Float16
		}
		c := &Context{program: p, node: onnx.NewNode("Identity", "", "input "+name, []string{name}, []string{name}), float: float}
		x := c.see(val)
		if scalar {
			x = c.Emit("squeeze", "x", x, "axes", []int64{0})
		}
		if in.Image != 0 {
			x = c.picture(x, in)
		}
		if v.Type.Elem == onnx.Bool {
			x = c.Cast(x, mil.Bool)
		}
		if c.err != nil {
			fail(name, "%s", c.err)
			return
		}
		val = x.v
	}
	p.values[name] = val
}

func param(d onnx.Dim) string {
	if d.Param == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", d.Param)
}

// picture scales and shifts the pixels of a picture, and puts the channels last where the model wants them so.
func (c *Context) picture(x Value, in Input) Value {
	apply := func(op string, v []float32) {
		switch {
		case v == nil:
		case len(v) == 1:
			x = c.Emit(op, "x", x, "y", float64(v[0]))
		default:
			x = c.Emit(op, "x", x, "y", c.FloatsConst([]int64{1, int64(len(v)), 1, 1}, v))
		}
	}
	apply("mul", in.Scale)
	apply("add", in.Bias)
	if in.Last {
		x = c.Emit("transpose", "x", x, "perm", []int64{0, 2, 3, 1})
	}
	return x
}

// outputs makes the function's outputs.
func (p *program) outputs(o Options, out *Lowered) (problems []Problem) {
	for _, v := range p.graph.Outputs() {
		name, public := v.Name(), p.public[v.Name()]
		val := p.lookup(name)
		if val == nil {
			problems = append(problems, problem(name, "output", "it is not made"))
			continue
		}
		c := &Context{program: p, node: onnx.NewNode("Identity", "", "output "+name, []string{name}, []string{name}), float: mil.Float32}
		p.where = "output " + name
		if i := slices.IndexFunc(o.States, func(s State) bool { return s.Output == name }); i >= 0 {
			if err := p.writeState(c, o.States[i], val); err != nil {
				problems = append(problems, problem(name, "output", err.Error()))
			}
			continue
		}
		if len(o.Classes) > 0 && name == o.Chances {
			if err := p.classify(c, Value{v: val, Type: val.base}, o.Classes); err != nil {
				problems = append(problems, problem(name, "output", err.Error()))
			}
			continue
		}
		if o.Detection.takes(name) {
			if p.model.Detector == nil {
				if err := p.detector(c, o.Detection); err != nil {
					problems = append(problems, problem(name, "output", err.Error()))
				}
			}
			continue
		}
		elem, _, _ := p.shapes.Of(name)
		if v.Type != nil && v.Type.Elem != onnx.Undefined {
			elem = v.Type.Elem
		}
		t, ok := p.featureType(elem)
		if !ok {
			problems = append(problems, problem(name, "output", fmt.Sprintf("Core ML gives no %s", elem)))
			continue
		}
		x := p.output(c, val, t, public)
		if c.err != nil {
			problems = append(problems, problem(name, "output", c.err.Error()))
			continue
		}
		p.main.Outputs = append(p.main.Outputs, public)
		p.model.Outputs = append(p.model.Outputs, mil.Feature{Name: public, Type: x})
	}
	return problems
}

// output gives a value the type and the name in which an application takes it.
func (p *program) output(c *Context, val *value, t mil.DataType, public string) mil.Type {
	x := Value{v: val, Type: val.base}
	if t == mil.Float16 {
		c.float = mil.Float16
	}
	if x.Rank() == 0 {
		x = c.Emit("expand_dims", "x", x, "axes", []int64{0})
		if c.err != nil {
			return x.Type
		}
	}
	if x.Type.DataType != t {
		if x.Float() && t.Float() {
			x.Type.DataType = t
		} else {
			x = c.Emit("cast", "x", x, "dtype", t.String())
		}
	}
	name := c.use(x)
	input := slices.ContainsFunc(p.main.Inputs, func(n mil.Named) bool { return n.Name == name })
	if _, named := p.rename[name]; named || input || p.types[name].Const {
		// It has a name that it keeps: another operation gives it this one.
		x = c.Emit("identity", "x", x)
		name = c.use(x)
	}
	if c.err == nil {
		p.rename[name] = public
	}
	return x.Type
}
