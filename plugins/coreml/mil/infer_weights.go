package mil

import (
	"math/bits"
	"slices"
)

// weightOps make floats of what is stored in fewer bits, and the other way.
func weightOps() map[string]func(*call) []Type {
	return map[string]func(*call) []Type{
		"constexpr_affine_dequantize": func(c *call) []Type {
			w := c.t("quantized_data")
			at := c.axis("axis", len(w.Shape))
			for _, k := range []string{"scale", "zero_point"} {
				if s := c.t(k).Shape; len(s) != 0 && c.err == nil {
					c.shape(k, w.Shape[at])
				}
			}
			if z := c.t("zero_point").DataType; z != w.DataType {
				c.failf("zero_point is %s, and quantized_data %s", z, w.DataType)
			}
			return one(of(c.t("scale").DataType, w.Shape...))
		},
		"constexpr_blockwise_shift_scale": func(c *call) []Type {
			w, s := c.t("data"), c.t("scale")
			c.blockwise(w.Shape, s.Shape)
			c.shape("offset", s.Shape...)
			return one(of(s.DataType, w.Shape...))
		},
		"constexpr_cast": func(c *call) []Type { return one(of(c.typeNamed("output_dtype"), c.t("source_val").Shape...)) },
		"constexpr_lut_to_dense": func(c *call) []Type {
			lut := c.t("lut")
			if c.spec < 9 {
				shape := c.ints("shape", -1)
				n := 0
				if len(lut.Shape) == 1 {
					n = paletteBits(lut.Shape[0])
				}
				if n == 0 || c.err != nil {
					c.failf("lut is %v", lut.Shape)
					return one(lut)
				}
				c.shape("indices", (product(shape)*int64(n)+7)/8)
				return one(of(lut.DataType, shape...))
			}
			return one(of(lut.DataType, c.lookedUp(c.t("indices"), lut)...))
		},
		"constexpr_lut_to_sparse": func(c *call) []Type {
			lut, mask := c.t("lut"), c.t("indices_mask")
			c.rank("indices_nonzero_data", 1, 1)
			if n := len(lut.Shape); n != len(mask.Shape)+2 || lut.Shape[n-1] != 1 || int64(1)<<c.t("indices_nonzero_data").DataType.Bits() != lut.Shape[n-2] {
				c.failf("lut is %v for %s indices", lut.Shape, c.t("indices_nonzero_data").DataType)
			}
			return []Type{mask, of(lut.DataType, c.t("indices_nonzero_data").Shape...)}
		},
		"constexpr_sparse_blockwise_shift_scale": func(c *call) []Type {
			mask, s := c.t("data_mask"), c.t("scale")
			c.rank("nonzero_data", 1, 1)
			c.blockwise(mask.Shape, s.Shape)
			c.shape("offset", s.Shape...)
			return []Type{mask, of(s.DataType, c.t("nonzero_data").Shape...)}
		},
		"constexpr_sparse_to_dense": func(c *call) []Type {
			d := c.t("nonzero_data")
			c.rank("nonzero_data", 1, 1)
			if c.spec < 9 {
				shape := c.ints("shape", -1)
				c.shape("mask", (product(shape)+7)/8)
				return one(of(d.DataType, shape...))
			}
			return one(of(d.DataType, c.t("mask").Shape...))
		},
		"quantize": func(c *call) []Type {
			c.quantized()
			return one(of(c.typeNamed("output_dtype"), c.t("input").Shape...))
		},
		"dequantize": func(c *call) []Type {
			c.quantized()
			return one(of(c.t("scale").DataType, c.t("input").Shape...))
		},
		"classify": func(c *call) []Type {
			v := c.value("classes")
			if v == nil || v.Strings != len(v.Texts) || v.Strings == 0 {
				c.failf("classes is no list of texts")
				return make([]Type, 2)
			}
			c.agree("probabilities and classes", product(c.t("probabilities").Shape), int64(len(v.Texts)))
			return []Type{{DataType: String}, {Dictionary: true}}
		},
	}
}

// paletteBits is how many bits an index into a table takes; 0 where there is no such table.
func paletteBits(n int64) int {
	if n == 2 || n == 4 || n == 16 || n == 64 || n == 256 {
		return bits.TrailingZeros64(uint64(n))
	}
	return 0
}

// blockwise checks scales of blocks: the lengths of blocks divide those of the weight.
func (c *call) blockwise(w, s []int64) {
	if len(w) != len(s) || len(w) == 0 {
		c.failf("scale is %v for a weight of %v", s, w)
		return
	}
	for i := range w {
		if s[i] < 1 || w[i]%s[i] != 0 {
			c.failf("scale is %v for a weight of %v", s, w)
			return
		}
	}
}

// lookedUp is the shape that tables give for indexes: [groups.., entries, width], where groups divide the axes.
func (c *call) lookedUp(indices, lut Type) []int64 {
	n := len(indices.Shape)
	if len(lut.Shape) != n+2 || lut.Shape[n] != int64(1)<<indices.DataType.Bits() {
		c.failf("lut is %v for indices %s", lut.Shape, indices)
		return indices.Shape
	}
	c.blockwise(indices.Shape, lut.Shape[:n])
	out := slices.Clone(indices.Shape)
	if w := lut.Shape[n+1]; w != 1 {
		if !c.has("vector_axis") {
			c.failf("vector_axis is not given for vectors of %d", w)
			return out
		}
		out[c.axis("vector_axis", n)] *= w
	}
	return out
}

// quantized checks the arguments that quantize and dequantize share.
func (c *call) quantized() {
	s := c.t("scale")
	switch {
	case len(s.Shape) == 0 && c.has("axis"):
		c.failf("axis is given for a scale that is a scalar")
	case len(s.Shape) == 1 && c.has("axis"):
		r := c.t("input").Shape
		if at := c.axis("axis", len(r)); c.err == nil {
			c.agree("the axis and the scales", r[at], s.Shape[0])
		}
	case len(s.Shape) != 0:
		c.failf("scale is %v without an axis", s.Shape)
	}
	c.shape("zero_point", s.Shape...)
}
