package tensor

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"unsafe"
)

// Numbers says what a scan of a tensor found.
type Numbers struct {
	NaN, Inf int64
	// First is the index, row-major, of the first element that is one of both; -1 for none.
	First int64
}

// scanBlock elements are looked at together, without a branch for each.
const scanBlock = 1024

// Scan counts the elements of a floating-point tensor that are not finite. Every other
// element type has none. Large tensors are scanned on all cores.
func Scan(t Tensor) (Numbers, error) {
	if err := t.Validate(); err != nil {
		return Numbers{}, err
	}
	if t.Elements() == 0 || !t.DType.IsFloat() {
		return Numbers{First: -1}, nil
	}
	switch t.DType {
	case F32:
		v, err := View[uint32](Tensor{U32, t.Shape, t.Data})
		return scanAll(v, 0x7f800000), err
	case F64:
		v, err := View[uint64](Tensor{U64, t.Shape, t.Data})
		return scanAll(v, 0x7ff0000000000000), err
	case F16:
		v, err := View[uint16](Tensor{U16, t.Shape, t.Data})
		return scanAll(v, 0x7c00), err
	case BF16:
		v, err := View[uint16](Tensor{U16, t.Shape, t.Data})
		return scanAll(v, 0x7f80), err
	case F8E5M2:
		return scanAll(t.Data, 0x7c), nil
	case F8E4M3: // no infinities, and one NaN of either sign
		n := scanAll(t.Data, 0x7f)
		n.NaN, n.Inf = n.Inf, 0
		return n, nil
	}
	return Numbers{}, fmt.Errorf("%s cannot be scanned", t.DType)
}

// scanAll counts elements whose exponent has all its bits; they are NaN when there
// are others beside it, the sign apart.
func scanAll[T uint8 | uint16 | uint32 | uint64](v []T, exponent T) Numbers {
	var mu sync.Mutex
	found := map[int]Numbers{}
	split(len(v), func(from, to int) {
		n := scan(v[from:to], exponent, int64(from))
		mu.Lock()
		found[from] = n
		mu.Unlock()
	})
	all := Numbers{First: -1}
	for _, from := range slices.Sorted(maps.Keys(found)) {
		n := found[from]
		all.NaN, all.Inf = all.NaN+n.NaN, all.Inf+n.Inf
		if all.First < 0 {
			all.First = n.First
		}
	}
	return all
}

func scan[T uint8 | uint16 | uint32 | uint64](v []T, exponent T, base int64) Numbers {
	n := Numbers{First: -1}
	sign := ^T(0) >> 1
	for at := 0; at < len(v); at += scanBlock {
		part := v[at:min(at+scanBlock, len(v))]
		if !anyFull(part, exponent) {
			continue
		}
		for i, x := range part {
			switch x &= sign; {
			case x < exponent:
				continue
			case x == exponent:
				n.Inf++
			default:
				n.NaN++
			}
			if n.First < 0 {
				n.First = base + int64(at+i)
			}
		}
	}
	return n
}

// anyFull tells whether an element has all bits of exponent. It looks at eight bytes together: the lowest bit of the
// exponent, added, carries into the sign's place, which was cleared, just where all are set.
func anyFull[T uint8 | uint16 | uint32 | uint64](part []T, exponent T) bool {
	size := int(unsafe.Sizeof(exponent))
	lanes := ^uint64(0) / uint64(^T(0)) // 1 in each lane
	mask, low, carry := lanes*uint64(exponent), lanes*uint64(exponent&-exponent), lanes<<(8*size-1)
	p := unsafe.Pointer(unsafe.SliceData(part))
	whole := 0
	if uintptr(p)%8 == 0 {
		words := unsafe.Slice((*uint64)(p), len(part)*size/8)
		whole = len(words) * 8 / size
		var a, b, c, d uint64
		for ; len(words) >= 4; words = words[4:] {
			a |= words[0]&mask + low
			b |= words[1]&mask + low
			c |= words[2]&mask + low
			d |= words[3]&mask + low
		}
		for _, w := range words {
			a |= w&mask + low
		}
		if (a|b|c|d)&carry != 0 {
			return true
		}
	}
	for _, x := range part[whole:] {
		if x&exponent == exponent {
			return true
		}
	}
	return false
}

// ErrNotFinite is what [CheckFinite] wraps.
var ErrNotFinite = errors.New("not every element is a finite number")

// CheckFinite is an error that says how many elements are NaN or infinite and where
// the first one is.
func CheckFinite(t Tensor) error {
	n, err := Scan(t)
	if err != nil || n.First < 0 {
		return err
	}
	v := math.NaN()
	if w := int64(t.DType.Bits() / 8); w > 0 {
		one := Tensor{DType: t.DType, Shape: []int64{1}, Data: t.Data[n.First*w : (n.First+1)*w]}
		if f, err := ToFloat32(one); err == nil {
			v = float64(f[0])
		}
	}
	return fmt.Errorf("%w: %d are NaN and %d infinite, the first is element %d of shape %v: %v", ErrNotFinite, n.NaN, n.Inf, n.First, t.Shape, v)
}
