package onnx

import (
	"math"
	"slices"
)

// Operators of vision and signals.

func registerSignal() {
	register(inferAffineGrid, "AffineGrid")
	register(func(c *inferContext) { c.out(0, c.in(0).of(DataType(c.n.IntAttr("to", 0)))) }, "BitCast")
	register(inferWindow, "BlackmanWindow", "HammingWindow", "HannWindow")
	register(inferCenterCropPad, "CenterCropPad")
	register(inferCol2Im, "Col2Im")
	register(inferCompress, "Compress")
	register(inferDFT, "DFT")
	register(inferSTFT, "STFT")
	register(inferMelWeights, "MelWeightMatrix")
	register(func(c *inferContext) { inferConv(c, 0, 1, c.in(0).elem) }, "DeformConv")
	register(inferDet, "Det")
	register(inferGridSample, "GridSample")
	register(func(c *inferContext) { c.tensor(0, Uint8, anyDim, anyDim, anyDim) }, "ImageDecoder")
	register(inferMaxRoiPool, "MaxRoiPool")
	register(inferMaxUnpool, "MaxUnpool")
	register(inferMultinomial, "Multinomial")
	register(inferLoss, "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
	register(func(c *inferContext) { c.tensor(0, Int64, anyDim, Dim{Value: 3}) }, "NonMaxSuppression")
	register(inferRoiAlign, "RoiAlign")
	register(inferUnique, "Unique")
	register(inferFirst, "SwiGLU")
	register(inferCausalConv, "CausalConvWithState")
	register(inferLinearAttention, "LinearAttention")
	register(func(c *inferContext) { c.out(0, c.in(0).of(Bool)) }, "RegexFullMatch")
	register(inferBroadcast, "StringConcat")
	register(inferStringNormalizer, "StringNormalizer")
	register(inferStringSplit, "StringSplit")
	register(inferTfIdf, "TfIdfVectorizer")
}

func inferAffineGrid(c *inferContext) {
	x, sizes := c.in(0), c.in(1)
	if !sizes.ranked || len(sizes.dims) != 1 || !sizes.dims[0].Fixed() {
		c.elemOnly(0, x.elem)
		return
	}
	dims, ok := c.dimsFrom(1)
	if !ok || len(dims) != 4 && len(dims) != 5 {
		c.elemOnly(0, x.elem)
		return
	}
	out := slices.Concat(dims[:1], dims[2:], []Dim{{Value: int64(len(dims) - 2)}})
	c.tensor(0, x.elem, out...)
}

// inferWindow: a window function of so many points.
func inferWindow(c *inferContext) {
	length := anyDim
	if d := c.in(0).data; len(d) == 1 {
		length = size(d[0])
	}
	c.tensor(0, DataType(c.n.IntAttr("output_datatype", int64(Float))), length)
}

func inferCenterCropPad(c *inferContext) {
	x := c.in(0)
	if !x.ranked {
		c.elemOnly(0, x.elem)
		return
	}
	target, ok := c.dimsFrom(1)
	axes := c.n.IntsAttr("axes")
	if !ok || len(axes) > 0 && len(axes) != len(target) || len(axes) == 0 && len(target) != len(x.dims) {
		c.elemOnly(0, x.elem)
		return
	}
	dims := slices.Clone(x.dims)
	for i, d := range target {
		k, ok := i, true
		if len(axes) > 0 {
			k, ok = axis(axes[i], len(dims))
		}
		if !ok {
			return
		}
		dims[k] = d
	}
	c.tensor(0, x.elem, dims...)
}

func inferCol2Im(c *inferContext) {
	x := c.in(0)
	image, ok := c.dimsFrom(1)
	if !x.ranked || len(x.dims) != 3 || !ok {
		c.elemOnly(0, x.elem)
		return
	}
	channels := anyDim
	if block, ok := c.ints(2); ok && x.dims[1].Fixed() {
		if p := product(FixedDims(block...)); p.Fixed() && p.Value > 0 {
			channels = Dim{Value: x.dims[1].Value / p.Value}
		}
	}
	c.tensor(0, x.elem, slices.Concat([]Dim{x.dims[0], channels}, image)...)
}

func inferCompress(c *inferContext) {
	x := c.in(0)
	if c.n.Attr("axis") == nil {
		c.tensor(0, x.elem, anyDim)
		return
	}
	k, ok := axis(c.n.IntAttr("axis", 0), len(x.dims))
	if !x.ranked || !ok {
		c.elemOnly(0, x.elem)
		return
	}
	dims := slices.Clone(x.dims)
	dims[k] = anyDim
	c.tensor(0, x.elem, dims...)
}

// inferDFT: the last axis holds the real and the imaginary part. A transform of real
// numbers has a mirrored half, which onesided leaves out.
func inferDFT(c *inferContext) {
	x := c.in(0)
	if !x.ranked || len(x.dims) < 2 {
		c.elemOnly(0, x.elem)
		return
	}
	at, known := c.n.IntAttr("axis", 1), true
	if c.opset >= 20 {
		at = -2
		if c.has(2) {
			var v []int64
			if v, known = c.ints(2); known && len(v) == 1 {
				at = v[0]
			}
		}
	}
	dims := slices.Clone(x.dims)
	dims[len(dims)-1] = Dim{Value: 2}
	k, ok := axis(at, len(dims))
	if !known && !c.has(1) && c.n.IntAttr("onesided", 0) == 0 {
		c.tensor(0, x.elem, dims...) // whichever axis it is
		return
	}
	if !known || !ok {
		parts := dims[len(dims)-1]
		if c.n.IntAttr("onesided", 0) != 0 && c.n.IntAttr("inverse", 0) != 0 {
			parts = Dim{Value: 1}
		}
		c.tensor(0, x.elem, append(slices.Repeat([]Dim{anyDim}, len(dims)-1), parts)...)
		return
	}
	if c.has(1) {
		dims[k] = anyDim
		if d := c.in(1).data; len(d) == 1 {
			dims[k] = size(d[0])
		}
	}
	if c.n.IntAttr("onesided", 0) != 0 {
		switch inverse := c.n.IntAttr("inverse", 0) != 0; {
		case inverse:
			dims[len(dims)-1] = Dim{Value: 1}
			if !c.has(1) {
				dims[k] = anyDim
				if d := x.dims[k]; d.Fixed() && d.Value > 0 && d.Value < math.MaxInt32 {
					dims[k] = Dim{Value: 2 * (d.Value - 1)}
				}
			}
		case dims[k].Fixed():
			dims[k] = Dim{Value: dims[k].Value/2 + 1}
		default:
			dims[k] = anyDim
		}
	}
	c.tensor(0, x.elem, dims...)
}

func inferSTFT(c *inferContext) {
	x, window := c.in(0), c.in(2)
	step, ok := c.ints(1)
	var length int64
	switch v, known := c.ints(3); {
	case known && len(v) == 1:
		length = v[0]
	case !c.has(3) && window.ranked && len(window.dims) == 1 && window.dims[0].Fixed():
		length = window.dims[0].Value
	}
	if !x.ranked || len(x.dims) < 2 || !ok || len(step) != 1 || step[0] <= 0 || length <= 0 {
		c.elemOnly(0, x.elem)
		return
	}
	frames, bins := anyDim, Dim{Value: length}
	if d := x.dims[1]; d.Fixed() && d.Value >= length {
		frames = Dim{Value: (d.Value-length)/step[0] + 1}
	}
	if c.n.IntAttr("onesided", 1) != 0 {
		bins = Dim{Value: length/2 + 1}
	}
	c.tensor(0, x.elem, x.dims[0], frames, bins, Dim{Value: 2})
}

func inferMelWeights(c *inferContext) {
	elem := DataType(c.n.IntAttr("output_datatype", int64(Float)))
	bins, ok1 := c.ints(0)
	length, ok2 := c.ints(1)
	if !ok1 || !ok2 || len(bins) != 1 || len(length) != 1 {
		c.elemOnly(0, elem)
		return
	}
	c.tensor(0, elem, Dim{Value: max(length[0]/2+1, -1)}, Dim{Value: max(bins[0], -1)})
}

func inferDet(c *inferContext) {
	x := c.in(0)
	if !x.ranked || len(x.dims) < 2 {
		c.elemOnly(0, x.elem)
		return
	}
	c.tensor(0, x.elem, x.dims[:len(x.dims)-2]...)
}

func inferGridSample(c *inferContext) {
	x, grid := c.in(0), c.in(1)
	if !x.ranked || !grid.ranked || len(x.dims) < 3 || len(grid.dims) != len(x.dims) {
		c.elemOnly(0, x.elem)
		return
	}
	c.tensor(0, x.elem, slices.Concat(x.dims[:2], grid.dims[1:len(grid.dims)-1])...)
}

func inferMaxRoiPool(c *inferContext) {
	x, rois, pooled := c.in(0), c.in(1), c.n.IntsAttr("pooled_shape")
	if !x.ranked || !rois.ranked || len(x.dims) < 2 || len(rois.dims) < 1 || len(pooled) != 2 {
		c.elemOnly(0, x.elem)
		return
	}
	c.tensor(0, x.elem, rois.dims[0], x.dims[1], Dim{Value: max(pooled[0], -1)}, Dim{Value: max(pooled[1], -1)})
}

func inferMaxUnpool(c *inferContext) {
	x := c.in(0)
	if c.has(2) {
		if shape, ok := c.ints(2); ok {
			c.tensor(0, x.elem, FixedDims(shape...)...)
		} else {
			c.elemOnly(0, x.elem)
		}
		return
	}
	kernel := c.n.IntsAttr("kernel_shape")
	w, ok := windowOf(c.n, kernel)
	if !x.ranked || !ok || len(kernel) != len(x.dims)-2 {
		c.elemOnly(0, x.elem)
		return
	}
	dims := slices.Clone(x.dims)
	for i := range kernel {
		d := x.dims[i+2]
		dims[i+2] = anyDim
		if d.Fixed() && d.Value < math.MaxInt32 {
			dims[i+2] = Dim{Value: max(w.strides[i]*(d.Value-1)+kernel[i]-w.pads[i]-w.pads[i+len(kernel)], -1)}
		}
	}
	c.tensor(0, x.elem, dims...)
}

func inferRoiAlign(c *inferContext) {
	x, rois := c.in(0), c.in(1)
	at := func(axis int, of *valueType) Dim {
		if of.ranked && axis < len(of.dims) {
			return of.dims[axis]
		}
		return anyDim
	}
	c.tensor(0, x.elem, at(0, rois), at(1, x), Dim{Value: max(c.n.IntAttr("output_height", 1), -1)}, Dim{Value: max(c.n.IntAttr("output_width", 1), -1)})
}

// inferCausalConv: each channel is filtered for itself, and what it still needs of the
// past is handed on.
func inferCausalConv(c *inferContext) {
	inferFirst(c)
	x, w := c.in(0), c.in(1)
	if !x.ranked || !w.ranked || len(x.dims) != 3 || len(w.dims) != 3 {
		c.elemOnly(1, x.elem)
		return
	}
	past := anyDim
	if w.dims[2].Fixed() {
		past = Dim{Value: max(w.dims[2].Value-1, -1)}
	}
	c.tensor(1, x.elem, x.dims[0], x.dims[1], past)
}

// inferLinearAttention: the heads lie side by side in the last axis.
func inferLinearAttention(c *inferContext) {
	q, k, v := c.in(0), c.in(1), c.in(2)
	stateElem := q.elem
	if c.has(3) {
		stateElem = c.in(3).elem
	}
	qHeads, heads := c.n.IntAttr("q_num_heads", 0), c.n.IntAttr("kv_num_heads", 0)
	if !q.ranked || !k.ranked || !v.ranked || len(q.dims) != 3 || len(k.dims) != 3 || len(v.dims) != 3 || heads <= 0 || qHeads <= 0 {
		c.elemOnly(0, q.elem)
		c.elemOnly(1, stateElem)
		return
	}
	perHead := func(d Dim) Dim {
		if !d.Fixed() {
			return anyDim
		}
		return Dim{Value: d.Value / heads}
	}
	last := perHead(v.dims[2])
	out := anyDim
	if last.Fixed() {
		if p, ok := mul(last.Value, qHeads); ok {
			out = Dim{Value: p}
		}
	}
	c.tensor(0, q.elem, q.dims[0], q.dims[1], out)
	c.tensor(1, stateElem, q.dims[0], Dim{Value: heads}, perHead(k.dims[2]), last)
}
