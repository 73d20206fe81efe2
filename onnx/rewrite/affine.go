package rewrite

import (
	"math"

	"github.com/optimize-hcl/optimize/onnx"
)

// affines moves y = x*s + b, with one s and b for all or one a channel, into the convolutions that read y. Where one of
// them pads, its border would see b instead of 0, so there only s goes, and b/s stays as the one Add.
func (r *rewriter) affines() int {
	return r.each(func(n *onnx.Node) bool {
		if !n.Is("Mul") && !n.Is("Add") {
			return false
		}
		readers := convReaders(n.Graph(), n.Output(0))
		if readers == nil {
			return false
		}
		if n.Is("Mul") {
			x, s, ok := r.perChannelConstant(n, readers)
			return ok && r.scaleReaders(readers, s) && bypass(n, x)
		}
		x, b, ok := r.perChannelConstant(n, readers)
		if !ok {
			return false
		}
		if !padded(readers) {
			return r.shiftReaders(readers, b) && bypass(n, x)
		}
		// (x*s) + b in front of padding: the product moves behind the sum.
		m := sole(n, x, "Mul")
		if m == nil {
			return false
		}
		z, s, ok := r.perChannelConstant(m, readers)
		if !ok {
			return false
		}
		shift := make([]float32, max(len(s), len(b)))
		for i := range shift {
			f, add := float64(s[i%len(s)]), float64(b[i%len(b)])
			shift[i] = float32(add / f)
			// A sum far larger than what it is added to would cost digits.
			if f == 0 || !(math.Abs(add/f) < 1e4) {
				return false
			}
		}
		if !r.scaleReaders(readers, s) {
			return false
		}
		shape := []int64{1}
		if len(shift) > 1 {
			shape = channelShape(len(shift), r.rankOf(readers[0]))
		}
		n.SetInputs(z, put(n.Graph(), n.Output(0)+"_shift", shift, shape...))
		return true
	})
}

func channelShape(channels, rank int) []int64 {
	shape := make([]int64, rank-1)
	for i := range shape {
		shape[i] = 1
	}
	shape[0] = int64(channels)
	return shape
}

// bypass lets the readers of a node read x instead, and removes it.
func bypass(n *onnx.Node, x string) bool {
	g, out := n.Graph(), n.Output(0)
	g.RemoveNode(n)
	g.ReplaceAllUses(out, x)
	return true
}

// convReaders returns the nodes that read a value if all are Conv with constant float weights that read it as data.
func convReaders(g *onnx.Graph, value string) []*onnx.Node {
	if value == "" || g.IsOutput(value) {
		return nil
	}
	readers := g.Consumers(value)
	for _, n := range readers {
		if !n.Is("Conv") || n.Graph() != g || n.Input(0) != value || n.Input(1) == value || n.Input(2) == value {
			return nil
		}
		w := g.Constant(n.Input(1))
		if w == nil || w.DataType != onnx.Float || len(w.Dims) < 3 || w.Elements() <= 0 {
			return nil
		}
		if b := n.Input(2); b != "" {
			if t := g.Constant(b); t == nil || t.DataType != onnx.Float || t.Elements() != w.Dims[0] {
				return nil
			}
		}
		if group := n.IntAttr("group", 1); group < 1 || w.Dims[0]%group != 0 {
			return nil
		}
	}
	return readers
}

func (r *rewriter) rankOf(conv *onnx.Node) int {
	return len(conv.Graph().Constant(conv.Input(1)).Dims)
}

// channelsOf is the number of channels that a convolution reads.
func channelsOf(conv *onnx.Node) int64 {
	return conv.Graph().Constant(conv.Input(1)).Dims[1] * conv.IntAttr("group", 1)
}

func padded(convs []*onnx.Node) bool {
	for _, n := range convs {
		switch n.StringAttr("auto_pad", "NOTSET") {
		case "NOTSET", "VALID":
		default:
			return true
		}
		for _, p := range n.IntsAttr("pads") {
			if p != 0 {
				return true
			}
		}
	}
	return false
}

// perChannelConstant splits the inputs of a Mul or Add into the value and a constant of one number, or one for each
// channel that the convolutions behind it read.
func (r *rewriter) perChannelConstant(n *onnx.Node, convs []*onnx.Node) (x string, c []float32, ok bool) {
	if len(n.Inputs()) != 2 {
		return "", nil, false
	}
	rank := r.rankOf(convs[0])
	for i := range 2 {
		t := n.Graph().Constant(n.Input(i))
		x := n.Input(1 - i)
		if t == nil || t.DataType != onnx.Float || len(t.Dims) > rank || n.Graph().Constant(x) != nil {
			continue
		}
		_, dims, known := r.shapes.Of(x)
		if !known || len(dims) != rank || !r.isFloat(x) {
			continue
		}
		channels := channelsOf(convs[0])
		// The value must have the channels itself: a constant could have spread one over many.
		if dims[1].Value != channels {
			continue
		}
		fits := true
		for k, d := range t.Dims {
			fits = fits && (d == 1 || k+rank-len(t.Dims) == 1 && d == channels)
		}
		if !fits {
			continue
		}
		v, err := t.Float32s()
		if err != nil || len(v) == 0 {
			continue
		}
		for _, e := range v {
			fits = fits && !math.IsNaN(float64(e-e))
		}
		if fits {
			return x, v, true
		}
	}
	return "", nil, false
}

// scaleReaders multiplies the weights of each convolution by s, one number or one a channel that it reads.
func (r *rewriter) scaleReaders(convs []*onnx.Node, s []float32) bool {
	scaled := make([][]float32, len(convs))
	for i, n := range convs {
		t := n.Graph().Constant(n.Input(1))
		w, err := t.Float32s()
		if err != nil {
			r.err = err
			return false
		}
		out := make([]float32, len(w))
		walkChannels(t.Dims, n.IntAttr("group", 1), func(_, channel int64, at, size int) {
			f := float64(s[int(channel)%len(s)])
			for k := at; k < at+size; k++ {
				out[k] = float32(float64(w[k]) * f)
			}
		})
		for _, x := range out {
			if math.IsNaN(float64(x - x)) {
				return false
			}
		}
		scaled[i] = out
	}
	for i, n := range convs {
		t := n.Graph().Constant(n.Input(1))
		n.SetInput(1, put(n.Graph(), n.Input(1)+"_scaled", scaled[i], t.Dims...))
	}
	return true
}

// shiftReaders adds to the bias of each convolution what b, one number or one a channel that it reads, adds to its
// result. None of them pads.
func (r *rewriter) shiftReaders(convs []*onnx.Node, b []float32) bool {
	shifted := make([][]float32, len(convs))
	for i, n := range convs {
		t := n.Graph().Constant(n.Input(1))
		w, err := t.Float32s()
		if err != nil {
			r.err = err
			return false
		}
		sum := make([]float64, t.Dims[0])
		walkChannels(t.Dims, n.IntAttr("group", 1), func(out, channel int64, at, size int) {
			var s float64
			for _, x := range w[at : at+size] {
				s += float64(x)
			}
			sum[out] += s * float64(b[int(channel)%len(b)])
		})
		if n.Input(2) != "" {
			old, err := n.Graph().Constant(n.Input(2)).Float32s()
			if err != nil {
				r.err = err
				return false
			}
			for k, x := range old {
				sum[k] += float64(x)
			}
		}
		shifted[i] = make([]float32, len(sum))
		for k, x := range sum {
			shifted[i][k] = float32(x)
			if math.IsNaN(float64(shifted[i][k] - shifted[i][k])) {
				return false
			}
		}
	}
	for i, n := range convs {
		n.SetInput(2, put(n.Graph(), n.Input(1)+"_bias", shifted[i], int64(len(shifted[i]))))
	}
	return true
}

// walkChannels calls f for each kernel of a convolution's weights [M, C/group, k...]: the channel that it writes, the
// channel that it reads, where its elements begin and how many there are.
func walkChannels(dims []int64, group int64, f func(out, channel int64, at, size int)) {
	size := 1
	for _, d := range dims[2:] {
		size *= int(d)
	}
	perGroup := dims[0] / group
	at := 0
	for out := range dims[0] {
		for c := range dims[1] {
			f(out, out/perGroup*dims[1]+c, at, size)
			at += size
		}
	}
}
