package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/core/report"
)

// TestLongAxes: the sizes of axes are printed as they are, also where a float would be printed with an exponent.
func TestLongAxes(t *testing.T) {
	var b bytes.Buffer
	doc := `{"format": "onnx", "inputs": [{"name": "x", "dtype": "F32", "shape": ["N", 1600000]}], "outputs": [{"name": "y", "dtype": "F32", "shape": [9007199254740993]}]}`
	if err := writeInspect(&b, report.Style{}, "m.onnx", []byte(doc)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"x F32 [N 1600000]", "y F32 [9007199254740993]"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

// TestOpenAxes: what is counted as 1 is said, and so are weights that are not there.
func TestOpenAxes(t *testing.T) {
	var b bytes.Buffer
	doc := `{"format": "onnx", "macs": 5, "missing": ["a.bin", "b.bin", "c.bin", "d.bin"],
		"inputs": [{"name": "x", "dtype": "F32", "shape": ["N", 3, "h", "?"]}, {"name": "n", "dtype": "I64", "shape": ["N"]}, {"name": "z", "dtype": "F32", "shape": null}], "outputs": []}`
	if err := writeInspect(&b, report.Style{}, "m.onnx", []byte(doc)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"5 for one sample, where axes of open size count as 1: x[2], x[3]\n", "a.bin, b.bin, c.bin and 1 more: not beside the model, or too short"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	b.Reset()
	if err := writeInspect(&b, report.Style{}, "m.onnx", []byte(`{"macs": 5, "inputs": [{"name": "x", "dtype": "F32", "shape": ["N", 3]}]}`)); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); strings.Contains(s, "open size") || strings.Contains(s, "missing") {
		t.Errorf("nothing is open or missing:\n%s", s)
	}
}
