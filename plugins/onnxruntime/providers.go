package onnxruntime

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
)

// measuredCoverage runs one sample and tells which provider ran what. A provider that the recipe names and that ran
// nothing is an error: the engine leaves the model to the CPU without a word, and the figures would be the CPU's.
func (s *session) measuredCoverage() (*engine.Coverage, error) {
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
				Detail: "The engine left all of it to " + cmp.Or(strings.Join(slices.Sorted(others(p, name)), ", "), "nothing") + ", so the figures would be theirs. Its device may not be here, " +
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
func profiledCoverage(p *ort.Profile, name string) *engine.Coverage {
	var nodes []engine.NodeCoverage
	for _, n := range p.Nodes {
		nodes = append(nodes, engine.NodeCoverage{Name: n.Name, Op: compiledOp(n), Precision: profiledPrecision(n), Provider: strings.TrimSuffix(n.Provider, "ExecutionProvider")})
	}
	return engine.Cover(name, nodes, func(i int) string { return layerOf[nodes[i].Op] })
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
