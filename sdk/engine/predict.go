package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// errNotPerSample tells that an output of a run of several samples does not count
// them along axis 0: a sum over the batch, or a model written for one sample.
var errNotPerSample = errors.New("not per sample")

// Predict runs the dataset batch by batch and writes the outputs as they come, so
// that neither is ever whole in memory. A model that takes a fixed number of samples
// gets just so many: the last batch is filled up and what that adds is dropped. A
// model whose outputs do not count samples is run sample by sample, and a batch ends
// where the value of an input without axes changes.
func (s *Session) Predict(ctx context.Context, r sdk.PredictRequest) (int64, error) {
	how, err := s.match(r.Dataset)
	if err != nil {
		return 0, err
	}
	wanted := s.model.Outputs()
	if len(r.Names) > 0 {
		if wanted, err = s.chosen(wanted, r.Names); err != nil {
			return 0, err
		}
	}
	batch := max(r.Batch, 1)
	if how.fixed > 0 {
		batch = how.fixed
	}
	p := &prediction{session: s, request: r, outputs: wanted, how: how, batch: batch, fixed: how.fixed > 0}
	err = p.run(ctx)
	if errors.Is(err, errNotPerSample) && !p.fixed && batch > 1 {
		p.batch = 1
		err = p.run(ctx)
	}
	if err != nil {
		return 0, err
	}
	return r.Dataset.Samples(), nil
}

// chosen takes the outputs of the names out of all.
func (s *Session) chosen(all []sdk.TensorInfo, names []string) ([]sdk.TensorInfo, error) {
	var out []sdk.TensorInfo
	for _, n := range names {
		i := slices.IndexFunc(all, func(o sdk.TensorInfo) bool { return o.Name == n })
		if i < 0 {
			var have []string
			for _, o := range all {
				have = append(have, fmt.Sprintf("%q", o.Name))
			}
			return nil, s.fault("no-output", fmt.Sprintf("the model has no output %q", n), fmt.Sprintf("It has %s.", list(have)))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// prediction is one pass over a dataset.
type prediction struct {
	session *Session
	request sdk.PredictRequest
	outputs []sdk.TensorInfo
	how     fit
	batch   int64
	fixed   bool

	names []string
	rows  map[string]row // by output, known after the first batch
}

// row is what one sample gives at one output.
type row struct {
	dtype tensor.DType
	shape []int64
}

func (p *prediction) run(ctx context.Context) (err error) {
	p.rows = map[string]row{}
	p.names = nil
	for _, o := range p.outputs {
		p.names = append(p.names, o.Name)
	}
	var w *tensor.Writer
	defer func() {
		if w != nil {
			w.Abort() // does nothing once closed
		}
	}()
	total := p.request.Dataset.Samples()
	for start, n := int64(0), int64(0); start < total; start += n {
		if err := ctx.Err(); err != nil {
			return err
		}
		n = min(p.batch, total-start)
		in, err := p.session.batch(p.request.Dataset, start, n)
		if err != nil {
			return err
		}
		if k := p.how.agreeing(in, n); k < n {
			if in, err = first(in, k); err != nil {
				return err
			}
			n = k
		}
		if p.fixed && n < p.batch {
			in = pad(in, p.batch)
		}
		if err := p.how.feed(in, p.session.model.Inputs()); err != nil {
			return err
		}
		out, err := p.session.model.Run(in, p.names)
		if err != nil {
			return err
		}
		ran := n
		if p.fixed {
			ran = p.batch
		}
		for _, name := range p.names {
			if out[name], err = p.take(name, out[name], ran, n, start); err != nil {
				return err
			}
		}
		if w == nil {
			if w, err = p.create(total); err != nil {
				return err
			}
		}
		for _, name := range p.names {
			if err := w.Write(name, out[name].Data); err != nil {
				return fmt.Errorf("write predictions: %w", err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write predictions: %w", err)
	}
	return nil
}

// first takes the first n samples of a batch.
func first(batch map[string]tensor.Tensor, n int64) (map[string]tensor.Tensor, error) {
	out := make(map[string]tensor.Tensor, len(batch))
	for name, t := range batch {
		rows, err := t.Rows(0, n)
		if err != nil {
			return nil, err
		}
		out[name] = rows
	}
	return out, nil
}

// take checks an output of a run of ran samples and keeps the first n. In the first
// batch it learns the shape of a sample's part.
func (p *prediction) take(name string, t tensor.Tensor, ran, n, start int64) (tensor.Tensor, error) {
	switch {
	case len(t.Shape) > 0 && t.Shape[0] == ran:
	case ran == 1:
		// A model of one sample that does not count it: the whole output is the sample's.
		t.Shape = append([]int64{1}, t.Shape...)
	default:
		return t, fmt.Errorf("output %q has shape %s for %d samples, so axis 0 does not count them. Name the outputs that do: %w", name, shape(t.Shape), ran, errNotPerSample)
	}
	first, known := p.rows[name]
	if !known {
		if t.DType.Bits() < 8 {
			return t, p.session.fault("run-failed", fmt.Sprintf("output %q holds %s", name, t.DType), "Predictions are stored in whole bytes: cast the output in the model.")
		}
		p.rows[name] = row{t.DType, t.Shape[1:]}
	} else if t.DType != first.dtype || !slices.Equal(t.Shape[1:], first.shape) {
		return t, p.session.fault("run-failed", fmt.Sprintf("the shape of output %q changes from sample to sample", name),
			fmt.Sprintf("It is %s per sample at the beginning and %s from sample %d on. Outputs can be compared only when it stays.", shape(first.shape), shape(t.Shape[1:]), start))
	}
	if n == ran {
		return t, nil
	}
	return t.Rows(0, n)
}

func (p *prediction) create(total int64) (*tensor.Writer, error) {
	infos := make([]tensor.Info, len(p.names))
	for i, name := range p.names {
		r := p.rows[name]
		infos[i] = tensor.Info{Name: name, DType: r.dtype, Shape: append([]int64{total}, r.shape...)}
	}
	w, err := tensor.Create(p.request.Output, infos, nil)
	if err != nil {
		return nil, fmt.Errorf("write predictions: %w", err)
	}
	return w, nil
}
