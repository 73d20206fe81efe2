package float16

import (
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
)

// Options say what becomes half precision.
type Options struct {
	// To is onnx.Float16 or onnx.BFloat16.
	To onnx.DataType
	// Keep tells which nodes stay in float, and why: by the caller's patterns. Nil keeps none.
	Keep func(*onnx.Node) (reason string, keep bool)
	// AllowOps are operators that go to half precision although they stay in float by default.
	AllowOps []string
	// KeepIO leaves the model's inputs and outputs in float32.
	KeepIO bool
	// WeightsOnly stores weights in half precision and computes in float32: a Cast beside each weight, which engines
	// fold when they load the model.
	WeightsOnly bool
	// Magnitudes are the largest magnitudes of the values of the model's own graph that were seen on data, by name,
	// without the infinities of masks; a value that is not there was not looked at.
	Magnitudes map[string]float64
	// Limit is the magnitude beyond which a value stays in float32; 0 stands for half of the largest number, so that
	// data a little larger than the samples still fit.
	Limit float64
}

// Kept is a node that stays in float32.
type Kept struct {
	Node   *onnx.Node
	Reason string
}

// WeightLoss says what became of a weight.
type WeightLoss struct {
	Name string
	Loss
}

// Report is what Convert did.
type Report struct {
	Half         int          // nodes that compute in half precision
	Nodes        []*onnx.Node // which
	Kept         []Kept       // in graph order, those for a reason of their own only
	Followed     int          // nodes in float because that takes fewer Casts
	Casts        int          // that were added
	Weights      int64        // how many tensors became half precision
	WeightBytes  int64        // their size as float32
	AllBytes     int64        // of all float32 constants before
	Losses       []WeightLoss
	Overflowed   int64
	Vanished     int64
	Denormal     int64
	WeightsFloat []Kept // WeightsOnly: nil nodes; weights that stay, and why
}

// value is a value in the graph that makes it: names of inner values may be the same in two branches of an If.
type value struct {
	g    *onnx.Graph
	name string
}

// use is a place where a value is read: input i of a node, or output i of graph g where node is nil.
type use struct {
	node *onnx.Node
	g    *onnx.Graph
	i    int
}

type converter struct {
	m      *onnx.Model
	o      Options
	opset  int64
	limit  float64
	shapes *onnx.Shapes

	nodes  []*onnx.Node // with float values, in half precision or not yet decided, in graph order
	reason map[*onnx.Node]string
	order  []*onnx.Node // all nodes
	half   map[*onnx.Node]bool
	values []value // of float, that are read or made; in order of appearance
	uses   map[value][]use
	seen   map[value]bool
	losses map[*onnx.Tensor]*lossy
	ifHalf map[value]bool
	report *Report
}

// lossy is a constant in half precision.
type lossy struct {
	half *onnx.Tensor
	Loss
	counted bool
}

// Prepare brings a model into the form that Convert works on: functions inlined, constants as initializers that nobody
// overrides, BatchNormalization folded where a layer takes it.
func Prepare(m *onnx.Model) error {
	g := m.Graph
	m.RaiseIR(4) // before it every initializer had to be an input
	for _, in := range append([]*onnx.ValueInfo(nil), g.Inputs()...) {
		if g.Initializer(in.Name()) != nil {
			g.RemoveInput(in.Name())
		}
	}
	const sparse = 1 << 30
	if _, err := onnx.SparseToDense(m, sparse); err != nil {
		return err
	}
	for _, pass := range []onnx.Pass{onnx.InlineFunctions, onnx.ConstantsToInitializers, onnx.EliminateIdentity, onnx.FoldBatchNorm} {
		if _, err := pass(m); err != nil {
			return err
		}
	}
	if err := g.TopoSort(); err != nil {
		return err
	}
	g.Prune()
	return nil
}

// Convert rewrites a prepared model. What it cannot decide it leaves in float32, so that the result computes the same
// but for rounding. An error is a model whose shapes do not fit together or whose weights cannot be read; the model may
// have been changed in part then.
func Convert(m *onnx.Model, o Options) (*Report, error) {
	if o.To != onnx.Float16 && o.To != onnx.BFloat16 {
		return nil, fmt.Errorf("half precision is FLOAT16 or BFLOAT16, not %s", o.To)
	}
	const bfloatOpset = 22 // Conv and the pools take BFLOAT16 from there on
	if o.To == onnx.BFloat16 && !o.WeightsOnly && m.Opset(onnx.DefaultDomain) < bfloatOpset {
		if err := m.UpgradeOpset(bfloatOpset); err != nil {
			return nil, fmt.Errorf("BFLOAT16 needs opset %d: %w", bfloatOpset, err)
		}
	}
	const bfloatCast = 13 // Cast knows BFLOAT16
	if o.To == onnx.BFloat16 && m.Opset(onnx.DefaultDomain) < bfloatCast {
		if err := m.UpgradeOpset(bfloatCast); err != nil {
			return nil, fmt.Errorf("BFLOAT16 needs opset %d: %w", bfloatCast, err)
		}
	}
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, err
	}
	c := &converter{m: m, o: o, opset: m.Opset(onnx.DefaultDomain), limit: o.Limit, shapes: shapes,
		reason: map[*onnx.Node]string{}, half: map[*onnx.Node]bool{}, uses: map[value][]use{}, seen: map[value]bool{},
		losses: map[*onnx.Tensor]*lossy{}, ifHalf: map[value]bool{}, report: &Report{}}
	if c.limit == 0 {
		c.limit = halfMax / 2
		if o.To == onnx.BFloat16 {
			c.limit = bfloatMax / 2
		}
	}
	for t := range m.AllTensors() {
		if t.DataType == onnx.Float {
			c.report.AllBytes += max(t.Bytes(), 0)
		}
	}
	c.collect()
	if o.WeightsOnly {
		err = c.storeWeights()
	} else {
		err = c.compute()
	}
	if err != nil {
		return nil, err
	}
	m.Graph.Prune()
	if err := onnx.Check(m); err != nil {
		return nil, fmt.Errorf("the converted graph is not valid: %w", err)
	}
	return c.report, nil
}

func (c *converter) compute() error {
	if err := c.classify(); err != nil {
		return err
	}
	c.divide()
	c.joinBranches()
	if err := c.rewrite(); err != nil {
		return err
	}
	for _, n := range c.nodes {
		if c.half[n] {
			c.report.Half++
			c.report.Nodes = append(c.report.Nodes, n)
		} else if r := c.reason[n]; r != "" {
			c.report.Kept = append(c.report.Kept, Kept{n, r})
		} else {
			c.report.Followed++
		}
	}
	return nil
}

// home finds the graph that makes a value which g or a graph inside it reads.
func home(g *onnx.Graph, name string) value {
	for at := g; at != nil; {
		if at.Producer(name) != nil || at.IsInput(name) || at.Initializer(name) != nil {
			return value{at, name}
		}
		owner := at.Owner()
		if owner == nil {
			break
		}
		at = owner.Graph()
	}
	return value{g, name}
}

func (c *converter) elem(name string) (onnx.DataType, bool) {
	d, _, ok := c.shapes.Of(name)
	return d, ok && d != onnx.Undefined
}

func (c *converter) isFloat(name string) bool {
	d, _ := c.elem(name)
	return d == onnx.Float
}

// collect lists nodes, float values and who reads them.
func (c *converter) collect() {
	note := func(v value) {
		if !c.seen[v] {
			c.seen[v] = true
			c.values = append(c.values, v)
		}
	}
	outputs := func(g *onnx.Graph) {
		for i, o := range g.Outputs() {
			if c.isFloat(o.Name()) {
				v := home(g, o.Name())
				note(v)
				c.uses[v] = append(c.uses[v], use{g: g, i: i})
			}
		}
	}
	for _, in := range c.m.Graph.Inputs() {
		if c.isFloat(in.Name()) {
			note(value{c.m.Graph, in.Name()})
		}
	}
	for n := range c.m.Graph.AllNodes() {
		c.order = append(c.order, n)
		for i, in := range n.Inputs() {
			if in == "" || !c.isFloat(in) {
				continue
			}
			v := home(n.Graph(), in)
			note(v)
			c.uses[v] = append(c.uses[v], use{node: n, i: i})
		}
		for _, out := range n.Outputs() {
			if out != "" && c.isFloat(out) {
				note(value{n.Graph(), out})
			}
		}
		for _, g := range n.Subgraphs() {
			for _, in := range g.Inputs() {
				if c.isFloat(in.Name()) {
					note(value{g, in.Name()})
				}
			}
			outputs(g)
		}
	}
	outputs(c.m.Graph)
}

// constant returns the float initializer of a value that never changes, nil when it may.
func (c *converter) constant(v value) *onnx.Tensor {
	t := v.g.Initializer(v.name)
	if t == nil || t.DataType != onnx.Float || v.g.IsInput(v.name) {
		return nil
	}
	return t
}

// lossOf converts a constant once.
func (c *converter) lossOf(t *onnx.Tensor) (*lossy, error) {
	if l := c.losses[t]; l != nil {
		return l, nil
	}
	h, loss, err := convert(t, c.o.To, t.Name())
	if err != nil {
		return nil, fmt.Errorf("constant %q: %w", t.Name(), err)
	}
	l := &lossy{half: h, Loss: loss}
	c.losses[t] = l
	return l, nil
}

// count reports a constant that was written in half precision.
func (c *converter) count(t *onnx.Tensor, l *lossy) {
	if l.counted {
		return
	}
	l.counted = true
	r := c.report
	r.Weights++
	r.WeightBytes += t.Bytes()
	r.Overflowed += l.Overflowed
	r.Vanished += l.Vanished
	r.Denormal += l.Denormal
	if l.Overflowed+l.Vanished+l.Denormal > 0 {
		r.Losses = append(r.Losses, WeightLoss{t.Name(), l.Loss})
	}
}
