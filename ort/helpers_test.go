package ort

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/optimize-hcl/optimize/tensor"
)

// needLibrary loads ONNX Runtime, or skips the test where it is not installed.
// OPTIMIZE_REQUIRE_RUNTIME=1 makes its absence a failure, so that a build that
// should have it cannot pass without.
func needLibrary(t testing.TB) {
	t.Helper()
	lib, err := Locate()
	if err == nil {
		err = Load(lib)
	}
	switch {
	case err == nil:
	case os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1":
		t.Fatal(err)
	default:
		t.Skipf("needs ONNX Runtime: %s", err)
	}
}

func digits(t testing.TB) string {
	t.Helper()
	p, err := filepath.Abs("../recipes/digits/digits.onnx")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// vi is an input or output of a test model; a nil shape states none.
type vi struct {
	name    string
	element uint64
	shape   []int64
}

func (v vi) encode() []byte {
	var tt []byte
	if v.element != 0 {
		tt = protowire.AppendTag(tt, 1, protowire.VarintType)
		tt = protowire.AppendVarint(tt, v.element)
	}
	if v.shape != nil {
		var shape []byte
		for _, d := range v.shape {
			var dim []byte
			if d >= 0 {
				dim = protowire.AppendTag(dim, 1, protowire.VarintType)
				dim = protowire.AppendVarint(dim, uint64(d))
			} else {
				dim = field(dim, 2, []byte("N"))
			}
			shape = field(shape, 1, dim)
		}
		tt = field(tt, 2, shape)
	}
	b := field(nil, 1, []byte(v.name))
	if v.element != 0 {
		b = field(b, 2, field(nil, 1, tt))
	}
	return b
}

// build makes a model.
func build(opset uint64, in, out []vi, nodes ...[]byte) []byte {
	var g []byte
	for _, n := range nodes {
		g = field(g, 1, n)
	}
	g = field(g, 2, []byte("g"))
	for _, v := range in {
		g = field(g, 11, v.encode())
	}
	for _, v := range out {
		g = field(g, 12, v.encode())
	}
	var m []byte
	m = protowire.AppendTag(m, 1, protowire.VarintType)
	m = protowire.AppendVarint(m, 8)
	m = field(m, 7, g)
	op := protowire.AppendTag(nil, 2, protowire.VarintType)
	return field(m, 8, protowire.AppendVarint(op, opset))
}

func floats(shape []int64, v ...float32) tensor.Tensor { return tensor.Of(shape, v) }

func open1(t testing.TB, model []byte, o Options) *Session {
	t.Helper()
	s, err := NewSession(model, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
