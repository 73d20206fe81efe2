package float16

import (
	"fmt"

	"github.com/optimize-hcl/optimize/onnx"
)

// smallWeight is how many elements a constant has that is worth a Cast: a node takes about 100 bytes.
const smallWeight = 128

// storeWeights keeps weights in half precision and lets everything compute in float32.
func (c *converter) storeWeights() error {
	least := float64(leastSQNR)
	if c.o.To == onnx.BFloat16 {
		least = leastSQNRBFloat
	}
	kept := func(v value) string {
		for _, u := range c.uses[v] {
			var reason string
			if u.node != nil && c.kept(u.node, &reason) {
				return reason
			}
		}
		return ""
	}
	for _, v := range c.values {
		t := c.constant(v)
		if t == nil || t.Elements() < smallWeight || v.g.IsOutput(v.name) {
			continue
		}
		l, err := c.lossOf(t)
		if err != nil {
			return err
		}
		reason := kept(v)
		switch {
		case reason != "":
		case l.Overflowed > 0:
			reason = fmt.Sprintf("it reaches %.3g", l.Worst)
		case l.SQNR < least:
			reason = fmt.Sprintf("it would keep %.0f dB only: %d of %d elements are too small", max(l.SQNR, 0), l.Vanished+l.Denormal, l.Elements)
		}
		if reason != "" {
			c.report.WeightsFloat = append(c.report.WeightsFloat, Kept{Reason: fmt.Sprintf("%s: %s", v.name, reason)})
			continue
		}
		c.count(t, l)
		name := v.g.UniqueName(v.name + c.suffix(true))
		v.g.RemoveInitializer(v.name)
		v.g.AddInitializer(l.half.WithName(name))
		v.g.PrependNode(c.cast(v.g, name, v.name, false))
	}
	return nil
}
