package onnx

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
)

// EncodeLinked encodes a mapped model (MapFile) without its weights: the raw data of each initializer of at least minBytes stay in
// the file that they were mapped from, which the tensor names as external data, by its full path. What was changed in memory is
// in the encoding. A reader that maps external data so has no copy of the weights in memory, where one that parses raw_data
// has. linked is how many bytes were left where they are.
//
// ONNX wants paths relative to the model's folder: such an encoding is not to be kept, but to be handed to a reader on this machine
// that takes a model from memory. Data may begin at any byte of a file, not only at a multiple of their element's size.
func (m *Model) EncodeLinked(minBytes int) (encoded []byte, linked int64, err error) {
	if m.Graph == nil {
		return nil, 0, errors.New("encode model: it holds no graph")
	}
	m.completeInputs()
	outside := *m
	// The graph is copied as far as its initializers: nodes are only read.
	g := *m.Graph
	outside.raw, outside.Graph = nil, &g
	g.inits = append([]*Tensor(nil), m.Graph.inits...)
	paths := make([]string, len(m.mapped))
	for k, file := range m.mapped {
		if paths[k], err = filepath.Abs(file.path); err != nil {
			return nil, 0, fmt.Errorf("encode model: %w", err)
		}
	}
	for i, t := range g.inits {
		if t == nil || !t.hasData() || len(t.Raw) < max(1, minBytes) {
			continue
		}
		for k, file := range m.mapped {
			if at, ok := offsetIn(t.Raw, file.bytes); ok {
				e := *t
				e.SetExternal(paths[k], at, int64(len(t.Raw)))
				g.inits[i] = &e
				linked += int64(len(t.Raw))
				break
			}
		}
	}
	chunks, _, err := outside.encode()
	if err != nil {
		return nil, 0, fmt.Errorf("encode model: %w", err)
	}
	return bytes.Join(chunks, nil), linked, nil
}
