package quantize

import (
	"fmt"
	"maps"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
)

// fewestSteps is how many steps of a shared scale the narrowest of the values that share it must reach.
const fewestSteps = 4

// flattened are the nodes, by nodeName, that put values on one scale of which some are so narrow that nothing would be
// left of them: boxes and scores of a detector side by side, for one. With each go the nodes behind it. Only where no
// product follows: in front of one the engine needs the integers. The value is the reason to leave the node in float.
func (p *placement) flattened(g *onnx.Graph, r ranges) map[string]string {
	if !p.target.Everywhere {
		return nil // there, nothing is in integers that no product follows
	}
	_, before := reach(p.nodes)
	joint := map[string]Range{}
	for _, v := range p.values {
		root := p.groups.find(v)
		joint[root] = joint[root].Union(r[v])
	}
	width := func(r Range) float64 { return max(float64(r.Max), 0) - min(float64(r.Min), 0) }
	out := map[string]string{}
	behind := map[string]bool{}
	for _, k := range p.nodes {
		if anyOf(k.node.Outputs(), before) || k.product() {
			continue
		}
		if anyOf(k.data, behind) {
			out[nodeName(k.node)] = "it follows a node that is in float because its operands cannot share a scale"
			mark(behind, k.node.Outputs())
			continue
		}
		if k.rule.Role != RolePass || len(k.data) < 2 {
			continue
		}
		all := width(joint[p.groups.find(k.data[0])])
		for _, v := range k.data {
			if w := width(r[v]); w > 0 && w*float64(p.target.Activation.QMax-p.target.Activation.QMin) < fewestSteps*all {
				out[nodeName(k.node)] = fmt.Sprintf("its operands would share one scale, on which %q, of width %.3g beside %.3g, has less than %d steps", v, w, all, fewestSteps)
				mark(behind, k.node.Outputs())
				break
			}
		}
	}
	return out
}

// spare leaves in float what integers would flatten. The ranges that were learnt hold for what is left.
func (v *variants) spare(learnt *calibrate.Ranges) error {
	flat := v.full.flattened(v.model.Graph, rangesOf(learnt))
	if len(flat) == 0 {
		return nil
	}
	shapes, err := onnx.InferShapes(v.model)
	if err != nil {
		return err
	}
	o := v.options
	o.Exclude = maps.Clone(o.Exclude)
	if o.Exclude == nil {
		o.Exclude = map[string]string{}
	}
	maps.Copy(o.Exclude, flat)
	p := place(v.model, shapes, v.target, o)
	if len(learnt.Missing(p.values)) > 0 || !p.multiplies() {
		return nil
	}
	v.options, v.full = o, p
	return nil
}
