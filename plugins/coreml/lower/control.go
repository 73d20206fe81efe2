package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// controls hold graphs of their own. They are written out: Core ML's engines stop at a branch or a loop.
var controls = []Rule{
	{Op: "If", Covers: "A constant condition, or both branches and a choice where they give the same types.", Lower: lowerIf},
	{Op: "Loop", Covers: "A constant number of turns that nothing cuts short, turn by turn.", Lower: lowerLoop},
	{Op: "Scan", Covers: "From opset 9 on, sequences of a known length, step by step.", Since: 9, Lower: lowerScan},
}

// mostNodes bounds the nodes of a loop that is written out.
const mostNodes = 20000

// inside lowers the nodes of a graph within the node: its inputs have the values given; the values of its outputs are
// given back. Names of the graph are forgotten afterwards.
func (c *Context) inside(g *onnx.Graph, inputs map[string]*value) []*value {
	if c.err != nil {
		return nil
	}
	outer, hidden := c.graph, map[string]*value{}
	local := func(name string) {
		if _, seen := hidden[name]; !seen && name != "" {
			hidden[name] = c.values[name]
		}
	}
	defer func() {
		c.graph = outer
		for name, v := range hidden {
			if v == nil {
				delete(c.values, name)
			} else {
				c.values[name] = v
			}
		}
		c.where = c.node.Label()
	}()
	c.graph = g
	for name, v := range inputs {
		local(name)
		c.values[name] = v
	}
	for t := range g.Initializers() {
		local(t.Name())
		delete(c.values, t.Name())
	}
	for n := range g.Nodes() {
		for _, o := range n.Outputs() {
			local(o)
			delete(c.values, o)
		}
		if err := c.program.node(c.whole, n, c.float); err != nil {
			_ = c.Failf("of its node %s (%s): %w", n.Label(), operator(n), err)
			return nil
		}
	}
	var outs []*value
	for _, o := range g.Outputs() {
		v := c.lookup(o.Name())
		if v == nil {
			_ = c.Failf("its graph's output %q is not made", o.Name())
			return nil
		}
		outs = append(outs, v)
	}
	return outs
}

func lowerIf(c *Context, n *onnx.Node) error {
	cond := c.In(n, 0)
	if c.err != nil {
		return c.err
	}
	then, other := n.Attr("then_branch"), n.Attr("else_branch")
	if then == nil || other == nil || then.Graph() == nil || other.Graph() == nil {
		return c.Failf("it has no two branches")
	}
	if k := cond.Const(); k != nil && len(k.ints) == 1 {
		g := other.Graph()
		if k.ints[0] != 0 {
			g = then.Graph()
		}
		for i, v := range c.inside(g, nil) {
			c.Set(n, i, c.see(v))
		}
		return c.err
	}
	a, b := c.inside(then.Graph(), nil), c.inside(other.Graph(), nil)
	if c.err != nil {
		return c.err
	}
	if len(a) != len(b) {
		return c.Failf("its branches have %d and %d outputs", len(a), len(b))
	}
	for i := range a {
		x, y := c.see(a[i]), c.see(b[i])
		if !x.Type.Equal(y.Type) || !x.Fixed() {
			return c.Failf("its condition is computed, and its branches give %s and %s", x.Type, y.Type)
		}
		c.Set(n, i, c.Select(c.Reshape(cond, ones(x.Rank())...), x, y))
	}
	return c.err
}

// constantScalar makes a value of a number.
func (c *Context) constantScalar(v int64, truth bool) *value {
	k := &Const{shape: []int64{}, truth: truth, ints: []int64{v}}
	return c.From(k).v
}

func lowerLoop(c *Context, n *onnx.Node) error {
	body := n.Attr("body")
	if body == nil || body.Graph() == nil {
		return c.Failf("it has no body")
	}
	g := body.Graph()
	turns, ok := c.Ints(n, 0)
	if !ok || len(turns) != 1 {
		return c.Failf("the number of its turns is computed")
	}
	if c.Has(n, 1) {
		cond := c.In(n, 1)
		if k := cond.Const(); k == nil || len(k.ints) != 1 {
			return c.Failf("whether it turns at all is computed")
		} else if k.ints[0] == 0 {
			turns[0] = 0
		}
	}
	if c.err != nil {
		return c.err
	}
	ins := g.Inputs()
	carried := len(n.Inputs()) - 2
	if len(ins) != carried+2 || len(g.Outputs()) < carried+1 {
		return c.Failf("its body has %d inputs and %d outputs for %d carried values", len(ins), len(g.Outputs()), carried)
	}
	if turns[0] < 0 || turns[0]*int64(max(g.NumNodes(), 1)) > mostNodes {
		return c.Failf("%d turns of %d nodes are more than %d, which is what is written out", turns[0], g.NumNodes(), mostNodes)
	}
	scans := len(g.Outputs()) - 1 - carried
	if turns[0] == 0 && scans > 0 {
		return c.Failf("it never turns, and Core ML has no empty tensors")
	}
	state := make([]*value, carried)
	for i := range state {
		state[i] = c.In(n, i+2).v
	}
	scanned := make([][]Value, scans)
	for i := range turns[0] {
		given := map[string]*value{ins[0].Name(): c.constantScalar(i, false), ins[1].Name(): c.constantScalar(1, true)}
		for j, v := range state {
			given[ins[j+2].Name()] = v
		}
		out := c.inside(g, given)
		if c.err != nil {
			return c.err
		}
		if k := out[0].konst; k == nil || len(k.ints) != 1 {
			return c.Failf("whether it turns again is computed")
		} else if k.ints[0] == 0 && i+1 < turns[0] {
			return c.Failf("it stops after %d turns of %d", i+1, turns[0])
		}
		copy(state, out[1:1+carried])
		for j := range scanned {
			scanned[j] = append(scanned[j], c.Emit("expand_dims", "x", c.see(out[1+carried+j]), "axes", []int64{0}))
		}
	}
	for i, v := range state {
		c.Set(n, i, c.see(v))
	}
	for j, parts := range scanned {
		c.Set(n, carried+j, c.Join(0, parts...))
	}
	return c.err
}

func lowerScan(c *Context, n *onnx.Node) error {
	body := n.Attr("body")
	if body == nil || body.Graph() == nil {
		return c.Failf("it has no body")
	}
	g, count := body.Graph(), int(n.IntAttr("num_scan_inputs", 0))
	carried := len(n.Inputs()) - count
	ins := g.Inputs()
	if count < 1 || carried < 0 || len(ins) != len(n.Inputs()) || len(g.Outputs()) < carried {
		return c.Failf("its body does not fit its %d inputs", len(n.Inputs()))
	}
	at := func(attr string, i int) int64 {
		if v := n.IntsAttr(attr); i < len(v) {
			return v[i]
		}
		return 0
	}
	state, sources, axes := make([]*value, carried), make([]Value, count), make([]int, count)
	for i := range state {
		state[i] = c.In(n, i).v
	}
	steps := int64(-1)
	for i := range sources {
		sources[i] = c.In(n, carried+i)
		if c.err != nil {
			return c.err
		}
		axes[i] = c.Axis(at("scan_input_axes", i), sources[i].Rank())
		steps = sources[i].Dim(axes[i])
	}
	if steps < 1 || steps*int64(g.NumNodes()) > mostNodes {
		return c.Failf("its %d steps of %d nodes are open, or more than %d, which is what is written out", steps, g.NumNodes(), mostNodes)
	}
	scans := len(g.Outputs()) - carried
	scanned, outAxes := make([][]Value, scans), make([]int, scans)
	for i := range steps {
		given := map[string]*value{}
		for j, v := range state {
			given[ins[j].Name()] = v
		}
		for j, x := range sources {
			t := i
			if at("scan_input_directions", j) == 1 {
				t = steps - 1 - i
			}
			part := c.Emit("squeeze", "x", c.Slice(x, axes[j], t, t+1), "axes", []int64{int64(axes[j])})
			given[ins[carried+j].Name()] = part.v
		}
		out := c.inside(g, given)
		if c.err != nil {
			return c.err
		}
		copy(state, out[:carried])
		for j := range scanned {
			v := c.see(out[carried+j])
			outAxes[j] = c.Axis(at("scan_output_axes", j), v.Rank()+1)
			scanned[j] = append(scanned[j], c.Emit("expand_dims", "x", v, "axes", []int64{int64(outAxes[j])}))
		}
	}
	for i, v := range state {
		c.Set(n, i, c.see(v))
	}
	for j, parts := range scanned {
		if at("scan_output_directions", j) == 1 {
			slices.Reverse(parts)
		}
		c.Set(n, carried+j, c.Join(outAxes[j], parts...))
	}
	return c.err
}
