package onnx

import (
	"errors"
	"fmt"
	"math"

	"github.com/optimize-hcl/optimize/tensor"
)

// Evaluation of single nodes on constant inputs: what constant folding is made of. It
// covers the operators that exporters use to compute shapes, indexes and small tables,
// and the ones that rearrange weights; not those that a network spends its time in.

// errNotEvaluated says that a node is not one of those, or that its inputs are of a
// type or size for which it is not done here. It is no fault of the model.
var errNotEvaluated = errors.New("not evaluated")

// maxWork bounds the multiplications of one evaluated node.
const maxWork = 1 << 28

// evaluator works out nodes of a model.
type evaluator struct {
	opset int64
	// room is how many bytes one result may take.
	room int64
}

// evaluation is one node at work.
type evaluation struct {
	*evaluator
	n  *Node
	in []*Tensor // nil: left out
}

// evaluate returns the outputs of a node of the standard domain whose inputs are all
// given (nil for those left out). Faults of the model are errNotEvaluated too: a
// runtime reports them better.
func (v *evaluator) evaluate(n *Node, in []*Tensor) ([]*Tensor, error) {
	f := evaluators[n.OpType]
	if f == nil || canonicalDomain(n.Domain) != "" {
		return nil, errNotEvaluated
	}
	for _, t := range in {
		if t != nil && (t.IsExternal() || t.Elements() < 0) {
			return nil, errNotEvaluated
		}
	}
	for _, a := range n.attrs {
		if a.RefName() != "" {
			return nil, errNotEvaluated
		}
	}
	return f(&evaluation{evaluator: v, n: n, in: in})
}

var evaluators map[string]func(*evaluation) ([]*Tensor, error)

func init() {
	evaluators = map[string]func(*evaluation) ([]*Tensor, error){}
	registerMoves()
	registerIndexing()
	registerNumeric()
	registerFolds()
}

func registerEvaluator(f func(*evaluation) ([]*Tensor, error), ops ...string) {
	for _, op := range ops {
		evaluators[op] = f
	}
}

// arg returns input i, nil when it is left out.
func (e *evaluation) arg(i int) *Tensor {
	if i >= len(e.in) {
		return nil
	}
	return e.in[i]
}

// list returns a list of integers that is an attribute or, later, input i; ok is
// false when it is neither.
func (e *evaluation) list(attr string, i int) (v []int64, ok bool, err error) {
	if a := e.n.Attr(attr); a != nil {
		return a.Ints, true, nil
	}
	t := e.arg(i)
	if t == nil {
		return nil, false, nil
	}
	v, err = t.Ints()
	return v, true, err
}

// plain is a tensor's elements as whole bytes.
type plain struct {
	elem  DataType
	dims  []int64
	data  []byte
	width int // bytes of an element
}

// plain reads input i; strings and types narrower than a byte are not evaluated.
func (e *evaluation) plain(i int) (plain, error) {
	t := e.arg(i)
	if t == nil {
		return plain{}, errNotEvaluated
	}
	return plainOf(t)
}

func plainOf(t *Tensor) (plain, error) {
	bits := t.DataType.Bits()
	if bits == 0 || bits%8 != 0 {
		return plain{}, errNotEvaluated
	}
	b, err := t.elements()
	if err != nil || int64(len(b)) != t.Bytes() {
		return plain{}, errNotEvaluated
	}
	return plain{t.DataType, t.Dims, b, bits / 8}, nil
}

func (p plain) count() int64 { return int64(len(p.data) / p.width) }

// tensor makes a tensor of the given shape that takes over data.
func (p plain) tensor(dims []int64, data []byte) []*Tensor {
	return one(rawTensor(p.elem, dims, data))
}

func one(t *Tensor) []*Tensor { return []*Tensor{t} }

func rawTensor(elem DataType, dims []int64, data []byte) *Tensor {
	return &Tensor{DataType: elem, Dims: dims, Raw: data, hasRaw: true}
}

// alloc makes the bytes of a result, unless they would be too many.
func (e *evaluation) alloc(dims []int64, width int) ([]byte, error) {
	n, err := tensor.Elements(dims)
	if err != nil || n > e.room/int64(width) {
		return nil, errNotEvaluated
	}
	return make([]byte, n*int64(width)), nil
}

// numbers are a tensor's elements as the widest of their kind: floats for floating
// point, ints for integers and booleans.
type numbers struct {
	elem   DataType
	dims   []int64
	ints   []int64
	floats []float64
}

func (e *evaluation) numbers(i int) (numbers, error) {
	t := e.arg(i)
	if t == nil {
		return numbers{}, errNotEvaluated
	}
	return numbersOf(t)
}

func numbersOf(t *Tensor) (numbers, error) {
	x := numbers{elem: t.DataType, dims: t.Dims}
	var err error
	switch {
	case isFloat(t.DataType):
		x.floats, err = t.float64s()
	case isInteger(t.DataType) || t.DataType == Bool:
		x.ints, err = t.Ints()
	default:
		err = errNotEvaluated
	}
	if err != nil {
		return numbers{}, fmt.Errorf("%w: %w", errNotEvaluated, err)
	}
	return x, nil
}

func isFloat(d DataType) bool {
	return d == Float || d == Double || d == Float16 || d == BFloat16
}

func isInteger(d DataType) bool {
	switch d {
	case Uint8, Int8, Uint16, Int16, Uint32, Int32, Uint64, Int64:
		return true
	}
	return false
}

func (x numbers) count() int { return max(len(x.ints), len(x.floats)) }

// result rounds or wraps the elements to the type of x.
func (x numbers) result() ([]*Tensor, error) {
	if x.floats != nil || isFloat(x.elem) {
		t, err := floatTensor(x.elem, x.dims, x.floats)
		if err != nil {
			return nil, err
		}
		return one(t), nil
	}
	return one(rawTensor(x.elem, x.dims, packInts(x.elem, x.ints))), nil
}

func floatTensor(elem DataType, dims []int64, v []float64) (*Tensor, error) {
	var out tensor.Tensor
	if elem == Double {
		out = tensor.Of(dims, v)
	} else {
		s := make([]float32, len(v))
		for i, x := range v {
			s[i] = float32(x)
		}
		var err error
		if out, err = tensor.FromFloat32(elem.DType(), dims, s); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotEvaluated, err)
		}
	}
	return rawTensor(elem, dims, out.Data), nil
}

// packInts writes integers in the width of elem; what does not fit wraps around.
func packInts(elem DataType, v []int64) []byte {
	width := elem.Bits() / 8
	out := make([]byte, len(v)*width)
	for i, x := range v {
		putInt(out[i*width:], x, width)
	}
	return out
}

func putInt(b []byte, v int64, width int) {
	for k := range width {
		b[k] = byte(v >> (8 * k))
	}
}

// wrap keeps what an integer of type elem would hold after an overflow.
func wrap(elem DataType, v int64) int64 {
	switch elem {
	case Int8:
		return int64(int8(v))
	case Int16:
		return int64(int16(v))
	case Int32:
		return int64(int32(v))
	case Uint8:
		return int64(uint8(v))
	case Uint16:
		return int64(uint16(v))
	case Uint32:
		return int64(uint32(v))
	}
	return v
}

// broadcastSizes combines shapes by numpy's rules.
func broadcastSizes(shapes ...[]int64) ([]int64, error) {
	rank := 0
	for _, s := range shapes {
		rank = max(rank, len(s))
	}
	out := make([]int64, rank)
	for i := range out {
		out[i] = 1
		for _, s := range shapes {
			k := i - rank + len(s)
			if k < 0 || s[k] == 1 || s[k] == out[i] {
				continue
			}
			if out[i] != 1 {
				return nil, errNotEvaluated
			}
			out[i] = s[k]
		}
	}
	return out, nil
}

// places returns, for each element of a tensor of shape out, which element of one of
// shape in is broadcast to it. Nil stands for the identity.
func places(in, out []int64) []int32 {
	n, total := int64(1), int64(1)
	for _, d := range in {
		n *= d
	}
	for _, d := range out {
		total *= d
	}
	if n == total || total > math.MaxInt32 {
		return nil
	}
	strides := make([]int64, len(out))
	step := int64(1)
	for i := len(in) - 1; i >= 0; i-- {
		if in[i] != 1 {
			strides[i+len(out)-len(in)] = step
		}
		step *= in[i]
	}
	return walk(out, strides, 0)
}

// walk lists the offsets of all elements of a shape, row by row, given how far apart
// the elements of each axis are.
func walk(shape, strides []int64, start int64) []int32 {
	total := int64(1)
	for _, d := range shape {
		total *= d
	}
	out := make([]int32, 0, total)
	if total == 0 {
		return out
	}
	at := make([]int64, len(shape))
	offset := start
	for {
		out = append(out, int32(offset))
		k := len(shape) - 1
		for ; k >= 0; k-- {
			at[k]++
			offset += strides[k]
			if at[k] < shape[k] {
				break
			}
			offset -= at[k] * strides[k]
			at[k] = 0
		}
		if k < 0 {
			return out
		}
	}
}

func stridesOf(shape []int64) []int64 {
	out := make([]int64, len(shape))
	step := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		out[i] = step
		step *= shape[i]
	}
	return out
}
