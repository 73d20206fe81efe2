package mil

import (
	"math"
	"slices"
)

// imageOps resize and rearrange pictures: tensors of [.., channels, height, width].
func imageOps() map[string]func(*call) []Type {
	target := func(c *call) []Type {
		x := c.t("x")
		if !c.rank("x", 3, maxRank) {
			return one(x)
		}
		if c.has("sampling_mode") {
			c.text("sampling_mode", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS")
		}
		out := slices.Clone(x.Shape)
		out[len(out)-2], out[len(out)-1] = c.int("target_size_height"), c.int("target_size_width")
		return one(of(x.DataType, out...))
	}
	scaled := func(c *call) []Type {
		x := c.t("x")
		if !c.rank("x", 3, maxRank) {
			return one(x)
		}
		out := slices.Clone(x.Shape)
		for i, key := range []string{"scale_factor_height", "scale_factor_width"} {
			f, ok := c.number(key)
			if !ok {
				c.failf("%s is no constant scalar", key)
				continue
			}
			at := len(out) - 2 + i
			if out[at] >= 0 {
				out[at] = int64(math.Floor(f * float64(out[at])))
			}
		}
		return one(of(x.DataType, out...))
	}
	return map[string]func(*call) []Type{
		"resize_bilinear": target, "resize_nearest_neighbor": target,
		"upsample_bilinear": scaled, "upsample_nearest_neighbor": scaled,
		"resize": resize, "crop_resize": cropResize,
		"resample": func(c *call) []Type {
			x, g := c.t("x"), c.t("coordinates")
			if !c.rank("x", 4, 4) || !c.rank("coordinates", 4, 4) {
				return one(x)
			}
			c.agree("the batches of x and coordinates", x.Shape[0], g.Shape[0])
			c.shape("coordinates", -1, -1, -1, 2)
			c.text("sampling_mode", "nearest", "bilinear")
			c.text("padding_mode", "constant", "border", "reflection", "symmetric")
			c.text("coordinates_mode", "unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one")
			return one(of(x.DataType, x.Shape[0], x.Shape[1], g.Shape[1], g.Shape[2]))
		},
		"depth_to_space": blocks("block_size", true), "pixel_shuffle": blocks("upscale_factor", true),
		"space_to_depth": blocks("block_size", false), "pixel_unshuffle": blocks("downscale_factor", false),
	}
}

// number is a constant scalar of integers or single precision.
func (c *call) number(key string) (float64, bool) {
	v := c.value(key)
	if v == nil || v.Blob || len(v.Type.Shape) != 0 || len(v.Data) != 4 {
		return 0, false
	}
	switch v.DataType {
	case Int32:
		return float64(int32(le.Uint32(v.Data))), true
	case Float32:
		return float64(math.Float32frombits(le.Uint32(v.Data))), true
	}
	return 0, false
}

// blocks moves channels into space, or back.
func blocks(key string, up bool) func(*call) []Type {
	return func(c *call) []Type {
		x, b := c.t("x"), c.int(key)
		if !c.rank("x", 4, 4) || b < 1 {
			c.failf("%s is %d", key, b)
			return one(x)
		}
		n, ch, h, w := x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
		mul := func(d int64) int64 {
			if d < 0 {
				return d
			}
			return d * b
		}
		div := func(d, b int64) int64 {
			if d >= 0 && d%b != 0 {
				c.failf("%d is no multiple of %d", d, b)
			}
			if d < 0 {
				return d
			}
			return d / b
		}
		if up {
			return one(of(x.DataType, n, div(ch, b*b), mul(h), mul(w)))
		}
		return one(of(x.DataType, n, mul(mul(ch)), div(h, b), div(w, b)))
	}
}

func resize(c *call) []Type {
	x := c.t("x")
	to, k := c.lengths("shape"), int(c.int("resized_dims"))
	c.text("interpolation_mode", "NEAREST_NEIGHBOR", "LINEAR")
	c.text("sampling_mode", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS")
	if len(to) != k || k < 1 || k > len(x.Shape) {
		c.failf("shape has %d numbers for %d axes", len(to), k)
		return one(x)
	}
	out := slices.Clone(x.Shape)
	for i, d := range to {
		if d != 0 {
			out[len(out)-k+i] = d
		}
	}
	return one(of(x.DataType, out...))
}

func cropResize(c *call) []Type {
	x := c.t("x")
	if !c.rank("x", 4, 4) {
		return one(x)
	}
	c.text("box_coordinate_mode", "CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST")
	c.text("sampling_mode", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS")
	h, w := c.int("target_height"), c.int("target_width")
	if c.spec >= 8 {
		c.shape("boxes", -1, 4)
		c.shape("box_indices", c.t("boxes").Shape[0])
		return one(of(x.DataType, c.t("boxes").Shape[0], x.Shape[1], h, w))
	}
	if !c.rank("roi", 5, 5) {
		return one(x)
	}
	return one(of(x.DataType, c.t("roi").Shape[0], x.Shape[0], x.Shape[1], h, w))
}
