package tensor

import (
	"math"
	"testing"
	"time"
)

// BenchmarkNumbers converts and scans 16 million numbers; bench/tensor.sh holds it against NumPy.
func BenchmarkNumbers(b *testing.B) {
	const n = 1 << 24
	reals := make([]float32, n)
	for i := range reals {
		reals[i] = float32(math.Sin(float64(i))) * 3
	}
	shape := []int64{n}
	as := func(d DType) Tensor {
		t, err := FromFloat32(d, shape, reals)
		if err != nil {
			b.Fatal(err)
		}
		return t
	}
	ints := Of(shape, make([]int64, n))
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"F16-F32", widen(as(F16))}, {"BF16-F32", widen(as(BF16))}, {"F64-F32", widen(as(F64))}, {"I64-F32", widen(ints)},
		{"F32-F16", func() error { _, err := FromFloat32(F16, shape, reals); return err }},
		{"F32-BF16", func() error { _, err := FromFloat32(BF16, shape, reals); return err }},
		{"scan-F32", scanned(as(F32))}, {"scan-F16", scanned(as(F16))},
	} {
		b.Run(c.name, func(b *testing.B) {
			best := time.Hour
			for b.Loop() {
				start := time.Now()
				if err := c.do(); err != nil {
					b.Fatal(err)
				}
				best = min(best, time.Since(start))
			}
			b.ReportMetric(float64(best)/1e6, "best-ms")
		})
	}
}

func widen(t Tensor) func() error { return func() error { _, err := ToFloat32(t); return err } }
func scanned(t Tensor) func() error {
	return func() error { _, err := Scan(t); return err }
}
