package float16

import (
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// longSum is how many elements a sum in half precision may add up: more than that, and the last ones may no longer
// count.
const longSum = 1024

// classify decides for each node with float values whether something keeps it in float.
func (c *converter) classify() error {
	sizes, indexes := c.sizes(), c.indexes()
	huge := map[value]string{} // values beyond the limit whatever the data are, and which constant makes them so
	for _, n := range c.order {
		info, known := infoOf(n)
		if !known || !c.touchesFloat(n, info) {
			c.spread(n, huge, "", false)
			continue
		}
		c.nodes = append(c.nodes, n)
		large, loss, err := c.constants(n, info)
		if err != nil {
			return err
		}
		reason, over := "", ""
		for i, in := range n.Inputs() {
			if in == "" || has(info.floatIn, i) || n.Is("Cast") {
				continue
			}
			if w := huge[home(n.Graph(), in)]; w != "" && over == "" {
				over = w
			}
		}
		switch {
		case c.kept(n, &reason):
		case info.since(c.o.To) == 0 || c.opset < info.since(c.o.To):
			reason = fmt.Sprintf("opset %d has no %s of %s", c.opset, n.OpType, c.o.To)
		case info.why != "" && !slices.Contains(c.o.AllowOps, n.OpType):
			reason = info.why
		case c.untyped(n) != "":
			reason = fmt.Sprintf("the type of %q is not known", c.untyped(n))
		case c.besideIntegers(n):
			reason = "it is computed in integers, between quantized values"
		case sizes[n]:
			reason = "it computes sizes"
		case indexes[n]:
			reason = "what it computes becomes a whole number"
		case large != "":
			reason = large
		case over != "":
			reason = "it reads values that " + over + " makes too large"
		case loss != "":
			reason = loss
		default:
			reason = c.byKind(n, info)
			if reason == "" {
				reason = c.byData(n)
			}
		}
		if large != "" && over == "" {
			over = large
		}
		c.spread(n, huge, over, info.bounded || clamps(n))
		if reason != "" {
			c.reason[n] = reason
		}
	}
	return nil
}

// spread marks what a node makes of values that are too large.
func (c *converter) spread(n *onnx.Node, huge map[value]string, over string, bounded bool) {
	if over == "" || bounded {
		return
	}
	for _, out := range n.Outputs() {
		if out != "" && c.isFloat(out) {
			huge[value{n.Graph(), out}] = over
		}
	}
}

func (c *converter) kept(n *onnx.Node, reason *string) bool {
	if c.o.Keep == nil {
		return false
	}
	r, keep := c.o.Keep(n)
	*reason = r
	return keep
}

// touchesFloat tells whether a node has a float value of its own kind.
func (c *converter) touchesFloat(n *onnx.Node, info opInfo) bool {
	for i, out := range n.Outputs() {
		if out != "" && !has(info.floatOut, i) && c.isFloat(out) {
			return true
		}
	}
	if takesAny(n) {
		return false
	}
	for i, in := range n.Inputs() {
		if in != "" && !has(info.floatIn, i) && c.isFloat(in) {
			return true
		}
	}
	return false
}

func (c *converter) untyped(n *onnx.Node) string {
	for _, list := range [][]string{n.Inputs(), n.Outputs()} {
		for _, v := range list {
			if _, ok := c.elem(v); v != "" && !ok {
				return v
			}
		}
	}
	return ""
}

// besideIntegers tells whether an engine would fuse the node with the quantized values around it: a Cast would come
// between them.
func (c *converter) besideIntegers(n *onnx.Node) bool {
	for _, in := range n.Inputs() {
		v := home(n.Graph(), in)
		if p := v.g.Producer(in); in != "" && p != nil && p.OpType == "DequantizeLinear" {
			return true
		}
	}
	for _, out := range n.Outputs() {
		uses := c.uses[value{n.Graph(), out}]
		if out == "" || len(uses) == 0 {
			continue
		}
		if !slices.ContainsFunc(uses, func(u use) bool {
			return u.node == nil || u.node.OpType != "QuantizeLinear" && u.node.OpType != "DynamicQuantizeLinear"
		}) {
			return true
		}
	}
	return false
}

// constants looks at what half precision does to the constants that a node reads: large is why the node's result may
// be beyond the limit, loss why too much would be lost.
func (c *converter) constants(n *onnx.Node, info opInfo) (large, loss string, err error) {
	for i, in := range n.Inputs() {
		if in == "" || has(info.floatIn, i) || takesAny(n) || !c.isFloat(in) {
			continue
		}
		t := c.constant(home(n.Graph(), in))
		if t == nil {
			continue
		}
		l, err := c.lossOf(t)
		if err != nil {
			return "", "", err
		}
		least := float64(leastSQNR)
		if c.o.To == onnx.BFloat16 {
			least = leastSQNRBFloat
		}
		switch {
		case l.Overflowed > 0 && (n.Is("Clip") || n.Is("Max") || n.Is("Min")): // it saturates, and that is what they do
		case l.Overflowed > 0:
			if large == "" {
				large = fmt.Sprintf("the constant %q, which reaches %.3g,", in, l.Worst)
			}
		case bias(n, i): // beside the products it is small
		case l.SQNR < least && loss == "":
			loss = fmt.Sprintf("the constant %q would keep %.0f dB only: %d of %d elements are too small", in, max(l.SQNR, 0), l.Vanished+l.Denormal, l.Elements)
		}
	}
	if large != "" {
		large += " does not fit"
	}
	return large, loss, nil
}

// bias tells whether input i is only added to products.
func bias(n *onnx.Node, i int) bool {
	switch n.OpType {
	case "Conv", "ConvTranspose", "Gemm":
		return i == 2
	case "LSTM", "GRU", "RNN":
		return i == 3
	}
	return false
}

// clamps tells whether a node bounds its result.
func clamps(n *onnx.Node) bool {
	if !n.Is("Clip") {
		return false
	}
	if n.Attr("min") != nil && n.Attr("max") != nil {
		return true
	}
	return n.Input(1) != "" && n.Input(2) != ""
}

// byKind applies the rules for single operators.
func (c *converter) byKind(n *onnx.Node, info opInfo) string {
	switch {
	case n.Is("Cast"):
		from, _ := c.elem(n.Input(0))
		switch from {
		case onnx.Int16, onnx.Uint16, onnx.Int32, onnx.Uint32, onnx.Int64, onnx.Uint64, onnx.Double:
			if most, ok := c.magnitude(value{n.Graph(), n.Output(0)}); !ok || most > 2048 {
				return "half precision does not hold all whole numbers beyond 2048"
			}
		}
	case n.Is("Div"):
		v := home(n.Graph(), n.Input(1))
		if c.constant(v) == nil {
			return "it divides by a value that may be very small"
		}
	case n.Is("ReduceMean"), n.Is("ReduceSum"):
		switch k := c.reduced(n); {
		case k < 0:
			return "how many elements it adds up is not known"
		case k > longSum:
			return fmt.Sprintf("it adds up %d elements", k)
		}
	}
	return ""
}

// reduced is how many elements one result of a reduction comes from; -1 where that is not known.
func (c *converter) reduced(n *onnx.Node) int64 {
	_, dims, ok := c.shapes.Of(n.Input(0))
	if !ok || dims == nil {
		return -1
	}
	axes := n.IntsAttr("axes")
	if in := n.Input(1); in != "" {
		t := n.Graph().Constant(in)
		if t == nil {
			return -1
		}
		var err error
		if axes, err = t.Ints(); err != nil {
			return -1
		}
	}
	if len(axes) == 0 {
		for i := range dims {
			axes = append(axes, int64(i))
		}
	}
	k := int64(1)
	for _, a := range axes {
		if a < 0 {
			a += int64(len(dims))
		}
		if a < 0 || a >= int64(len(dims)) || !dims[a].Fixed() {
			return -1
		}
		if k *= dims[a].Value; k > math.MaxInt32 {
			return k
		}
	}
	return k
}

func (c *converter) magnitude(v value) (float64, bool) {
	if v.g != c.m.Graph {
		return 0, false
	}
	m, ok := c.o.Magnitudes[v.name]
	return m, ok
}

// byData compares what was seen on data with what half precision holds.
func (c *converter) byData(n *onnx.Node) string {
	check := func(v value, what string) string {
		m, ok := c.magnitude(v)
		switch {
		case !ok || m == 0:
		case m > c.limit:
			return fmt.Sprintf("%s %q reached %.3g on the data; the limit is %.3g", what, v.name, m, c.limit)
		case c.o.To == onnx.Float16 && m < halfNormal:
			return fmt.Sprintf("%s %q reached no more than %.3g on the data, where half precision has few digits", what, v.name, m)
		}
		return ""
	}
	for _, in := range n.Inputs() {
		if in != "" && c.isFloat(in) {
			if r := check(home(n.Graph(), in), "its input"); r != "" {
				return r
			}
		}
	}
	for _, out := range n.Outputs() {
		if out != "" && c.isFloat(out) {
			if r := check(value{n.Graph(), out}, "its output"); r != "" {
				return r
			}
		}
	}
	return ""
}

// sizes finds the nodes that compute from the shapes of values alone.
func (c *converter) sizes() map[*onnx.Node]bool {
	derived, nodes := map[value]bool{}, map[*onnx.Node]bool{}
	for _, n := range c.order {
		some, all := n.Is("Shape") || n.Is("Size"), true
		if !some {
			for _, in := range n.Inputs() {
				if in == "" {
					continue
				}
				v := home(n.Graph(), in)
				d := derived[v]
				some = some || d
				all = all && (d || v.g.Initializer(in) != nil)
			}
		}
		// What a shape makes as large as an activation is no size any more.
		if !some || !all || len(n.Subgraphs()) > 0 || n.Is("Expand") || n.Is("ConstantOfShape") || n.Is("Tile") {
			continue
		}
		nodes[n] = true
		for _, out := range n.Outputs() {
			derived[value{n.Graph(), out}] = true
		}
	}
	return nodes
}

// indexes finds the nodes without weights whose float results are cast to integers in the end.
func (c *converter) indexes() map[*onnx.Node]bool {
	marked, nodes := map[value]bool{}, map[*onnx.Node]bool{}
	for _, n := range slices.Backward(c.order) {
		if n.Is("Cast") {
			switch onnx.DataType(n.IntAttr("to", 0)) {
			case onnx.Int16, onnx.Uint16, onnx.Int32, onnx.Uint32, onnx.Int64, onnx.Uint64:
				marked[home(n.Graph(), n.Input(0))] = true
				continue
			}
		}
		info, ok := infoOf(n)
		if !ok || info.heavy {
			continue
		}
		hit := slices.ContainsFunc(n.Outputs(), func(out string) bool { return out != "" && marked[value{n.Graph(), out}] })
		if !hit {
			continue
		}
		nodes[n] = true
		for _, in := range n.Inputs() {
			if in != "" {
				marked[home(n.Graph(), in)] = true
			}
		}
	}
	return nodes
}
