package onnx

import (
	"encoding/json"
	"fmt"
)

// SparsityKey is the key of the model's metadata that lists its pruned weights, as JSON.
const SparsityKey = "optimize.sparsity"

// Sparsity is a weight that was pruned: what prune_weights writes. The mask is not stored beside the weight: an element
// is pruned when it is zero, and whoever changes such a weight afterwards leaves its zeros zero. So a mask costs no
// bytes, cannot contradict the weight, and outlives every pass that scales, casts, transposes or renames.
type Sparsity struct {
	Weight  string  `json:"weight"`
	Pattern string  `json:"pattern"` // "unstructured", "2:4" and the like, or blocks such as "16x1" (outputs by inputs)
	Share   float64 `json:"share"`   // of the elements that are zero
}

// Sparsities returns what the model's metadata says of pruned weights, without those that are gone. Metadata that cannot
// be read are an error.
func Sparsities(m *Model) ([]Sparsity, error) {
	text, ok := m.MetadataValue(SparsityKey)
	if !ok || text == "" {
		return nil, nil
	}
	var all []Sparsity
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("the metadata entry %q cannot be read: %w", SparsityKey, err)
	}
	known := map[string]bool{}
	note := func(g *Graph) {
		for t := range g.Initializers() {
			known[t.Name()] = true
		}
	}
	note(m.Graph)
	for n := range m.Graph.AllNodes() {
		for _, g := range n.Subgraphs() {
			note(g)
		}
	}
	out := all[:0]
	for _, s := range all {
		if known[s.Weight] {
			out = append(out, s)
		}
	}
	return out, nil
}

// SetSparsities lists pruned weights in the model's metadata, in place of what is listed of the same weights.
func SetSparsities(m *Model, list []Sparsity) error {
	old, err := Sparsities(m)
	if err != nil {
		return err
	}
	fresh := map[string]bool{}
	for _, s := range list {
		fresh[s.Weight] = true
	}
	var out []Sparsity
	for _, s := range old {
		if !fresh[s.Weight] {
			out = append(out, s)
		}
	}
	b, err := json.Marshal(append(out, list...))
	if err != nil {
		return err
	}
	m.SetMetadata(SparsityKey, string(b))
	return nil
}
