package diag

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

var update = flag.Bool("update", false, "write the golden files anew")

const recipe = `model "digits" {
  source = "digits.onnx"
}

step "quantize_static" "int8" {
  model  = model.digits
  target = "auto" # größe
	tabbed = [1, 2]
  layer "first" {
    bits = 4
  }
  layer "second" {
    bits = 8
  }
  options = {
    a = [1, 22]
  }
}
`

const recipeJSON = `{"step": {"quantize_static": {"int8": {
  "target": "auto",
  "layer": {"first": {"bits": 4}},
  "options": {"a": [1, 22]}
}}}}
`

func parse(t testing.TB) (map[string]*hcl.File, hcl.Body) {
	t.Helper()
	p := hclparse.NewParser()
	f, hd := p.ParseHCL([]byte(recipe), "recipe.hcl")
	if hd.HasErrors() {
		t.Fatal(hd)
	}
	c, hd := f.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "model", LabelNames: []string{"n"}}, {Type: "step", LabelNames: []string{"t", "n"}}}})
	if hd.HasErrors() {
		t.Fatal(hd)
	}
	return p.Files(), c.Blocks.OfType("step")[0].Body
}

// rangeOf is the range of the first occurrence of text in the recipe.
func rangeOf(t testing.TB, text string) *hcl.Range {
	t.Helper()
	i := strings.Index(recipe, text)
	if i < 0 {
		t.Fatalf("no %q in the recipe", text)
	}
	pos := func(i int) hcl.Pos {
		before := recipe[:i]
		return hcl.Pos{Line: 1 + strings.Count(before, "\n"), Column: 1 + columns(before[strings.LastIndex(before, "\n")+1:]), Byte: i}
	}
	return &hcl.Range{Filename: "recipe.hcl", Start: pos(i), End: pos(i + len(text))}
}

func samples(t testing.TB) Diags {
	eof := hcl.Range{Filename: "recipe.hcl", Start: hcl.Pos{Line: 19, Column: 1, Byte: len(recipe)}, End: hcl.Pos{Line: 19, Column: 1, Byte: len(recipe)}}
	whole := &hcl.Range{Filename: "recipe.hcl", Start: hcl.Pos{Line: 5, Column: 1, Byte: strings.Index(recipe, "step")}, End: hcl.Pos{Line: 18, Column: 2, Byte: len(recipe) - 1}}
	lineEnd := rangeOf(t, "digits.onnx\"")
	lineEnd.Start = lineEnd.End
	return Diags{
		{Summary: "There is no model.digit", Detail: `Did you mean "digits"?`, Code: "recipe/unknown-reference", Subject: rangeOf(t, "model.digits")},
		{Severity: Warning, Summary: "target is deprecated", Detail: "Use scheme. " + strings.Repeat("A long explanation goes on and on. ", 5) + "\n\n  kept = as it is, however long this line is, because it starts with a space and is source\n", Subject: rangeOf(t, `"auto"`), Plugin: "quantize", Step: "step.int8"},
		{Summary: "A tab before it", Subject: rangeOf(t, "[1, 2]")},
		{Summary: "With its context", Subject: rangeOf(t, "bits = 8"), Context: rangeOf(t, "layer \"second\" {\n    bits = 8\n  }")},
		{Summary: "A whole block", Subject: whole},
		{Summary: "The end of the file", Subject: &eof},
		{Summary: "The end of a line", Subject: lineEnd},
		{Summary: "Another file", Subject: &hcl.Range{Filename: "gone.hcl", Start: hcl.Pos{Line: 3, Column: 1, Byte: 20}, End: hcl.Pos{Line: 3, Column: 4, Byte: 23}}, Step: "step.int8"},
		{Summary: "No place", Detail: "Escape \x1b[31mcodes\x07 do not reach the terminal.", Step: "step.int8"},
		{Summary: "A summary\nin two lines"},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// A checkout on Windows may have turned the line ends.
	want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", name, got, want)
	}
}

func TestText(t *testing.T) {
	files, _ := parse(t)
	for _, x := range []struct {
		name string
		r    Renderer
	}{
		{"plain.txt", Renderer{Files: files, Width: 72}},
		{"color.txt", Renderer{Files: files, Width: 72, Color: true}},
		{"nofiles.txt", Renderer{}},
	} {
		var b bytes.Buffer
		if err := x.r.Text(&b, samples(t)); err != nil {
			t.Fatal(err)
		}
		golden(t, x.name, b.Bytes())
	}
}

func TestJSON(t *testing.T) {
	files, _ := parse(t)
	r := Renderer{Files: files}
	var b bytes.Buffer
	if err := r.JSON(&b, samples(t)); err != nil {
		t.Fatal(err)
	}
	golden(t, "diagnostics.json", b.Bytes())
	var doc Document
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	s := doc.Diagnostics[0].Snippet
	if got := s.Code[s.HighlightStart:s.HighlightEnd]; got != "model.digits" {
		t.Errorf("the snippet marks %q", got)
	}
	b.Reset()
	if err := r.JSON(&b, nil); err != nil || !strings.Contains(b.String(), `"diagnostics": []`) || !strings.Contains(b.String(), `"valid": true`) {
		t.Errorf("empty document: %v %s", err, b.String())
	}
}

func TestSorted(t *testing.T) {
	a, b := rangeOf(t, "model.digits"), rangeOf(t, `"auto"`)
	twin := *b
	ds := Diags{
		{Summary: "late", Subject: b}, {Severity: Warning, Summary: "early warning", Subject: a}, {Summary: "early", Subject: a},
		{Summary: "late", Subject: &twin}, {Summary: "placeless", Step: "step.a"}, {Summary: "placeless", Step: "step.b"}, {Summary: "placeless", Step: "step.a"},
	}
	var got []string
	for _, d := range ds.Sorted() {
		got = append(got, d.Summary)
	}
	want := "placeless,placeless,early,early warning,late"
	if s := strings.Join(got, ","); s != want {
		t.Errorf("got %s\nwant %s", s, want)
	}
	if ds[0].Summary != "late" {
		t.Error("Sorted changed its receiver")
	}
}

func TestDiags(t *testing.T) {
	var ds Diags
	if ds.HasErrors() || ds.Err() != nil || ds.Errors() != 0 {
		t.Error("the nil list has errors")
	}
	ds = ds.Extend(hcl.Diagnostics{{Severity: hcl.DiagWarning, Summary: "w"}, nil, {Severity: hcl.DiagError, Summary: "e", Detail: "d\n d", Subject: rangeOf(t, "model.digits")}})
	if len(ds) != 2 || ds[0].Severity != Warning || ds.Errors() != 1 {
		t.Errorf("%+v", ds)
	}
	if s := ds.Err().Error(); s != "recipe.hcl:6,12: e: d d" {
		t.Errorf("error text %q", s)
	}
}

func TestHide(t *testing.T) {
	files, _ := parse(t)
	r := Renderer{Files: files, Hide: []string{"digits", ""}}
	ds := Diags{{Summary: "no digits", Detail: "the digits\n  digits", Subject: rangeOf(t, "model.digits")}}
	var b bytes.Buffer
	if err := r.Text(&b, ds); err != nil {
		t.Fatal(err)
	}
	if err := r.JSON(&b, ds); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "digits") || !strings.Contains(b.String(), "  model  = model.******\n      │            ^^^^^^^^^^^^") {
		t.Error(b.String())
	}
}

// path makes a path: a string is an attribute, a string with a # before it a key, an int an index.
func path(steps ...any) []*pluginv1.PathStep {
	var out []*pluginv1.PathStep
	for _, s := range steps {
		switch s := s.(type) {
		case int:
			out = append(out, &pluginv1.PathStep{Step: &pluginv1.PathStep_Index{Index: int64(s)}})
		case string:
			if k, ok := strings.CutPrefix(s, "#"); ok {
				out = append(out, &pluginv1.PathStep{Step: &pluginv1.PathStep_Key{Key: k}})
			} else {
				out = append(out, &pluginv1.PathStep{Step: &pluginv1.PathStep_Attribute{Attribute: s}})
			}
		}
	}
	return out
}

func TestFromPath(t *testing.T) {
	_, body := parse(t)
	p := hclparse.NewParser()
	jf, hd := p.ParseJSON([]byte(recipeJSON), "recipe.hcl.json")
	if hd.HasErrors() {
		t.Fatal(hd)
	}
	c, _ := jf.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "step", LabelNames: []string{"t", "n"}}}})
	jsonBody := c.Blocks[0].Body
	tests := []struct {
		body hcl.Body
		src  string
		path []*pluginv1.PathStep
		want string
	}{
		{body, recipe, path("target"), `"auto"`},
		{body, recipe, path("options", "a", 1), "22"},
		{body, recipe, path("options", "#a", 7), "[1, 22]"},
		{body, recipe, path("options", "#b"), "{\n    a = [1, 22]\n  }"},
		{body, recipe, path("layer", "#second", "bits"), "8"},
		{body, recipe, path("layer", 0, "bits"), "4"},
		{body, recipe, path("layer", "#second", "none"), `layer "second"`},
		{body, recipe, path("layer", "#third"), "{"},
		{body, recipe, path("layer", -1), "{"},
		{body, recipe, path("nothing"), "{"},
		{body, recipe, path("#key"), "{"},
		{body, recipe, nil, "{"},
		{body, recipe, []*pluginv1.PathStep{nil, {}}, "{"},
		{jsonBody, recipeJSON, path("target"), `"auto"`},
		{jsonBody, recipeJSON, path("options", "#a", 1), "22"},
		{jsonBody, recipeJSON, path("layer", "#first", "bits"), "4"},
	}
	for _, x := range tests {
		r := FromPath(x.body, x.path)
		if got := x.src[r.Start.Byte:r.End.Byte]; got != x.want {
			t.Errorf("%v: got %q, want %q", x.path, got, x.want)
		}
	}
}

func TestFromPlugin(t *testing.T) {
	_, body := parse(t)
	ds := FromPlugin([]*pluginv1.Diagnostic{
		{Severity: pluginv1.Diagnostic_SEVERITY_WARNING, Summary: "w", Path: path("target")}, nil,
		{Severity: pluginv1.Diagnostic_SEVERITY_ERROR, Detail: "d", Code: "quantize/x"},
		{Summary: "an unknown severity stops"},
	}, body, "quantize", "step.int8")
	if len(ds) != 3 || ds[0].Severity != Warning || ds[1].Summary == "" || ds[2].Severity != Error || ds[1].Plugin != "quantize" || ds[1].Step != "step.int8" {
		t.Errorf("%+v", ds)
	}
	if FromPlugin([]*pluginv1.Diagnostic{{Summary: "s"}}, nil, "p", "")[0].Subject != nil {
		t.Error("a place out of nothing")
	}
}

// FuzzText: no range and no source makes a renderer panic, and every snippet marks a part of itself.
func FuzzText(f *testing.F) {
	f.Add(recipe, "summary", 3, 9, 1, 20)
	f.Add("a\r\n\tb\xff\n", "\x1b", -4, 900, 7, 2)
	f.Add("", "", 0, 0, 0, 0)
	f.Fuzz(func(t *testing.T, src, text string, a, b, c, d int) {
		r := Renderer{Files: map[string]*hcl.File{"f": {Bytes: []byte(src)}}, Width: 40}
		sub := hcl.Range{Filename: "f", Start: hcl.Pos{Byte: a}, End: hcl.Pos{Byte: b}}
		con := hcl.Range{Filename: "f", Start: hcl.Pos{Byte: c}, End: hcl.Pos{Byte: d}}
		ds := Diags{{Summary: text, Detail: text, Subject: &sub, Context: &con}, {Summary: text, Subject: &sub}}
		var out bytes.Buffer
		if err := r.Text(&out, ds.Sorted()); err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsRune(out.Bytes(), '\x1b') {
			t.Error("an escape code came through")
		}
		for _, j := range r.Document(ds).Diagnostics {
			if s := j.Snippet; s != nil && (s.HighlightStart < 0 || s.HighlightStart > s.HighlightEnd || s.HighlightEnd > len(s.Code)) {
				t.Errorf("snippet %+v", s)
			}
		}
	})
}
