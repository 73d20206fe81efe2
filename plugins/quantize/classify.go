package quantize

import (
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// candidate is a node that the target can run in integers, if its surroundings let it.
type candidate struct {
	node *onnx.Node
	rule OpRule
	data []string // the operands that are no weight, bias or attribute: the node's first inputs
	// float are operands of data that are read in float.
	float map[int]bool
	// consts are operands of data that are constants of a RoleJoin.
	consts map[int]*onnx.Tensor

	// Of RoleConv and RoleMatrix. A product of two activations has none.
	weight  *onnx.Tensor
	scheme  *Scheme      // of the weight
	axis    int          // of the weight's channels
	bias    *onnx.Tensor // nil when there is none
	biasLen int          // channels of the output
	add     *onnx.Node   // behind a MatMul on a target that takes the two as one layer: adds bias
	addAt   int          // which operand bias is there
	alpha   float32      // a Gemm's factors; they are folded into scale and bias
	beta    float32

	lo, hi float64 // of RoleClamp
}

// refusal says why a node stays in float; worth tells whether a user would ask about it.
type refusal struct {
	reason string
	worth  bool
}

// recurrent operators hold weights and cost time although their multiplications are not counted.
var recurrent = map[string]bool{"LSTM": true, "GRU": true, "RNN": true}

// classifier decides what a node could be, without looking at its neighbours.
type classifier struct {
	graph  *onnx.Graph
	shapes *onnx.Shapes
	opset  int64
	target *Target
	placeOptions
	used  []bool // which patterns of Keep matched
	convs int    // seen so far
	// first holds the values that come from no product: the layers that read them are the first.
	first map[string]bool
	macs  map[*onnx.Node]int64
}

// classify returns a candidate, or why the node is none.
func (c *classifier) classify(n *onnx.Node) (*candidate, *refusal) {
	standard := n.Domain == "" || n.Domain == "ai.onnx"
	rule, known := c.target.Ops[n.OpType]
	costs := c.macs[n] > 0 || standard && recurrent[n.OpType]
	worth := costs || known && standard && (rule.Role == RoleConv || rule.Role == RoleMatrix)
	no := func(format string, args ...any) (*candidate, *refusal) {
		return nil, &refusal{fmt.Sprintf(format, args...), worth}
	}
	if i := globs(c.Keep).match(nodeName(n)); i >= 0 {
		c.used[i] = true
		worth = true
		return no("kept by keep_float %q", c.Keep[i])
	}
	if reason, ok := c.Exclude[nodeName(n)]; ok {
		worth = true
		return no("%s", reason)
	}
	if standard && slices.Contains(c.FloatOps, n.OpType) {
		return no("%s stays in float in this layout", n.OpType)
	}
	if n.Is("Conv") {
		if c.convs++; c.convs <= c.FloatConvs {
			return no("this layout leaves the first convolutions in float, up to number %d", c.FloatConvs)
		}
	}
	if !standard || !known {
		return no("%s has no 8-bit operator for it", c.target.Name)
	}
	if c.opset < rule.MinOpset {
		return no("its 8-bit form needs opset %d, the model has %d", rule.MinOpset, c.opset)
	}
	k := &candidate{node: n, rule: rule, alpha: 1, beta: 1, scheme: &c.target.Weight}
	var err error
	switch rule.Role {
	case RoleConv:
		err = c.conv(k)
	case RoleMatrix:
		err = c.matrix(k)
	case RoleClamp:
		err = c.clamp(k)
	case RoleJoin:
		err = c.join(k)
	case RolePass:
		err = c.pass(k)
	}
	if err != nil {
		return no("%s", err)
	}
	activations := len(k.consts)
	for i, v := range k.data {
		if v == "" || k.consts[i] != nil || c.graph.Constant(v) != nil {
			continue
		}
		activations++
		elem, _, ok := c.shapes.Of(v)
		if ok && elem != onnx.Float {
			return no("it computes in %s", elem)
		}
		if !ok && k.weight == nil {
			return no("the type of %q is not known", v)
		}
	}
	if activations != len(k.data) || activations == len(k.consts) {
		return no("an operand is a constant")
	}
	if c.target.FloatConstants && rule.Role == RoleJoin && len(k.consts) > 0 {
		return no("an operand is a constant: the engine computes it along with the layer in front")
	}
	if k.weight != nil && c.target.FirstWeight != nil && c.first[k.data[0]] {
		k.scheme = c.target.FirstWeight
	}
	return k, nil
}

func (c *classifier) conv(k *candidate) (err error) {
	n := k.node
	if k.weight, err = constant(c.graph, n.Input(1)); err != nil {
		return fmt.Errorf("its weight %w", err)
	}
	dims := k.weight.Dims
	if len(dims) < 3 {
		return fmt.Errorf("its weight has the shape %v", dims)
	}
	group := n.IntAttr("group", 1)
	k.data, k.axis, k.biasLen = []string{n.Input(0)}, 0, int(dims[0])
	if n.OpType == "ConvTranspose" {
		// Its weight is [in, out of a group, ...]: with groups, one channel of axis 1 serves several outputs.
		k.axis, k.biasLen = 1, int(dims[1]*group)
		if group != 1 {
			k.axis = perTensor
		}
	}
	if c.target.MinChannels > 0 {
		if err := c.narrow(n, dims, group); err != nil {
			return err
		}
	}
	return c.setBias(k, 2)
}

// narrow refuses convolutions of so few channels that integers do not pay. The first one has few by nature, and
// depthwise ones too: they count when their outputs fill the engine's vectors.
func (c *classifier) narrow(n *onnx.Node, dims []int64, group int64) error {
	in, out := dims[1]*group, dims[0]
	if n.OpType == "ConvTranspose" {
		in, out = dims[0], dims[1]*group
	}
	square := dims[2] > 1
	for _, d := range dims[2:] {
		square = square && d == dims[2]
	}
	switch {
	case group > 1 && (out%8 != 0 || slices.Max(dims[2:]) < 3):
		return fmt.Errorf("a grouped convolution with %d channels and a kernel of %v is faster in float there", out, dims[2:])
	case group > 1, c.first[n.Input(0)] && square && out%8 == 0:
		return nil
	case min(in, out) < c.target.MinChannels:
		return fmt.Errorf("it has %d and %d channels: below %d a convolution is faster in float there", in, out, c.target.MinChannels)
	}
	return nil
}

func (c *classifier) matrix(k *candidate) (err error) {
	n := k.node
	if n.OpType == "MatMul" && c.Attention && c.graph.Initializer(n.Input(1)) == nil {
		k.data = n.Inputs()[:2]
		return nil
	}
	if k.weight, err = constant(c.graph, n.Input(1)); err != nil {
		return fmt.Errorf("its second operand %w", err)
	}
	if len(k.weight.Dims) != 2 {
		return fmt.Errorf("its weight has %d axes, not 2", len(k.weight.Dims))
	}
	k.data, k.axis = []string{n.Input(0)}, 1
	if n.OpType == "Gemm" {
		if n.IntAttr("transA", 0) != 0 {
			return fmt.Errorf("it transposes its first operand")
		}
		if n.IntAttr("transB", 0) != 0 {
			k.axis = 0
		}
		k.alpha, k.beta = n.FloatAttr("alpha", 1), n.FloatAttr("beta", 1)
		if !(k.alpha > 0 && k.alpha <= math.MaxFloat32) || math.IsNaN(float64(k.beta)) || math.IsInf(float64(k.beta), 0) {
			return fmt.Errorf("its factors are alpha %v and beta %v", k.alpha, k.beta)
		}
	}
	k.biasLen = int(k.weight.Dims[k.axis])
	if c.target.SkipVectors {
		if k.biasLen == 1 {
			return fmt.Errorf("its weight is a vector, for which %s has no fast integer kernel", c.target.Name)
		}
		if _, dims, ok := c.shapes.Of(n.Input(0)); ok && len(dims) >= 2 {
			rows := dims[len(dims)-2]
			for _, d := range dims[:len(dims)-2] {
				if !d.Fixed() || d.Value != 1 {
					rows = onnx.Dim{Value: -1}
				}
			}
			if rows.Fixed() && rows.Value == 1 {
				return fmt.Errorf("its first operand is a vector, for which %s has no fast integer kernel", c.target.Name)
			}
		}
	}
	if n.OpType == "Gemm" {
		return c.setBias(k, 2)
	}
	if c.target.Everywhere {
		k.add, k.addAt, k.bias = biasBehind(k)
	}
	return nil
}

// join takes operands that are activations; where integers are everywhere, one may be a constant.
func (c *classifier) join(k *candidate) error {
	k.data = slices.Clone(k.node.Inputs())
	absorb := c.Absorb && k.node.OpType == "Add" && len(k.data) == 2
	if !c.target.Everywhere && !absorb || len(k.data) < 2 {
		return nil
	}
	for i, v := range k.data {
		t := c.graph.Initializer(v)
		if t == nil {
			continue
		}
		if !c.target.Everywhere && t.Elements() != 1 {
			return nil // an ordinary constant, which classify refuses
		}
		if _, err := constant(c.graph, v); err != nil {
			return fmt.Errorf("its operand %q %w", v, err)
		}
		f, err := t.Float32s()
		if err != nil {
			return fmt.Errorf("its operand %q: %w", v, err)
		}
		for _, x := range f {
			if !(abs(x) <= math.MaxFloat32) {
				return fmt.Errorf("its operand %q holds %v", v, x)
			}
		}
		if k.consts == nil {
			k.consts = map[int]*onnx.Tensor{}
		}
		k.consts[i] = t
	}
	return nil
}

// setBias takes a bias of one value a channel, or one for all.
func (c *classifier) setBias(k *candidate, input int) (err error) {
	if k.node.Input(input) == "" {
		return nil
	}
	if k.bias, err = constant(c.graph, k.node.Input(input)); err != nil {
		return fmt.Errorf("its bias %w", err)
	}
	// [C], [1, C] and the like; for a Gemm also one value that is broadcast.
	dims := k.bias.Dims
	last := int64(1)
	if len(dims) > 0 {
		last = dims[len(dims)-1]
	}
	if n := k.bias.Elements(); n != last || n != int64(k.biasLen) && (n != 1 || k.node.OpType != "Gemm") {
		return fmt.Errorf("its bias has the shape %v, not one value a channel", dims)
	}
	return nil
}

func (c *classifier) clamp(k *candidate) error {
	n := k.node
	k.data = []string{n.Input(0)}
	k.lo, k.hi = 0, math.Inf(1)
	if n.OpType == "Relu" {
		return nil
	}
	k.lo = math.Inf(-1)
	for i, bound := range []*float64{1: &k.lo, 2: &k.hi} {
		if i == 0 || n.Input(i) == "" {
			continue
		}
		t, err := constant(c.graph, n.Input(i))
		if err != nil {
			return fmt.Errorf("its bound %w", err)
		}
		v, err := t.Float32s()
		if err != nil || len(v) != 1 || math.IsNaN(float64(v[0])) {
			return fmt.Errorf("its bound %q is not one number", t.Name())
		}
		*bound = float64(v[0])
	}
	if k.lo > k.hi {
		return fmt.Errorf("its bounds are %v and %v", k.lo, k.hi)
	}
	return nil
}

func (c *classifier) pass(k *candidate) error {
	n := k.node
	k.data = []string{n.Input(0)}
	switch n.OpType {
	case "Concat", "Max", "Min":
		k.data = slices.Clone(n.Inputs())
	case "Pad":
		// What is padded with must be exact at any scale.
		if v := n.Input(2); v != "" && n.StringAttr("mode", "constant") == "constant" {
			t, err := constant(c.graph, v)
			if err != nil {
				return fmt.Errorf("its padding %w", err)
			}
			if f, err := t.Float32s(); err != nil || len(f) != 1 || f[0] != 0 {
				return fmt.Errorf("it pads with another value than 0")
			}
		}
	case "MaxPool":
		if n.Output(1) != "" {
			return fmt.Errorf("its indices are used")
		}
	case "Resize":
		if m := n.StringAttr("mode", "nearest"); m != "nearest" && !k.rule.AnyMode {
			return fmt.Errorf("mode %q computes new values", m)
		}
	}
	return nil
}

// nodeName is what keep_float matches and what a report shows: a node without a name goes by its first output.
func nodeName(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}

// firstValues returns the values that no convolution or product has a part in: the model's inputs and what is made of
// them otherwise.
func firstValues(g *onnx.Graph) map[string]bool {
	first := map[string]bool{}
	for _, in := range g.Inputs() {
		first[in.Name()] = true
	}
	for n := range g.Nodes() {
		if n.Is("Conv") || n.Is("ConvTranspose") || n.Is("Gemm") || n.Is("MatMul") {
			continue
		}
		ok := true
		for _, v := range n.Inputs() {
			ok = ok && (v == "" || first[v] || g.Initializer(v) != nil)
		}
		if ok {
			mark(first, n.Outputs())
		}
	}
	return first
}
