package onnxruntime

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
)

// measuredCoverage runs one sample and tells which provider ran what. A provider that the recipe names and that ran
// nothing is an error: the engine leaves the model to the CPU without a word, and the figures would be the CPU's.
func (s *session) measuredCoverage() (*Coverage, error) {
	if s.sample == nil {
		return nil, sdk.CodeError(codeProvider, "what the execution providers run is known after a prediction", "Predict first, on the same session.")
	}
	p, err := ort.ProfileFile(s.path, s.options, s.sample, 0, 1)
	if err != nil {
		return nil, runError(err)
	}
	used := map[string]bool{"cpu": true}
	for _, n := range p.Nodes {
		used[providerKey(n.Provider)] = true
	}
	for _, name := range providerNames(s.options) {
		if !used[providerKey(name)] {
			return nil, sdk.Diagnostic{Code: codeProvider, Path: []any{"providers"},
				Summary: fmt.Sprintf("the execution provider %s ran nothing of the model", name),
				Detail: "The engine left all of it to " + list(slices.Sorted(others(p, name))) + ", so the figures would be theirs. Its device may not be here, " +
					"or it has no kernels for the model's operators: check its settings, or take it from the providers."}
		}
	}
	return profiledCoverage(p, engineName+" "+s.version), nil
}

// others yields the providers that ran something, but for name.
func others(p *ort.Profile, name string) func(func(string) bool) {
	return func(yield func(string) bool) {
		seen := map[string]bool{providerKey(name): true}
		for _, n := range p.Nodes {
			if key := providerKey(n.Provider); !seen[key] {
				seen[key] = true
				if !yield(strings.TrimSuffix(n.Provider, "ExecutionProvider")) {
					return
				}
			}
		}
	}
}

// profiledCoverage counts what a run did, by operator, precision and provider. What a provider compiled is one node to
// the engine, of a precision that only the provider knows.
func profiledCoverage(p *ort.Profile, engine string) *Coverage {
	c := &Coverage{Schema: "optimize.coverage/v1", Engine: engine, Layers: []LayerCoverage{}, Ops: []OpCoverage{}, Nodes: []NodeCoverage{}}
	counts := map[OpCoverage]int{}
	layers, total := map[LayerCoverage]int{}, map[string]int{}
	for _, n := range p.Nodes {
		o := OpCoverage{Op: compiledOp(n), Precision: profiledPrecision(n), Provider: strings.TrimSuffix(n.Provider, "ExecutionProvider")}
		counts[o]++
		c.Nodes = append(c.Nodes, NodeCoverage{Name: n.Name, Op: o.Op, Precision: o.Precision, Provider: o.Provider})
		if op := layerOf[o.Op]; op != "" {
			layers[LayerCoverage{Op: op, Precision: o.Precision}]++
			total[op]++
		}
	}
	for o, n := range counts {
		o.Count = n
		c.Ops = append(c.Ops, o)
	}
	for l, n := range layers {
		l.Count, l.Total = n, total[l.Op]
		c.Layers = append(c.Layers, l)
	}
	slices.SortFunc(c.Ops, func(a, b OpCoverage) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Op, b.Op), cmp.Compare(a.Precision, b.Precision))
	})
	slices.SortFunc(c.Layers, func(a, b LayerCoverage) int {
		return cmp.Or(cmp.Compare(a.Op, b.Op), cmp.Compare(a.Precision, b.Precision))
	})
	return c
}

// compiled tells whether a node is a part of the graph that a provider compiled: its name begins with the provider's.
func compiled(n ort.NodeProfile) bool {
	return n.Provider != "" && strings.HasPrefix(n.Name, n.Provider+"_")
}

// compiledOp is the operator; of a compiled part without the number that the provider gave it.
func compiledOp(n ort.NodeProfile) string {
	if !compiled(n) {
		return n.Op
	}
	return strings.TrimRight(strings.TrimRight(n.Op, "0123456789"), "_")
}

func profiledPrecision(n ort.NodeProfile) string {
	switch {
	case compiled(n):
		return "unknown"
	case n.Op == "MatMulNBits" || n.Op == "GatherBlockQuantized" || n.Op == "MatMulBnb4":
		return "int4"
	case integerOp(n.Op):
		return "int8"
	}
	for _, t := range append(slices.Clone(n.Outputs), n.Inputs...) {
		if p, ok := profiledTypes[t.Type]; ok {
			return p
		}
	}
	return "unknown"
}

// profiledTypes are the engine's words for element types.
var profiledTypes = map[string]string{
	"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64",
	"uint8": "int8", "int8": "int8", "uint16": "int16", "int16": "int16", "uint32": "int32", "int32": "int32",
	"uint64": "int64", "int64": "int64", "bool": "bool",
}
