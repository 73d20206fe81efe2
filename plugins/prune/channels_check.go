package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/groups"
	"github.com/optimize-hcl/optimize/plugins/prune/trial"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// sound checks the pruned model in memory: it is valid, its shapes fit together, and its outputs are what they were.
func (w *work) sound() error {
	if err := onnx.Check(w.model); err != nil {
		return broken("it is not valid ONNX", err)
	}
	shapes, err := onnx.InferOwnShapes(w.model)
	if err != nil {
		return broken("its shapes do not fit together", err)
	}
	for _, o := range w.model.Graph.Outputs() {
		_, dims, ok := shapes.Of(o.Name())
		if !ok || o.Type == nil || !o.Type.HasShape || dims == nil {
			continue
		}
		if !slices.EqualFunc(dims, o.Type.Shape, func(a, b onnx.Dim) bool { return !a.Fixed() || !b.Fixed() || a.Value == b.Value }) {
			return broken("an output has another shape", fmt.Errorf("output %q is %s, and was %s", o.Name(), dimsText(dims), dimsText(o.Type.Shape)))
		}
	}
	return nil
}

func dimsText(dims []onnx.Dim) string {
	s := "["
	for i, d := range dims {
		if i > 0 {
			s += " "
		}
		switch {
		case d.Fixed():
			s += fmt.Sprint(d.Value)
		case d.Param != "" && d.Param[0] != 0:
			s += d.Param
		default:
			s += "?"
		}
	}
	return s + "]"
}

// tolerances of the difference between a pruned model and the masked original, in shares of the largest magnitude.
const (
	tolerance     = 2e-3
	halfTolerance = 5e-2
)

// verify runs the result, and the original with the same channels masked by zero, on the same inputs. The pruned model in
// memory is given up before, unless it is to be repaired: with large ones, the engine needs the room.
func (w *work) verify(ctx context.Context, j job, s *groups.Selection, data *samples, file string, f *ChannelsFacts) error {
	limit := tolerance
	for t := range w.model.AllTensors() {
		if t.DataType == onnx.Float16 || t.DataType == onnx.BFloat16 {
			limit = halfTolerance
		}
	}
	in, what, err := w.inputs(j, data)
	if w.config.repairs() == repairOff {
		*w = work{config: w.config, done: w.done}
		debug.FreeOSMemory()
	}
	if err != nil {
		f.Check = "loaded in ONNX Runtime; not run, since no input can be made up: " + err.Error()
		if err := trial.Load(file, j.threads); err != nil {
			return broken("ONNX Runtime does not load it", err)
		}
		return nil
	}
	want, err := w.masked(j, s, in)
	if err != nil {
		// A model that does not take made-up inputs says nothing about the pruned one.
		if err2 := trial.Load(file, j.threads); err2 != nil {
			return broken("ONNX Runtime does not load it", err2)
		}
		f.Check = fmt.Sprintf("loaded in ONNX Runtime; the original does not run on %s: %v", what, err)
		j.warn(sdk.AttrWarning("calibration", "the pruned model was loaded, but not run",
			fmt.Sprintf("The original does not run on %s, so the two cannot be compared: %v. Write calibration = dataset.NAME: its first samples are used then.", what, err)))
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	j.progress("check", 1, 2, "runs")
	got, err := trial.RunFile(file, in, j.threads)
	if err != nil {
		return broken("ONNX Runtime does not run it", err)
	}
	diff, output, err := trial.Difference(want, got)
	if err != nil {
		return broken("it does not compute what the masked original does", err)
	}
	if !(diff <= limit) || math.IsNaN(diff) {
		return broken("it does not compute what the masked original does", fmt.Errorf("output %q differs by %.2g of its largest magnitude", output, diff))
	}
	f.Check, f.Difference = fmt.Sprintf("run in ONNX Runtime on %s beside the original with the same channels masked by zero", what), diff
	return nil
}

// inputs are the first samples of the calibration data, or made up.
func (w *work) inputs(j job, data *samples) (in map[string]tensor.Tensor, what string, err error) {
	if data.source != nil {
		in, err := data.first()
		return in, "the first calibration samples", err
	}
	in, err = trial.Inputs(w.model, j.seed)
	return in, "made-up inputs", err
}

// masked runs the original with the channels that left masked by zero. It is read anew, since the model at hand has lost
// them, and run from a file beside which the engine maps the weights: neither process memory holds a copy.
func (w *work) masked(j job, s *groups.Selection, in map[string]tensor.Tensor) (trial.Outputs, error) {
	path := filepath.Join(j.scratch, "masked.onnx")
	write := func() (err error) {
		o, err := w.config.open(newKeeper(w.config.Keep))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, o.done()) }()
		if err := o.a.Mask(s); err != nil {
			return err
		}
		return o.model.WriteFileExternal(path, 4096)
	}
	if err := write(); err != nil {
		return nil, err
	}
	defer func() {
		_ = os.Remove(path)
		_ = os.Remove(path + ".data")
	}()
	return trial.RunFile(path, in, j.threads)
}
