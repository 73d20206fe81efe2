package quantize

import (
	"math"

	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/tensor"
)

// Range is the smallest and largest value that a tensor took during calibration, or is taken to take.
type Range struct{ Min, Max float32 }

// ranges are the tensors' by their names.
type ranges map[string]Range

// rangesOf are the chosen ones.
func rangesOf(r *calibrate.Ranges) ranges {
	out := make(ranges, len(r.Tensors))
	for name, t := range r.Tensors {
		out[name] = Range(t.Chosen)
	}
	return out
}

// Union returns the smallest range that holds both.
func (r Range) Union(o Range) Range { return Range{min(r.Min, o.Min), max(r.Max, o.Max)} }

// Params map reals to integers: q = saturate(round(x/Scale) + Zero).
type Params struct {
	DType tensor.DType
	Scale float32
	Zero  int32
}

// smallestNormal is the smallest positive float32 that is not subnormal: engines flush what lies below to zero,
// and a scale of zero divides by zero.
const smallestNormal = 0x1p-126

// Params chooses scale and zero point for a range under a scheme. The range is widened to hold 0, which padding
// needs exactly. A range of zero width (a dead tensor) has scale 1. The arithmetic is that of
// onnxruntime.quantization, in float64 and rounded once, so that min-max scales agree to the bit.
func (s Scheme) Params(r Range) Params {
	lo, hi := float64(min(r.Min, 0)), float64(max(r.Max, 0))
	if s.HalfOpen && lo == 0 || min(-lo, hi) < s.Skew*max(-lo, hi) {
		s.Symmetric = false
	}
	if s.Symmetric {
		hi = max(-lo, hi)
		lo = -hi
	}
	p := Params{DType: s.DType, Scale: 1}
	scale := (hi - lo) / float64(s.QMax-s.QMin)
	switch {
	case scale < smallestNormal:
		// A dead tensor: 0 must still be exact, and a Relu in front still redundant.
		if s.Symmetric {
			p.Zero = (s.QMax + s.QMin) / 2
		} else {
			p.Zero = s.QMin
		}
		return p
	case s.Symmetric:
		p.Zero = int32(math.RoundToEven(float64(s.QMax+s.QMin) / 2))
	default:
		p.Zero = int32(math.RoundToEven(float64(s.QMin) - lo/scale))
	}
	p.Zero = min(max(p.Zero, s.QMin), s.QMax)
	p.Scale = float32(scale)
	return p
}

// clampRedundant tells whether saturating to the scheme's range under p does what Clip(lo, hi) does, so that the
// clamp in front of the QuantizeLinear can go. Relu is lo 0 and hi +Inf.
func (s Scheme) clampRedundant(p Params, lo, hi float64) bool {
	// Every x below lo must land on qmin, and so must lo itself; likewise above.
	// A QuantizeLinear saturates at the ends of the type, whatever range the scheme uses of it.
	qmin, qmax := s.QMin, s.QMax
	if s.DType == tensor.I8 {
		qmin, qmax = math.MinInt8, math.MaxInt8
	}
	low := math.IsInf(lo, -1) || math.RoundToEven(float64(float32(lo)/p.Scale))+float64(p.Zero) <= float64(qmin)
	high := math.IsInf(hi, 1) || math.RoundToEven(float64(float32(hi)/p.Scale))+float64(p.Zero) >= float64(qmax)
	return low && high
}

// quantize maps one real number, half to even, saturating at the ends of the type.
func (p Params) quantize(x float32) int32 {
	lo, hi := 0.0, 255.0
	if p.DType == tensor.I8 {
		lo, hi = math.MinInt8, math.MaxInt8
	}
	return int32(min(max(math.RoundToEven(float64(x/p.Scale))+float64(p.Zero), lo), hi))
}
