package quantize

import (
	"context"
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
)

// smoothed moves outliers of activations into the weights of the products that read them, where that makes the outputs of
// quantized products better: as quantize_static does it, with scales of activations that are measured while the model runs.
// The model that comes back is the one given where nothing is moved.
func (c DynamicConfig) smoothed(ctx context.Context, j job, m *onnx.Model, shapes *onnx.Shapes, t *Target) (*onnx.Model, *onnx.Shapes, *SmoothFacts, error) {
	if c.Calibration == nil {
		return m, shapes, nil, nil
	}
	if err := loadEngine("calibration"); err != nil {
		return nil, nil, nil, err
	}
	s := StaticConfig{Model: c.Model, Calibration: c.Calibration, PerChannel: c.PerChannel, KeepFloat: c.KeepFloat}
	o := placeOptions{Keep: c.KeepFloat, Dynamic: map[string]bool{}}
	for n := range m.Graph.Nodes() {
		if n.Is("MatMul") || n.Is("Gemm") {
			o.Dynamic[nodeName(n)] = true
		}
	}
	products := onlyProducts(t)
	p := place(m, shapes, products, o)
	if len(p.dynamic) == 0 {
		return m, shapes, nil, nil
	}
	plain := &prepared{m, p, &calibrate.Ranges{Options: s.learn().options(), Tensors: map[string]*calibrate.Tensor{}}}
	better, facts, err := s.smoothed(ctx, j, plain, products, o)
	if err != nil || better == plain {
		return m, shapes, facts, err
	}
	if shapes, err = onnx.InferShapes(better.model); err != nil {
		return nil, nil, nil, err
	}
	return better.model, shapes, facts, nil
}

// lines tell the same in words; none where there was nothing to look at.
func (f *SmoothFacts) lines() []string {
	if f == nil {
		return nil
	}
	used := "so all stays where it was"
	if f.Used {
		used = "so it is used"
	}
	return append([]string{fmt.Sprintf("%.1f dB at the outputs, without it %.1f: %s", f.SQNRSmooth, f.SQNRPlain, used)}, f.Inputs...)
}
