package ort

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	engine "github.com/yalue/onnxruntime_go"

	"github.com/optimize-hcl/optimize/tensor"
)

// InputError tells that what was given does not fit an input of the model.
type InputError struct {
	Name   string
	Reason string
}

func (e *InputError) Error() string { return fmt.Sprintf("input %q: %s", e.Name, e.Reason) }

// Run computes the outputs, or those named. Each input of the model must be among
// the inputs, in its element type and a shape that fits, else the error is an
// [*InputError]. The inputs are only read and not kept; the outputs are the caller's.
// A failure of the engine is an [*Error].
func (s *Session) Run(inputs map[string]tensor.Tensor, outputs []string) (map[string]tensor.Tensor, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.run == nil {
		return nil, errClosed
	}
	for _, n := range outputs {
		if !slices.ContainsFunc(s.outputs, func(o Info) bool { return o.Name == n }) {
			return nil, fmt.Errorf("the session computes no output %q; it computes %s", n, quoted(names(s.outputs)))
		}
	}
	in, err := s.values(inputs)
	if err != nil {
		return nil, err
	}
	defer closeAll(in)
	given := make([]engine.Value, len(in))
	for i, v := range in {
		given[i] = v.Value
	}
	got := make([]engine.Value, len(s.outputs))
	if err := s.run.Run(given, got); err != nil {
		release(got)
		return nil, newError("run the model", err)
	}
	defer release(got)
	out := make(map[string]tensor.Tensor, len(got))
	for i, v := range got {
		o := s.outputs[i]
		if len(outputs) > 0 && !slices.Contains(outputs, o.Name) {
			continue
		}
		t, err := take(v)
		if err == nil {
			t, err = s.fetches[i].restore(t, o.DType)
		}
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", o.Name, err)
		}
		out[o.Name] = t
	}
	return out, nil
}

// release frees what a run returned; after a failed run some entries are nil
// pointers in a non-nil interface, which the binding cannot destroy.
func release(vs []engine.Value) {
	for _, v := range vs {
		if v != nil && !reflect.ValueOf(v).IsNil() {
			_ = v.Destroy() // never fails for tensors
		}
	}
}

func names(infos []Info) []string {
	out := make([]string, len(infos))
	for i, v := range infos {
		out[i] = v.Name
	}
	return out
}

func closeAll(vs []*value) {
	for _, v := range vs {
		v.close()
	}
}

// values shows the inputs to the engine in the model's order.
func (s *Session) values(inputs map[string]tensor.Tensor) (_ []*value, err error) {
	out := make([]*value, 0, len(s.inputs))
	defer func() {
		if err != nil {
			closeAll(out)
		}
	}()
	for i, want := range s.inputs {
		t, ok := inputs[want.Name]
		if !ok {
			return nil, &InputError{want.Name, fmt.Sprintf("it is missing; given are %s", quoted(slices.Sorted(maps.Keys(inputs))))}
		}
		if t.DType != want.DType {
			return nil, &InputError{want.Name, fmt.Sprintf("the model takes %s, but %s was given", want.DType, t.DType)}
		}
		if want.Shape != nil && !fits(want.Shape, t.Shape) {
			return nil, &InputError{want.Name, fmt.Sprintf("the model takes shape %v (-1: any), but %v was given", want.Shape, t.Shape)}
		}
		var v *value
		if t, err = s.feeds[i].given(t); err == nil {
			v, err = newValue(t)
		}
		if err != nil {
			return nil, &InputError{want.Name, err.Error()}
		}
		out = append(out, v)
	}
	if len(inputs) > len(s.inputs) {
		for _, n := range slices.Sorted(maps.Keys(inputs)) {
			if !slices.ContainsFunc(s.inputs, func(i Info) bool { return i.Name == n }) {
				return nil, &InputError{n, fmt.Sprintf("the model has no such input; it has %s", quoted(names(s.inputs)))}
			}
		}
	}
	return out, nil
}

func fits(want, got []int64) bool {
	if len(want) != len(got) {
		return false
	}
	for i, d := range want {
		if d >= 0 && d != got[i] {
			return false
		}
	}
	return true
}

// Bound is a session with its inputs and outputs in fixed places, so that a run
// makes no copies and no allocations on this side. It is for one goroutine.
type Bound struct {
	s       *Session
	own     *engine.DynamicAdvancedSession // the model without the epilogue, when it has one
	binding *engine.IoBinding
	in, out []*value
}

// Bind fixes the inputs and makes room for the outputs, whose shapes it learns by
// running the model once. The inputs' bytes may be changed between runs; they must
// not be freed before Close. What is timed is the model as it is: the conversions
// that Run adds for some element types do not run, save for scalars of such a type.
func (s *Session) Bind(inputs map[string]tensor.Tensor) (_ *Bound, err error) {
	shapes, err := s.Run(inputs, nil)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.run == nil {
		return nil, errClosed
	}
	b := &Bound{s: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	session, plain := s.run, true
	for _, o := range s.outputs {
		// What the engine cannot be given a place for is bound behind the epilogue.
		plain = plain && (native(o.DType) || len(shapes[o.Name].Shape) > 0 && shapes[o.Name].Elements() > 0)
	}
	if s.altered && plain {
		if b.own, err = s.reload(false); err != nil {
			return nil, err
		}
		session = b.own
	}
	if b.in, err = s.values(inputs); err != nil {
		return nil, err
	}
	if b.binding, err = session.CreateIoBinding(); err != nil {
		return nil, newError("bind the inputs", err)
	}
	for i, v := range b.in {
		if err := b.binding.BindInput(s.feeds[i].name, v.Value); err != nil {
			return nil, newError("bind the input "+s.inputs[i].Name, err)
		}
	}
	for i, o := range s.outputs {
		t, name := shapes[o.Name], o.Name
		if f := s.fetches[i]; s.altered && !plain {
			if name = f.name; f.cast {
				t.DType = tensor.F32
			}
			if f.outer {
				t.Shape = append([]int64{1}, t.Shape...)
			}
		}
		size, err := tensor.Size(t.DType, t.Shape)
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", o.Name, err)
		}
		v, err := newValue(tensor.Tensor{DType: t.DType, Shape: t.Shape, Data: aligned(make([]byte, size))})
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", o.Name, err)
		}
		b.out = append(b.out, v)
		if err := b.binding.BindOutput(name, v.Value); err != nil {
			return nil, newError("bind the output "+o.Name, err)
		}
	}
	return b, nil
}

// Run runs the model once on the bound inputs.
func (b *Bound) Run() error {
	session := b.own
	if session == nil {
		b.s.mu.RLock()
		defer b.s.mu.RUnlock()
		session = b.s.run
	}
	if session == nil || b.binding == nil {
		return errClosed
	}
	if err := session.RunWithBinding(b.binding); err != nil {
		return newError("run the model", err)
	}
	return nil
}

// Close frees the bound values. Close it before the session. A second Close does nothing.
func (b *Bound) Close() error {
	var errs []error
	if b.binding != nil {
		errs = append(errs, b.binding.Destroy())
		b.binding = nil
	}
	closeAll(b.in)
	closeAll(b.out)
	b.in, b.out = nil, nil
	if b.own != nil {
		errs = append(errs, b.own.Destroy())
		b.own = nil
	}
	return errors.Join(errs...)
}
