package cli_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/run"
)

// TestSchemaPages holds the pages about plans and events against the types: each field stands in its page, in code
// quotes.
func TestSchemaPages(t *testing.T) {
	for page, types := range map[string][]any{
		"plan.md":   {plan.Plan{}, plan.Action{}, plan.Summary{}, plan.Saved{}, plan.Needs{}, plan.Missing{}},
		"events.md": {run.Event{}, report.Run{}, report.Action{}, report.Output{}},
	} {
		b, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		words := map[string]bool{}
		for i, part := range strings.Split(string(b), "`") {
			if i%2 == 1 {
				words[strings.TrimSuffix(part[strings.LastIndexByte(part, '.')+1:], "[]")] = true
			}
		}
		for _, v := range types {
			ty := reflect.TypeOf(v)
			for i := range ty.NumField() {
				name, _, _ := strings.Cut(ty.Field(i).Tag.Get("json"), ",")
				if name != "-" && name != "" && !words[name] {
					t.Errorf("docs/%s does not tell of %s's field %q", page, ty, name)
				}
			}
		}
	}
	for _, schema := range []string{plan.Schema, run.EventSchema, report.Schema} {
		if !strings.HasSuffix(schema, "/v1") {
			t.Errorf("%s: docs say v1", schema)
		}
	}
}
