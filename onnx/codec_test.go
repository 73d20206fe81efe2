package onnx

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/optimize-hcl/optimize/tensor"
)

const digits = "../recipes/digits/digits.onnx"

func readDigits(t testing.TB) (*Model, []byte) {
	t.Helper()
	b, err := os.ReadFile(digits)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m, b
}

func marshal(t testing.TB, m *Model) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func reparse(t testing.TB, m *Model) *Model {
	t.Helper()
	out, err := Parse(marshal(t, m))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUntouchedIsByteIdentical(t *testing.T) {
	m, b := readDigits(t)
	if got := marshal(t, m); !bytes.Equal(got, b) {
		t.Error("a model that was only read is written differently")
	}
	// Queries and an edit that is taken back change nothing either.
	g := m.Graph
	g.BuildIndex()
	n := g.First()
	in := n.Input(0)
	n.SetInput(0, "other")
	n.SetInput(0, in)
	n.OpType += "x"
	n.OpType = n.OpType[:len(n.OpType)-1]
	if got := marshal(t, m); !bytes.Equal(got, b) {
		t.Error("a model whose edits were taken back is written differently")
	}
}

func TestUntouchedPartsKeepTheirBytes(t *testing.T) {
	m, b := readDigits(t)
	m.Graph.First().Name = "renamed"
	m.ProducerName = "me"
	got := marshal(t, m)
	if bytes.Contains(b, []byte("renamed")) || !bytes.Contains(got, []byte("renamed")) {
		t.Fatal("the edit is not in the bytes")
	}
	for n := m.Graph.First().Next(); n != nil; n = n.Next() {
		if !bytes.Contains(got, []byte(n.raw)) {
			t.Errorf("%s was not touched, but its bytes changed", n.Label())
		}
	}
	for w := range m.Graph.Initializers() {
		if !bytes.Contains(got, []byte(w.raw)) {
			t.Errorf("tensor %q was not touched, but its bytes changed", w.Name())
		}
	}
}

func TestWrittenAnewSaysTheSame(t *testing.T) {
	m, b := readDigits(t)
	forget(m)
	anew := marshal(t, m)
	got, err := Parse(anew)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := Parse(b)
	if !equalGraphs(got.Graph, want.Graph) || got.IRVersion != want.IRVersion || got.Opset("") != want.Opset("") {
		t.Error("a model written field by field says something else")
	}
	if again := marshal(t, got); !bytes.Equal(again, anew) {
		t.Error("writing is not stable")
	}
}

// message builds protobuf by hand, so that tests can write what no library would.
type message []byte

func (m message) varint(num protowire.Number, v uint64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, num, protowire.VarintType), v)
}

func (m message) bytes(num protowire.Number, b []byte) message {
	return protowire.AppendBytes(protowire.AppendTag(m, num, protowire.BytesType), b)
}

func (m message) fixed32(num protowire.Number, v uint32) message {
	return protowire.AppendFixed32(protowire.AppendTag(m, num, protowire.Fixed32Type), v)
}

func (m message) text(num protowire.Number, s string) message { return m.bytes(num, []byte(s)) }

func TestUnknownFieldsAreKept(t *testing.T) {
	unknown := func(s string) message { return message(nil).text(1000, s).varint(1001, 7) }
	dim := append(message(nil).varint(1, 3), unknown("in-dim")...)
	shape := append(message(nil).bytes(1, dim), unknown("in-shape")...)
	tt := append(message(nil).varint(1, 1).bytes(2, shape), unknown("in-tensor-type")...)
	typ := append(message(nil).bytes(1, tt), unknown("in-type")...)
	value := append(message(nil).text(1, "x").bytes(2, typ), unknown("in-value")...)
	attr := append(message(nil).text(1, "a").varint(3, 1).varint(20, 2), unknown("in-attr")...)
	node := append(message(nil).text(1, "x").text(2, "y").text(4, "Relu").bytes(5, attr), unknown("in-node")...)
	init := append(message(nil).varint(2, 1).text(8, "w").bytes(9, nil), unknown("in-tensor")...)
	graph := append(message(nil).bytes(1, node).bytes(5, init).bytes(11, value).bytes(12, value).bytes(15, []byte{}), unknown("in-graph")...)
	pair := append(message(nil).text(1, "k").text(2, "v"), unknown("in-pair")...)
	opset := append(message(nil).text(1, "").varint(2, 13), unknown("in-opset")...)
	b := append(message(nil).varint(1, 8).bytes(7, graph).bytes(8, opset).bytes(14, pair).bytes(20, []byte{}).bytes(25, []byte{0x0a, 1, 'f'}), unknown("in-model")...)

	m, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := marshal(t, m); !bytes.Equal(got, b) {
		t.Error("not written as it was read")
	}
	forget(m)
	got := marshal(t, m)
	for _, s := range []string{"dim", "shape", "tensor-type", "type", "value", "attr", "node", "tensor", "graph", "pair", "opset", "model"} {
		if !bytes.Contains(got, unknown("in-"+s)) {
			t.Errorf("the unknown fields in a %s are lost", s)
		}
	}
	if !equalGraphs(reparse(t, m).Graph, m.Graph) {
		t.Error("the graph changed on the way")
	}
}

func TestParseErrors(t *testing.T) {
	graph := func(g message) message { return message(nil).varint(1, 8).bytes(7, g) }
	deep := message(nil)
	for range maxDepth {
		deep = message(nil).bytes(1, message(nil).bytes(5, message(nil).bytes(6, deep)))
	}
	empties := bytes.Repeat([]byte{0x0a, 0}, 4<<20)
	for name, test := range map[string]struct {
		in    []byte
		where string
	}{
		"empty":             {nil, ""},
		"no graph":          {message(nil).varint(1, 8), ""},
		"random":            {[]byte("this is not protobuf at all"), ""},
		"cut off in graph":  {graph(nil)[:3], ""},
		"field 0":           {[]byte{0, 0}, ""},
		"wire type 7":       {[]byte{0x0f, 0}, ""},
		"end of group":      {[]byte{0x0c}, ""},
		"open group":        {[]byte{0x0b, 0x08, 0x01}, ""},
		"length past end":   {graph(message(nil).bytes(1, []byte{0x0a, 0x7f})), "graph.node[0]"},
		"second node":       {graph(message(nil).bytes(1, nil).bytes(1, []byte{0x0a, 0x7f})), "graph.node[1]"},
		"in an attribute":   {graph(message(nil).bytes(1, message(nil).bytes(5, message(nil).bytes(5, []byte{0x08})))), "graph.node[0].attribute[0].t"},
		"in a tensor":       {graph(message(nil).bytes(5, []byte{0x4a, 0x05})), "graph.initializer[0]"},
		"in a shape":        {graph(message(nil).bytes(11, message(nil).bytes(2, message(nil).bytes(1, message(nil).bytes(2, message(nil).bytes(1, []byte{0x08})))))), "graph.input[0].type.tensor_type.shape.dim[0]"},
		"floats not by 4":   {graph(message(nil).bytes(1, message(nil).bytes(5, message(nil).bytes(7, []byte{1, 2, 3})))), "graph.node[0].attribute[0]"},
		"two graphs":        {append(graph(nil), message(nil).bytes(7, nil)...), ""},
		"too deep":          {graph(deep), "graph.node[0]"},
		"millions of nodes": {graph(empties), "graph"},
	} {
		m, err := Parse(test.in)
		var pe *ParseError
		if !errors.As(err, &pe) || m != nil {
			t.Errorf("%s: model %v, error %v", name, m != nil, err)
			continue
		}
		if !strings.HasPrefix(pe.Field, test.where) || pe.Offset < 0 || pe.Offset > int64(len(test.in)) {
			t.Errorf("%s: at byte %d of %d, in %q", name, pe.Offset, len(test.in), pe.Field)
		}
	}
}

func TestEveryTruncationIsAnError(t *testing.T) {
	_, b := readDigits(t)
	whole := 0
	for end := range b {
		if end > 4096 && end%97 != 0 {
			continue
		}
		if m, err := Parse(b[:end]); err == nil {
			whole++ // cut between fields of the model, after its graph
			if m.Graph == nil {
				t.Fatalf("cut at %d: no graph and no error", end)
			}
		}
	}
	if whole > 3 {
		t.Errorf("%d truncated models were taken for whole ones", whole)
	}
}

func TestTensorFields(t *testing.T) {
	packed := func(v ...uint64) (b []byte) {
		for _, x := range v {
			b = protowire.AppendVarint(b, x)
		}
		return b
	}
	minus := ^uint64(0)
	floats := message(nil).varint(1, 2).varint(2, uint64(Float)).fixed32(4, 0x3f800000).fixed32(4, 0x40000000)
	for name, test := range map[string]struct {
		in   message
		want []byte
	}{
		"raw":              {message(nil).varint(1, 2).varint(2, uint64(Uint8)).bytes(9, []byte{1, 2}), []byte{1, 2}},
		"raw, empty":       {message(nil).varint(1, 0).varint(2, uint64(Float)).bytes(9, nil), nil},
		"nothing, empty":   {message(nil).varint(1, 0).varint(2, uint64(Float)), nil},
		"packed dims":      {message(nil).bytes(1, packed(1, 2)).varint(2, uint64(Uint8)).bytes(9, []byte{1, 2}), []byte{1, 2}},
		"floats":           {floats, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40}},
		"floats, packed":   {message(nil).varint(1, 1).varint(2, uint64(Float)).bytes(4, []byte{0, 0, 0x80, 0x3f}), []byte{0, 0, 0x80, 0x3f}},
		"int32 as int8":    {message(nil).varint(1, 2).varint(2, uint64(Int8)).bytes(5, packed(3, minus)), []byte{3, 0xff}},
		"int32 as half":    {message(nil).varint(1, 1).varint(2, uint64(Float16)).bytes(5, packed(0x3c00)), []byte{0, 0x3c}},
		"int32":            {message(nil).varint(1, 1).varint(2, uint64(Int32)).varint(5, minus), []byte{255, 255, 255, 255}},
		"int64":            {message(nil).varint(1, 1).varint(2, uint64(Int64)).bytes(7, packed(minus)), bytes.Repeat([]byte{255}, 8)},
		"int64, in parts":  {message(nil).varint(1, 2).varint(2, uint64(Int64)).bytes(7, packed(1)).varint(7, 2), []byte{1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}},
		"uint64 as uint32": {message(nil).varint(1, 1).varint(2, uint64(Uint32)).bytes(11, packed(7)), []byte{7, 0, 0, 0}},
		"double":           {message(nil).varint(1, 1).varint(2, uint64(Double)).bytes(10, make([]byte, 8)), make([]byte, 8)},
		"int4":             {message(nil).varint(1, 3).varint(2, uint64(Int4)).bytes(5, packed(0x21, 0x03)), []byte{0x21, 3}},
	} {
		var w Tensor
		if !new(writer).reread(string(test.in), func(r *reader) error { return r.tensor(&w) }) {
			t.Errorf("%s: not parsed", name)
			continue
		}
		got, err := w.Tensor()
		if err != nil || !bytes.Equal(got.Data, test.want) {
			t.Errorf("%s: %v, %v; want %v", name, got.Data, err, test.want)
		}
		if w.dataBytes() != int64(len(test.want)) && w.DataType != Int4 {
			t.Errorf("%s: counted %d bytes, has %d", name, w.dataBytes(), len(test.want))
		}
	}
	for name, in := range map[string]message{
		"too short":      message(nil).varint(1, 3).varint(2, uint64(Float)).bytes(9, []byte{1}),
		"no data":        message(nil).varint(1, 3).varint(2, uint64(Float)),
		"negative axis":  message(nil).varint(1, minus).varint(2, uint64(Float)).bytes(9, nil),
		"overflow":       message(nil).varint(1, 1<<40).varint(1, 1<<40).varint(2, uint64(Float)).bytes(9, nil),
		"huge":           message(nil).varint(1, 1<<62).varint(2, uint64(Double)).bytes(9, nil),
		"strings":        message(nil).varint(1, 1).varint(2, uint64(String)).text(6, "a"),
		"type 99":        message(nil).varint(1, 1).varint(2, 99).bytes(9, nil),
		"negative type":  message(nil).varint(1, 1).varint(2, minus).bytes(9, nil),
		"external":       message(nil).varint(1, 1).varint(2, uint64(Float)).varint(14, 1),
		"cut off varint": message(nil).varint(1, 1).varint(2, uint64(Int64)).bytes(7, []byte{0x80}),
	} {
		var w Tensor
		if !new(writer).reread(string(in), func(r *reader) error { return r.tensor(&w) }) {
			t.Errorf("%s: not parsed", name)
		} else if _, err := w.Tensor(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWeightsAreSlicesOfTheInput(t *testing.T) {
	m, b := readDigits(t)
	for w := range m.Graph.Initializers() {
		v, err := w.Tensor()
		if err != nil {
			t.Fatal(err)
		}
		at := uintptr(unsafe.Pointer(&v.Data[0])) - uintptr(unsafe.Pointer(&b[0]))
		if at >= uintptr(len(b)) {
			t.Errorf("%q was copied", w.Name())
		}
	}
}

func TestNewTensorAndAttributes(t *testing.T) {
	m := NewModel("g", 13)
	m.Graph.AddInput(NewValueInfo("x", Float, []Dim{ParamDim("N"), {Value: 4}}))
	m.Graph.AddOutput(NewValueInfo("y", Float, nil))
	m.Graph.AddInitializer(NewTensor("w", tensor.Of([]int64{2, 2}, []int8{1, -2, 3, 4})))
	body := NewGraph("body")
	body.AppendNode(NewNode("Identity", "", "", []string{"x"}, []string{"b"}))
	body.AddOutput(NewValueInfo("b", Float, nil))
	m.Graph.AppendNode(NewNode("Op", "my.domain", "n", []string{"x", "", "w"}, []string{"y"},
		IntAttr("i", -3), IntsAttr("is", 1, -2), FloatAttr("f", 0.5), FloatsAttr("fs", 1, 2), StringAttr("s", "text"),
		StringsAttr("ss", "a", ""), TensorAttr("t", NewFloats("", []float32{1})), GraphAttr("g", body),
		IntAttr("i", 4)))
	m.SetMetadata("k", "v")
	m.SetOpset("my.domain", 1)
	if err := Check(m); err != nil {
		t.Fatal(err)
	}
	got := reparse(t, m)
	n := got.Graph.First()
	if n.IntAttr("i", 0) != 4 || !slices.Equal(n.IntsAttr("is"), []int64{1, -2}) || n.FloatAttr("f", 0) != 0.5 ||
		!slices.Equal(n.FloatsAttr("fs"), []float32{1, 2}) || n.StringAttr("s", "") != "text" ||
		len(n.Attr("ss").Strings()) != 2 || n.TensorAttr("t") == nil || n.Attr("g").Graph() == nil {
		t.Errorf("attributes: %+v", n.attrs)
	}
	if n.IntAttr("none", 7) != 7 || n.IntAttr("s", 7) != 7 || n.IntsAttr("i") != nil {
		t.Error("defaults of attributes that are missing or of another type")
	}
	if !slices.Equal(n.Inputs(), []string{"x", "", "w"}) || n.Domain != "my.domain" {
		t.Errorf("node: %v", n)
	}
	w, err := got.Graph.Initializer("w").Ints()
	if err != nil || !slices.Equal(w, []int64{1, -2, 3, 4}) {
		t.Errorf("w = %v, %v", w, err)
	}
	if v, ok := got.MetadataValue("k"); !ok || v != "v" || got.Opset("ai.onnx") != 13 || got.Opset("my.domain") != 1 {
		t.Error("metadata or opsets")
	}
	if d := got.Graph.Inputs()[0].Type.Shape; d[0].Param != "N" || d[0].Fixed() || d[1].Value != 4 {
		t.Errorf("shape %v", d)
	}
	if got.Graph.Outputs()[0].Type.HasShape {
		t.Error("a shape that is not known became one")
	}
}

// bigModel has one tensor of the given number of floats, raw or as float_data.
func bigModel(floats int, raw bool) []byte {
	data := make([]byte, 4*floats)
	w := message(nil).varint(1, uint64(floats)).varint(2, uint64(Float)).text(8, "w")
	if raw {
		w = w.bytes(9, data)
	} else {
		w = w.bytes(4, data)
	}
	return message(nil).varint(1, 8).bytes(7, message(nil).bytes(5, w))
}

// manyNodes has a chain of nodes as a large network has.
func manyNodes(n int) []byte {
	m := NewModel("chain", 13)
	m.Graph.AddInput(NewValueInfo("v0", Float, FixedDims(1, 64, 56, 56)))
	last := "v0"
	for range n {
		out := m.Graph.UniqueName("block/layer/activation")
		m.Graph.AppendNode(NewNode("Conv", "", out+"/node", []string{last, "w", "b"}, []string{out},
			IntsAttr("kernel_shape", 3, 3), IntsAttr("pads", 1, 1, 1, 1), IntsAttr("strides", 1, 1)))
		last = out
	}
	m.Graph.AddOutput(NewValueInfo(last, Float, nil))
	b, err := m.Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

func TestParseDoesNotCopyWeights(t *testing.T) {
	for _, raw := range []bool{true, false} {
		b := bigModel(1<<20, raw)
		got, m, err := parseBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := m.Graph.Initializer("w").Tensor(); err != nil || len(v.Data) != 4<<20 {
			t.Fatal(len(v.Data), err)
		}
		if got > 64<<10 {
			t.Errorf("parsing 4 MiB of weights took %d bytes of memory: they are copied", got)
		}
		if n := testing.AllocsPerRun(3, func() { Parse(b) }); n > 20 {
			t.Errorf("parsing one tensor took %v allocations", n)
		}
	}
}

func BenchmarkParse92MB(b *testing.B) {
	in := bigModel(23<<20, true)
	b.ReportAllocs()
	for b.Loop() {
		Parse(in)
	}
}

func BenchmarkMarshal92MB(b *testing.B) {
	m, _ := Parse(bigModel(23<<20, true))
	m.ProducerName = "changed"
	b.ReportAllocs()
	for b.Loop() {
		m.Marshal()
	}
}

func BenchmarkParse20kNodes(b *testing.B) {
	in := manyNodes(20000)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		Parse(in)
	}
}

func BenchmarkMarshal20kNodes(b *testing.B) {
	m, _ := Parse(manyNodes(20000))
	m.Graph.First().Name = "changed"
	b.ReportAllocs()
	for b.Loop() {
		m.Marshal()
	}
}

func BenchmarkInferShapes20kNodes(b *testing.B) {
	m, _ := Parse(manyNodes(20000))
	b.ReportAllocs()
	for b.Loop() {
		InferShapes(m)
	}
}

// TestOldModelAsItIs: a model of IR version 3 that does not list its initializers among the inputs, as the version wants
// it, is written as it was read; once something else is changed, that is mended.
func TestOldModelAsItIs(t *testing.T) {
	m := NewModel("test", 8)
	m.Graph.AddInput(NewValueInfo("x", Float, FixedDims(2)))
	m.Graph.AddInitializer(NewFloats("w", []float32{1, 2}, 2))
	m.Graph.AppendNode(NewNode("Add", "", "add", []string{"x", "w"}, []string{"y"}))
	m.Graph.AddOutput(NewValueInfo("y", Float, FixedDims(2)))
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte{8, 8}) // ir_version, the first field
	if at != 0 {
		t.Fatal("the version is not at the start")
	}
	b = bytes.Clone(b)
	b[1] = 3
	if m, err = Parse(bytes.Clone(b)); err != nil {
		t.Fatal(err)
	}
	out, err := m.Marshal()
	if err != nil || !bytes.Equal(out, b) || len(m.Graph.Inputs()) != 1 {
		t.Errorf("the model changed: %v, inputs %d", err, len(m.Graph.Inputs()))
	}
	m.ProducerName = "another"
	if out, err = m.Marshal(); err != nil {
		t.Fatal(err)
	}
	if m, err = Parse(out); err != nil || !m.Graph.IsInput("w") {
		t.Errorf("the initializer is no input: %v", err)
	}
}
