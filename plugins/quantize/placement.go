package quantize

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// placeOptions narrow what place may quantize. The zero value quantizes whatever the target can.
type placeOptions struct {
	// Keep are patterns of node names that stay in float: the argument keep_float.
	Keep []string
	// Exclude are nodes that stay in float, by nodeName, each with the reason that the report gives.
	Exclude map[string]string
	// FloatOps are operators that stay in float wherever they are.
	FloatOps []string
	// FloatConvs is how many convolutions stay in float, the first in graph order.
	FloatConvs int
	// Dynamic are products with a constant weight, by nodeName, whose activation gets a scale at run time: see
	// lowerDynamic. They take no part in the placement.
	Dynamic map[string]bool
	// Recurrent gives LSTM integer weights: see dynamicLowering.lowerLSTM. They take no part in the placement either.
	Recurrent bool
	// Stem has convolutions read squares of pixels as channels: see emitter.stems.
	Stem bool
	// Attention quantizes products of two activations too.
	Attention bool
	// Between quantizes what joins and passes only between two products, whatever the target does.
	Between bool
	// Tables stores tables that rows are looked up in with 8 bits: see tables.go.
	Tables bool
	// Absorb quantizes the addition of a number, and lets the scales around it do it where they can.
	Absorb bool
}

// placement says what becomes integers: the nodes, and the values around them.
type placement struct {
	target  *Target
	options placeOptions
	nodes   []*candidate // in graph order
	byNode  map[*onnx.Node]*candidate
	clamps  []*clampFold              // in graph order
	inside  map[*onnx.Node]bool       // clamps and biases that stay between a node and the pair behind it
	behind  map[*onnx.Node]*candidate // the products of such biases
	norms   map[*onnx.Node]bool       // nodes in float that read their first operand quantized
	dynamic []*candidate              // in graph order: placeOptions.Dynamic
	// stems are the convolutions of placeOptions.Stem, with height and width of what they read.
	stems map[*onnx.Node][2]int64
	// recurrent are LSTM whose weights become integers, in graph order: placeOptions.Recurrent.
	recurrent []*onnx.Node
	floats    []floatNode             // in graph order
	refused   map[*onnx.Node]*refusal // why each node outside of nodes is there, clamps excepted
	others    []string                // the other nodes that stay in float, counted
	unused    []string                // patterns of keep_float that match no node
	values    []string                // that get a Q and DQ pair, or may, in order of appearance; these need a range
	needed    map[string]bool
	groups    *groups
	macs      map[*onnx.Node]int64
	macTotal  int64
	at        map[*onnx.Node]int // see order
	// fixed are constants that do not become what rounding to nearest would make of them, by nodeName.
	fixed map[string]*fixedWeight
}

// clampFold is a Relu or Clip that vanishes when saturation does the same.
type clampFold struct {
	*candidate
	in, out string
	// certain: it vanishes whatever the ranges; else calibration decides, and in needs a range too.
	certain bool
	folded  bool
}

// floatNode is a node that stays in float.
type floatNode struct {
	node   *onnx.Node
	reason string
}

func (f floatNode) String() string {
	return fmt.Sprintf("%s (%s): %s", nodeName(f.node), f.node.OpType, f.reason)
}

// place decides what is quantized. Convolutions and matrix products always are; a node that joins or passes on values
// only on a path between two of them: elsewhere the conversions cost more than the integers save.
func place(m *onnx.Model, shapes *onnx.Shapes, t *Target, o placeOptions) *placement {
	g := m.Graph
	p := &placement{target: t, options: o, byNode: map[*onnx.Node]*candidate{}, needed: map[string]bool{}, groups: newGroups(),
		refused: map[*onnx.Node]*refusal{}, inside: map[*onnx.Node]bool{}, behind: map[*onnx.Node]*candidate{}, norms: map[*onnx.Node]bool{}}
	p.macTotal, p.macs = countWork(m, shapes)
	c := &classifier{graph: g, shapes: shapes, opset: m.Opset(onnx.DefaultDomain), target: t,
		placeOptions: o, used: make([]bool, len(o.Keep)), macs: p.macs, first: firstValues(g)}

	var all []*candidate
	refused := p.refused
	for n := range g.Nodes() {
		k, no := c.classify(n)
		if no != nil && o.recurs(n, t) {
			p.recurrent = append(p.recurrent, n)
			continue
		}
		if no != nil {
			refused[n] = no
			continue
		}
		if k.weight != nil && k.rule.Role == RoleMatrix && o.Dynamic[nodeName(n)] {
			p.dynamic = append(p.dynamic, k)
			continue
		}
		all = append(all, k)
	}
	for i, u := range c.used {
		if !u {
			p.unused = append(p.unused, o.Keep[i])
		}
	}

	after, before := reach(all)
	byNode := map[*onnx.Node]*candidate{}
	for _, k := range all {
		byNode[k.node] = k
	}
	layers := map[*onnx.Node]bool{} // additions that are a part of a product
	for _, k := range all {
		if k.add != nil {
			layers[k.add] = true
		}
	}
	for _, k := range all {
		if layers[k.node] {
			continue
		}
		switch k.rule.Role {
		case RoleConv, RoleMatrix:
		case RoleClamp:
			continue
		default:
			if why := p.lone(g, k, byNode); why != "" {
				refused[k.node] = &refusal{why, true}
				continue
			}
			if (!t.Everywhere || o.Between) && (!anyOf(k.data, after) || !anyOf(k.node.Outputs(), before)) {
				// Worth a word where two activations meet: a residual connection is what users look for.
				refused[k.node] = &refusal{"it does not lie between two quantized nodes", k.rule.Role == RoleJoin && len(k.data) > 1}
				continue
			}
		}
		p.nodes = append(p.nodes, k)
		p.byNode[k.node] = k
		if k.add != nil {
			p.inside[k.add], p.behind[k.add] = true, k
			delete(refused, k.add)
		}
	}
	if o.Stem {
		p.stems = stemSizes(g, shapes)
	}
	p.chooseValues(g)
	p.chooseNorms(g)
	if t.Placement == PlaceOutputs {
		p.chooseClamps(g, all)
	}
	p.listValues(g)

	for n := range g.Nodes() {
		if r := refused[n]; r != nil && r.worth {
			p.floats = append(p.floats, floatNode{n, r.reason})
		}
	}
	p.floats = append(p.floats, inSubgraphs(g)...)
	p.others = others(g.Nodes(), func(n *onnx.Node) *refusal { return refused[n] })
	return p
}

// reach returns the values that come from a quantized convolution or matrix product through nodes that can be
// quantized, and the values that lead to one.
func reach(all []*candidate) (after, before map[string]bool) {
	after, before = map[string]bool{}, map[string]bool{}
	for _, k := range all {
		if k.product() || anyOf(k.data, after) {
			mark(after, k.node.Outputs())
		}
	}
	for i := len(all) - 1; i >= 0; i-- {
		if k := all[i]; k.product() || anyOf(k.node.Outputs(), before) {
			mark(before, k.data)
		}
	}
	return after, before
}

// product tells whether a node multiplies: what lies between two such nodes is worth quantizing.
func (k *candidate) product() bool { return k.rule.Role == RoleConv || k.rule.Role == RoleMatrix }

// last is the node that makes a candidate's answer.
func (k *candidate) last() *onnx.Node {
	if k.add != nil {
		return k.add
	}
	return k.node
}

// multiplies tells whether any product runs in integers; without one there is nothing to gain.
func (p *placement) multiplies() bool {
	return len(p.dynamic)+len(p.recurrent) > 0 || slices.ContainsFunc(p.nodes, (*candidate).product)
}

// reads tells whether a node reads an operand as integers.
func (p *placement) reads(n *onnx.Node, operand int) bool {
	if p.norms[n] {
		return operand == 0
	}
	k := p.byNode[n]
	if k == nil || operand >= len(k.data) || k.float[operand] || k.consts[operand] != nil {
		return false
	}
	return p.target.Placement == PlaceOutputs || k.rule.Role != RolePass
}

// chooseValues marks what must be quantized and which values share a scale.
func (p *placement) chooseValues(g *onnx.Graph) {
	for _, k := range p.nodes {
		for i, v := range k.data {
			if v != "" && p.reads(k.node, i) {
				p.needed[v] = true
			}
		}
		outputs := p.target.Placement == PlaceOutputs
		switch k.rule.Role {
		case RoleConv, RoleJoin:
			if outputs {
				mark(p.needed, k.node.Outputs()[:1])
			}
		case RoleMatrix:
			if outputs && p.target.Everywhere {
				mark(p.needed, k.last().Outputs()[:1])
			}
		case RolePass:
			if outputs {
				mark(p.needed, k.node.Outputs())
			}
			for _, v := range append(append([]string(nil), k.data...), k.node.Outputs()...) {
				if v != "" {
					p.groups.union(k.data[0], v)
				}
			}
		}
	}
}

// lone chooses the operands of a residual addition that are read in float (ResidualSkip), or says why the node stays in
// float: it fuses only behind a convolution that nothing else reads.
func (p *placement) lone(g *onnx.Graph, k *candidate, byNode map[*onnx.Node]*candidate) string {
	if p.target.Residual != ResidualSkip || k.node.OpType != "Add" {
		return ""
	}
	fused := -1
	for i, v := range k.data {
		made := byNode[g.Producer(v)]
		if made == nil || made.rule.Role != RoleConv || g.NumConsumers(v) != 1 || g.IsOutput(v) {
			continue
		}
		// Where both operands come from one, the later one has the addition behind it.
		if fused < 0 || p.order(g)[made.node] > p.order(g)[g.Producer(k.data[fused])] {
			fused = i
		}
	}
	if fused < 0 {
		return "neither operand is a convolution's that nothing else reads, with which the addition would fuse"
	}
	k.float = map[int]bool{fused: true}
	return ""
}

// order numbers the nodes of the graph.
func (p *placement) order(g *onnx.Graph) map[*onnx.Node]int {
	if p.at == nil {
		p.at = map[*onnx.Node]int{}
		for n := range g.Nodes() {
			p.at[n] = len(p.at)
		}
	}
	return p.at
}

// chooseNorms finds the nodes that stay in float and want the output of a convolution quantized.
func (p *placement) chooseNorms(g *onnx.Graph) {
	for n := range g.Nodes() {
		if n.Domain != "" && n.Domain != "ai.onnx" || !slices.Contains(p.target.NormInputs, n.OpType) {
			continue
		}
		if k := p.byNode[g.Producer(n.Input(0))]; k != nil && k.rule.Role == RoleConv {
			p.norms[n] = true
			p.needed[n.Input(0)] = true
		}
	}
}

// chooseClamps finds each Relu and Clip whose output is quantized and whose input has no other reader: there the
// QuantizeLinear can take its place. What made the input then writes integers itself.
func (p *placement) chooseClamps(g *onnx.Graph, all []*candidate) {
	byOut := map[string]*clampFold{}
	for _, k := range all {
		if k.rule.Role != RoleClamp {
			continue
		}
		in, out := k.data[0], k.node.Output(0)
		prod := p.byNode[g.Producer(in)]
		if prod == nil {
			prod = p.behind[g.Producer(in)]
		}
		if prod == nil || prod.rule.Role == RolePass || g.IsOutput(in) || len(g.Consumers(in)) != 1 {
			continue
		}
		// The output must be quantized for its readers; a convolution's and a join's is in any case.
		if !p.needed[out] && prod.rule.Role == RoleMatrix && !p.target.Everywhere {
			continue
		}
		p.needed[out] = true
		if p.target.Clamp == ClampInside {
			p.inside[k.node] = true
			delete(p.needed, in)
			continue
		}
		f := &clampFold{candidate: k, in: in, out: out}
		p.clamps = append(p.clamps, f)
		byOut[out] = f
	}
	// A value that nothing else shares a scale with holds what the clamp lets through, so saturating at its range
	// is the clamp. With others in the group the range may be wider: calibration decides.
	passed := map[string]bool{}
	for _, k := range p.nodes {
		if k.rule.Role == RolePass {
			mark(passed, k.node.Outputs())
		}
	}
	sources := map[string][]string{} // of each group: members that no pass node made
	for v := range p.needed {
		if !passed[v] {
			r := p.groups.find(v)
			sources[r] = append(sources[r], v)
		}
	}
	for _, f := range p.clamps {
		f.certain = f.lo == 0 && !p.target.Activation.Symmetric
		for _, v := range sources[p.groups.find(f.out)] {
			o := byOut[v]
			f.certain = f.certain && o != nil && o.lo == 0 && o.hi <= f.hi
		}
		prod := p.byNode[g.Producer(f.in)]
		switch {
		case f.certain:
			delete(p.needed, f.in)
		case prod.rule.Role == RoleMatrix:
			// If the clamp stays, it reads float: the product needs no range of its own.
		default:
			p.needed[f.in] = true
		}
	}
}

// listValues puts the values in graph order, so that nothing depends on the order of a map.
func (p *placement) listValues(g *onnx.Graph) {
	seen := map[string]bool{}
	add := func(values []string) {
		for _, v := range values {
			if p.needed[v] && !seen[v] {
				seen[v] = true
				p.values = append(p.values, v)
			}
		}
	}
	for _, in := range g.Inputs() {
		add([]string{in.Name()})
	}
	for n := range g.Nodes() {
		add(n.Outputs())
	}
}

func anyOf(values []string, in map[string]bool) bool {
	for _, v := range values {
		if v != "" && in[v] {
			return true
		}
	}
	return false
}

func mark(set map[string]bool, values []string) {
	for _, v := range values {
		if v != "" {
			set[v] = true
		}
	}
}
