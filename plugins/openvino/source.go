package openvino

import (
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
)

// source is what is known of a model before OpenVINO reads it.
type source struct {
	// given tells which names are its own, of nodes and tensors; the others are OpenVINO's.
	given   func(string) bool
	outputs []string
	size    int64 // bytes, with its weights
	// linked says the same as the model, in a form that suits OpenVINO better; nil where there is none.
	linked []byte
}

// linkedBytes is how large a weight is that OpenVINO maps; smaller ones are read with the graph.
const linkedBytes = 16 << 10

// look reads a model's graph. What OpenVINO is to read instead of the file has weights in integers that are floats behind a
// QuantizeLinear in it, for OpenVINO would work out floats; and it leaves large weights in the files in which they are. OpenVINO
// maps those, where it copies those that are in the model itself.
func look(path string) source {
	names := map[string]bool{}
	s := source{given: func(s string) bool { return names[s] }, size: math.MaxInt64 / 2}
	m, unmap, err := onnx.MapFile(path)
	if err != nil {
		// OpenVINO will read it or say why not: that we cannot costs the names of a few layers.
		return s
	}
	defer func() { _ = unmap() }()
	s.size = m.Size()
	for _, v := range m.Graph.Outputs() {
		s.outputs = append(s.outputs, strings.Clone(v.Name()))
	}
	for n := range m.Graph.AllNodes() {
		names[strings.Clone(n.Name)] = true
		for _, o := range n.Outputs() {
			names[strings.Clone(o)] = true
		}
	}
	for t := range m.AllTensors() {
		names[strings.Clone(t.Name())] = true
	}
	for _, v := range slices.Concat(m.Graph.Feeds(), m.Graph.Outputs()) {
		names[strings.Clone(v.Name())] = true
	}
	if _, err := onnx.FoldQuantized(m); err != nil {
		return s // OpenVINO has its own word on such numbers
	}
	if s.linked, _, err = m.EncodeLinked(linkedBytes); err != nil {
		s.linked = nil // the file serves as well
		return s
	}
	s.size = m.Size()
	return s
}

// read has OpenVINO read the model that lies at a path.
func (s source) read(path string) (*ov.Model, error) {
	if s.linked != nil {
		if m, err := ov.ReadMemory(s.linked); err == nil {
			return m, nil
		}
		// Whatever it is, the file tells it in its own words, or is read.
	}
	return ov.Read(path)
}
