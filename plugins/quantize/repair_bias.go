package quantize

import (
	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/onnx"
)

// correct takes the mean error of a layer's outputs back in its bias and returns by how much. A MatMul has one where an
// Add of a constant follows it; one without stays as it is. The layers behind see the corrected one in
// work, if that is given.
func (c StaticConfig) correct(x *toRepair, codes []int8, fix *fixedWeight, work *gram.Workspace) ([]float32, error) {
	k := x.k
	bias, old := k.bias, []float32(nil)
	var err error
	if k.node.OpType == "MatMul" && k.add == nil {
		if _, _, bias = biasBehind(k); bias == nil {
			return nil, nil
		}
		old, err = bias.Float32s()
	} else {
		old, err = k.biasValues()
	}
	if err != nil {
		return nil, err
	}
	shift, err := x.layer.BiasShift(codes)
	if err != nil {
		return nil, err
	}
	fix.bias = make([]float32, k.biasLen)
	copy(fix.bias, old)
	for i, v := range shift {
		fix.bias[i] += v * k.alpha
	}
	if work != nil && bias != nil && k.beta == 1 && bias.Elements() == int64(k.biasLen) && k.node.Graph().NumConsumers(bias.Name()) == 1 {
		return shift, work.Replace(bias.Name(), fix.bias)
	}
	return shift, nil
}

// biasBehind returns the Add that follows a MatMul with a constant for each of its outputs, as PyTorch exports a linear
// layer, and which operand that is; nil when there is none. Nothing else reads the product.
func biasBehind(k *candidate) (add *onnx.Node, operand int, bias *onnx.Tensor) {
	n := k.node
	g, out := n.Graph(), n.Output(0)
	readers := g.Consumers(out)
	if n.OpType != "MatMul" || g.IsOutput(out) || len(readers) != 1 || !readers[0].Is("Add") || len(readers[0].Inputs()) != 2 || readers[0].Graph() != g {
		return nil, 0, nil
	}
	for i, v := range readers[0].Inputs() {
		t := g.Initializer(v)
		if t == nil || t.DataType != onnx.Float || len(t.Dims) == 0 || t.Dims[len(t.Dims)-1] != int64(k.biasLen) || t.Elements() != int64(k.biasLen) {
			continue
		}
		return readers[0], i, t
	}
	return nil, 0, nil
}

// addBias gives the Add behind a MatMul another constant.
func (e *emitter) addBias(k *candidate, v []float32) {
	add, at, old := biasBehind(k)
	if add == nil {
		return
	}
	t := floats(e.graph.UniqueName(old.Name()+"_corrected"), old.Dims, v)
	e.graph.AddInitializer(t)
	add.SetInput(at, t.Name())
}
