package quantize

import (
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

// lowerStatic rewrites a prepared model into the target's Q/DQ layout. The graph keeps its inputs and outputs, names
// and types included.
func lowerStatic(m *onnx.Model, p *placement, t *Target, r ranges, perChannel bool) (quantized map[string]bool, err error) {
	e := newEmitter(m.Graph, p, t, r)
	quantized, err = e.weights(perChannel)
	if err != nil {
		return nil, sdk.AttrError("model", "a weight cannot be quantized", err.Error())
	}
	e.activations()
	e.stems(p.stems)
	e.gateTables()
	e.dropAbsorbed()
	if e.contrib && m.Opset("com.microsoft") == 0 {
		m.SetOpset("com.microsoft", 1)
	}
	e.hideFloat()
	d := newDynamicLowering(m.Graph, t, perChannel)
	for _, k := range p.dynamic {
		k.data = k.node.Inputs()[:1] // the placement may have put a pair in front
		if err := d.lower(k); err != nil {
			return nil, sdk.AttrError("model", "a weight cannot be quantized", err.Error())
		}
		quantized[k.weight.Name()] = true
	}
	for _, n := range p.recurrent {
		weights, no := lstmWeights(n)
		if no != nil {
			return nil, fmt.Errorf("node %q (LSTM): %s", nodeName(n), no.reason)
		}
		for _, w := range weights {
			quantized[w.Name()] = true
		}
		if err := d.lowerLSTM(m, n, weights); err != nil {
			return nil, sdk.AttrError("model", "a weight cannot be quantized", err.Error())
		}
	}
	if p.options.Tables {
		if err := lowerTables(m.Graph, t, p.options, quantized); err != nil {
			return nil, sdk.AttrError("model", "a table cannot be quantized", err.Error())
		}
	}
	return quantized, finish(m)
}

// finish drops what nothing reads any more and makes sure that the result is sound.
func finish(m *onnx.Model) error {
	if err := m.Graph.TopoSort(); err != nil {
		return fmt.Errorf("the quantized graph cannot be put in order: %w", err)
	}
	m.Graph.Prune()
	if err := onnx.Check(m); err != nil {
		return fmt.Errorf("the quantized graph is not valid: %w", err)
	}
	return nil
}
