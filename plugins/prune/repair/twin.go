package repair

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/onnx"
)

// prefix is what the values of the pruned model are called with beside those of the original.
const prefix = "pruned/"

// twin is one model that computes both: they read the same inputs, and what is the pruned one's has a prefix.
func twin(original, pruned *onnx.Model) (*onnx.Model, error) {
	m, err := copyOf(original)
	if err != nil {
		return nil, fmt.Errorf("the original cannot be copied: %w", err)
	}
	p, err := copyOf(pruned)
	if err != nil {
		return nil, fmt.Errorf("the pruned model cannot be copied: %w", err)
	}
	g := p.Graph
	outputs := slices.Clone(g.Outputs())
	for len(g.Outputs()) > 0 {
		g.RemoveOutput(g.Outputs()[0].Name())
	}
	var tensors []*onnx.Tensor
	for t := range g.Initializers() {
		tensors = append(tensors, t)
	}
	for _, t := range tensors {
		fresh := t.WithName(prefix + t.Name())
		g.AddInitializer(fresh)
		g.ReplaceAllUses(t.Name(), fresh.Name())
		g.RemoveInitializer(t.Name())
		m.Graph.AddInitializer(fresh)
	}
	for n := range g.Nodes() {
		for _, v := range n.Outputs() {
			if v != "" && !g.RenameValue(v, prefix+v) {
				return nil, fmt.Errorf("value %q cannot be named %q: that name is taken", v, prefix+v)
			}
		}
	}
	var nodes []*onnx.Node
	for n := range g.Nodes() {
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		if n.Name != "" {
			n.Name = prefix + n.Name
		}
		m.Graph.AppendNode(n)
	}
	for _, s := range p.Opsets {
		if m.Opset(s.Domain) == 0 {
			m.SetOpset(s.Domain, s.Version)
		}
	}
	for _, v := range outputs {
		if v.Type == nil {
			return nil, fmt.Errorf("output %q has no type", v.Name())
		}
		m.Graph.AddOutput(onnx.NewValueInfo(prefix+v.Name(), v.Type.Elem, nil))
	}
	return m, nil
}

func copyOf(m *onnx.Model) (*onnx.Model, error) {
	b, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	return onnx.Parse(slices.Clone(b))
}

// pairs are the outputs of the original with what the pruned model gives in their place.
func pairs(original *onnx.Model) []gram.Pair {
	var out []gram.Pair
	for _, o := range original.Graph.Outputs() {
		if t := o.Type; t != nil && (t.Elem == onnx.Float || t.Elem == onnx.Float16) && !strings.HasPrefix(o.Name(), prefix) {
			out = append(out, gram.Pair{Want: o.Name(), Got: prefix + o.Name()})
		}
	}
	return out
}
