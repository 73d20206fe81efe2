package ort

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/optimize-hcl/optimize/tensor"
)

// The engine tells a session's inputs and outputs only by loading the model a second
// time, and does not tell an unknown rank from a scalar. So the few fields needed
// are read from the model itself: a walk over the protobuf fields that skips
// weights without reading them.

// signature of a model, as far as running it needs.
type graphSignature struct {
	irVersion   int64
	opset       int64 // of the default domain; 0 when not stated
	inputs      []valueInfo
	outputs     []valueInfo
	initialized map[string]bool
	graphs      int
}

type valueInfo struct {
	Info
	element int64 // ONNX's number of the element type; 0 when not stated
	ranked  bool  // the model states a shape
	// Where the name and the number of the element type, if that takes one byte, begin in the model; 0: not known.
	nameAt, elementAt int64
	kind              string // "" for a tensor, else "sequence", "map", ...
}

// elementTypes maps ONNX's numbers of element types to ours.
var elementTypes = map[int64]tensor.DType{
	1: tensor.F32, 2: tensor.U8, 3: tensor.I8, 4: tensor.U16, 5: tensor.I16, 6: tensor.I32, 7: tensor.I64,
	9: tensor.Bool, 10: tensor.F16, 11: tensor.F64, 12: tensor.U32, 13: tensor.U64, 16: tensor.BF16,
	17: tensor.F8E4M3, 19: tensor.F8E5M2, 21: tensor.U4, 22: tensor.I4,
}

const (
	maxName   = 1 << 16 // longer names are not names
	maxValues = 1 << 16 // inputs and outputs; an empty one is two bytes, and a hundred in memory
	maxAxes   = 1 << 10 // of one of them
)

// scanSignature walks a model of size bytes. Its errors say at which byte it stopped making sense.
func scanSignature(r io.ReaderAt, size int64) (*graphSignature, error) {
	s := &graphSignature{initialized: map[string]bool{}}
	w := &walker{r: r, end: size}
	err := w.fields(func(w *walker, num int, v uint64) error {
		switch num {
		case 1:
			s.irVersion = int64(v)
		case 7:
			s.graphs++
			return w.fields(s.graphField)
		case 8:
			var domain string
			var version int64
			err := w.fields(func(w *walker, num int, v uint64) (err error) {
				switch num {
				case 1:
					domain, err = w.string()
				case 2:
					version = int64(v)
				}
				return err
			})
			if domain == "" || domain == "ai.onnx" {
				s.opset = max(s.opset, version)
			}
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.graphs == 0 {
		return nil, errors.New("it holds no graph")
	}
	return s, nil
}

func (s *graphSignature) graphField(w *walker, num int, _ uint64) error {
	switch num {
	case 5: // initializer: TensorProto
		return w.fields(func(w *walker, num int, _ uint64) error {
			if num != 8 {
				return nil
			}
			name, err := w.string()
			s.initialized[name] = true
			return err
		})
	case 15: // sparse_initializer: its values are a TensorProto with the name
		return w.fields(func(w *walker, num int, _ uint64) error {
			if num != 1 {
				return nil
			}
			return s.graphField(w, 5, 0)
		})
	case 11, 12:
		if len(s.inputs)+len(s.outputs) == maxValues {
			return fmt.Errorf("byte %d: it has more than %d inputs and outputs", w.pos, maxValues)
		}
		v := valueInfo{}
		err := w.fields(func(w *walker, num int, _ uint64) (err error) {
			switch num {
			case 1:
				v.nameAt = w.pos
				v.Name, err = w.string()
			case 2:
				err = w.fields(v.typeField)
			}
			return err
		})
		v.DType = elementTypes[v.element]
		if num == 11 {
			s.inputs = append(s.inputs, v)
		} else {
			s.outputs = append(s.outputs, v)
		}
		return err
	}
	return nil
}

func (v *valueInfo) typeField(w *walker, num int, _ uint64) error {
	switch num {
	case 1: // tensor
		return w.fields(func(w *walker, num int, n uint64) error {
			switch num {
			case 1:
				v.element, v.elementAt = int64(n), 0
				if n < 0x80 {
					v.elementAt = w.pos - 1
				}
			case 2:
				v.ranked = true
				if v.Shape == nil {
					v.Shape = []int64{} // a scalar, so far
				}
				return w.fields(v.dimension)
			}
			return nil
		})
	case 4:
		v.kind = "sequence"
	case 5:
		v.kind = "map"
	case 8:
		v.kind = "sparse tensor"
	case 9:
		v.kind = "optional"
	}
	return nil
}

func (v *valueInfo) dimension(w *walker, num int, _ uint64) error {
	if num != 1 {
		return nil
	}
	if len(v.Shape) == maxAxes {
		return fmt.Errorf("byte %d: a value has more than %d axes", w.pos, maxAxes)
	}
	d, name := int64(-1), ""
	err := w.fields(func(w *walker, num int, n uint64) (err error) {
		switch num {
		case 1:
			d = int64(n)
		case 2:
			name, err = w.string()
		}
		return err
	})
	if d <= 0 {
		// Exporters write 0 and -1 alike for "any".
		d = -1
	}
	v.Shape = append(v.Shape, d)
	if name != "" && d < 0 && v.Axes == nil {
		v.Axes = make([]string, len(v.Shape)-1, 8)
	}
	if v.Axes != nil {
		v.Axes = append(v.Axes, name)
	}
	return err
}

// walker reads protobuf fields from pos to end.
type walker struct {
	r        io.ReaderAt
	pos, end int64
	buf      [512]byte
	at, have int64 // the file's range that buf holds is [at, at+have)
	depth    int
}

// fields calls f for each field up to end. For a length-delimited field the walker
// stands at its content with end set to the content's end, and f may read it or not;
// for others v is the value.
func (w *walker) fields(f func(w *walker, num int, v uint64) error) error {
	if w.depth > 64 {
		return fmt.Errorf("byte %d: messages are nested too deeply", w.pos)
	}
	end := w.end
	for w.pos < end {
		start := w.pos
		key, err := w.varint()
		if err != nil {
			return err
		}
		num, wire := key>>3, key&7
		if num == 0 || num > 1<<29-1 {
			return fmt.Errorf("byte %d: this is not a protobuf field", start)
		}
		var v uint64
		next := w.pos
		switch wire {
		case 0:
			if v, err = w.varint(); err != nil {
				return err
			}
			next = w.pos
		case 1:
			next += 8
		case 5:
			next += 4
		case 2:
			n, err := w.varint()
			if err != nil {
				return err
			}
			if n > uint64(end-w.pos) {
				return fmt.Errorf("byte %d: a field of %d bytes does not fit into the %d that follow; the file is cut short or damaged", start, n, end-w.pos)
			}
			next = w.pos + int64(n)
		default:
			return fmt.Errorf("byte %d: this is not a protobuf field", start)
		}
		if next > end {
			return fmt.Errorf("byte %d: the last field is cut short", start)
		}
		if wire == 2 || wire == 0 {
			w.end = next
			w.depth++
			err = f(w, int(num), v)
			w.depth--
			w.end = end
			if err != nil {
				return err
			}
		}
		w.pos = next
	}
	return nil
}

func (w *walker) varint() (uint64, error) {
	b, err := w.peek(binary.MaxVarintLen64)
	if err != nil {
		return 0, err
	}
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, fmt.Errorf("byte %d: a number is cut short or too long", w.pos)
	}
	w.pos += int64(n)
	return v, nil
}

// string reads the rest up to end.
func (w *walker) string() (string, error) {
	n := w.end - w.pos
	if n > maxName {
		return "", fmt.Errorf("byte %d: a name of %d bytes is too long", w.pos, n)
	}
	b := make([]byte, n)
	if _, err := w.r.ReadAt(b, w.pos); err != nil && (err != io.EOF || n > 0) {
		return "", fmt.Errorf("byte %d: %w", w.pos, err)
	}
	w.pos = w.end
	return string(b), nil
}

// peek returns up to n bytes from pos on, fewer at end.
func (w *walker) peek(n int64) ([]byte, error) {
	n = min(n, w.end-w.pos)
	if w.pos < w.at || w.pos+n > w.at+w.have {
		got, err := w.r.ReadAt(w.buf[:], w.pos)
		w.at, w.have = w.pos, int64(got)
		if err != nil && err != io.EOF || int64(got) < n {
			return nil, fmt.Errorf("byte %d: the file cannot be read: %w", w.pos, errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
	return w.buf[w.pos-w.at : w.pos-w.at+n], nil
}
