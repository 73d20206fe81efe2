package onnx

import (
	"bytes"
	"os"
	"testing"
)

const digits = "../recipes/digits/digits.onnx"

func TestQuick(t *testing.T) {
	b, err := os.ReadFile(digits)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := m.Marshal()
	if !bytes.Equal(o, b) {
		t.Fatal("differs")
	}
	m.raw = nil
	o, _ = m.Marshal()
	t.Log(len(o), len(b), bytes.Equal(o, b))
	for n := range m.Graph.AllNodes() {
		t.Log(n.Label(), n.Inputs(), n.Outputs())
	}
}
