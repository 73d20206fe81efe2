package engine

import (
	"cmp"
	"slices"
)

// Coverage is the document optimize.coverage/v1: the operators that an engine really
// runs, after its own rewriting, and the precision each computes in.
type Coverage struct {
	Schema string          `json:"schema"`
	Engine string          `json:"engine"` // and its version: "onnxruntime 1.32.0"
	Layers []LayerCoverage `json:"layers"`
	Ops    []OpCoverage    `json:"ops"`
	Nodes  []NodeCoverage  `json:"nodes"`
}

// LayerCoverage tells how many of the operators that multiply with weights compute in one precision. Operators go by
// the name that they have in a model, whatever the engine made of them: a QLinearConv is a Conv.
type LayerCoverage struct {
	Op        string `json:"op"`
	Precision string `json:"precision"`
	Count     int    `json:"count"`
	Total     int    `json:"total"` // of the operator, in any precision
}

// OpCoverage counts the nodes of one operator and precision.
type OpCoverage struct {
	Op        string `json:"op"`
	Precision string `json:"precision"`
	Count     int    `json:"count"`
	Provider  string `json:"provider,omitempty"` // what of the engine ran them, where that is not the engine's choice alone
}

// NodeCoverage is one node. Precision is "int8", "int4", "int16", "fp32", "fp16",
// "bf16", "fp64", "fp8", "int32", "int64", "bool" or "unknown".
type NodeCoverage struct {
	Name      string `json:"name"`
	Op        string `json:"op"`
	Precision string `json:"precision"`
	Provider  string `json:"provider,omitempty"`
	// Kernel is the engine's word for the code that runs, where it tells: "brgconv_avx512_core_vnni_int8".
	Kernel string `json:"kernel,omitempty"`
	// Of names the model's nodes that became this one, where the engine tells.
	Of []string `json:"of,omitempty"`
}

// Cover makes the document of an engine's nodes, in their order of execution. layer names the operator of a model that
// node i stands for when it multiplies with weights, and is "" for others.
func Cover(engine string, nodes []NodeCoverage, layer func(i int) string) *Coverage {
	c := &Coverage{Schema: "optimize.coverage/v1", Engine: engine, Layers: []LayerCoverage{}, Ops: []OpCoverage{}, Nodes: nodes}
	if nodes == nil {
		c.Nodes = []NodeCoverage{}
	}
	ops, layers, total := map[OpCoverage]int{}, map[LayerCoverage]int{}, map[string]int{}
	for i, n := range nodes {
		ops[OpCoverage{Op: n.Op, Precision: n.Precision, Provider: n.Provider}]++
		if op := layer(i); op != "" {
			layers[LayerCoverage{Op: op, Precision: n.Precision}]++
			total[op]++
		}
	}
	for o, n := range ops {
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
