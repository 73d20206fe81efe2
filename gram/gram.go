// Package gram measures what the algorithms that quantize, prune and repair weights need of activations: for each input
// of a layer the sum of x*x^T over the calibration data, and the sums of x and |x|. The engine computes them, batch by
// batch, so that no activation is kept: memory is that of the sums, whatever the number of samples.
package gram

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// Source gives the calibration samples; *tensor.Shards is one.
type Source interface {
	Samples() int64
	// Batch returns n samples from start by the name of the input that they go to.
	Batch(start, n int64) (map[string]tensor.Tensor, error)
}

// Options say how the model is run.
type Options struct {
	Batch int64 // samples at a time; 0: chosen by their size
	// Fixed is set when the model takes just that many samples at a time; 0: any.
	Fixed   int64
	Threads int
	// Progress is called after each batch of a pass; nil is allowed.
	Progress func(done, total int64)
}

// Stat is what was measured of one layer's input.
type Stat struct {
	Groups, K int       // K inputs of each output; a convolution has groups
	Rows      float64   // how many x were seen
	Gram      []float32 // [Groups, K, K]: sum of x*x^T
	Sum, Abs  []float64 // [Groups, K]: sums of x and |x|
	// Of a tap with a target y of N channels, those of the first group first.
	Cross                []float32 // [N, K]: sum of y*x^T, x of the channel's group
	Target, TargetSquare []float64 // [N]: sums of y and of y*y
	Square               []float64 // [K], of moments: sum of x*x; Gram and Abs are nil then
}

// Workspace is a model on disk that is measured piece by piece while its weights change: constants lie in a file of
// their own, which the engine maps and Replace writes into, so that neither holds a second copy in memory.
type Workspace struct {
	dir   string
	model *onnx.Model // without the data
	src   Source
	opts  Options
}

const dataFile = "model.onnx"

// Open writes m into dir, an empty folder that the caller removes.
func Open(m *onnx.Model, dir string, src Source, o Options) (*Workspace, error) {
	path := filepath.Join(dir, dataFile)
	if err := m.WriteFileExternal(path, 4096); err != nil {
		return nil, fmt.Errorf("cannot write the model for calibration: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	small, err := onnx.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("cannot read the model for calibration: %w", err)
	}
	if o.Batch == 0 {
		one, err := src.Batch(0, 1)
		if err != nil {
			return nil, err
		}
		var bytes int
		for _, t := range one {
			bytes += len(t.Data)
		}
		// Long enough for the engine's products, short enough that a few images' activations fit in memory.
		o.Batch = int64(min(max(256<<10/max(bytes, 1), 1), 8))
	}
	if o.Fixed > 0 {
		o.Batch = o.Fixed
	}
	o.Batch = min(o.Batch, src.Samples())
	return &Workspace{dir: dir, model: small, src: src, opts: o}, nil
}

// Replace changes the elements of a constant of the model, in the order and number that it has.
func (w *Workspace) Replace(name string, v []float32) error {
	t := w.model.Graph.Initializer(name)
	if t == nil || t.Elements() != int64(len(v)) {
		return fmt.Errorf("calibration: no constant %q of %d elements", name, len(v))
	}
	c, err := tensor.FromFloat32(t.DataType.DType(), t.Dims, v)
	if err != nil {
		return err
	}
	if !t.IsExternal() {
		t.SetTensor(c)
		return nil
	}
	var file string
	var off int64
	for _, p := range t.External() {
		switch p.Key {
		case "location":
			file = p.Value
		case "offset":
			if off, err = strconv.ParseInt(p.Value, 10, 64); err != nil {
				return err
			}
		}
	}
	f, err := os.OpenFile(filepath.Join(w.dir, filepath.Base(file)), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(c.Data, off)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// Measure runs the part of the model that the taps depend on over all samples. Two taps of one value share nothing:
// the caller asks once for each.
func (w *Workspace) Measure(ctx context.Context, taps []Tap) ([]*Stat, error) {
	b, err := w.model.Marshal()
	if err != nil {
		return nil, err
	}
	m, err := onnx.Parse(slices.Clone(b))
	if err != nil {
		return nil, err
	}
	p := newProbe(m)
	for _, t := range taps {
		p.add(t)
	}
	if b, err = p.marshal(); err != nil {
		return nil, err
	}
	s, err := ort.NewSession(b, ort.Options{Threads: w.opts.Threads, Optimize: true, Arena: true, ExternalDataDir: w.dir})
	if err != nil {
		return nil, fmt.Errorf("the model cannot be run for calibration: %w", err)
	}
	defer s.Close()
	out := make([]*Stat, len(taps))
	for i, t := range taps {
		out[i] = newStat(t)
	}
	r := runner{s: s}
	defer r.close()
	total := w.src.Samples()
	for done := int64(0); done < total; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, start := min(w.opts.Batch, total-done), done
		if w.opts.Fixed > 0 {
			n, start = w.opts.Fixed, min(done, total-w.opts.Fixed)
		}
		all, err := w.src.Batch(start, n)
		if err != nil {
			return nil, err
		}
		feed := map[string]tensor.Tensor{}
		for _, in := range s.Inputs() {
			feed[in.Name] = all[in.Name]
		}
		got, err := r.run(feed)
		if err != nil {
			return nil, err
		}
		for i := range taps {
			if err := out[i].add(got, p.outputs[i], w.opts.Threads); err != nil {
				return nil, fmt.Errorf("calibration: tensor %q, samples %d to %d: %w", taps[i].Value, start, start+n-1, err)
			}
		}
		done = start + n
		if w.opts.Progress != nil {
			w.opts.Progress(done, total)
		}
	}
	return out, nil
}
