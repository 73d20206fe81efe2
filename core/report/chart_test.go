package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const curve = `{"title":"Loss","x":"share that left","y":"loss","lines":[{"name":"conv<1>","x":[0,0.5,0.9],"y":[0,0.1,2]},{"name":"conv2","x":[0.5],"y":[1]}]}`

func TestCharts(t *testing.T) {
	c := ChartsOf(json.RawMessage(`{"metric":"top1","curves":` + curve + `}`))
	if len(c) != 1 || len(c[0].Lines) != 2 || c[0].X != "share that left" {
		t.Fatalf("%+v", c)
	}
	// From 0 to 1 and from 0 to 2, both ends on the axes.
	if want := "64.0,312.0 382.0,297.2 636.4,16.0"; c[0].Lines[0].Points != want {
		t.Errorf("points %q, want %q", c[0].Lines[0].Points, want)
	}
	if x := c[0].XTicks; len(x) != 6 || x[0].Text != "0" || x[5].Text != "1" || x[5].At != 700 {
		t.Errorf("ticks %+v", x)
	}
	if c[0].Lines[0].Hue == c[0].Lines[1].Hue {
		t.Error("two lines have one colour")
	}
	// What is drawn is not told in words too.
	f := FactsOf(json.RawMessage(`{"metric":"top1","curves":` + curve + `}`))
	if len(f.Left)+len(f.Tables) > 0 || len(f.Did) != 1 {
		t.Errorf("facts: %+v", f)
	}
}

// TestChartsRefuse: what cannot be drawn is left out, whatever a plugin writes.
func TestChartsRefuse(t *testing.T) {
	for name, doc := range map[string]string{
		"nothing":     ``,
		"no object":   `[1]`,
		"no lines":    `{"c":{"x":"a","y":"b","lines":[]}}`,
		"no axes":     `{"c":{"x":"","y":"b","lines":[{"name":"l","x":[1],"y":[1]}]}}`,
		"lengths":     `{"c":{"x":"a","y":"b","lines":[{"name":"l","x":[1,2],"y":[1]}]}}`,
		"far too far": `{"c":{"x":"a","y":"b","lines":[{"name":"l","x":[1,2],"y":[-1e308,1e308]}]}}`,
		"far":         `{"c":{"x":"a","y":"b","lines":[{"name":"l","x":[1,2],"y":[0,1e250]}]}}`,
		"close":       `{"c":{"x":"a","y":"b","lines":[{"name":"l","x":[0,5e-324],"y":[0,1]}]}}`,
		"texts":       `{"c":{"x":"a","y":"b","lines":[{"name":"l","x":["1"],"y":[1]}]}}`,
	} {
		if c := ChartsOf(json.RawMessage(doc)); len(c) > 0 {
			t.Errorf("%s is drawn: %+v", name, c)
		}
	}
	if c := ChartsOf(json.RawMessage(`{"c":{"x":"a","y":"b","lines":[{"name":"l","x":[1,2],"y":[3,3]}]}}`)); len(c) != 1 {
		t.Errorf("a level line is not drawn: %+v", c)
	}
	var lines []string
	for i := range maxDrawn + 3 {
		lines = append(lines, fmt.Sprintf(`{"name":"l%d","x":[0,1],"y":[%d,1]}`, i, i))
	}
	c := ChartsOf(json.RawMessage(`{"c":{"x":"a","y":"b","lines":[` + strings.Join(lines, ",") + `]}}`))
	if len(c) != 1 || len(c[0].Lines) != maxDrawn || c[0].More != 3 {
		t.Errorf("many lines: %d and %d more", len(c[0].Lines), c[0].More)
	}
}

func TestChartInHTML(t *testing.T) {
	r := &Run{ID: "1", Status: "ok", Actions: []Action{{Addr: "step.s", Kind: "step", Type: "prune_sensitivity", Status: "done", Result: json.RawMessage(`{"curves":` + curve + `}`)}}}
	var b strings.Builder
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", `points="64.0,312.0`, "conv&lt;1&gt;", "share that left"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if strings.Contains(b.String(), "conv<1>") || strings.Contains(b.String(), "ZgotmplZ") {
		t.Error("a name is not escaped, or something was refused")
	}
}
