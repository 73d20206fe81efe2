package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
)

// State is a recurrent state: the model's output of one run is its input in the next.
type State struct{ Input, Output string }

// stateOf tells whether an input is a state's.
func (o Options) stateOf(input string) bool {
	return slices.ContainsFunc(o.States, func(s State) bool { return s.Input == input })
}

// state makes an input one that Core ML keeps between runs. It is of half precision, which is all that there is.
func (p *program) state(v *onnx.ValueInfo, shape []int64) *value {
	public := p.public[v.Name()]
	t := mil.Type{DataType: mil.Float16, Shape: shape}
	held := t
	held.State = true
	p.model.States = append(p.model.States, mil.Feature{Name: public, Type: t})
	p.main.Inputs = append(p.main.Inputs, mil.Named{Name: public, Type: held})
	p.types[public] = mil.Known{Type: held}
	name := p.names.fresh(public + "_read")
	p.types[name] = mil.Known{Type: t}
	p.main.Ops = append(p.main.Ops, &mil.Operation{Type: "read_state", Of: "state " + v.Name(), Inputs: []mil.Arg{{Key: "input", Names: []string{public}}},
		Outputs: []mil.Named{{Name: name, Type: t}}})
	return &value{names: map[mil.DataType]string{mil.Float16: name}, base: t, hint: v.Name()}
}

// writeState ends a run by writing a state's new value.
func (p *program) writeState(c *Context, s State, val *value) error {
	x := Value{v: val, Type: val.base}
	if !x.Float() {
		return c.Failf("a state is of floats")
	}
	x.Type.DataType = mil.Float16
	op := &mil.Operation{Type: "write_state", Name: p.names.fresh(p.public[s.Input] + "_write"), Of: "state " + s.Input, Inputs: []mil.Arg{
		{Key: "input", Names: []string{p.public[s.Input]}}, {Key: "data", Names: []string{c.use(x)}}}}
	if c.err == nil {
		if _, err := mil.Infer(op, p.main.Opset, p.known); err != nil {
			return c.Failf("%w", err)
		}
		p.main.Ops = append(p.main.Ops, op)
	}
	return c.err
}

// Names of what a classifier gives, as coremltools has them.
const (
	labelName   = "classLabel"
	chancesName = labelName + "_probs"
)

// classify makes the program a classifier: x are the chances of the classes.
func (p *program) classify(c *Context, x Value, classes []string) error {
	if n := product(x.Shape()); n >= 0 && n != int64(len(classes)) {
		return c.Failf("it has %d numbers, and there are %d classes", n, len(classes))
	}
	c.float = mil.Float32
	x.Type.DataType = mil.Float32
	list := mil.Value{Type: mil.Type{DataType: mil.String, Strings: len(classes)}, Texts: classes}
	op := &mil.Operation{Type: "classify", Of: "classes", Inputs: []mil.Arg{{Key: "probabilities", Names: []string{c.use(x)}}, {Key: "classes", Value: &list}}}
	if c.err != nil {
		return c.err
	}
	ts, err := mil.Infer(op, p.main.Opset, p.known)
	if err != nil {
		return c.Failf("%w", err)
	}
	label, chances := p.names.fresh(labelName), p.names.fresh(chancesName)
	op.Outputs = []mil.Named{{Name: label, Type: ts[0]}, {Name: chances, Type: ts[1]}}
	p.main.Ops = append(p.main.Ops, op)
	p.main.Outputs = append(p.main.Outputs, label, chances)
	p.model.Outputs = append(p.model.Outputs, mil.Feature{Name: label, Text: true}, mil.Feature{Name: chances, Dictionary: true})
	p.model.Label, p.model.Chances = label, chances
	return nil
}
