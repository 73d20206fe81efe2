package quantize

import (
	"fmt"
	"math"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// emitter writes Q and DQ pairs into a graph.
type emitter struct {
	graph  *onnx.Graph
	place  *placement
	target *Target
	params map[string]Params    // of each group, by its representative
	names  map[string][2]string // scale and zero point of each group
	// magnitudes are the largest of each channel of a weight.
	magnitudes map[weightKey][]float32

	joint    map[string]Range // of each group, as calibrated
	sizes    map[string]int   // values in each group
	absorbed map[*onnx.Node]bool
	contrib  bool // operators of com.microsoft were written
}

func newEmitter(g *onnx.Graph, p *placement, t *Target, r ranges) *emitter {
	e := &emitter{graph: g, place: p, target: t, params: map[string]Params{}, names: map[string][2]string{}, magnitudes: map[weightKey][]float32{},
		joint: map[string]Range{}, sizes: map[string]int{}, absorbed: map[*onnx.Node]bool{}}
	joint := e.joint
	for _, v := range p.values {
		root := p.groups.find(v)
		e.sizes[root]++
		if old, ok := joint[root]; ok {
			joint[root] = old.Union(r[v])
		} else {
			joint[root] = r[v]
		}
	}
	fixed, schemes := p.demands(g)
	for root, r := range joint {
		s, ok := schemes[root]
		if !ok {
			s = &t.Activation
		}
		e.params[root] = s.Params(r)
		if f := fixed[root]; f != nil {
			e.params[root] = *f
		}
	}
	if p.options.Absorb {
		e.absorb()
	}
	return e
}

// demands returns, of each group, the scale that the engine prescribes and the scheme that is not the usual one.
func (p *placement) demands(g *onnx.Graph) (fixed map[string]*Params, schemes map[string]*Scheme) {
	fixed, schemes = map[string]*Params{}, map[string]*Scheme{}
	if t := p.target.Transformer; t != nil && hasAttention(g) {
		for _, v := range p.values {
			schemes[p.groups.find(v)] = t
		}
	}
	for _, k := range p.nodes {
		if k.rule.Output != nil {
			fixed[p.groups.find(k.node.Output(0))] = k.rule.Output
		}
		if k.rule.Role == RoleMatrix && k.weight == nil && p.target.Attention != nil {
			for _, v := range k.data {
				schemes[p.groups.find(v)] = p.target.Attention
			}
		}
	}
	return fixed, schemes
}

// hasAttention tells whether two activations are multiplied around a Softmax.
func hasAttention(g *onnx.Graph) bool {
	softmax, product := false, false
	for n := range g.Nodes() {
		softmax = softmax || n.Is("Softmax")
		product = product || n.Is("MatMul") && g.Initializer(n.Input(0)) == nil && g.Initializer(n.Input(1)) == nil
	}
	return softmax && product
}

func (e *emitter) paramsOf(value string) Params { return e.params[e.place.groups.find(value)] }

// constants returns the initializers of a value's scale and zero point; a group shares them.
func (e *emitter) constants(value string) (scale, zero string) {
	root := e.place.groups.find(value)
	if n, ok := e.names[root]; ok {
		return n[0], n[1]
	}
	p := e.params[root]
	scale, zero = e.graph.UniqueName(value+"_scale"), e.graph.UniqueName(value+"_zero_point")
	e.graph.AddInitializer(floats(scale, nil, []float32{p.Scale}))
	zp := tensor.Tensor{DType: p.DType, Data: []byte{byte(p.Zero)}}
	e.graph.AddInitializer(onnx.NewTensor(zero, zp))
	e.names[root] = [2]string{scale, zero}
	return scale, zero
}

// pair appends QuantizeLinear of from and DequantizeLinear into to, on value's scale, after the node at (nil: at the
// start of the graph).
func (e *emitter) pair(at *onnx.Node, from, value, to string) {
	scale, zero := e.constants(value)
	q := e.graph.UniqueName(value + "_quantized")
	quant := onnx.NewNode("QuantizeLinear", "", e.graph.UniqueName(value+"_QuantizeLinear"), []string{from, scale, zero}, []string{q})
	deq := onnx.NewNode("DequantizeLinear", "", e.graph.UniqueName(value+"_DequantizeLinear"), []string{q, scale, zero}, []string{to})
	if at == nil {
		e.graph.PrependNode(quant)
	} else {
		e.graph.InsertAfter(at, quant)
	}
	e.graph.InsertAfter(quant, deq)
}

// activations puts a pair around each value that has a range. Behind a node that computes in integers the pair takes
// over the value's name, so that the QuantizeLinear is the node's only reader, and graph outputs keep theirs; a value
// that is made in float keeps its float readers.
func (e *emitter) activations() {
	done := map[string]bool{}
	for _, f := range e.place.clamps {
		p := e.paramsOf(f.out)
		f.folded = f.certain || e.target.Activation.clampRedundant(p, f.lo, f.hi)
		if !f.folded {
			continue
		}
		prod := e.graph.Producer(f.in)
		e.graph.RemoveNode(f.node)
		e.pair(prod, f.in, f.out, f.out)
		done[f.in], done[f.out] = true, true
	}
	for _, v := range e.place.values {
		if done[v] {
			continue
		}
		prod := e.graph.Producer(v)
		if e.target.Placement == PlaceOutputs && (e.place.byNode[prod] != nil || e.place.inside[prod]) {
			inner := e.graph.UniqueName(v + "_float")
			for i, o := range prod.Outputs() {
				if o == v {
					prod.SetOutput(i, inner)
				}
			}
			e.pair(prod, inner, v, v)
			continue
		}
		dq := e.graph.UniqueName(v + "_dequantized")
		readers := e.graph.Consumers(v)
		e.pair(prod, v, v, dq)
		for _, n := range readers {
			for i, in := range n.Inputs() {
				// Of a matrix product only the first operand is an activation, of a Gather not the indices.
				if in == v && e.place.reads(n, i) {
					n.SetInput(i, dq)
				}
			}
		}
	}
}

// tensorDQ appends a DequantizeLinear of a constant in front of a node.
func (e *emitter) tensorDQ(before *onnx.Node, name string, q tensor.Tensor, scales []float32, zero bool, axis int) string {
	qn, sn := e.graph.UniqueName(name+"_quantized"), e.graph.UniqueName(name+"_scale")
	e.graph.AddInitializer(onnx.NewTensor(qn, q))
	shape := []int64{int64(len(scales))}
	if len(scales) == 1 && axis < 0 {
		shape = nil
	}
	e.graph.AddInitializer(floats(sn, shape, scales))
	inputs := []string{qn, sn}
	if zero {
		zn := e.graph.UniqueName(name + "_zero_point")
		e.graph.AddInitializer(onnx.NewTensor(zn, zeros(q.DType, shape)))
		inputs = append(inputs, zn)
	}
	out := e.graph.UniqueName(name + "_dequantized")
	n := onnx.NewNode("DequantizeLinear", "", e.graph.UniqueName(name+"_DequantizeLinear"), inputs, []string{out})
	if axis >= 0 {
		n.SetAttr(onnx.IntAttr("axis", int64(axis)))
	}
	e.graph.InsertBefore(before, n)
	return out
}

// scalarDQ appends a DequantizeLinear of a constant with one scale and zero point in front of a node.
func (e *emitter) scalarDQ(before *onnx.Node, name string, q tensor.Tensor, p Params) string {
	qn, sn, zn := e.graph.UniqueName(name+"_quantized"), e.graph.UniqueName(name+"_scale"), e.graph.UniqueName(name+"_zero_point")
	e.graph.AddInitializer(onnx.NewTensor(qn, q))
	e.graph.AddInitializer(floats(sn, nil, []float32{p.Scale}))
	e.graph.AddInitializer(onnx.NewTensor(zn, tensor.Tensor{DType: p.DType, Data: []byte{byte(p.Zero)}}))
	out := e.graph.UniqueName(name + "_dequantized")
	e.graph.InsertBefore(before, onnx.NewNode("DequantizeLinear", "", e.graph.UniqueName(name+"_DequantizeLinear"), []string{qn, sn, zn}, []string{out}))
	return out
}

// floats is a float32 initializer; without axes it is a scalar.
func floats(name string, shape []int64, v []float32) *onnx.Tensor {
	return onnx.NewTensor(name, tensor.Of(append([]int64{}, shape...), v))
}

// zeros is a tensor of zero points.
func zeros(d tensor.DType, shape []int64) tensor.Tensor {
	n, _ := tensor.Size(d, shape) // a shape of this package's making
	return tensor.Tensor{DType: d, Shape: shape, Data: make([]byte, n)}
}

// A weight is shared by the nodes that read the same initializer in the same way.
type weightKey struct {
	name   string
	axis   int
	alpha  float32
	widest string // scales that a bias changed belong to one node
	scheme *Scheme
}

// perTensor is the axis of a single scale.
const perTensor = -1

// weights lowers the constant operands of every quantized convolution and matrix product and returns the names of the
// initializers that became integers.
func (e *emitter) weights(perChannel bool) (quantized map[string]bool, err error) {
	quantized = map[string]bool{}
	shared := map[weightKey]string{}
	for _, k := range e.place.nodes {
		if err := e.operands(k); err != nil {
			return nil, err
		}
		if k.weight == nil {
			continue
		}
		axis := k.axis
		if !perChannel {
			axis = perTensor
		}
		key := weightKey{name: k.weight.Name(), axis: axis, scheme: k.scheme}
		w, scales, widened, err := e.scalesOf(k, perChannel)
		if err != nil {
			return nil, err
		}
		bias, err := k.biasValues()
		if err != nil {
			return nil, err
		}
		fix := e.place.fixed[nodeName(k.node)]
		if fix != nil {
			scales, widened = fix.scales, true // codes of its own
			if fix.bias != nil && k.node.OpType == "MatMul" && k.add == nil {
				e.addBias(k, fix.bias)
			} else if fix.bias != nil {
				bias = fix.bias
			}
		}
		// The activation that the product reads has this scale; the bias is added on the scale of the product.
		sx := e.paramsOf(k.data[0]).Scale
		key.alpha = k.alpha
		if widened {
			key.widest = nodeName(k.node)
		}
		dq, ok := shared[key]
		if !ok {
			var q []int8
			if fix != nil && fix.codes != nil {
				q = fix.codes
			} else {
				q = k.scheme.quantizeWeights(w, channelLayout(k.weight.Dims, axis), scales)
			}
			stored := scales
			if k.alpha != 1 {
				stored = make([]float32, len(scales))
				for i, s := range scales {
					stored[i] = s * k.alpha
				}
			}
			dq = e.tensorDQ(k.node, k.weight.Name(), tensor.Of(k.weight.Dims, q), stored, true, axis)
			shared[key] = dq
		}
		k.node.SetInput(1, dq)
		quantized[k.weight.Name()] = true
		if bias != nil && e.target.FloatBias {
			if fix != nil && fix.bias != nil || k.node.OpType == "Gemm" && (k.beta != 1 || k.bias.Elements() != int64(k.biasLen)) {
				name := e.graph.UniqueName(k.biasName() + "_scaled")
				e.graph.AddInitializer(floats(name, []int64{int64(k.biasLen)}, bias))
				k.setBias(name)
			}
		} else if bias != nil {
			sw := make([]float32, len(scales))
			for i, s := range scales {
				sw[i] = s * k.alpha
			}
			q, sb := quantizeBias(bias, sw, sx)
			baxis := perTensor
			if axis != perTensor {
				baxis = 0
			}
			k.setBias(e.tensorDQ(k.node, k.biasName(), tensor.Of(nil, q), sb, false, baxis))
			quantized[k.biasName()] = true
		}
		for _, a := range []string{"alpha", "beta"} {
			k.node.RemoveAttr(a)
		}
	}
	return quantized, nil
}

// scalesOf returns the float weight of a product and the scales of its integers: one a channel, or one for all. widened
// tells that the bias, which is added on the scale of the product, asked for another scale than the weight alone would.
func (e *emitter) scalesOf(k *candidate, perChannel bool) (w, scales []float32, widened bool, err error) {
	if w, err = k.weight.Float32s(); err != nil {
		return nil, nil, false, fmt.Errorf("weight of node %q: %w", nodeName(k.node), err)
	}
	axis := k.axis
	if !perChannel {
		axis = perTensor
	}
	key := weightKey{name: k.weight.Name(), axis: axis}
	absmax, ok := e.magnitudes[key]
	if !ok {
		if absmax, err = channelMax(w, channelLayout(k.weight.Dims, axis)); err != nil {
			return nil, nil, false, fmt.Errorf("weight %q of node %q: %w: integers cannot stand for it", k.weight.Name(), nodeName(k.node), err)
		}
		e.magnitudes[key] = absmax
	}
	bias, err := k.biasValues()
	if err != nil {
		return nil, nil, false, err
	}
	scales = k.scheme.weightScales(absmax)
	if !e.target.FloatBias {
		widened = fitBias(scales, absmax, bias, e.paramsOf(k.data[0]).Scale*k.alpha)
	}
	return w, scales, widened, nil
}

// setBias lets the node, or the addition behind it, read another bias.
func (k *candidate) setBias(name string) {
	if k.add != nil {
		k.add.SetInput(k.addAt, name)
		return
	}
	k.node.SetInput(2, name)
}

// biasName is what the bias is called, or would be.
func (k *candidate) biasName() string {
	if k.bias != nil {
		return k.bias.Name()
	}
	return k.weight.Name() + "_bias"
}

// operands lowers the constant operands of a join, each with a scale of its own.
func (e *emitter) operands(k *candidate) error {
	for i := range k.data {
		t := k.consts[i]
		if t == nil {
			continue
		}
		v, err := t.Float32s()
		if err != nil {
			return fmt.Errorf("operand %q of node %q: %w", t.Name(), nodeName(k.node), err)
		}
		var r Range
		for _, x := range v {
			r = r.Union(Range{x, x})
		}
		p := e.target.Activation.Params(r)
		x, err := t.Tensor()
		if err != nil {
			return fmt.Errorf("operand %q of node %q: %w", t.Name(), nodeName(k.node), err)
		}
		q := tensor.Tensor{DType: p.DType, Shape: x.Shape, Data: make([]byte, len(v))}
		for j, f := range v {
			q.Data[j] = byte(p.quantize(f))
		}
		k.node.SetInput(i, e.scalarDQ(k.node, t.Name(), q, p))
	}
	return nil
}

// biasValues returns one value a channel, beta included; nil without a bias.
func (k *candidate) biasValues() ([]float32, error) {
	if k.bias == nil {
		return nil, nil
	}
	v, err := k.bias.Float32s()
	if err != nil {
		return nil, fmt.Errorf("bias of node %q: %w", nodeName(k.node), err)
	}
	out := make([]float32, k.biasLen)
	for i := range out {
		b := v[0]
		if len(v) > 1 {
			b = v[i]
		}
		out[i] = b * k.beta
		if !(abs(out[i]) <= math.MaxFloat32) {
			return nil, fmt.Errorf("bias %q of node %q: element %d is %v: integers cannot stand for it", k.bias.Name(), nodeName(k.node), i, out[i])
		}
	}
	return out, nil
}
