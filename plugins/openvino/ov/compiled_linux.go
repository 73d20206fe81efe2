//go:build cgo

package ov

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"github.com/optimize-hcl/optimize/tensor"
)

// Compiled is a model made ready for a device.
type Compiled struct {
	p       unsafe.Pointer
	in, out []Port
	blob    runtime.Pinner // what Import was given
}

// Compile makes a model ready for a device. Properties are OpenVINO's, at most 16: "INFERENCE_PRECISION_HINT" = "f32".
func (m *Model) Compile(device string, properties map[string]string) (*Compiled, error) {
	if len(properties) > C.OVS_MAX_PROPERTIES {
		return nil, fmt.Errorf("%d properties are more than the %d that a model is compiled with", len(properties), C.OVS_MAX_PROPERTIES)
	}
	list, n, free := pairs(properties)
	defer free()
	d := C.CString(device)
	defer C.free(unsafe.Pointer(d))
	c := &Compiled{}
	if err := said(C.ovs_compile(m.p, d, list, n, &c.p), "compile the model for "+device); err != nil {
		return nil, err
	}
	return c.described()
}

// pairs lists keys and values one after the other.
func pairs(properties map[string]string) (**C.char, C.size_t, func()) {
	var texts []string
	for _, k := range slices.Sorted(maps.Keys(properties)) {
		texts = append(texts, k, properties[k])
	}
	list, free := cStrings(texts)
	return list, C.size_t(len(texts)), free
}

// Import loads what Export wrote, for the same device and version. Properties are as for Compile: a CPU's blob does not hold
// the precision that it was compiled for. The weights are used where they are in blob, which must stay as it is until Close.
func Import(blob []byte, device string, properties map[string]string) (*Compiled, error) {
	if err := ready(); err != nil {
		return nil, err
	}
	if len(blob) == 0 {
		return nil, &Error{Doing: "load the compiled model", Text: "it is empty"}
	}
	d := C.CString(device)
	defer C.free(unsafe.Pointer(d))
	c := &Compiled{}
	list, n, free := pairs(properties)
	defer free()
	c.blob.Pin(&blob[0])
	if err := said(C.ovs_import((*C.char)(unsafe.Pointer(&blob[0])), C.size_t(len(blob)), d, list, n, &c.p), "load the compiled model"); err != nil {
		c.blob.Unpin()
		return nil, err
	}
	return c.described()
}

func (c *Compiled) described() (_ *Compiled, err error) {
	c.in, c.out, err = ports(func(in, out *C.size_t) *C.char { return C.ovs_compiled_counts(c.p, in, out) },
		func(o C.int, i C.size_t, p *C.ovs_port) *C.char { return C.ovs_compiled_describe(c.p, o, i, p) })
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Ports are the inputs and outputs, in the order of [Run.Bind] and [Run.Output].
func (c *Compiled) Ports() (in, out []Port) { return slices.Clone(c.in), slices.Clone(c.out) }

// Close frees the compiled model. Its runs must be closed before.
func (c *Compiled) Close() {
	if c.p != nil {
		C.ovs_free_compiled(c.p)
		c.p = nil
	}
	c.blob.Unpin()
}

// Export writes the compiled model, which only this device and version load.
func (c *Compiled) Export(path string) error {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	if err := said(C.ovs_export(c.p, p), "write the compiled model"); err != nil {
		return err
	}
	// OpenVINO says nothing of a folder that is not there.
	if st, err := os.Stat(path); err != nil || st.Size() == 0 {
		return &Error{Doing: "write the compiled model", Text: path + " was not written"}
	}
	return nil
}

// Property asks the compiled model: "INFERENCE_PRECISION_HINT" tells what it really computes in.
func (c *Compiled) Property(key string) (string, error) {
	k := C.CString(key)
	defer C.free(unsafe.Pointer(k))
	var v *C.char
	if err := said(C.ovs_property(c.p, k, &v), "tell "+key); err != nil {
		return "", err
	}
	return taken(v), nil
}

// RuntimeModel is the graph that the device runs, as a model: its IR tells the precision and kernel of each node.
func (c *Compiled) RuntimeModel() (*Model, error) {
	m := &Model{}
	if err := said(C.ovs_runtime_model(c.p, &m.p), "tell the graph that it runs"); err != nil {
		return nil, err
	}
	return m, nil
}

// Run is a place for one run at a time: its inputs and its outputs.
type Run struct {
	p     unsafe.Pointer
	model *Compiled
	pin   runtime.Pinner
}

// NewRun makes room for a run.
func (c *Compiled) NewRun() (*Run, error) {
	r := &Run{model: c}
	if err := said(C.ovs_request(c.p, &r.p), "prepare a run"); err != nil {
		return nil, err
	}
	return r, nil
}

// Close frees the run.
func (r *Run) Close() {
	if r.p != nil {
		C.ovs_free_request(r.p)
		r.p = nil
	}
	r.pin.Unpin()
}

// Bind gives the inputs, one for each in the model's order. Their data is read at every Do, not copied, and must stay as it
// is in memory until the next Bind or Close.
func (r *Run) Bind(inputs []tensor.Tensor) error {
	if len(inputs) != len(r.model.in) {
		return fmt.Errorf("the model has %d inputs, but %d are given", len(r.model.in), len(inputs))
	}
	r.pin.Unpin()
	for i, t := range inputs {
		name := r.model.in[i].Name
		if len(t.Shape) > C.OVS_MAX_RANK {
			return fmt.Errorf("input %q has %d axes; OpenVINO is given at most %d", name, len(t.Shape), C.OVS_MAX_RANK)
		}
		typ, ok := TypeOf(t.DType)
		if !ok {
			return fmt.Errorf("input %q holds %s, which OpenVINO does not take as data", name, t.DType)
		}
		c := C.ovs_tensor{_type: C.int32_t(typ), rank: C.int64_t(len(t.Shape)), bytes: C.size_t(len(t.Data))}
		n := int64(t.DType.Bits() / 8)
		for k, d := range t.Shape {
			c.dims[k] = C.int64_t(d)
			n *= d
		}
		if n != int64(len(t.Data)) {
			return fmt.Errorf("input %q of shape %v takes %d bytes of %s, but has %d", name, t.Shape, n, t.DType, len(t.Data))
		}
		if len(t.Data) > 0 {
			r.pin.Pin(&t.Data[0])
			c.data = unsafe.Pointer(&t.Data[0])
		} else {
			c.data = unsafe.Pointer(&nothing)
		}
		if err := said(C.ovs_set_input(r.p, C.size_t(i), &c), fmt.Sprintf("take input %q", name)); err != nil {
			return err
		}
	}
	return nil
}

// nothing is where the data of an empty tensor is.
var nothing [64]byte

// Do runs the model.
func (r *Run) Do() error { return said(C.ovs_run(r.p), "run the model") }

// Output copies an output of the last run, by its index in the model's order.
func (r *Run) Output(i int) (tensor.Tensor, error) {
	if i < 0 || i >= len(r.model.out) {
		return tensor.Tensor{}, fmt.Errorf("the model has %d outputs, and no output %d", len(r.model.out), i)
	}
	name := r.model.out[i].Name
	var c C.ovs_tensor
	if err := said(C.ovs_output(r.p, C.size_t(i), &c), fmt.Sprintf("give output %q", name)); err != nil {
		return tensor.Tensor{}, err
	}
	d, ok := Type(c._type).DType()
	if !ok {
		return tensor.Tensor{}, fmt.Errorf("output %q holds %s, which cannot be stored in whole bytes: convert it in the model", name, Type(c._type))
	}
	t := tensor.Tensor{DType: d, Shape: make([]int64, c.rank)}
	for k := range t.Shape {
		t.Shape[k] = int64(c.dims[k])
	}
	if c.bytes > 0 {
		t.Data = slices.Clone(unsafe.Slice((*byte)(c.data), c.bytes))
	}
	return t, nil
}
