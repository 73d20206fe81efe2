package lower

import (
	"errors"
	"fmt"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/plugins/coreml/weights"
)

// Options say what program is wanted.
type Options struct {
	// Opset is Core ML's operator set: 5 (iOS 15) to 8 (iOS 18).
	Opset int
	// Half computes floats in half precision, but for the nodes that Keep tells.
	Half bool
	Keep func(*onnx.Node) bool
	// Inputs say more about inputs of the model, by their ONNX names.
	Inputs map[string]Input
	// Names give inputs and outputs of the model other names in the program.
	Names map[string]string
	// Classes make the model a classifier: its output Chances gives the chances of these.
	Classes []string
	Chances string
	// Detection, if set, makes the model a detector.
	Detection *Detection
	// States are pairs of an input and an output that carry a recurrent state: the output's value is the input's in the
	// next run. They become one state of Core ML's, which came with iOS 18.
	States []State
}

// Input says how an input is given.
type Input struct {
	// Lower and Upper bound the axes that the model leaves open (equal where one is fixed); an Upper of -1 is no bound.
	Lower, Upper []int64
	// Enumerated are the shapes that are allowed, in place of bounds.
	Enumerated [][]int64
	// Default is the shape that an application sees first.
	Default []int64
	// Image makes it a picture.
	Image mil.ColorSpace
	// Scale and Bias prepare a picture: a pixel times Scale plus Bias, one for all channels or one for each. Nil stands for
	// 1 and 0.
	Scale, Bias []float32
	// Last puts the channels last in the model's own input: a picture is turned over for it.
	Last bool
	Doc  string
}

// Problem is a node that cannot be lowered, or an input or output that Core ML does not have.
type Problem struct {
	Node   string // its label, or the name of the input or output
	Op     string // its operator, with its domain; "input" or "output"
	Reason string // follows "because"
}

// problem copies its texts: those of a mapped model are gone when it is.
func problem(node, op, reason string) Problem {
	return Problem{strings.Clone(node), strings.Clone(op), strings.Clone(reason)}
}

// Lowered is a program whose constants are not bytes yet.
type Lowered struct {
	Model *mil.Model
	// Names are Core ML's names of the model's inputs and outputs that had to change.
	Names map[string]string
	Tally *weights.Tally
	// Nodes counts the nodes that were lowered, by operator.
	Nodes map[string]int
	// Kept counts those of them that compute in single precision although the program is in half.
	Kept int
}

// program is a program as it grows.
type program struct {
	model   *mil.Model
	main    *mil.Function
	whole   *onnx.Model
	graph   *onnx.Graph // the model's, or the one of a node that is lowered
	shapes  *onnx.Shapes
	version int64
	values  map[string]*value
	bad     map[string]error // constants that Core ML does not have, by name
	types   map[string]mil.Known
	names   *names
	shared  map[string]string // immediate constants by what they are
	rename  map[string]string // what outputs of the model were called at first
	tally   *weights.Tally
	where   string
	public  map[string]string // names of inputs and outputs, by their ONNX names
}

// Lower makes a program of a model that was simplified. The model must stay as it is until the program is written.
// Everything that cannot be lowered is told at once, in the order of the graph; there is no program then.
func Lower(m *onnx.Model, o Options) (*Lowered, []Problem) {
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, []Problem{problem(m.Graph.Name, "graph", err.Error())}
	}
	p := &program{model: &mil.Model{}, whole: m, graph: m.Graph, shapes: shapes, version: m.Opset(onnx.DefaultDomain), values: map[string]*value{}, bad: map[string]error{},
		types: map[string]mil.Known{}, names: newNames(), shared: map[string]string{}, rename: map[string]string{}, tally: weights.NewTally()}
	p.main = &p.model.Main
	p.main.Opset = o.Opset
	out := &Lowered{Model: p.model, Names: map[string]string{}, Tally: p.tally, Nodes: map[string]int{}}
	problems := p.inputs(o, out)
	for n := range m.Graph.Nodes() {
		float := mil.Float32
		if o.Half {
			if o.Keep == nil || !o.Keep(n) {
				float = mil.Float16
			} else {
				out.Kept++
			}
		}
		if err := p.node(m, n, float); err != nil {
			if errors.Is(err, errUnknown) {
				p.assume(n, float)
				continue
			}
			problems = append(problems, problem(n.Label(), operator(n), err.Error()))
			p.assume(n, float)
			continue
		}
		out.Nodes[strings.Clone(operator(n))]++
	}
	problems = append(problems, p.outputs(o, out)...)
	if len(problems) > 0 {
		return nil, problems
	}
	p.finish()
	return out, nil
}

// errUnknown says of a node that nothing is known of an input, since what makes that could not be lowered.
var errUnknown = errors.New("nothing is known of an input")

// operator is a node's operator with its domain, where that is not ONNX's own.
func operator(n *onnx.Node) string {
	if n.Domain == "" || n.Domain == "ai.onnx" {
		return n.OpType
	}
	return n.Domain + "." + n.OpType
}

// node lowers a node by its rule.
func (p *program) node(m *onnx.Model, n *onnx.Node, float mil.DataType) error {
	version := p.version
	if n.Domain != "" && n.Domain != "ai.onnx" {
		version = m.Opset(n.Domain)
	}
	r := ruleFor(n.Domain, n.OpType, version)
	if r == nil {
		return fmt.Errorf("there is no rule for the operator %s", operator(n))
	}
	if r.Opset > p.main.Opset {
		return fmt.Errorf("%s needs %s", operator(n), deployment(r.Opset))
	}
	for _, in := range n.Inputs() {
		if v, ok := p.values[in]; ok && v == nil {
			if err := p.bad[in]; err != nil {
				return err
			}
			return errUnknown
		}
	}
	c := &Context{program: p, node: n, float: float}
	p.where = n.Label()
	if err := c.lower(r); err != nil {
		return err
	}
	for _, o := range n.Outputs() {
		if _, ok := p.values[o]; !ok && o != "" && (p.graph.NumConsumers(o) > 0 || p.graph.IsOutput(o)) {
			return fmt.Errorf("its output %q is not made", o)
		}
	}
	return nil
}

// lower runs the rule of the node. Rules trust the numbers of inputs and axes that ONNX prescribes: a node that breaks those
// is refused here, with the shapes it has.
func (c *Context) lower(r *Rule) (err error) {
	defer func() {
		if e := recover(); e != nil {
			shapes := make([]string, 0, len(c.node.Inputs()))
			for _, in := range c.node.Inputs() {
				s := "none"
				if v := c.values[in]; v != nil {
					s = v.base.String()
				}
				shapes = append(shapes, s)
			}
			err = fmt.Errorf("its inputs (%s) or attributes are not what ONNX prescribes for it (%v)", strings.Join(shapes, ", "), e)
		}
	}()
	if err := r.Lower(c, c.node); err != nil {
		return err
	}
	return c.err
}

// deployment names what an operator set came with.
func deployment(opset int) string {
	return map[int]string{5: "iOS15 or macOS12", 6: "iOS16 or macOS13", 7: "iOS17 or macOS14", 8: "iOS18 or macOS15"}[opset]
}

// assume gives the outputs of a node that could not be lowered the types that ONNX says, so that the nodes behind it tell
// what is wrong with them, too.
func (p *program) assume(n *onnx.Node, float mil.DataType) {
	for _, o := range n.Outputs() {
		if o == "" {
			continue
		}
		elem, dims, ok := p.shapes.Of(o)
		t, known := typeOf(elem)
		if !ok || !known || dims == nil {
			p.values[o] = nil
			continue
		}
		if t.Float() {
			t = float
		}
		typ := mil.Type{DataType: t}
		for _, d := range dims {
			typ.Shape = append(typ.Shape, d.Value)
		}
		name := p.names.fresh(o)
		p.types[name] = mil.Known{Type: typ}
		p.values[o] = &value{names: map[mil.DataType]string{t: name}, base: typ, hint: o}
	}
}

// typeOf is the type that stands for one of ONNX inside of a program.
func typeOf(d onnx.DataType) (mil.DataType, bool) {
	switch d {
	case onnx.Float, onnx.Double, onnx.Float16, onnx.BFloat16:
		return mil.Float32, true
	case onnx.Bool:
		return mil.Bool, true
	case onnx.Int64, onnx.Int32, onnx.Int16, onnx.Uint16, onnx.Int8, onnx.Uint8, onnx.Uint32, onnx.Uint64:
		return mil.Int32, true
	}
	return 0, false
}

// lookup is a value by its ONNX name, nil where nothing made it.
func (p *program) lookup(name string) *value {
	if v, ok := p.values[name]; ok {
		return v
	}
	t := p.graph.Constant(name)
	if t == nil {
		return nil
	}
	k, err := newConst(t)
	v := &value{names: map[mil.DataType]string{}, hint: name}
	if err != nil {
		// Told by what reads it, if it reads it as a value.
		p.values[name], p.bad[name] = nil, err
		return nil
	}
	v.konst, v.base = k, mil.Type{DataType: k.dataType(), Shape: k.shape}
	p.values[name] = v
	return v
}

// known tells what is known of a name of the program.
func (p *program) known(name string) (mil.Known, bool) {
	k, ok := p.types[name]
	return k, ok
}

// cast emits the conversion of a value to another type.
func (p *program) cast(v *value, want mil.DataType) string {
	from := v.names[v.base.DataType]
	name := p.names.fresh(v.hint + "_" + want.String())
	t := mil.Type{DataType: want, Shape: v.base.Shape}
	p.types[name] = mil.Known{Type: t}
	p.main.Ops = append(p.main.Ops, &mil.Operation{Type: "cast", Of: p.where, Outputs: []mil.Named{{Name: name, Type: t}}, Inputs: []mil.Arg{
		{Key: "x", Names: []string{from}}, {Key: "dtype", Names: []string{p.immediate("dtype", mil.Text(want.String()))}}}})
	return name
}

// finish gives outputs their names, and drops what nothing reads.
func (p *program) finish() {
	named := func(s string) string {
		if to, ok := p.rename[s]; ok {
			return to
		}
		return s
	}
	for _, op := range p.main.Ops {
		for i := range op.Outputs {
			op.Outputs[i].Name = named(op.Outputs[i].Name)
		}
		for i := range op.Inputs {
			for j, n := range op.Inputs[i].Names {
				op.Inputs[i].Names[j] = named(n)
			}
		}
	}
	used := map[string]bool{}
	for _, o := range p.main.Outputs {
		used[o] = true
	}
	keep := make([]bool, len(p.main.Ops))
	for i := len(p.main.Ops) - 1; i >= 0; i-- {
		op := p.main.Ops[i]
		keep[i] = len(op.Outputs) == 0 // it writes a state
		for _, o := range op.Outputs {
			keep[i] = keep[i] || used[o.Name]
		}
		if !keep[i] {
			continue
		}
		for _, a := range op.Inputs {
			for _, n := range a.Names {
				used[n] = true
			}
		}
	}
	ops := p.main.Ops[:0]
	for i, op := range p.main.Ops {
		if keep[i] {
			ops = append(ops, op)
		}
	}
	p.main.Ops = ops
}
