package ort

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestOptimize(t *testing.T) {
	needLibrary(t)
	dir := t.TempDir()
	g, err := Optimize(digits(t), dir, Options{Threads: 1, Optimize: true})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	total := 0
	for _, o := range g.Ops() {
		count[o.Op] += o.Count
		total += o.Count
	}
	if total != len(g.Nodes) || count["Conv"] == 0 || count["Relu"] != 0 {
		t.Fatalf("%+v: the activations are fused into the convolutions", g.Ops())
	}
	plain, err := Optimize(digits(t), t.TempDir(), Options{Threads: 1})
	if err != nil || len(plain.Nodes) <= len(g.Nodes) {
		t.Fatal(len(plain.Nodes), len(g.Nodes), err)
	}
	b, err := g.Bytes()
	if err != nil || len(b) < 1000 {
		t.Fatal(len(b), err)
	}
	if err := os.WriteFile(g.Path, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = ReadOptimized(g.Path)
	oneLine(t, err, "not a whole ONNX model")

	empty := t.TempDir()
	bad := filepath.Join(t.TempDir(), "bad.onnx")
	if err := os.WriteFile(bad, build(13, []vi{{"x", 1, nil}}, []vi{{"y", 1, nil}}, node("Mystery", []string{"x"}, "y", nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Optimize(bad, empty, Options{Threads: 1})
	oneLine(t, err, "Mystery")
	if entries, err := os.ReadDir(empty); err != nil || len(entries) != 0 {
		t.Fatal(entries, err)
	}
}

func TestScanNodes(t *testing.T) {
	inner := field(nil, 1, append(node("Neg", []string{"a"}, "b", nil), field(nil, 7, []byte("acme"))...))
	outer := append(node("If", []string{"c", ""}, "y", field(attribute("then_branch", 5), 6, inner)), field(nil, 7, []byte("ai.onnx"))...)
	m := build(13, nil, nil, outer, node("Abs", []string{"y"}, "z", nil))
	got, err := scanNodes(bytes.NewReader(m), int64(len(m)))
	want := []GraphNode{
		{Name: "y", Op: "If", Inputs: []string{"c", ""}, Outputs: []string{"y"}},
		{Name: "b", Op: "Neg", Domain: "acme", Depth: 1, Inputs: []string{"a"}, Outputs: []string{"b"}},
		{Name: "z", Op: "Abs", Inputs: []string{"y"}, Outputs: []string{"z"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v %v", got, err)
	}
}

func FuzzScanNodes(f *testing.F) {
	f.Add(build(13, nil, nil, node("If", []string{"c"}, "y", field(attribute("then_branch", 5), 6, field(nil, 1, node("Neg", []string{"a"}, "b", nil))))))
	f.Add(bytes.Repeat([]byte{0x3a, 0x7f}, 64))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = scanNodes(bytes.NewReader(b), int64(len(b))) })
}
