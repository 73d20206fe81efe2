package quantize

import (
	"maps"
	"math"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// gateParams are those of numbers from 0 to 1.
var gateParams = Params{DType: tensor.U8, Scale: 1.0 / 255}

// withGates returns the target with HardSigmoid among what it quantizes, always on the scale that makes it a change of
// scale: see gateTables.
func withGates(t *Target) *Target {
	c := *t
	c.Ops = maps.Clone(t.Ops)
	c.Ops["HardSigmoid"] = OpRule{Role: RoleJoin, Output: &gateParams}
	return &c
}

// gateTables writes each quantized HardSigmoid as integers. clip(alpha*x+beta, 0, 1) on the scale 1/255 is x on the
// scale 1/(255*alpha) with zero point 255*beta: saturation is the clip. ONNX Runtime has no operator that changes a
// scale, but QLinearLeakyRelu with alpha 1 is one, by a table of 256 entries.
func (e *emitter) gateTables() {
	g := e.graph
	for n := range g.Nodes() {
		if !n.Is("HardSigmoid") || e.place.byNode[n] == nil {
			continue
		}
		from, to := g.Producer(n.Input(0)), g.Consumers(n.Output(0))
		if from == nil || !from.Is("DequantizeLinear") || len(to) != 1 || !to[0].Is("QuantizeLinear") || g.IsOutput(n.Output(0)) {
			continue
		}
		alpha, beta := float64(n.FloatAttr("alpha", 0.2)), float64(n.FloatAttr("beta", 0.5))
		zero := math.RoundToEven(255 * beta)
		if !(alpha > 0) || zero < 0 || zero > 255 || !onGateScale(g, to[0]) {
			continue
		}
		scale, zp := g.UniqueName(n.Output(0)+"_scale"), g.UniqueName(n.Output(0)+"_zero_point")
		g.AddInitializer(floats(scale, nil, []float32{float32(1 / (255 * alpha))}))
		g.AddInitializer(onnx.NewTensor(zp, tensor.Tensor{DType: tensor.U8, Data: []byte{byte(zero)}}))
		q := to[0].Output(0)
		g.RemoveNode(to[0])
		g.InsertBefore(n, onnx.NewNode("QLinearLeakyRelu", "com.microsoft", g.UniqueName(q+"_table"),
			append([]string{from.Input(0), from.Input(1), from.Input(2)}, scale, zp), []string{q}, onnx.FloatAttr("alpha", 1)))
		g.RemoveNode(n)
		e.contrib = true
	}
}

// onGateScale tells whether a QuantizeLinear writes numbers from 0 to 1 on gateParams; with others in its group, it may
// have another scale.
func onGateScale(g *onnx.Graph, q *onnx.Node) bool {
	scale, zero := g.Initializer(q.Input(1)), g.Initializer(q.Input(2))
	if scale == nil || zero == nil {
		return false
	}
	s, err := scale.Float32s()
	if err != nil || len(s) != 1 || s[0] != gateParams.Scale {
		return false
	}
	z, err := zero.Ints()
	return err == nil && len(z) == 1 && z[0] == int64(gateParams.Zero)
}

// absorb finds additions of one number that change scales can do: y = h + b on a common scale s is the same integers
// with the zero point moved by b/s, if that is a whole number. The scale is widened until it is. It must run before
// weights and biases get theirs.
func (e *emitter) absorb() {
	g := e.graph
	for _, k := range e.place.nodes {
		if k.node.OpType != "Add" || len(k.consts) != 1 {
			continue
		}
		var b float64
		var h string
		for i, v := range k.data {
			if t := k.consts[i]; t == nil {
				h = v
			} else if f, err := t.Float32s(); err == nil && len(f) == 1 {
				b = float64(f[0])
			}
		}
		y := k.node.Output(0)
		from, to := e.place.groups.find(h), e.place.groups.find(y)
		made := e.place.byNode[g.Producer(h)]
		if h == "" || b == 0 || from == to || e.sizes[from] != 1 || e.sizes[to] != 1 || made == nil || made.rule.Output != nil || g.NumConsumers(h) != 1 || g.IsOutput(h) {
			continue
		}
		r, ry := e.joint[from], e.joint[to]
		// In terms of h: its own values, and where it and y are 0.
		lo := min(float64(r.Min), 0, -b, float64(ry.Min)-b)
		hi := max(float64(r.Max), 0, -b, float64(ry.Max)-b)
		// One scale for both may be much coarser than either's own: an addition costs less than that.
		own := max(span(r), span(ry))
		if hi-lo > maxWidening*own {
			continue
		}
		steps := math.Floor(math.Abs(b) / ((hi - lo) / 254)) // one level to spare for rounding the zero point
		if steps < 1 || steps > 254 {
			continue
		}
		s := math.Abs(b) / steps
		zeroH := math.RoundToEven(-lo / s)
		zeroY := zeroH - math.Copysign(steps, b)
		if zeroH < 0 || zeroH > 255 || zeroY < 0 || zeroY > 255 {
			continue
		}
		e.params[from] = Params{DType: tensor.U8, Scale: float32(s), Zero: int32(zeroH)}
		e.params[to] = Params{DType: tensor.U8, Scale: float32(s), Zero: int32(zeroY)}
		e.absorbed[k.node] = true
	}
}

// maxWidening is how much wider than the wider of both the range of a shared scale may be.
const maxWidening = 1.5

// span is the width of a range with 0 in it.
func span(r Range) float64 { return float64(max(r.Max, 0)) - float64(min(r.Min, 0)) }

// dropAbsorbed removes the additions that absorb found: what reads y reads the integers of h on y's scale.
func (e *emitter) dropAbsorbed() {
	g := e.graph
	for n := range g.Nodes() {
		if !e.absorbed[n] {
			continue
		}
		q := g.Consumers(n.Output(0))
		if len(q) != 1 || !q[0].Is("QuantizeLinear") {
			continue
		}
		for _, v := range n.Inputs() {
			dq := g.Producer(v)
			if dq == nil || !dq.Is("DequantizeLinear") || g.Producer(dq.Input(0)) == nil {
				continue
			}
			out := q[0].Output(0)
			g.RemoveNode(q[0])
			g.RemoveNode(n)
			g.ReplaceAllUses(out, dq.Input(0))
			break
		}
	}
}

// expandHardSwish writes each HardSwish as the HardSigmoid and the Mul that it stands for, which have forms in integers.
func expandHardSwish(m *onnx.Model) {
	g := m.Graph
	for n := range g.Nodes() {
		if !n.Is("HardSwish") {
			continue
		}
		gate := g.UniqueName(n.Output(0) + "_gate")
		g.InsertBefore(n, onnx.NewNode("HardSigmoid", "", g.UniqueName(nodeName(n)+"_gate"), []string{n.Input(0)}, []string{gate},
			onnx.FloatAttr("alpha", 1.0/6), onnx.FloatAttr("beta", 0.5)))
		n.OpType = "Mul"
		n.SetInputs(n.Input(0), gate)
	}
}
