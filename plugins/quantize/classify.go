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
	data []string // the activations it reads

	// Of RoleConv and RoleMatrix.
	weight  *onnx.Tensor
	axis    int          // of the weight's channels
	bias    *onnx.Tensor // nil when there is none
	biasLen int          // channels of the output
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
			return no("it is one of the first %d convolutions, which this layout leaves in float", c.FloatConvs)
		}
	}
	if !standard || !known {
		return no("%s has no 8-bit operator for it", c.target.Name)
	}
	if c.opset < rule.MinOpset {
		return no("its 8-bit form needs opset %d, the model has %d", rule.MinOpset, c.opset)
	}
	k := &candidate{node: n, rule: rule, alpha: 1, beta: 1}
	var err error
	switch rule.Role {
	case RoleConv:
		err = c.conv(k)
	case RoleMatrix:
		err = c.matrix(k)
	case RoleClamp:
		err = c.clamp(k)
	case RoleJoin:
		k.data = slices.Clone(n.Inputs())
	case RolePass:
		err = c.pass(k)
	}
	if err != nil {
		return no("%s", err)
	}
	activations := 0
	for _, v := range k.data {
		if v == "" || c.graph.Initializer(v) != nil {
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
	if activations != len(k.data) || activations == 0 {
		return no("an operand is a constant")
	}
	return k, nil
}

func (c *classifier) conv(k *candidate) (err error) {
	n := k.node
	if k.weight, err = constant(c.graph, n.Input(1)); err != nil {
		return fmt.Errorf("its weight %w", err)
	}
	if len(k.weight.Dims) < 3 {
		return fmt.Errorf("its weight has the shape %v", k.weight.Dims)
	}
	k.data, k.axis = []string{n.Input(0)}, int(c.target.ConvChannelAxis)
	k.biasLen = int(k.weight.Dims[0])
	return c.setBias(k, 2)
}

func (c *classifier) matrix(k *candidate) (err error) {
	n := k.node
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
	if n.OpType == "Gemm" {
		return c.setBias(k, 2)
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
	case "Concat":
		k.data = slices.Clone(n.Inputs())
	case "MaxPool":
		if n.Output(1) != "" {
			return fmt.Errorf("its indices are used")
		}
	case "Resize":
		if m := n.StringAttr("mode", "nearest"); m != "nearest" {
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
