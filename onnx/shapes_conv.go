package onnx

import (
	"math"
	"slices"
)

func registerConv() {
	register(func(c *inferContext) { inferConv(c, 0, 1, c.in(0).elem) }, "Conv")
	register(func(c *inferContext) { inferConv(c, 0, 1, Int32) }, "ConvInteger")
	register(func(c *inferContext) { inferConv(c, 0, 3, c.in(7).elem) }, "QLinearConv")
	register(inferConvTranspose, "ConvTranspose")
	register(inferPool, "MaxPool", "AveragePool", "LpPool")
	register(inferGlobalPool, "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
	register(inferBatchNorm, "BatchNormalization")
	register(inferLayerNorm, "LayerNormalization")
	register(func(c *inferContext) { inferMatMul(c, 0, 1, c.in(0).elem) }, "MatMul")
	register(func(c *inferContext) { inferMatMul(c, 0, 1, Int32) }, "MatMulInteger")
	register(func(c *inferContext) { inferMatMul(c, 0, 3, c.in(7).elem) }, "QLinearMatMul")
	register(inferGemm, "Gemm")
	register(inferRecurrent, "LSTM", "GRU", "RNN")
	register(inferResize, "Resize", "Upsample")
}

// window is a sliding window over the spatial axes.
type window struct{ kernel, strides, dilations, pads []int64 }

// windowOf reads the attributes; ok is false when they do not fit.
func windowOf(n *Node, kernel []int64) (w window, ok bool) {
	spatial := len(kernel)
	attr := func(name string, count int, def int64) []int64 {
		if v := n.IntsAttr(name); len(v) == count {
			return v
		} else if len(v) != 0 {
			ok = false
		}
		return slices.Repeat([]int64{def}, count)
	}
	ok = true
	w = window{kernel, attr("strides", spatial, 1), attr("dilations", spatial, 1), attr("pads", 2*spatial, 0)}
	for i := range kernel {
		// Sizes beyond 32 bits are mistakes; within them nothing overflows.
		for _, v := range []int64{kernel[i], w.strides[i], w.dilations[i]} {
			ok = ok && v >= 1 && v <= math.MaxInt32
		}
		for _, v := range []int64{w.pads[i], w.pads[i+spatial]} {
			ok = ok && v >= -math.MaxInt32 && v <= math.MaxInt32
		}
	}
	return w, ok
}

// extent is how many elements of axis i the window spans.
func (w *window) extent(i int) int64 { return (w.kernel[i]-1)*w.dilations[i] + 1 }

func (w *window) output(n *Node, i int, in Dim) Dim {
	if !in.Fixed() {
		return anyDim
	}
	var out int64
	switch n.StringAttr("auto_pad", "NOTSET") {
	case "SAME_UPPER", "SAME_LOWER":
		out = (in.Value + w.strides[i] - 1) / w.strides[i]
	case "VALID":
		out = (in.Value-w.extent(i))/w.strides[i] + 1
	default:
		begin, end := w.pads[i], w.pads[i+len(w.kernel)]
		room := in.Value + begin + end - w.extent(i)
		if room < 0 {
			return anyDim
		}
		out = room/w.strides[i] + 1
		if n.IntAttr("ceil_mode", 0) != 0 && room%w.strides[i] != 0 && out*w.strides[i] < in.Value+begin {
			// The last window may hang over the end, but must begin before it.
			out++
		}
	}
	if out < 0 {
		return anyDim
	}
	return Dim{Value: out}
}

// kernelOf returns kernel_shape, else the spatial axes of the weights.
func kernelOf(n *Node, weights []Dim) ([]int64, bool) {
	if k := n.IntsAttr("kernel_shape"); len(k) > 0 {
		return k, true
	}
	if len(weights) < 3 {
		return nil, false
	}
	var k []int64
	for _, d := range weights[2:] {
		if !d.Fixed() {
			return nil, false
		}
		k = append(k, d.Value)
	}
	return k, true
}

// inferConv takes the indexes of the image and the weights among the inputs.
func inferConv(c *inferContext, xi, wi int, elem DataType) {
	x, w := c.in(xi), c.in(wi)
	if !x.ranked || len(x.dims) < 3 {
		c.elemOnly(0, elem)
		return
	}
	dims := slices.Repeat([]Dim{anyDim}, len(x.dims))
	dims[0] = x.dims[0]
	if w.ranked && len(w.dims) == len(dims) {
		dims[1] = w.dims[0]
	}
	if kernel, ok := kernelOf(c.n, w.dims); ok && len(kernel) == len(dims)-2 {
		if win, ok := windowOf(c.n, kernel); ok {
			for i := range kernel {
				dims[i+2] = win.output(c.n, i, x.dims[i+2])
			}
		}
	}
	c.tensor(0, elem, dims...)
}

func inferConvTranspose(c *inferContext) {
	x, w := c.in(0), c.in(1)
	if !x.ranked || len(x.dims) < 3 {
		c.elemOnly(0, x.elem)
		return
	}
	dims := slices.Repeat([]Dim{anyDim}, len(x.dims))
	dims[0] = x.dims[0]
	if w.ranked && len(w.dims) == len(dims) && w.dims[1].Fixed() {
		dims[1] = product([]Dim{w.dims[1], {Value: max(c.n.IntAttr("group", 1), 1)}})
	}
	kernel, ok := kernelOf(c.n, w.dims)
	if !ok || len(kernel) != len(dims)-2 {
		c.tensor(0, x.elem, dims...)
		return
	}
	win, ok := windowOf(c.n, kernel)
	shape, extra := c.n.IntsAttr("output_shape"), c.n.IntsAttr("output_padding")
	for i := range kernel {
		in := x.dims[i+2]
		auto := c.n.StringAttr("auto_pad", "NOTSET")
		switch {
		case len(shape) == len(kernel):
			dims[i+2] = Dim{Value: max(shape[i], -1)}
		case !ok || !in.Fixed() || in.Value > math.MaxInt32:
		case auto == "SAME_UPPER" || auto == "SAME_LOWER":
			dims[i+2] = Dim{Value: in.Value * win.strides[i]}
		default:
			out := win.strides[i]*(in.Value-1) + win.extent(i)
			if auto != "VALID" {
				out -= win.pads[i] + win.pads[i+len(kernel)]
			}
			if len(extra) == len(kernel) {
				out += extra[i]
			}
			dims[i+2] = Dim{Value: max(out, -1)}
		}
	}
	c.tensor(0, x.elem, dims...)
}

func inferPool(c *inferContext) {
	x := c.in(0)
	kernel := c.n.IntsAttr("kernel_shape")
	win, ok := windowOf(c.n, kernel)
	if !x.ranked || !ok || len(kernel) != len(x.dims)-2 {
		c.elemOnly(0, x.elem)
		c.elemOnly(1, Int64)
		return
	}
	dims := slices.Clone(x.dims)
	for i := range kernel {
		dims[i+2] = win.output(c.n, i, x.dims[i+2])
	}
	c.tensor(0, x.elem, dims...)
	c.tensor(1, Int64, dims...)
}

func inferGlobalPool(c *inferContext) {
	x := c.in(0)
	if !x.ranked || len(x.dims) < 2 {
		c.elemOnly(0, x.elem)
		return
	}
	dims := slices.Repeat([]Dim{{Value: 1}}, len(x.dims))
	copy(dims, x.dims[:2])
	c.tensor(0, x.elem, dims...)
}

func inferBatchNorm(c *inferContext) {
	inferFirst(c)
	for i := 1; i < len(c.outs); i++ {
		c.out(i, c.in(min(i+2, 4)).of(c.in(min(i+2, 4)).elem))
	}
}

func inferLayerNorm(c *inferContext) {
	inferFirst(c)
	x := c.in(0)
	if !x.ranked {
		return
	}
	from, ok := axis(c.n.IntAttr("axis", -1), len(x.dims))
	if !ok {
		return
	}
	dims := slices.Clone(x.dims)
	for i := from; i < len(dims); i++ {
		dims[i] = Dim{Value: 1}
	}
	stash := DataType(c.n.IntAttr("stash_type", int64(Float)))
	c.tensor(1, stash, dims...)
	c.tensor(2, stash, dims...)
}

func inferMatMul(c *inferContext, ai, bi int, elem DataType) {
	a, b := c.in(ai), c.in(bi)
	if !a.ranked || !b.ranked || len(a.dims) == 0 || len(b.dims) == 0 {
		c.elemOnly(0, elem)
		return
	}
	c.tensor(0, elem, matMulDims(a.dims, b.dims)...)
}

// matMulDims takes two shapes of rank 1 or more.
func matMulDims(a, b []Dim) []Dim {
	var rows, columns []Dim
	var batchA, batchB []Dim
	if n := len(a); n > 1 {
		rows, batchA = a[n-2:n-1], a[:n-2]
	}
	if n := len(b); n > 1 {
		columns, batchB = b[n-1:], b[:n-2]
	}
	return slices.Concat(broadcast(batchA, batchB), rows, columns)
}

func inferGemm(c *inferContext) {
	a, b := c.in(0), c.in(1)
	rows, columns := anyDim, anyDim
	if a.ranked && len(a.dims) == 2 {
		rows = a.dims[c.n.IntAttr("transA", 0)&1]
	}
	if b.ranked && len(b.dims) == 2 {
		columns = b.dims[1-c.n.IntAttr("transB", 0)&1]
	}
	c.tensor(0, a.elem, rows, columns)
}

func inferRecurrent(c *inferContext) {
	x := c.in(0)
	if !x.ranked || len(x.dims) != 3 {
		for i := range c.outs {
			c.elemOnly(i, x.elem)
		}
		return
	}
	hidden, directions := anyDim, Dim{Value: 1}
	if h := c.n.IntAttr("hidden_size", 0); h > 0 {
		hidden = Dim{Value: h}
	}
	if c.n.StringAttr("direction", "forward") == "bidirectional" {
		directions.Value = 2
	}
	time, batch := x.dims[0], x.dims[1]
	if c.n.IntAttr("layout", 0) == 1 {
		batch, time = time, batch
		c.tensor(0, x.elem, batch, time, directions, hidden)
		c.tensor(1, x.elem, batch, directions, hidden)
		c.tensor(2, x.elem, batch, directions, hidden)
		return
	}
	c.tensor(0, x.elem, time, directions, batch, hidden)
	c.tensor(1, x.elem, directions, batch, hidden)
	c.tensor(2, x.elem, directions, batch, hidden)
}

func inferResize(c *inferContext) {
	x := c.in(0)
	if !x.ranked {
		c.elemOnly(0, x.elem)
		return
	}
	dims := slices.Repeat([]Dim{anyDim}, len(x.dims))
	axes := make([]int, len(dims))
	for i := range axes {
		axes[i] = i
	}
	if a := c.n.IntsAttr("axes"); len(a) > 0 {
		copy(dims, x.dims)
		axes = axes[:0]
		for _, v := range a {
			k, ok := axis(v, len(dims))
			if !ok {
				c.elemOnly(0, x.elem)
				return
			}
			axes = append(axes, k)
			dims[k] = anyDim
		}
	}
	scalesAt := 2
	if c.n.OpType == "Upsample" || c.opset < 11 {
		scalesAt = 1
	}
	scales, ok := c.floats(scalesAt)
	if a := c.n.Attr("scales"); a != nil {
		scales, ok = a.Floats(), true
	}
	stretch := c.n.StringAttr("keep_aspect_ratio_policy", "stretch") == "stretch"
	if sizes := c.in(3).data; c.has(3) && len(sizes) == len(axes) && stretch {
		for i, k := range axes {
			dims[k] = size(sizes[i])
		}
	} else if ok && len(scales) == len(axes) {
		for i, k := range axes {
			switch d := x.dims[k]; {
			case scales[i] == 1:
				dims[k] = d
			case d.Fixed() && scales[i] > 0 && float64(d.Value)*float64(scales[i]) < math.MaxInt32:
				// In float32, as runtimes do, since scales are often rounded thirds.
				dims[k] = Dim{Value: int64(float32(d.Value) * scales[i])}
			}
		}
	}
	c.tensor(0, x.elem, dims...)
}
