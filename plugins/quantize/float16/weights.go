package float16

import (
	"math"
	"runtime"
	"sync"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

const (
	halfMax      = 65504
	halfNormal   = 6.103515625e-05 // the smallest half with all its digits
	bfloatMax    = 3.3895313892515355e+38
	bfloatNormal = 1.1754943508222875e-38
	// leastSQNR is that of a weight in half precision, in dB, below which it stays in float. Rounding to 11 digits alone
	// gives about 73, to the 8 of bfloat16 about 55.
	leastSQNR, leastSQNRBFloat = 60, 45
)

// Loss counts what a conversion did to the elements of one tensor.
type Loss struct {
	Elements   int64
	Overflowed int64 // finite, beyond the largest number: written as that
	Vanished   int64 // not zero, written as zero
	Denormal   int64 // written with fewer digits than others have
	SQNR       float64
	Worst      float64 // the largest magnitude that is finite
}

// convert rounds a float tensor to half precision, to nearest and ties to even. What is finite stays finite: it
// saturates.
func convert(t *onnx.Tensor, to onnx.DataType, name string) (*onnx.Tensor, Loss, error) {
	v, err := t.Float32s()
	if err != nil {
		return nil, Loss{}, err
	}
	most, normal := float64(halfMax), halfNormal
	if to == onnx.BFloat16 {
		most, normal = bfloatMax, bfloatNormal
	}
	out := make([]uint16, len(v))
	const chunk = 1 << 16
	parts := (len(v) + chunk - 1) / chunk
	losses := make([]Loss, parts)
	noise, signal := make([]float64, parts), make([]float64, parts)
	each(parts, func(p int) {
		l := &losses[p]
		for i := p * chunk; i < min((p+1)*chunk, len(v)); i++ {
			x := v[i]
			a := math.Abs(float64(x))
			var h uint16
			var back float32
			if to == onnx.BFloat16 {
				h = tensor.Float32ToBF16(x)
				back = tensor.BF16ToFloat32(h)
			} else {
				h = tensor.Float32ToF16(x)
				back = tensor.F16ToFloat32(h)
			}
			switch {
			case math.IsInf(a, 0) || math.IsNaN(a):
				out[i] = h
				continue
			case math.IsInf(float64(back), 0):
				l.Overflowed++
				h = (h & 0x8000) | largest(to)
				back = float32(math.Copysign(most, float64(x)))
			case back == 0 && x != 0:
				l.Vanished++
			case x != 0 && math.Abs(float64(back)) < normal:
				l.Denormal++
			}
			out[i] = h
			l.Worst = max(l.Worst, a)
			d := float64(back) - float64(x)
			noise[p] += d * d
			signal[p] += a * a
		}
	})
	sum := Loss{Elements: int64(len(v)), SQNR: math.Inf(1)}
	var n, s float64
	for p, l := range losses {
		sum.Overflowed += l.Overflowed
		sum.Vanished += l.Vanished
		sum.Denormal += l.Denormal
		sum.Worst = max(sum.Worst, l.Worst)
		n += noise[p]
		s += signal[p]
	}
	if n > 0 {
		sum.SQNR = 10 * math.Log10(s/n)
	}
	r := onnx.NewTensor(name, tensor.Tensor{DType: to.DType(), Shape: t.Dims, Data: tensor.Of(nil, out).Data})
	return r, sum, nil
}

func largest(to onnx.DataType) uint16 {
	if to == onnx.BFloat16 {
		return 0x7F7F
	}
	return 0x7BFF
}

// each runs work for the numbers below n on all cores.
func each(n int, work func(i int)) {
	if n < 2 {
		for i := range n {
			work(i)
		}
		return
	}
	var wg sync.WaitGroup
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := range next {
				work(i)
			}
		})
	}
	wg.Wait()
}
