package ort

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// parts is a model's bytes cut at the fields of its graph, so that a part of the graph
// can be put together again without reading weights. All slices point into the model.
type parts struct {
	head     []byte // the model's fields except the graph
	nodes    []part
	weights  []part
	inputs   []part
	rest     []byte            // the graph's name and other small fields
	types    map[string][]byte // TypeProto, as the model states it
	producer map[string]int    // the node that makes a value
	weight   map[string]bool
	input    map[string]bool
}

// part is a field with its tag, what it is called or makes, and what it reads.
type part struct {
	raw  []byte
	name string
	out  []string
	in   []string // with what its branches and loop bodies read
}

// cut reads a model. Only the outer graph is cut.
func cut(model []byte) (*parts, error) {
	p := &parts{types: map[string][]byte{}, producer: map[string]int{}, weight: map[string]bool{}, input: map[string]bool{}}
	graphs := 0
	err := eachField(model, func(num protowire.Number, raw, content []byte) error {
		if num != 7 {
			p.head = append(p.head, raw...)
			return nil
		}
		graphs++
		return eachField(content, p.graphField)
	})
	if err == nil && graphs == 0 {
		err = errors.New("it holds no graph")
	}
	if err != nil {
		return nil, fmt.Errorf("this is not a whole ONNX model: %w", err)
	}
	for i, n := range p.nodes {
		for _, o := range n.out {
			if o != "" {
				p.producer[o] = i
			}
		}
	}
	return p, nil
}

func (p *parts) graphField(num protowire.Number, raw, content []byte) (err error) {
	x := part{raw: raw}
	switch num {
	case 1:
		err = nodeNames(content, &x, 0)
		p.nodes = append(p.nodes, x)
	case 5: // initializer
		x.name, err = stringField(content, 8)
		p.weights, p.weight[x.name] = append(p.weights, x), true
	case 15: // sparse_initializer: its values are a TensorProto with the name
		var values []byte
		if values, err = bytesField(content, 1); err == nil {
			x.name, err = stringField(values, 8)
		}
		p.weights, p.weight[x.name] = append(p.weights, x), true
	case 11, 12, 13: // input, output, value_info
		var t []byte
		if x.name, err = stringField(content, 1); err == nil {
			t, err = bytesField(content, 2)
		}
		if t != nil && p.types[x.name] == nil {
			p.types[x.name] = t
		}
		if num == 11 {
			p.inputs, p.input[x.name] = append(p.inputs, x), true
		}
	case 14: // quantization annotations: the engine reads none
	default:
		p.rest = append(p.rest, raw...)
	}
	return err
}

// nodeNames collects what a NodeProto reads and makes; inner graphs only add to what it reads.
func nodeNames(node []byte, x *part, depth int) error {
	if depth > 32 {
		return errors.New("graphs are nested too deeply")
	}
	return eachField(node, func(num protowire.Number, _, content []byte) error {
		switch num {
		case 1:
			x.in = append(x.in, string(content))
		case 2:
			if depth == 0 {
				x.out = append(x.out, string(content))
			}
		case 5: // attribute; 6 is a graph, 11 a list of them
			return eachField(content, func(num protowire.Number, _, content []byte) error {
				if num != 6 && num != 11 {
					return nil
				}
				return eachField(content, func(num protowire.Number, _, content []byte) error {
					switch num {
					case 1:
						return nodeNames(content, x, depth+1)
					case 12: // an inner output may be a value of the outer graph
						name, err := stringField(content, 1)
						x.in = append(x.in, name)
						return err
					}
					return nil
				})
			})
		}
		return nil
	})
}

// with puts together a model that makes just the values that the extra nodes and the
// outputs (ValueInfoProto) name: of the rest only what they need is in it.
func (p *parts) with(values []string, nodes, outputs [][]byte) []byte {
	need := map[string]bool{}
	keep := make([]bool, len(p.nodes))
	todo := slices.Clone(values)
	for len(todo) > 0 {
		v := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if need[v] {
			continue
		}
		need[v] = true
		if i, ok := p.producer[v]; ok && !keep[i] {
			keep[i] = true
			todo = append(todo, p.nodes[i].in...)
		}
	}
	size := len(p.rest)
	var chosen [][]byte
	add := func(raw []byte) {
		chosen = append(chosen, raw)
		size += len(raw)
	}
	for i, n := range p.nodes {
		if keep[i] {
			add(n.raw)
		}
	}
	for _, n := range nodes {
		add(field(nil, 1, n))
	}
	for _, w := range p.weights {
		if need[w.name] {
			add(w.raw)
		}
	}
	for _, in := range p.inputs {
		// A default value that went must not leave an input behind that asks for one.
		if need[in.name] || !p.weight[in.name] {
			add(in.raw)
		}
	}
	for _, o := range outputs {
		add(field(nil, 12, o))
	}
	model := make([]byte, 0, len(p.head)+size+16)
	model = append(model, p.head...)
	model = protowire.AppendTag(model, 7, protowire.BytesType)
	model = protowire.AppendVarint(model, uint64(size))
	model = append(model, p.rest...)
	for _, raw := range chosen {
		model = append(model, raw...)
	}
	return model
}

// eachField calls f for each length-delimited field with the field's bytes and its
// content; for other fields the content is nil.
func eachField(b []byte, f func(num protowire.Number, raw, content []byte) error) error {
	for len(b) > 0 {
		num, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		var content []byte
		n := 0
		if kind == protowire.BytesType {
			content, n = protowire.ConsumeBytes(b[tag:])
		} else {
			n = protowire.ConsumeFieldValue(num, kind, b[tag:])
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := f(num, b[:tag+n:tag+n], content); err != nil {
			return err
		}
		b = b[tag+n:]
	}
	return nil
}

// bytesField returns the last field num of a message, nil when it has none.
func bytesField(b []byte, want protowire.Number) (found []byte, err error) {
	err = eachField(b, func(num protowire.Number, _, content []byte) error {
		if num == want {
			found = content
		}
		return nil
	})
	return found, err
}

func stringField(b []byte, num protowire.Number) (string, error) {
	s, err := bytesField(b, num)
	return string(s), err
}
