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
	"slices"
	"unsafe"
)

// Model is a graph that OpenVINO has read. It is used from one goroutine at a time.
type Model struct{ p unsafe.Pointer }

// Read reads an ONNX file, with the files that hold its weights, or an IR's .xml with the .bin beside it.
func Read(path string) (*Model, error) {
	if err := ready(); err != nil {
		return nil, err
	}
	c := C.CString(path)
	defer C.free(unsafe.Pointer(c))
	m := &Model{}
	if err := said(C.ovs_read(c, &m.p), "read the model"); err != nil {
		return nil, err
	}
	return m, nil
}

// ReadMemory reads an ONNX model that lies in memory, and need not stay there. External data that it names by a full path are mapped.
func ReadMemory(onnx []byte) (*Model, error) {
	if err := ready(); err != nil {
		return nil, err
	}
	if len(onnx) == 0 {
		return nil, &Error{Doing: "read the model", Text: "it is empty"}
	}
	m := &Model{}
	if err := said(C.ovs_read_memory((*C.char)(unsafe.Pointer(&onnx[0])), C.size_t(len(onnx)), &m.p), "read the model"); err != nil {
		return nil, err
	}
	return m, nil
}

// Close frees the model. What was compiled of it stays.
func (m *Model) Close() {
	if m.p != nil {
		C.ovs_free_model(m.p)
		m.p = nil
	}
}

func portOf(p *C.ovs_port) Port {
	out := Port{Type: Type(p._type)}
	if p.name != nil {
		out.Name = taken(p.name)
	}
	if p.rank >= 0 {
		out.Shape = make([]Dim, p.rank)
		for i := range out.Shape {
			out.Shape[i] = Dim{int64(p.min[i]), int64(p.max[i])}
		}
	}
	return out
}

// ports describes the inputs and outputs of whatever has counts of them.
func ports(counts func(in, out *C.size_t) *C.char, describe func(output C.int, i C.size_t, p *C.ovs_port) *C.char) (in, out []Port, err error) {
	var n [2]C.size_t
	if err := said(counts(&n[0], &n[1]), "tell inputs and outputs"); err != nil {
		return nil, nil, err
	}
	var all [2][]Port
	for output := range all {
		for i := range n[output] {
			var p C.ovs_port
			if err := said(describe(C.int(output), i, &p), "describe an input or output"); err != nil {
				return nil, nil, err
			}
			all[output] = append(all[output], portOf(&p))
		}
	}
	return all[0], all[1], nil
}

// Ports are the model's inputs and outputs, in its order.
func (m *Model) Ports() (in, out []Port, err error) {
	return ports(func(in, out *C.size_t) *C.char { return C.ovs_counts(m.p, in, out) },
		func(o C.int, i C.size_t, p *C.ovs_port) *C.char { return C.ovs_describe(m.p, o, i, p) })
}

// Reshape gives inputs other shapes, by name; OpenVINO works out what follows.
func (m *Model) Reshape(shapes map[string][]Dim) error {
	if len(shapes) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(shapes))
	dims := make([]C.ovs_port, len(names))
	for i, name := range names {
		shape := shapes[name]
		if len(shape) > C.OVS_MAX_RANK {
			return fmt.Errorf("the shape of input %q has %d axes; OpenVINO is given at most %d", name, len(shape), C.OVS_MAX_RANK)
		}
		dims[i].rank = C.int64_t(len(shape))
		for k, d := range shape {
			dims[i].min[k], dims[i].max[k] = C.int64_t(d.Min), C.int64_t(d.Max)
		}
	}
	list, free := cStrings(names)
	defer free()
	return said(C.ovs_reshape(m.p, list, &dims[0], C.size_t(len(dims))), "reshape the model")
}

// Prepare makes the preparation of inputs a part of the model: it then takes what is described.
func (m *Model) Prepare(steps []Preparation) error {
	if len(steps) == 0 {
		return nil
	}
	size := C.size_t(unsafe.Sizeof(C.ovs_preprocess{}))
	p := C.calloc(C.size_t(len(steps)), size)
	defer C.free(p)
	var owned []unsafe.Pointer
	defer func() {
		for _, o := range owned {
			C.free(o)
		}
	}()
	str := func(s string) *C.char {
		if s == "" {
			return nil
		}
		c := C.CString(s)
		owned = append(owned, unsafe.Pointer(c))
		return c
	}
	floats := func(v []float32) (*C.float, C.size_t) {
		if len(v) == 0 {
			return nil, 0
		}
		c := (*C.float)(C.malloc(C.size_t(len(v)) * 4))
		owned = append(owned, unsafe.Pointer(c))
		copy(unsafe.Slice((*float32)(unsafe.Pointer(c)), len(v)), v)
		return c, C.size_t(len(v))
	}
	for i, s := range steps {
		c := &unsafe.Slice((*C.ovs_preprocess)(p), len(steps))[i]
		c.input, c.layout, c.model_layout = str(s.Input), str(s.Layout), str(s.ModelLayout)
		c._type = -1
		if s.Type != Dynamic {
			c._type = C.int32_t(s.Type)
		}
		c.height, c.width = C.size_t(s.Height), C.size_t(s.Width)
		c.resize = C.int32_t(s.Resize)
		if s.ReverseChannels {
			c.reverse_channels = 1
		}
		c.mean, c.means = floats(s.Mean)
		c.scale, c.scales = floats(s.Scale)
	}
	var prepared unsafe.Pointer
	if err := said(C.ovs_prepare(m.p, (*C.ovs_preprocess)(p), C.size_t(len(steps)), &prepared), "prepare the inputs"); err != nil {
		return err
	}
	m.Close()
	m.p = prepared
	return nil
}

// Simplify runs the passes of OpenVINO's own converter: what is constant is worked out, and what can be one layer becomes one. It
// tells whether it could: in a release whose passes are laid out in another way the model stays as it is.
func (m *Model) Simplify() (done bool, err error) {
	var d C.int
	err = said(C.ovs_simplify(m.p, &d), "simplify the model")
	return d != 0, err
}

// Save writes the model as IR: xml, which ends in .xml, and the weights beside it with .bin. halved stores float weights as
// f16. OpenVINO does not notice a disk that is full while it writes: compare what is there with what the .xml names.
func (m *Model) Save(xml string, halved bool) error {
	c := C.CString(xml)
	defer C.free(unsafe.Pointer(c))
	h := C.int(0)
	if halved {
		h = 1
	}
	return said(C.ovs_save(m.p, c, h), "write the model")
}
