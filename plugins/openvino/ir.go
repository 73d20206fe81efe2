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
	// seen are the places of constants: equal ones lie at the same.
	seen map[int64]bool
}

// layer is where a layer's name stands.
type layer struct {
	from, to int // of the name in the text
	kind     string
	named    bool // an output of it is a tensor of the model
}

// parseIR reads an IR that OpenVINO wrote; one that ends early is an error.
func parseIR(text []byte) (*document, error) {
	d := &document{text: text, size: int64(len(text)), operations: map[string]int64{}, weights: map[string]int64{}, seen: map[int64]bool{}}
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
	if !d.seen[from] {
		d.seen[from] = true
		d.weights[string(kind)] += n
	}
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

// counted is a name that OpenVINO made: an operation and a number that counts all nodes of the process, and what a pass
// adds, such as ".0" or "_compressed".
var counted = regexp.MustCompile(`^(([A-Z][A-Za-z0-9]*)_[0-9]+)((?:[._/][A-Za-z0-9_./]*)?)$`)

// settled gives each layer that OpenVINO named by its counter a name that is the same every time: numbers begin at 0 for each
// operation, in the order of the text. Names of the model, which given tells, stay where the layer makes a tensor of the
// model's. The counter goes on from one model to the next in a process, so without that the same model would be other
// bytes each time.
func (d *document) settled(given func(string) bool) (text []byte, changed bool) {
	type renaming struct {
		at              layer
		kind, base, add string
	}
	var ours []renaming
	taken := map[string]bool{}
	for _, l := range d.layers {
		name := d.text[l.from:l.to]
		part := counted.FindSubmatch(name)
		switch {
		case part == nil, l.named && given(string(name)), len(part[3]) > 0 && given(string(part[1])):
			taken[string(name)] = true
		default:
			ours = append(ours, renaming{l, string(part[2]), string(part[1]), string(part[3])})
		}
	}
	if len(ours) == 0 {
		return d.text, false
	}
	next, anew := map[string]int{}, map[string]string{}
	out := make([]byte, 0, len(d.text)+len(d.text)/100)
	at := 0
	for _, r := range ours {
		base := anew[r.base]
		for base == "" || taken[base+r.add] {
			base = fmt.Sprintf("%s_%d", r.kind, next[r.kind])
			next[r.kind]++
		}
		anew[r.base] = base
		out = append(append(append(out, d.text[at:r.at.from]...), base...), r.add...)
		at = r.at.to
	}
	return append(out, d.text[at:]...), true
}
