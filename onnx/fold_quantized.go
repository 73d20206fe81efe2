package onnx

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/optimize-hcl/optimize/tensor"
)

// FoldQuantized makes integers of 8 bits of the float constants that a QuantizeLinear reads, as tools for quantization-aware
// training write them, subgraphs included, and returns how many there were. Nodes with blocks, with other types, and those
// that give an output of the graph stay. The rule is ONNX's (QuantizeLinear-13): y = saturate(round(x / scale) + zero point),
// halves to the even number. A scale that is not above 0, or does not fit, and a constant that is not finite are errors, which
// name node and tensor; the model is then half folded and not to be used.
func FoldQuantized(m *Model) (int, error) {
	count := 0
	for n := range m.Graph.AllNodes() {
		if !n.Is("QuantizeLinear") || n.Graph().IsOutput(n.Output(0)) || n.IntAttr("block_size", 0) != 0 {
			continue
		}
		g := n.Graph()
		x, scale, zero := g.Constant(n.Input(0)), g.Constant(n.Input(1)), g.Constant(n.Input(2))
		if x == nil || x.DataType != Float || scale == nil || scale.DataType != Float || n.Input(2) != "" && zero == nil {
			continue
		}
		elem := Uint8
		if zero != nil {
			elem = zero.DataType
		} else if o := n.IntAttr("output_dtype", 0); o != 0 {
			elem = DataType(o)
		}
		if elem != Uint8 && elem != Int8 {
			continue
		}
		q, err := roundConstant(n, x, scale, zero, elem)
		if err != nil {
			return 0, fmt.Errorf("%s of %q: %w", n.Label(), x.Name(), err)
		}
		out := n.Output(0)
		g.RemoveNode(n)
		g.AddInitializer(NewTensor(out, q))
		count++
	}
	return count, nil
}

// roundConstant computes a QuantizeLinear of constants.
func roundConstant(n *Node, x, scale, zero *Tensor, elem DataType) (q tensor.Tensor, err error) {
	v, err := x.Float32s()
	if err != nil {
		return q, err
	}
	scales, err := scale.Float32s()
	if err != nil {
		return q, err
	}
	zeros := make([]int64, len(scales))
	if zero != nil {
		if zeros, err = zero.Ints(); err != nil {
			return q, err
		}
	}
	axis := n.IntAttr("axis", 1)
	if axis < 0 {
		axis += int64(len(x.Dims))
	}
	outer, inner := 1, len(v)
	switch {
	case len(scales) == 1:
	case axis < 0 || axis >= int64(len(x.Dims)) || x.Dims[axis] != int64(len(scales)):
		return q, fmt.Errorf("%d scales do not fit axis %d of its shape %v", len(scales), axis, x.Dims)
	default:
		inner = 1
		for i, d := range x.Dims {
			if int64(i) < axis {
				outer *= int(d)
			} else if int64(i) > axis {
				inner *= int(d)
			}
		}
	}
	if len(zeros) != len(scales) {
		return q, fmt.Errorf("it has %d scales and %d zero points", len(scales), len(zeros))
	}
	for c, s := range scales {
		if !(s > 0 && s <= math.MaxFloat32) {
			return q, fmt.Errorf("scale %d is %v", c, s)
		}
	}
	lo, hi := 0.0, 255.0
	d := tensor.U8
	if elem == Int8 {
		lo, hi, d = -128, 127, tensor.I8
	}
	out := make([]byte, len(v))
	var bad atomic.Int64 // the first element that is not finite, counted from 1
	rows := outer * len(scales)
	inParts(rows, inner, func(from, to int) {
		for r := from; r < to; r++ {
			s, z := scales[r%len(scales)], float64(zeros[r%len(scales)])
			for i, f := range v[r*inner : (r+1)*inner] {
				if f-f != 0 { // NaN and the infinities alone
					keepLeast(&bad, int64(r*inner+i+1))
					return
				}
				out[r*inner+i] = byte(int(min(max(math.RoundToEven(float64(f/s))+z, lo), hi)))
			}
		}
	})
	if at := bad.Load(); at != 0 {
		return q, fmt.Errorf("element %d is %v: integers cannot stand for it", at-1, v[at-1])
	}
	return tensor.Tensor{DType: d, Shape: append([]int64(nil), x.Dims...), Data: out}, nil
}

// keepLeast keeps the least number that is not 0, whoever comes first.
func keepLeast(a *atomic.Int64, n int64) {
	for old := a.Load(); (old == 0 || n < old) && !a.CompareAndSwap(old, n); old = a.Load() {
	}
}

// inParts runs f over the numbers below n, of which each stands for work elements, on all cores where that is worth it.
func inParts(n, work int, f func(from, to int)) {
	const grain = 1 << 16 // elements that are worth a goroutine
	workers := min(runtime.GOMAXPROCS(0), n, max(1, n*work/grain))
	if workers <= 1 {
		f(0, n)
		return
	}
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() { f(n*i/workers, n*(i+1)/workers) })
	}
	wg.Wait()
}
