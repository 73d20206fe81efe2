package layer

import (
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
)

// The digit classifier has nine convolutions and a Gemm that stores its weight by inputs.
func digits(t *testing.T) *onnx.Model {
	t.Helper()
	m, err := onnx.ReadFile("../../../recipes/digits/digits.onnx")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFind(t *testing.T) {
	m := digits(t)
	layers, kept := Find(m, func(name string) string {
		if name == "b0a/conv" {
			return "the user keeps it"
		}
		return ""
	})
	if len(layers) != 9 || len(kept) != 1 || kept[0].Name != "b0a/conv" || kept[0].Reason != "the user keeps it" {
		t.Fatalf("%d layers, kept %v", len(layers), kept)
	}
	for _, l := range layers {
		elements := 1
		for _, d := range l.Weight.Dims {
			elements *= int(d)
		}
		if l.Groups*l.N*l.K != elements {
			t.Errorf("%s: %d groups of %d by %d are not the %d numbers of its weight", l.Name(), l.Groups, l.N, l.K, elements)
		}
	}
}

// What is read as rows of outputs goes back as it was stored, whatever the order.
func TestRowsAndStored(t *testing.T) {
	m := digits(t)
	layers, _ := Find(m, nil)
	if len(layers) != 10 {
		t.Fatalf("%d layers", len(layers))
	}
	for _, l := range layers {
		rows, err := l.Rows()
		if err != nil {
			t.Fatal(err)
		}
		before, err := l.Weight.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		before = slices.Clone(before)
		if err := l.SetRows(slices.Clone(rows)); err != nil {
			t.Fatal(err)
		}
		if after, err := l.Weight.Float32s(); err != nil || !slices.Equal(before, after) {
			t.Errorf("%s: its weight is another after its own rows were set", l.Name())
		}
	}
}

func TestTranspose(t *testing.T) {
	if got := Transpose([]float32{1, 2, 3, 4, 5, 6}, 2, 3); !slices.Equal(got, []float32{1, 4, 2, 5, 3, 6}) {
		t.Error(got)
	}
}
