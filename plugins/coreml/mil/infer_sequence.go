package mil

import "slices"

// sequenceOps are recurrent layers: x is [time, batch, width].
func sequenceOps() map[string]func(*call) []Type {
	activations := []string{"relu", "tanh", "sigmoid", "sigmoid_hard", "linear"}
	// recurrent checks what is common, and gives the time, batch and hidden size.
	recurrent := func(c *call, gates int64, directions ...string) (s, b, h int64, both bool) {
		x := c.t("x")
		if !c.rank("x", 3, 3) || !c.rank("weight_hh", 2, 2) {
			return 0, 0, 0, false
		}
		h = c.t("weight_hh").Shape[1]
		both = c.text("direction", directions...) == "bidirectional"
		for _, end := range map[bool][]string{false: {""}, true: {"", "_back"}}[both] {
			if !c.has("weight_ih"+end) || !c.has("weight_hh"+end) {
				c.failf("there is no weight_ih%s or weight_hh%s", end, end)
			}
			c.shape("weight_ih"+end, gates*h, x.Shape[2])
			c.shape("weight_hh"+end, gates*h, h)
			c.shape("bias"+end, gates*h)
		}
		if !both && (c.has("weight_ih_back") || c.has("weight_hh_back") || c.has("bias_back")) {
			c.failf("there are weights of a second direction")
		}
		wide := h
		if both {
			wide = 2 * h
		}
		c.shape("initial_h", x.Shape[1], wide)
		return x.Shape[0], x.Shape[1], wide, both
	}
	// outputs are those of all steps, or of the last one.
	outputs := func(c *call, s, b, h int64, n int) []Type {
		if c.int("output_sequence") == 0 {
			s = 1
		}
		d := c.t("x").DataType
		return append([]Type{of(d, s, b, h)}, slices.Repeat([]Type{of(d, b, h)}, n)...)
	}
	return map[string]func(*call) []Type{
		"lstm": func(c *call) []Type {
			s, b, h, _ := recurrent(c, 4, "forward", "reverse", "bidirectional")
			c.shape("initial_c", b, h)
			for _, k := range []string{"recurrent_activation", "cell_activation", "activation"} {
				c.text(k, activations...)
			}
			return outputs(c, s, b, h, 2)
		},
		"gru": func(c *call) []Type {
			s, b, h, _ := recurrent(c, 3, "forward", "reverse")
			c.text("recurrent_activation", activations...)
			c.text("activation", activations...)
			c.shape("input_bias", 3*h)
			return outputs(c, s, b, h, 1)
		},
		"rnn": func(c *call) []Type {
			s, b, h, _ := recurrent(c, 1, "forward", "reverse")
			c.text("activation", activations...)
			return outputs(c, s, b, h, 1)
		},
	}
}
