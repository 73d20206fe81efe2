package ort

import (
	"errors"
	"fmt"

	"github.com/optimize-hcl/optimize/tensor"
)

// BindTo fixes the inputs and the places of the outputs: those of outputs, a tensor for each output of the model, as
// [Session.Run] returned them for inputs of these shapes. A run then writes into them, without a copy. It is an error
// when an output has an element type that the engine cannot be given a place for, no axes, or a rank that the model
// does not state: then use [Session.Run].
func (s *Session) BindTo(inputs, outputs map[string]tensor.Tensor) (_ *Bound, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.run == nil {
		return nil, errClosed
	}
	if s.altered {
		return nil, errors.New("an output of the model cannot be given a place: its rank is not stated, it is a scalar, or its element type has no Go type")
	}
	b := &Bound{s: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if b.in, err = s.values(inputs); err != nil {
		return nil, err
	}
	if b.binding, err = s.run.CreateIoBinding(); err != nil {
		return nil, newError("bind the inputs", err)
	}
	for i, v := range b.in {
		if err := b.binding.BindInput(s.feeds[i].name, v.Value); err != nil {
			return nil, newError("bind the input "+s.inputs[i].Name, err)
		}
	}
	for _, o := range s.outputs {
		t, ok := outputs[o.Name]
		if !ok || t.DType != o.DType || len(t.Data) == 0 {
			return nil, fmt.Errorf("output %q: no tensor of %s is given for it", o.Name, o.DType)
		}
		v, err := newValue(t)
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", o.Name, err)
		}
		b.out = append(b.out, v)
		if err := b.binding.BindOutput(o.Name, v.Value); err != nil {
			return nil, newError("bind the output "+o.Name, err)
		}
	}
	return b, nil
}
