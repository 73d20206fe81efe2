package rewrite

import (
	"math"

	"github.com/optimize-hcl/optimize/onnx"
)

// near compares numbers that an exporter wrote as float32.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Max(math.Abs(a), math.Abs(b)) }

// ramp is scale * clip(x + shift, 0, 1/scale): a hard sigmoid with alpha = scale and beta = scale*shift.
type ramp struct {
	x            string
	alpha, beta  float64
	clip, moving *onnx.Node
}

// hardSigmoids finds clip(x+a, 0, b)/b, and that times x.
func (r *rewriter) hardSigmoids() int {
	return r.each(func(n *onnx.Node) bool {
		value, scale, ok := r.scaled(n)
		if !ok || !r.isFloat(value) {
			return false
		}
		// clip(x+a, 0, b) / b
		if c := sole(n, value, "Clip"); c != nil {
			p, ok := r.rampOf(c, scale)
			if !ok {
				return false
			}
			become(n, "HardSigmoid", "", []string{p.x}, onnx.FloatAttr("alpha", float32(p.alpha)), onnx.FloatAttr("beta", float32(p.beta)))
			return true
		}
		// x * clip(x+a, 0, b) / b
		m := sole(n, value, "Mul")
		if m == nil || len(m.Inputs()) != 2 {
			return false
		}
		for i := range 2 {
			c := sole(m, m.Input(i), "Clip")
			if c == nil {
				continue
			}
			p, ok := r.rampOf(c, scale)
			if !ok {
				continue
			}
			gate := insert(n, "HardSigmoid", "", n.Output(0)+"_gate", []string{p.x}, onnx.FloatAttr("alpha", float32(p.alpha)), onnx.FloatAttr("beta", float32(p.beta)))
			become(n, "Mul", "", []string{m.Input(1 - i), gate})
			return true
		}
		return false
	})
}

// scaled reads value*c or value/c; c is what the value is multiplied with.
func (r *rewriter) scaled(n *onnx.Node) (value string, c float64, ok bool) {
	switch {
	case n.Is("Mul"):
		return r.withScalar(n)
	case n.Is("Div"):
		value, c, ok = r.withScalar(n)
		if !ok || value != n.Input(0) || c == 0 {
			return "", 0, false
		}
		return value, 1 / c, true
	}
	return "", 0, false
}

// rampOf reads clip(x+a, 0, b) whose result is multiplied with scale = 1/b.
func (r *rewriter) rampOf(c *onnx.Node, scale float64) (ramp, bool) {
	lo, hi, ok := r.clipBounds(c)
	if !ok || lo != 0 || !near(hi*scale, 1) {
		return ramp{}, false
	}
	add := sole(c, c.Input(0), "Add")
	if add == nil {
		return ramp{}, false
	}
	x, shift, ok := r.withScalar(add)
	if !ok {
		return ramp{}, false
	}
	return ramp{x: x, alpha: scale, beta: scale * shift, clip: c, moving: add}, true
}

// clipBounds reads the bounds of a Clip, which are attributes before opset 11.
func (r *rewriter) clipBounds(c *onnx.Node) (lo, hi float64, ok bool) {
	lo, hi = math.Inf(-1), math.Inf(1)
	if r.model.Opset(onnx.DefaultDomain) < 11 {
		if a := c.Attr("min"); a != nil {
			lo = float64(a.F)
		}
		if a := c.Attr("max"); a != nil {
			hi = float64(a.F)
		}
		return lo, hi, true
	}
	for i, bound := range []*float64{&lo, &hi} {
		if name := c.Input(i + 1); name != "" {
			if *bound, ok = scalar(c.Graph(), name); !ok {
				return 0, 0, false
			}
		}
	}
	return lo, hi, true
}

// gates finds x + x*g where g is one number for each channel.
func (r *rewriter) gates() int {
	return r.each(func(n *onnx.Node) bool {
		if !n.Is("Add") || len(n.Inputs()) != 2 {
			return false
		}
		for i := range 2 {
			m, x := sole(n, n.Input(i), "Mul"), n.Input(1-i)
			if m == nil || len(m.Inputs()) != 2 || m.Input(0) == m.Input(1) {
				continue
			}
			for k := range 2 {
				g := m.Input(1 - k)
				if m.Input(k) != x || !r.isFloat(x) || !r.perChannel(g) || r.perChannel(x) {
					continue
				}
				one := put(n.Graph(), n.Output(0)+"_one", []float32{1})
				more := insert(n, "Add", "", n.Output(0)+"_gate", []string{g, one})
				become(n, "Mul", "", []string{x, more})
				return true
			}
		}
		return false
	})
}

// perChannel tells whether a value is known to have one number a channel: all axes behind the second are 1.
func (r *rewriter) perChannel(value string) bool {
	_, dims, ok := r.shapes.Of(value)
	if !ok || len(dims) < 3 {
		return false
	}
	for _, d := range dims[2:] {
		if d.Value != 1 {
			return false
		}
	}
	return true
}

// geluRules are the ways in which frameworks write 0.5x(1 + tanh(sqrt(2/pi)(x + 0.044715x^3))).
var geluRules = makeGeluRules()

func makeGeluRules() []*onnx.Rule {
	inner := []string{
		"c = Mul(x, 0.044715)\nd = Mul(x, c)\ne = Mul(x, d)\n",
		"c = Mul(x, x)\nd = Mul(x, c)\ne = Mul(d, 0.044715)\n",
		"c = Pow(x, 3)\ne = Mul(c, 0.044715)\n",
		"c = Mul(x, x)\nd = Mul(c, 0.044715)\ne = Mul(x, d)\n",
	}
	const middle = "f = Add(x, e)\ng = Mul(f, 0.79788456)\nh = Tanh(g)\ni = Add(h, 1)\n"
	outer := []string{
		"j = Mul(i, 0.5)\ny = Mul(x, j)\n",
		"j = Mul(x, i)\ny = Mul(j, 0.5)\n",
		"j = Mul(x, 0.5)\ny = Mul(j, i)\n",
	}
	var rules []*onnx.Rule
	for _, a := range inner {
		for _, b := range outer {
			rules = append(rules, onnx.MustRule(a+middle+b+"=>\ny = com.microsoft.FastGelu(x)"))
		}
	}
	return rules
}

// gelus writes the tanh form of GELU as one operator.
func (r *rewriter) gelus() int {
	count := 0
	for _, rule := range geluRules {
		rule.When = func(m *onnx.Match) bool { return r.isFloat(m.Value("x")) }
		count += rule.Apply(r.model)
	}
	if count > 0 && r.model.Opset("com.microsoft") == 0 {
		r.model.SetOpset("com.microsoft", 1)
	}
	return count
}
