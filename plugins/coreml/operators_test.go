package coreml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/plugins/coreml/lower"
)

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func jsonNumber(n int64) string { return strconv.FormatInt(n, 10) }

const operatorsHead = `# Operators of the step coreml

What the step ` + "`coreml`" + ` lowers to an ML Program: %d operators. The table is made from the rules of the program
(OPTIMIZE_UPDATE_GOLDEN=1 writes it). Where a row says nothing else, all element types count that Core ML computes in: floats,
integers of 32 bits, truth values. Shapes that are computed from the shapes of inputs are worked out before.

` + "`optimize inspect model.onnx --for coreml`" + ` tells which nodes of a model cannot be lowered, and why; so does a plan, for the target
and the shapes of the recipe. What was verified of the operators, and how, is in their rules' tests: each is run by coremltools'
own inference of values and compared with ONNX Runtime. No Mac has run them.

| operator | from | needs | what is covered |
|---|---|---|---|
`

// TestOperators compares docs/coreml-operators.md with the table of rules, and counts them.
func TestOperators(t *testing.T) {
	const file = "../../docs/coreml-operators.md"
	var b bytes.Buffer
	names := map[string]bool{}
	for _, r := range lower.Rules() {
		name := r.Op
		if r.Domain != "" {
			name = r.Domain + "." + r.Op
		}
		names[name] = true
		if r.Covers == "" || !strings.HasSuffix(r.Covers, ".") || r.Lower == nil {
			t.Errorf("the rule of %s has no sentence or no function", name)
		}
		from, needs := "", ""
		if r.Since > 1 {
			from = fmt.Sprintf("opset %d", r.Since)
		}
		if r.Opset > 5 {
			needs = []string{"iOS16", "iOS17", "iOS18"}[r.Opset-6]
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, from, needs, strings.ReplaceAll(r.Covers, "|", `\|`))
	}
	if len(names) < 110 {
		t.Errorf("only %d operators are covered", len(names))
	}
	want := fmt.Sprintf(operatorsHead, len(names)) + b.String()
	if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("docs/coreml-operators.md is not what the rules say (%v): OPTIMIZE_UPDATE_GOLDEN=1 writes it", err)
	}
}
