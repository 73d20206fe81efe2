//go:build cgo

package ov

/*
#cgo CXXFLAGS: -std=c++17 -O2
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/optimize-hcl/optimize/tensor"
)

var (
	loadMu sync.Mutex
	loaded *Library
)

// Load loads the library, once for the process: another one afterwards is an error.
func Load(l Library) error {
	loadMu.Lock()
	defer loadMu.Unlock()
	if loaded != nil {
		if loaded.Dir != l.Dir {
			return fmt.Errorf("OpenVINO of %s is loaded already, and a process takes one", loaded.Dir)
		}
		return nil
	}
	core, capi := C.CString(l.core), C.CString(l.capi)
	defer C.free(unsafe.Pointer(core))
	defer C.free(unsafe.Pointer(capi))
	var build *C.char
	if err := said(C.ovs_load(core, capi, &build), "load the library of "+l.Dir); err != nil {
		return err
	}
	l.Version, l.Build = versionOf(taken(build)), C.GoString(build)
	loaded = &l
	return nil
}

// said makes an error of what the shim returns.
func said(e *C.char, doing string) error {
	if e == nil {
		return nil
	}
	return &Error{Doing: doing, Text: taken(e)}
}

// taken copies a text of the shim and frees it.
func taken(s *C.char) string {
	defer C.free(unsafe.Pointer(s))
	return C.GoString(s)
}

// Devices are those that OpenVINO finds here: "CPU", "GPU.0".
func Devices() ([]string, error) {
	var names *C.char
	if err := said(C.ovs_devices(&names), "list devices"); err != nil {
		return nil, err
	}
	return strings.Split(taken(names), "\n"), nil
}

// DeviceProperty asks a device: "FULL_DEVICE_NAME".
func DeviceProperty(device, key string) (string, error) {
	d, k := C.CString(device), C.CString(key)
	defer C.free(unsafe.Pointer(d))
	defer C.free(unsafe.Pointer(k))
	var v *C.char
	if err := said(C.ovs_device_property(d, k, &v), "tell "+key+" of device "+device); err != nil {
		return "", err
	}
	return taken(v), nil
}

// Model is a graph that OpenVINO has read. It is used from one goroutine at a time.
type Model struct{ p unsafe.Pointer }

// Read reads an ONNX file or an IR's .xml with the .bin beside it.
func Read(path string) (*Model, error) {
	c := C.CString(path)
	defer C.free(unsafe.Pointer(c))
	m := &Model{}
	if err := said(C.ovs_read(c, &m.p), "read the model"); err != nil {
		return nil, err
	}
	return m, nil
}

// Close frees the model.
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
	names := make([]*C.char, 0, len(shapes))
	dims := make([]C.ovs_port, 0, len(shapes))
	defer func() {
		for _, n := range names {
			C.free(unsafe.Pointer(n))
		}
	}()
	for name, shape := range shapes {
		if len(shape) > C.OVS_MAX_RANK {
			return fmt.Errorf("the shape of input %q has %d axes; OpenVINO is given at most %d", name, len(shape), C.OVS_MAX_RANK)
		}
		p := C.ovs_port{rank: C.int64_t(len(shape))}
		for i, d := range shape {
			p.min[i], p.max[i] = C.int64_t(d.Min), C.int64_t(d.Max)
		}
		names, dims = append(names, C.CString(name)), append(dims, p)
	}
	if len(names) == 0 {
		return nil
	}
	list := cStrings(names)
	defer C.free(unsafe.Pointer(list))
	return said(C.ovs_reshape(m.p, list, &dims[0], C.size_t(len(dims))), "reshape the model")
}

// cStrings copies pointers to memory that C may keep pointers in.
func cStrings(s []*C.char) **C.char {
	p := (**C.char)(C.malloc(C.size_t(max(len(s), 1)) * C.size_t(unsafe.Sizeof(uintptr(0)))))
	copy(unsafe.Slice(p, len(s)), s)
	return p
}

// Save writes the model as IR: xml, and the weights beside it with the extension .bin. halved stores float weights as f16.
func (m *Model) Save(xml string, halved bool) error {
	c := C.CString(xml)
	defer C.free(unsafe.Pointer(c))
	h := C.int(0)
	if halved {
		h = 1
	}
	return said(C.ovs_save(m.p, c, h), "write the model")
}

// Compiled is a model made ready for a device.
type Compiled struct {
	p       unsafe.Pointer
	in, out []Port
}

// Compile makes a model ready for a device. Properties are OpenVINO's: "INFERENCE_PRECISION_HINT" = "f32".
func (m *Model) Compile(device string, properties map[string]string) (*Compiled, error) {
	var pairs []*C.char
	defer func() {
		for _, s := range pairs {
			C.free(unsafe.Pointer(s))
		}
	}()
	for _, k := range sortedKeys(properties) {
		pairs = append(pairs, C.CString(k), C.CString(properties[k]))
	}
	list := cStrings(pairs)
	defer C.free(unsafe.Pointer(list))
	d := C.CString(device)
	defer C.free(unsafe.Pointer(d))
	c := &Compiled{}
	if err := said(C.ovs_compile(m.p, d, list, C.size_t(len(pairs)), &c.p), "compile the model for "+device); err != nil {
		return nil, err
	}
	return c.described()
}

// Import loads what Export wrote, for the same device and version.
func Import(blob []byte, device string) (*Compiled, error) {
	if len(blob) == 0 {
		return nil, &Error{Doing: "load the compiled model", Text: "it is empty"}
	}
	d := C.CString(device)
	defer C.free(unsafe.Pointer(d))
	c := &Compiled{}
	if err := said(C.ovs_import((*C.char)(unsafe.Pointer(&blob[0])), C.size_t(len(blob)), d, &c.p), "load the compiled model"); err != nil {
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

// Close frees the compiled model. Its runs must be closed before.
func (c *Compiled) Close() {
	if c.p != nil {
		C.ovs_free_compiled(c.p)
		c.p = nil
	}
}

// Export writes the compiled model, which only this device and version load.
func (c *Compiled) Export(path string) error {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	return said(C.ovs_export(c.p, p), "write the compiled model")
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
	p      unsafe.Pointer
	model  *Compiled
	pin    runtime.Pinner
	inputs []tensor.Tensor
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

// Bind gives the inputs, one for each in the model's order. Their data is read at every Do and must not be freed before
// Close or the next Bind; it is not copied.
func (r *Run) Bind(inputs []tensor.Tensor) error {
	r.pin.Unpin()
	r.inputs = slices.Clone(inputs)
	for i, t := range inputs {
		if len(t.Shape) > C.OVS_MAX_RANK {
			return fmt.Errorf("input %d has %d axes; OpenVINO is given at most %d", i, len(t.Shape), C.OVS_MAX_RANK)
		}
		typ, ok := TypeOf(t.DType)
		if !ok {
			return fmt.Errorf("input %d holds %s, which OpenVINO does not take as data", i, t.DType)
		}
		c := C.ovs_tensor{_type: C.int32_t(typ), rank: C.int64_t(len(t.Shape)), bytes: C.size_t(len(t.Data))}
		for k, n := range t.Shape {
			c.dims[k] = C.int64_t(n)
		}
		if len(t.Data) > 0 {
			r.pin.Pin(&t.Data[0])
			c.data = unsafe.Pointer(&t.Data[0])
		}
		if err := said(C.ovs_set_input(r.p, C.size_t(i), &c), fmt.Sprintf("take input %q", r.model.in[i].Name)); err != nil {
			return err
		}
	}
	return nil
}

// Do runs the model.
func (r *Run) Do() error { return said(C.ovs_run(r.p), "run the model") }

// Output copies an output of the last run, by its index in the model's order.
func (r *Run) Output(i int) (tensor.Tensor, error) {
	var c C.ovs_tensor
	if err := said(C.ovs_output(r.p, C.size_t(i), &c), fmt.Sprintf("give output %q", r.model.out[i].Name)); err != nil {
		return tensor.Tensor{}, err
	}
	d, ok := Type(c._type).DType()
	if !ok {
		return tensor.Tensor{}, fmt.Errorf("output %q holds %s, which cannot be stored in whole bytes: convert it in the model", r.model.out[i].Name, Type(c._type))
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
