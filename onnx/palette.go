package onnx

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// PaletteKey is the key of the model's metadata that lists its palettes, as JSON.
const PaletteKey = "optimize.palettes"

// Palette is a weight that is looked up in tables of values: what quantize_cluster writes, and what an exporter can turn
// into the lookup tables of another format. Nodes of the graph compute the weight from the two initializers; they are
// constant. Groups share the output channels evenly: those of the first group are the first, and so on.
type Palette struct {
	Weight  string  `json:"weight"`  // the value that the nodes make
	Indexes string  `json:"indexes"` // UINT8 [Groups, words, bytes]: of each group a stream of indexes, the lowest bit first
	Table   string  `json:"table"`   // FLOAT or FLOAT16 [Groups * 2^Bits]
	Bits    int     `json:"bits"`    // of an index, 1 to 8
	Stored  int     `json:"stored"`  // bits that an index takes in the stream, at least Bits
	Groups  int     `json:"groups"`
	Axis    int     `json:"axis"` // of the output channels; with more than one group the elements are stored with it first
	Shape   []int64 `json:"shape"`
}

// Palettes returns those that the model's metadata list and that are still there; a pass that folds constants makes
// plain weights of them. Metadata that cannot be read are an error.
func Palettes(m *Model) ([]Palette, error) {
	text, ok := m.MetadataValue(PaletteKey)
	if !ok {
		return nil, nil
	}
	graphs := []*Graph{m.Graph}
	for n := range m.Graph.AllNodes() {
		graphs = append(graphs, n.Subgraphs()...)
	}
	all, err := readPalettes(text)
	if err != nil {
		return nil, fmt.Errorf("metadata %s: %w", PaletteKey, err)
	}
	return slices.DeleteFunc(all, func(p Palette) bool {
		return !slices.ContainsFunc(graphs, func(g *Graph) bool { return p.sound(g) })
	}), nil
}

// leastPalette is fewer bytes than any palette takes in the list that has a weight, indexes
// and a table. A list of shorter ones would take many times its length.
const leastPalette = 64

// readPalettes reads the list.
func readPalettes(text string) (all []Palette, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, errors.New("it is no list")
	}
	for d.More() {
		if len(all) > len(text)/leastPalette {
			return nil, errors.New("its palettes are too short to say what they are")
		}
		var p Palette
		if err := d.Decode(&p); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	_, err = d.Token()
	return all, err
}

// sound tells whether a graph has the palette, and its parts fit together.
func (p Palette) sound(g *Graph) bool {
	index, table := g.Initializer(p.Indexes), g.Initializer(p.Table)
	if g.Producer(p.Weight) == nil || index == nil || table == nil || p.Bits < 1 || p.Bits > 8 || p.Stored < p.Bits || p.Stored > 8 || p.Groups < 1 {
		return false
	}
	n := int64(1)
	for _, d := range p.Shape {
		if d < 1 || n > (1<<40)/d {
			return false
		}
		n *= d
	}
	return index.DataType == Uint8 && table.Elements() == int64(p.Groups)<<p.Bits && p.Axis >= 0 && p.Axis < len(p.Shape) &&
		n%int64(p.Groups) == 0 && index.Elements() >= (n*int64(p.Stored)+7)/8
}
