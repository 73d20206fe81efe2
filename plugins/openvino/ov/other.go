//go:build !linux || !cgo

package ov

import "github.com/optimize-hcl/optimize/tensor"

// Built tells whether OpenVINO can be used in this build.
const Built = false

// Load answers that OpenVINO is not in this build.
func Load(Library) error { return ErrNotBuilt }

// Loaded is never true in this build.
func Loaded() (Library, bool) { return Library{}, false }

// Devices answers that OpenVINO is not in this build.
func Devices() ([]string, error) { return nil, ErrNotBuilt }

// DeviceProperty answers that OpenVINO is not in this build.
func DeviceProperty(string, string) (string, error) { return "", ErrNotBuilt }

// Model is a graph that OpenVINO has read.
type Model struct{}

// Read answers that OpenVINO is not in this build.
func Read(string) (*Model, error) { return nil, ErrNotBuilt }

// ReadMemory answers that OpenVINO is not in this build.
func ReadMemory([]byte) (*Model, error) { return nil, ErrNotBuilt }

// Close does nothing.
func (*Model) Close() {}

// Ports answers that OpenVINO is not in this build.
func (*Model) Ports() (in, out []Port, err error) { return nil, nil, ErrNotBuilt }

// Reshape answers that OpenVINO is not in this build.
func (*Model) Reshape(map[string][]Dim) error { return ErrNotBuilt }

// Prepare answers that OpenVINO is not in this build.
func (*Model) Prepare([]Preparation) error { return ErrNotBuilt }

// Simplify answers that OpenVINO is not in this build.
func (*Model) Simplify() (bool, error) { return false, ErrNotBuilt }

// Save answers that OpenVINO is not in this build.
func (*Model) Save(string, bool) error { return ErrNotBuilt }

// Compile answers that OpenVINO is not in this build.
func (*Model) Compile(string, map[string]string) (*Compiled, error) { return nil, ErrNotBuilt }

// Compiled is a model made ready for a device.
type Compiled struct{}

// Import answers that OpenVINO is not in this build.
func Import([]byte, string, map[string]string) (*Compiled, error) { return nil, ErrNotBuilt }

// Ports are none.
func (*Compiled) Ports() (in, out []Port) { return nil, nil }

// Close does nothing.
func (*Compiled) Close() {}

// Export answers that OpenVINO is not in this build.
func (*Compiled) Export(string) error { return ErrNotBuilt }

// Property answers that OpenVINO is not in this build.
func (*Compiled) Property(string) (string, error) { return "", ErrNotBuilt }

// RuntimeModel answers that OpenVINO is not in this build.
func (*Compiled) RuntimeModel() (*Model, error) { return nil, ErrNotBuilt }

// Run is a place for one run at a time.
type Run struct{}

// NewRun answers that OpenVINO is not in this build.
func (*Compiled) NewRun() (*Run, error) { return nil, ErrNotBuilt }

// Close does nothing.
func (*Run) Close() {}

// Bind answers that OpenVINO is not in this build.
func (*Run) Bind([]tensor.Tensor) error { return ErrNotBuilt }

// Do answers that OpenVINO is not in this build.
func (*Run) Do() error { return ErrNotBuilt }

// Output answers that OpenVINO is not in this build.
func (*Run) Output(int) (tensor.Tensor, error) { return tensor.Tensor{}, ErrNotBuilt }
