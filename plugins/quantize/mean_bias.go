package quantize

import (
	"context"
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/plugins/quantize/repair"
	"github.com/optimize-hcl/optimize/sdk"
)

// correctsByMeans tells whether biases are corrected although the recipe does not ask for it, from the mean inputs of the
// layers alone. That is one more run of the model over the data, where sums of products of all inputs take many times as
// long. Layers of a transformer have normalized inputs, whose mean is about nothing.
func (c StaticConfig) correctsByMeans(t *Target, m *onnx.Model, shapes *onnx.Shapes) bool {
	return t.CorrectBias && c.BiasCorrection == nil && !c.rounds() && c.Calibration != nil && c.Ranges == nil && len(c.States) == 0 && !isTransformer(m, shapes)
}

// correctByMeans takes the mean error of the outputs of each layer back in its bias. place.fixed holds the result.
func (c StaticConfig) correctByMeans(ctx context.Context, j job, v *variants) (layers int64, err error) {
	todo, err := c.repairable(v.model, v.full, v.target, v.ranges)
	if err != nil || len(todo) == 0 {
		return 0, err
	}
	readers := map[string][]*toRepair{}
	for _, x := range todo {
		x.layer.Sum = make([]float64, x.layer.Groups*x.layer.K)
		readers[x.tap.Value] = append(readers[x.tap.Value], x)
	}
	src, done, err := c.source(v.model, j)
	if err != nil {
		return 0, err
	}
	defer func() { _ = done() }() // it was only read
	job := calibrate.Job{Model: v.model, Data: src, Threads: j.threads, ScratchDir: j.scratch,
		Progress: func(done, total int64) { j.progress("measure layers", done, total, "samples") }}
	if c.Batch != nil {
		job.Batch = *c.Batch
	}
	if c.MemoryMB != nil {
		job.Memory = *c.MemoryMB << 20
	}
	for _, x := range todo {
		if !slices.Contains(job.Tensors, x.tap.Value) {
			job.Tensors = append(job.Tensors, x.tap.Value)
		}
	}
	err = calibrate.Stream(ctx, job, func(start, n int64, values []calibrate.Value) error {
		for _, t := range values {
			for _, x := range readers[t.Name] {
				if err := x.addMeans(t, j.threads); err != nil {
					return sdk.AttrError("calibration", fmt.Sprintf("the input of node %q cannot be used", nodeName(x.k.node)),
						fmt.Sprintf("Tensor %q, samples %d to %d: %v.", t.Name, start, start+n-1, err))
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	v.full.fixed = map[string]*fixedWeight{}
	for _, x := range todo {
		fix := &fixedWeight{scales: x.layer.Scales}
		shift, err := c.correct(x, x.layer.Nearest(), fix, nil)
		if err != nil {
			return 0, sdk.AttrError("model", "a bias cannot be corrected", fmt.Sprintf("Weight %q of node %q: %v.", x.k.weight.Name(), nodeName(x.k.node), err))
		}
		if shift != nil {
			v.full.fixed[nodeName(x.k.node)] = fix
			layers++
		}
	}
	return layers, nil
}

// addMeans adds what a layer reads in one run of the model.
func (x *toRepair) addMeans(t calibrate.Value, threads int) (err error) {
	var rows float64
	if x.tap.Conv == nil {
		rows, err = repair.AddRows(x.layer.Sum, t.Data)
	} else if len(t.Shape) != len(x.tap.Weight) {
		err = fmt.Errorf("it has %d axes, not %d", len(t.Shape), len(x.tap.Weight))
	} else {
		rows, err = windowOf(x.tap.Conv, x.tap.Weight[2:], t.Shape[2:]).AddPatches(x.layer.Sum, t.Data, t.Shape, threads)
	}
	x.layer.Rows += rows
	return err
}

// windowOf is how a convolution with a kernel moves over an image of a size.
func windowOf(n *onnx.Node, kernel, size []int64) repair.Window {
	axes := len(kernel)
	var w repair.Window
	ints := func(name string, many int, other int64) []int64 {
		if v := n.IntsAttr(name); len(v) == many {
			return v
		}
		return slices.Repeat([]int64{other}, many)
	}
	strides, dilations, pads := ints("strides", axes, 1), ints("dilations", axes, 1), ints("pads", 2*axes, 0)
	auto := n.StringAttr("auto_pad", "NOTSET")
	for i, k := range kernel {
		before, after := pads[i], pads[i+axes]
		switch auto {
		case "VALID":
			before, after = 0, 0
		case "SAME_UPPER", "SAME_LOWER":
			steps := (size[i] + strides[i] - 1) / strides[i]
			all := max((steps-1)*strides[i]+(k-1)*dilations[i]+1-size[i], 0)
			if before, after = all/2, all-all/2; auto == "SAME_LOWER" {
				before, after = after, before
			}
		}
		w.Kernel, w.Strides, w.Dilations = append(w.Kernel, int(k)), append(w.Strides, int(strides[i])), append(w.Dilations, int(dilations[i]))
		w.Before, w.After = append(w.Before, int(before)), append(w.After, int(after))
	}
	return w
}
