// Package rewrite makes a float model faster without changing what it computes: patterns that exporters spell out and
// engines do not recognise become what their kernels are made for. Every rewrite is exact up to the rounding of float32:
// on real models the outputs differ by at most 2e-5 of their range.
package rewrite

import (
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// Kind names a rewrite.
type Kind struct {
	// Name is how it is written in options and reports.
	Name string
	// Doc says what becomes what, for documentation.
	Doc string
	// Contrib tells that it writes operators of the domain com.microsoft, which only ONNX Runtime has.
	Contrib bool

	apply func(*rewriter) int
}

// Kinds are the rewrites in the order in which they run.
var Kinds = []Kind{
	{Name: "hard-sigmoid", Doc: "Add, Clip, Mul and Div that spell out a hard sigmoid or hard swish become HardSigmoid, and Mul.", apply: (*rewriter).hardSigmoids},
	{Name: "gate", Doc: "x + x*g with a gate g of one number a channel becomes x * (g+1): one pass over x less.", apply: (*rewriter).gates},
	{Name: "affine", Doc: "Mul and Add of a number, or of one a channel, before convolutions go into their weights.", apply: (*rewriter).affines},
	{Name: "one-hot", Doc: "A product of one-hot vectors and a constant matrix becomes Gather.", apply: (*rewriter).oneHots},
	{Name: "table", Doc: "Elementwise work on rows gathered from a constant table is done on the table.", apply: (*rewriter).tables},
	{Name: "gelu", Doc: "The tanh form of GELU becomes one operator.", Contrib: true, apply: (*rewriter).gelus},
	{Name: "conv-transpose", Doc: "Two ConvTranspose in a row that do not overlap (stride equal to kernel) become convolutions of 1x1 and one rearrangement.", apply: (*rewriter).transposes},
}

// Names lists the names of Kinds.
func Names() []string {
	out := make([]string, len(Kinds))
	for i, k := range Kinds {
		out[i] = k.Name
	}
	return out
}

// Options says what Apply may do. The zero value allows everything that any engine understands.
type Options struct {
	// Skip names rewrites that are left out.
	Skip []string
	// Contrib allows operators that only ONNX Runtime has.
	Contrib bool
	// Simplify is how the model is simplified before and after.
	Simplify onnx.SimplifyOptions
}

// Stats counts what Apply did.
type Stats struct {
	// Matches is how often each rewrite was done, by its name.
	Matches map[string]int
	// Simplify is what the simplifications did, together; its counts of nodes are before and after everything.
	Simplify onnx.SimplifyStats
}

// maxRounds ends a chain of rewrites that make room for each other; real models need two or three.
const maxRounds = 8

// Apply simplifies the model (onnx.Simplify) and rewrites whatever it finds of Kinds, until nothing is left to do. The
// model must be valid (onnx.Check). Its inputs and outputs keep their names and types; it may be raised to a later opset
// where a new operator needs it. On an error it may have been changed in part.
func Apply(m *onnx.Model, opts Options) (Stats, error) {
	st := Stats{Matches: map[string]int{}}
	for _, name := range opts.Skip {
		if !slices.Contains(Names(), name) {
			return st, fmt.Errorf("there is no rewrite %q", name)
		}
	}
	var err error
	if st.Simplify, err = onnx.Simplify(m, opts.Simplify); err != nil {
		return st, err
	}
	if m.Opset(onnx.DefaultDomain) < minOpset {
		return st, nil // nothing of this package is written for operators that old
	}
	for range maxRounds {
		done := 0
		for _, k := range Kinds {
			if slices.Contains(opts.Skip, k.Name) || k.Contrib && !opts.Contrib {
				continue
			}
			n, err := applyOne(m, k)
			if err != nil {
				return st, fmt.Errorf("rewrite %s: %w", k.Name, err)
			}
			if n == 0 {
				continue
			}
			st.Matches[k.Name] += n
			done += n
			// What the next one sees must be simple again: constants worked out, views joined.
			s, err := onnx.Simplify(m, opts.Simplify)
			if err != nil {
				return st, err
			}
			st.add(s)
		}
		if done == 0 {
			break
		}
	}
	return st, nil
}

func applyOne(m *onnx.Model, k Kind) (int, error) {
	shapes, err := onnx.InferOwnShapes(m)
	if err != nil {
		return 0, err
	}
	r := &rewriter{model: m, shapes: shapes}
	n := k.apply(r)
	if r.err != nil {
		return 0, r.err
	}
	m.Graph.Prune()
	return n, nil
}

func (st *Stats) add(s onnx.SimplifyStats) {
	st.Simplify.Folded += s.Folded
	st.Simplify.Shapes += s.Shapes
	st.Simplify.Removed += s.Removed
	st.Simplify.Fused += s.Fused
	st.Simplify.Shared += s.Shared
	st.Simplify.NodesAfter, st.Simplify.InitializersAfter = s.NodesAfter, s.InitializersAfter
}

// minOpset is the first version of the default domain that Apply works on.
const minOpset = 7

type rewriter struct {
	model  *onnx.Model
	shapes *onnx.Shapes
	err    error
}

// each calls f for every node of the model, subgraphs included, and counts how often it answers true.
func (r *rewriter) each(f func(*onnx.Node) bool) int {
	count := 0
	for n := range r.model.Graph.AllNodes() {
		if r.err != nil {
			break
		}
		if f(n) {
			count++
		}
	}
	return count
}

// sole returns the node that makes a value if it is op and nothing but n reads the value.
func sole(n *onnx.Node, value, op string) *onnx.Node {
	g := n.Graph()
	p := g.Producer(value)
	if p == nil || !p.Is(op) || p.Output(0) != value || g.IsOutput(value) || g.NumConsumers(value) != 1 {
		return nil
	}
	return p
}

// scalar returns the only element of a constant of any shape without more than one.
func scalar(g *onnx.Graph, value string) (float64, bool) {
	t := g.Constant(value)
	if t == nil || t.DataType != onnx.Float || t.Elements() != 1 || t.IsExternal() {
		return 0, false
	}
	v, err := t.Float32s()
	if err != nil || math.IsNaN(float64(v[0])) || math.IsInf(float64(v[0]), 0) {
		return 0, false
	}
	return float64(v[0]), true
}

// withScalar splits the inputs of a node of two into a value and a scalar constant, whichever comes first. The constant
// must not have more axes than the value, so that it does not shape the result.
func (r *rewriter) withScalar(n *onnx.Node) (value string, c float64, ok bool) {
	if len(n.Inputs()) != 2 {
		return "", 0, false
	}
	for i := range 2 {
		x, at := n.Input(1-i), n.Input(i)
		c, ok := scalar(n.Graph(), at)
		if !ok || n.Graph().Constant(x) != nil {
			continue
		}
		if t := n.Graph().Constant(at); len(t.Dims) > 0 {
			if _, dims, known := r.shapes.Of(x); !known || len(dims) < len(t.Dims) {
				continue
			}
		}
		return x, c, true
	}
	return "", 0, false
}

func (r *rewriter) isFloat(value string) bool {
	elem, _, ok := r.shapes.Of(value)
	return ok && elem == onnx.Float
}

// put adds a float constant and returns its name.
func put(g *onnx.Graph, prefix string, data []float32, shape ...int64) string {
	name := g.UniqueName(prefix)
	g.AddInitializer(onnx.NewFloats(name, data, shape...))
	return name
}

// insert puts a new node before at and returns the name of its output.
func insert(at *onnx.Node, op, domain, prefix string, inputs []string, attrs ...*onnx.Attribute) string {
	g := at.Graph()
	out := g.UniqueName(prefix)
	g.InsertBefore(at, onnx.NewNode(op, domain, g.UniqueName(prefix+"_"+op), inputs, []string{out}, attrs...))
	return out
}

// become turns a node into another that makes the same output.
func become(n *onnx.Node, op, domain string, inputs []string, attrs ...*onnx.Attribute) {
	for _, a := range slices.Clone(n.Attributes()) {
		n.RemoveAttr(a.Name)
	}
	n.OpType, n.Domain = op, domain
	n.SetInputs(inputs...)
	for _, a := range attrs {
		n.SetAttr(a)
	}
}
