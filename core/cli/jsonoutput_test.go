package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// free are the fields whose value is somebody else's: names of nodes, metrics or platforms, arguments of a recipe.
var free = []string{"ops", "weights", "fingerprint", "metrics", "facts", "coverage", "result", "value", "outputs", "inputs", "fields", "config", "saved", "env"}

// TestJSONOutput runs the commands with --json: each prints documents with a schema that docs/json-output.md sends its
// reader to, and no field that is not told there.
func TestJSONOutput(t *testing.T) {
	p := newPlace(t)
	p.env = append(p.env, "OPTIMIZE_PLUGINS="+plugins)
	for name, text := range map[string]string{"wrong.hcl": "model \"m\" {\n}\n", "bad.hcl": "a=1\n", "broken.hcl": "a = [\n"} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	for _, args := range [][]string{
		{"init"}, {"plan"}, {"apply"}, {"plan"}, {"validate"}, {"validate", "wrong.hcl"}, {"version"},
		{"console", "--eval", "step.int8", "--eval", "evaluate.digits", "--eval", "nosuch"},
		{"docs"}, {"docs", "exit-codes"}, {"docs", "--out", "pages"},
		{"fmt", "--check", "--diff", "bad.hcl", "broken.hcl"}, {"inspect", "digits.onnx"}, {"inspect", "digits.onnx", "--for", "onnxruntime"},
		{"plugin", "list", "recipe.hcl"}, {"plugin", "docs", "quantize"}, {"plugin", "docs", "demo"}, {"plugin", "check", "--list"},
		{"graph"}, {"graph", "--plan"}, {"runs"}, {"show"}, {"runs", "prune", "--keep", "0"},
		{"cache", "dir"}, {"cache", "ls"}, {"cache", "ls", "recipe.hcl"}, {"cache", "explain", "int8"}, {"cache", "explain", "evaluate.digits"}, {"cache", "verify"}, {"cache", "gc", "--max-size", "0"}, {"plugin", "new", "acme"},
	} {
		c, _ := p.command(append(args, "--json")...)
		var out, stderr bytes.Buffer
		c.Stdout, c.Stderr = &out, &stderr
		_ = c.Run() // some are wrong on purpose
		if c.ProcessState == nil || c.ProcessState.ExitCode() > 1 || strings.Contains(stderr.String(), "goroutine") {
			t.Errorf("optimize %s: %v\n%s", strings.Join(args, " "), c.ProcessState, &stderr)
		}
		d := json.NewDecoder(&out)
		for d.More() {
			var v map[string]any
			if err := d.Decode(&v); err != nil {
				t.Fatalf("optimize %s --json: %v", strings.Join(args, " "), err)
			}
			seen = append(seen, checkDocument(t, strings.Join(args, " "), v)...)
		}
	}
	// Every schema of the table was seen, so that none is told of without being checked.
	table, err := os.ReadFile("../../docs/json-output.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range regexp.MustCompile("`(optimize\\.[a-z.]+/v[0-9]+)`").FindAllStringSubmatch(string(table), -1) {
		if s := s[1]; !slices.Contains(seen, s) && s != "optimize.plugin.check/v1" { // that one takes a minute
			t.Errorf("docs/json-output.md tells of %s, which no command printed", s)
		}
	}
}

// checkDocument compares a document, and those in it, with its page; it gives their schemas.
func checkDocument(t *testing.T, what string, v map[string]any) []string {
	t.Helper()
	schema, _ := v["schema"].(string)
	words := wordsOf(t, schema)
	if words == nil {
		t.Errorf("optimize %s --json: no page tells of schema %q", what, schema)
		return nil
	}
	seen := []string{schema}
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				look(e)
			}
		case map[string]any:
			for k, e := range v {
				if !words[k] {
					t.Errorf("optimize %s --json: the page of %s does not tell of field %q", what, schema, k)
					words[k] = true // once is enough
				}
				if inner, ok := e.(map[string]any); ok && inner["schema"] != nil {
					seen = append(seen, checkDocument(t, what, inner)...)
				} else if !slices.Contains(free, k) {
					look(e)
				}
			}
		}
	}
	look(v)
	return seen
}

// wordsOf gives the words in code quotes of what tells of a schema: its section, or the page that is its own.
func wordsOf(t *testing.T, schema string) map[string]bool {
	t.Helper()
	page, section := "json-output", true
	switch schema {
	case "":
		return nil
	case "optimize.plan/v1":
		page, section = "plan", false
	case "optimize.event/v1", "optimize.run/v1":
		page, section = "events", false
	case "optimize.inspect/v1", "optimize.coverage/v1":
		page, section = "inspect", false
	}
	b, err := os.ReadFile("../../docs/" + page + ".md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if section {
		_, after, ok := strings.Cut(text, "\n## "+schema+"\n")
		if !ok {
			return nil
		}
		text, _, _ = strings.Cut(after, "\n## ")
	} else if !strings.Contains(text, schema) {
		return nil
	}
	words := map[string]bool{}
	for _, m := range regexp.MustCompile("[\"`]([a-z0-9_.\\[\\]]+)[\"`]").FindAllStringSubmatch(text, -1) {
		w := strings.ReplaceAll(m[1], "[]", "")
		words[w[strings.LastIndexByte(w, '.')+1:]] = true
	}
	return words
}
