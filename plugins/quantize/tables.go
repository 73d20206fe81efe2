package quantize

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/layout"
	"github.com/optimize-hcl/optimize/tensor"
)

// weighty is the share of a model's float constants from which on the tables that it looks up are stored in 8 bits without
// being asked: below it they are a matter of the layout.
const weighty = 0.05

// tablesWeigh tells whether the tables of a graph that lowerTables takes are much of the model. Their entries get 8 bits
// then under any layout: what comes out of a Gather is float as before, with an error of about 1/250 of the largest
// entry of its row, and no activation is rounded.
func tablesWeigh(g *onnx.Graph, t *Target, o placeOptions) bool {
	var tables int64
	seen := map[string]bool{}
	for n := range g.Nodes() {
		if w := lookedUp(g, t, o, n); w != nil && !seen[w.Name()] {
			seen[w.Name()] = true
			tables += w.Bytes()
		}
	}
	if tables == 0 {
		return false
	}
	_, total := weightBytes(g)
	return float64(tables) >= weighty*float64(total)
}

// lookedUp returns the table of a Gather that can be stored in 8 bits and is worth it; nil for any other node.
func lookedUp(g *onnx.Graph, t *Target, o placeOptions, n *onnx.Node) *onnx.Tensor {
	if !n.Is("Gather") || !t.Tables && !slices.Contains(t.Dynamic, "Gather") {
		return nil
	}
	table := g.Initializer(n.Input(0))
	if table == nil || table.DataType != onnx.Float || len(table.Dims) != 2 || n.IntAttr("axis", 0) != 0 ||
		table.Dims[1] < narrowestTable || table.Bytes() < layout.SmallTable ||
		globs(o.Keep).match(nodeName(n)) >= 0 || o.Exclude[nodeName(n)] != "" || !onlyLookedUp(g, table.Name()) {
		return nil
	}
	return table
}

// lowerTables stores each constant table [rows, width] that only Gather reads, row by row, with 8 bits an entry and a
// scale a row: what is looked up is multiplied with the scales of its rows. The file is smaller, the time about the same. The
// names of the tables go to quantized.
func lowerTables(g *onnx.Graph, t *Target, o placeOptions, quantized map[string]bool) error {
	done := map[string][2]string{}
	for n := range g.Nodes() {
		table := lookedUp(g, t, o, n)
		if table == nil {
			continue
		}
		name := table.Name()
		parts, ok := done[name]
		if !ok {
			v, err := table.Float32s()
			if err != nil {
				return fmt.Errorf("table %q of node %q: %w", name, nodeName(n), err)
			}
			l := channelLayout(table.Dims, 0)
			largest, err := channelMax(v, l)
			if err != nil {
				return fmt.Errorf("table %q of node %q: %w: integers cannot stand for it", name, nodeName(n), err)
			}
			scales := narrow8.weightScales(largest)
			parts = [2]string{g.UniqueName(name + "_quantized"), g.UniqueName(name + "_scale")}
			g.AddInitializer(onnx.NewTensor(parts[0], tensor.Of(table.Dims, narrow8.quantizeWeights(v, l, scales))))
			g.AddInitializer(floats(parts[1], []int64{table.Dims[0], 1}, scales))
			done[name] = parts
			quantized[name] = true
		}
		put := func(op string, inputs []string, attrs ...*onnx.Attribute) string {
			node := g.UniqueName(nodeName(n) + "/" + op)
			out := g.UniqueName(node + "_output")
			g.InsertBefore(n, onnx.NewNode(op, "", node, inputs, []string{out}, attrs...))
			return out
		}
		rows := put("Cast", []string{put("Gather", []string{parts[0], n.Input(1)})}, onnx.IntAttr("to", int64(onnx.Float)))
		scales := put("Gather", []string{parts[1], n.Input(1)})
		n.RemoveAttr("axis")
		n.OpType = "Mul"
		n.SetInputs(rows, scales)
	}
	return nil
}

// onlyLookedUp tells whether nothing but Gather along the first axis reads a table: one that is multiplied with too is
// the product's.
func onlyLookedUp(g *onnx.Graph, table string) bool {
	for _, n := range g.Consumers(table) {
		if !n.Is("Gather") || n.Input(0) != table || n.Input(1) == table || n.IntAttr("axis", 0) != 0 {
			return false
		}
	}
	return !g.IsOutput(table)
}
