package onnx

import (
	"math"
	"slices"
)

// Operators of text, of losses and of the domains for classical models and training.

// inferTraining holds the operators of ai.onnx.preview.training: each new value has
// the type of the one it replaces.
var inferTraining = map[string]func(*inferContext){
	"Adagrad": inferOptimizer, "Adam": inferOptimizer, "Momentum": inferOptimizer,
}

// inferPreview holds those of ai.onnx.preview.
var inferPreview = map[string]func(*inferContext){"FlexAttention": inferFlexAttention}

// inferML holds operators of ai.onnx.ml.
var inferML = map[string]func(*inferContext){
	"Binarizer":             inferFirst,
	"Scaler":                func(c *inferContext) { c.out(0, c.in(0).of(Float)) },
	"Normalizer":            func(c *inferContext) { c.out(0, c.in(0).of(Float)) },
	"LabelEncoder":          inferLabelEncoder,
	"TreeEnsemble":          inferTreeEnsemble,
	"ArrayFeatureExtractor": inferArrayFeature,
}

// Inputs: R, T, then the values of one kind after the other: X1 X2 G1 G2 H1 H2.
func inferOptimizer(c *inferContext) {
	rest := len(c.n.inputs) - 2
	kinds := map[string]int{"Adagrad": 3, "Adam": 4, "Momentum": 3}[c.n.OpType]
	count := rest / kinds
	for i := range c.outs {
		at := 2 + i
		if i >= count { // the gradients have no output
			at += count
		}
		c.out(i, c.in(at).of(c.in(at).elem))
	}
}

// Inputs: Q, K, V of four axes: Y has those of Q, but for the size of a head.
func inferFlexAttention(c *inferContext) {
	q, v := c.in(0), c.in(2)
	if !q.ranked || !v.ranked || len(q.dims) != 4 || len(v.dims) != 4 {
		c.elemOnly(0, q.elem)
		return
	}
	c.tensor(0, q.elem, q.dims[0], q.dims[1], q.dims[2], v.dims[3])
}

func inferLabelEncoder(c *inferContext) {
	elem := Undefined
	for _, a := range c.n.attrs {
		switch a.Name {
		case "values_int64s":
			elem = Int64
		case "values_strings":
			elem = String
		case "values_floats":
			elem = Float
		case "values_tensor":
			if a.T != nil {
				elem = a.T.DataType
			}
		}
	}
	c.out(0, c.in(0).of(elem))
}

func inferTreeEnsemble(c *inferContext) {
	x := c.in(0)
	targets := Dim{Value: max(c.n.IntAttr("n_targets", -1), -1)}
	if !x.ranked || len(x.dims) == 0 {
		c.elemOnly(0, x.elem)
		return
	}
	c.tensor(0, x.elem, x.dims[0], targets)
}

func inferArrayFeature(c *inferContext) {
	x, at := c.in(0), c.in(1)
	if !x.ranked || !at.ranked || len(x.dims) == 0 {
		c.elemOnly(0, x.elem)
		return
	}
	picked := product(at.dims)
	if len(x.dims) == 1 {
		c.tensor(0, x.elem, Dim{Value: 1}, picked)
		return
	}
	c.tensor(0, x.elem, append(slices.Clone(x.dims[:len(x.dims)-1]), picked)...)
}

func inferMultinomial(c *inferContext) {
	elem := DataType(c.n.IntAttr("dtype", int64(Int32)))
	x := c.in(0)
	if !x.ranked || len(x.dims) != 2 {
		c.elemOnly(0, elem)
		return
	}
	c.tensor(0, elem, x.dims[0], Dim{Value: max(c.n.IntAttr("sample_size", 1), -1)})
}

// Inputs: scores, target. Without a reduction there is a loss for each target.
func inferLoss(c *inferContext) {
	x, target := c.in(0), c.in(1)
	c.out(1, x.of(x.elem))
	switch {
	case c.n.StringAttr("reduction", "mean") != "none":
		c.tensor(0, x.elem)
	case x.ranked && len(x.dims) >= 2:
		c.tensor(0, x.elem, slices.Concat(x.dims[:1], x.dims[2:])...)
	default:
		c.out(0, target.of(x.elem))
	}
}

func inferUnique(c *inferContext) {
	x := c.in(0)
	c.tensor(0, x.elem, anyDim)
	if c.n.Attr("axis") != nil {
		c.elemOnly(0, x.elem)
		if k, ok := axis(c.n.IntAttr("axis", 0), len(x.dims)); ok && x.ranked {
			dims := slices.Clone(x.dims)
			dims[k] = anyDim
			c.tensor(0, x.elem, dims...)
		}
	}
	for i := 1; i < 4; i++ {
		c.tensor(i, Int64, anyDim)
	}
}

// inferStringNormalizer: stop words go, so the number of words is open.
func inferStringNormalizer(c *inferContext) {
	x := c.in(0)
	switch {
	case x.ranked && len(x.dims) == 2:
		c.tensor(0, String, Dim{Value: 1}, anyDim)
	case x.ranked && len(x.dims) == 1:
		c.tensor(0, String, anyDim)
	default:
		c.elemOnly(0, String)
	}
}

func inferStringSplit(c *inferContext) {
	x := c.in(0)
	if !x.ranked {
		c.elemOnly(0, String)
		c.elemOnly(1, Int64)
		return
	}
	c.tensor(0, String, append(slices.Clone(x.dims), anyDim)...)
	c.tensor(1, Int64, x.dims...)
}

func inferTfIdf(c *inferContext) {
	x := c.in(0)
	length := int64(0)
	for _, i := range c.n.IntsAttr("ngram_indexes") {
		length = max(length, min(i, math.MaxInt32)+1)
	}
	switch {
	case x.ranked && len(x.dims) == 1:
		c.tensor(0, Float, Dim{Value: length})
	case x.ranked && len(x.dims) == 2:
		c.tensor(0, Float, x.dims[0], Dim{Value: length})
	default:
		c.elemOnly(0, Float)
	}
}
