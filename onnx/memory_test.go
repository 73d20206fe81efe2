package onnx

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// maxParseBytes is the most that parsing n bytes may allocate, whatever they say.
func maxParseBytes(n int) uint64 { return 1<<20 + 10*uint64(n) }

// parseBytes returns what parsing allocates in all, garbage included.
func parseBytes(in []byte) (uint64, *Model, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := Parse(in)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, m, err
}

// TestParseMemory feeds the parser files that are nothing but the smallest messages
// there are: every kind of thing that is repeated, hundreds of thousands of times.
func TestParseMemory(t *testing.T) {
	const n = 150_000
	none := message(nil)
	graph := func(m message) message { return none.bytes(7, m) }
	node := func(m message) message { return graph(none.bytes(1, m)) }
	attr := func(m message) message { return node(none.bytes(5, m)) }
	init := func(m message) message { return graph(none.bytes(5, m)) }
	value := func(m message) message { return graph(none.bytes(11, m)) }
	tensorType := func(m message) message { return value(none.bytes(2, none.bytes(1, m))) }
	many := func(m message) message { return bytes.Repeat(m, n) }
	packed := message(bytes.Repeat([]byte{1}, n))
	cases := map[string]message{
		"opsets": graph(nil).bytes(8, nil), "model metadata": append(graph(nil), many(none.bytes(14, nil))...),
		"functions": append(graph(nil), many(none.bytes(25, nil))...), "imports": append(graph(nil), many(none.bytes(8, nil))...),
		"model unknown": append(graph(nil), many(none.varint(99, 1))...), "unknown apart": append(graph(nil), many(none.varint(99, 1).varint(1, 1))...),
		"nodes": graph(many(none.bytes(1, nil))), "initializers": graph(many(none.bytes(5, nil))), "inputs": graph(many(none.bytes(11, nil))),
		"outputs": graph(many(none.bytes(12, nil))), "values": graph(many(none.bytes(13, nil))), "sparse": graph(many(none.bytes(15, nil))),
		"types": graph(many(none.bytes(13, none.bytes(2, nil)))), "graph metadata": graph(many(none.bytes(16, nil))), "graph unknown": graph(many(none.varint(99, 1))),
		"node inputs": node(many(none.bytes(1, nil))), "node outputs": node(many(none.bytes(2, nil))), "node metadata": node(many(none.bytes(9, nil))),
		"attributes": node(many(none.bytes(5, nil))), "nodes with overloads": graph(many(none.bytes(1, none.text(8, "")))), "one attribute a node": graph(many(none.bytes(1, none.bytes(5, nil)))),
		"66 attributes a node": graph(bytes.Repeat(none.bytes(1, bytes.Repeat(none.bytes(5, nil), 66)), n/66)),
		"references":           graph(many(none.bytes(1, none.bytes(5, none.text(21, ""))))),
		"floats":               attr(many(none.fixed32(7, 1))), "packed floats": attr(many(none.bytes(7, []byte{0, 0, 0, 1}))),
		"ints": attr(many(none.varint(8, 1))), "packed ints": attr(none.bytes(8, packed)), "ints in packs of one": attr(many(none.bytes(8, []byte{1}))),
		"ints apart": attr(many(none.varint(8, 1).text(1, ""))), "ints in both ways": attr(many(none.varint(8, 1).bytes(8, []byte{1}))),
		"strings": attr(many(none.bytes(9, nil))), "tensors": attr(many(none.bytes(10, nil))), "graphs": attr(many(none.bytes(11, nil)).varint(20, 10)),
		"dims": init(many(none.varint(1, 0))), "packed dims": init(none.bytes(1, packed)), "float_data": init(many(none.fixed32(4, 1))),
		"int64_data": init(many(none.varint(7, 1))), "packed int64_data": init(none.bytes(7, packed)), "two lists": init(many(none.varint(7, 1).varint(5, 1))),
		"int64_data in parts": init(many(none.bytes(7, []byte{1}))), "string_data": init(many(none.bytes(6, nil))), "external": init(many(none.bytes(13, nil))),
		"tensor metadata": init(many(none.bytes(16, nil))), "tensor unknown": init(many(none.varint(99, 1))), "tensors with docs": graph(many(none.bytes(5, none.text(12, "")))),
		"axes": tensorType(none.bytes(2, many(none.bytes(1, nil)))), "axes with denotations": tensorType(none.bytes(2, many(none.bytes(1, none.text(3, ""))))),
		"value metadata": value(many(none.bytes(4, nil))), "shape unknown": tensorType(none.bytes(2, many(none.varint(99, 1)))),
		"pairs with unknown": graph(bytes.Repeat(none.bytes(16, none.varint(9, 1).varint(9, 1)), n)),
	}
	for name, in := range cases {
		got, _, err := parseBytes(in)
		if got > maxParseBytes(len(in)) {
			t.Errorf("%s: %d bytes take %d, %.1f times as much (%v)", name, len(in), got, float64(got)/float64(len(in)), err)
		}
		if err != nil && !strings.Contains(err.Error(), "more empty messages") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestParseTerse: the budget refuses no model that means something, be its names and
// nodes as short as a writer can make them.
func TestParseTerse(t *testing.T) {
	none := message(nil)
	const n = 20_000
	name := func(i int) string { return fmt.Sprint(i) }
	scalar := none.varint(2, 7).bytes(9, make([]byte, 8))
	for kind, node := range map[string]func(i int) message{
		"Neg": func(i int) message { return none.text(1, name(i)).text(2, name(i+1)).text(4, "Neg") },
		"Add": func(i int) message { return none.text(1, name(i)).text(1, name(i)).text(2, name(i+1)).text(4, "Add") },
		"Cast": func(i int) message {
			return none.text(1, name(i)).text(2, name(i+1)).text(4, "Cast").bytes(5, none.text(1, "to").varint(3, 1).varint(20, 2))
		},
		"Constant": func(i int) message {
			return none.text(2, name(i+1)).text(4, "Constant").bytes(5, none.text(1, "value").bytes(5, scalar).varint(20, 4))
		},
		"Pad": func(i int) message {
			return none.text(1, name(i)).text(2, name(i+1)).text(4, "Pad").bytes(5, none.text(1, "pads").varint(8, 1).varint(8, 1).varint(8, 1).varint(8, 1).varint(20, 7))
		},
	} {
		var nodes, values, inits message
		for i := range n {
			nodes = nodes.bytes(1, node(i))
			axis := none.varint(1, 1)
			values = values.bytes(13, none.text(1, name(i)).bytes(2, none.bytes(1, none.varint(1, 1).bytes(2, none.bytes(1, axis).bytes(1, axis).bytes(1, axis).bytes(1, axis)))))
			inits = inits.bytes(5, none.varint(1, 1).varint(2, 7).text(8, name(i)).bytes(9, make([]byte, 8)))
		}
		for what, g := range map[string]message{"alone": nodes, "with shapes": append(nodes, values...), "with constants": append(nodes, inits...)} {
			in := none.varint(1, 8).bytes(7, g)
			got, m, err := parseBytes(in)
			if err != nil || m.Graph.NumNodes() != n {
				t.Errorf("%s %s: %v", kind, what, err)
			}
			t.Logf("%s %s: %d bytes take %d, %.1f times as much", kind, what, len(in), got, float64(got)/float64(len(in)))
		}
	}
}

// TestPaletteMetadata: the list of palettes is untrusted like the rest of the model.
func TestPaletteMetadata(t *testing.T) {
	m := NewModel("g", 17)
	for text, says := range map[string]string{
		"[]": "", "{}": "no list", "[{]": "invalid", "": "no list", "[{},{},{}]": "too short", "[": "EOF",
		"[" + strings.Repeat("{},", 100_000) + "{}]": "too short",
	} {
		m.SetMetadata(PaletteKey, text)
		_, err := Palettes(m)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%.20s: %v, want %q", text, err, says)
		}
	}
}
