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
