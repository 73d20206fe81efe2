package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/optimize-hcl/optimize/core/recipe"
)

// fence is a fenced block of a Markdown file.
type fence struct {
	file string
	line int // of its first line
	info string
	text string
}

func fences(t *testing.T, file string) (out []fence) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var open *fence
	for i, line := range strings.SplitAfter(string(b), "\n") {
		switch {
		case open == nil && strings.HasPrefix(line, "```"):
			open = &fence{file: file, line: i + 2, info: strings.TrimSpace(line[3:])}
		case open != nil && strings.HasPrefix(line, "```"):
			out = append(out, *open)
			open = nil
		case open != nil:
			open.text += line
		}
	}
	if open != nil {
		t.Errorf("%s:%d: a fence is not closed", file, open.line)
	}
	return out
}

// TestExamples parses every example of the documentation; those marked `hcl complete` are validated as whole recipes, and
// written as `optimize fmt` writes them.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../../README.md")
	steps, _ := filepath.Glob("../../docs/steps/*.md")
	whole := 0
	for _, file := range append(files, steps...) {
		for _, f := range fences(t, file) {
			kind, rest, _ := strings.Cut(f.info, " ")
			switch kind {
			case "hcl":
				if _, ds := hclsyntax.ParseConfig([]byte(f.text), f.file, hcl.Pos{Line: f.line, Column: 1}); ds.HasErrors() {
					t.Error(ds)
				}
				if !strings.Contains(rest, "edit") && !strings.Contains(rest, "title") {
					formatted, _, ds := recipe.Format([]byte(f.text), f.file)
					if !ds.HasErrors() && string(formatted) != f.text {
						t.Errorf("%s:%d: optimize fmt would write it as\n%s", f.file, f.line, formatted)
					}
				}
				if rest == "complete" {
					whole++
					validate(t, f, "recipe.hcl")
				}
			case "json":
				if !json.Valid([]byte(f.text)) {
					t.Errorf("%s:%d: no JSON", f.file, f.line)
				}
				if strings.HasSuffix(file, "language.md") {
					whole++
					validate(t, f, "recipe.hcl.json")
				}
			}
		}
	}
	if whole < 4 {
		t.Errorf("only %d whole recipes were found", whole)
	}
}

// exampleCache is one store for all examples, so that the plugins are asked once.
var exampleCache = sync.OnceValue(func() string { return filepath.Join(filepath.Dir(binary), "examples") })

func validate(t *testing.T, f fence, name string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(f.text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(binary, "validate", name)
	c.Dir, c.Env = dir, append(os.Environ(), "OPTIMIZE_CACHE="+exampleCache())
	if out, err := c.CombinedOutput(); err != nil || bytes.Contains(out, []byte("Warning")) {
		t.Errorf("%s:%d: %v\n%s", f.file, f.line, err, out)
	}
}

const (
	functionsBegin = "<!-- functions: written by the tests, OPTIMIZE_UPDATE_GOLDEN=1 -->\n"
	functionsEnd   = "<!-- end -->\n"
)

// TestFunctionList compares the list of docs/language.md with the functions that there are.
func TestFunctionList(t *testing.T) {
	const file = "../../docs/language.md"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), functionsBegin)
	have, after, ok2 := strings.Cut(rest, functionsEnd)
	if !ok || !ok2 {
		t.Fatal("docs/language.md has lost the marks around its functions")
	}
	var want strings.Builder
	group := ""
	for _, f := range recipe.Functions() {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(&want, "\n- %s: `%s`", group, f.Name)
		} else {
			fmt.Fprintf(&want, ", `%s`", f.Name)
		}
	}
	want.WriteString("\n\n")
	if have == want.String() {
		return
	}
	if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") == "" {
		t.Fatal("the functions in docs/language.md are not those that there are: run with OPTIMIZE_UPDATE_GOLDEN=1 and read the difference")
	}
	if err := os.WriteFile(file, []byte(before+functionsBegin+want.String()+functionsEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestArgumentsAreDocumented wants every argument of the language's own blocks, as its mistakes list them, in
// docs/language.md, in the section of its block.
func TestArgumentsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/language.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(b), "\n## ")[1:] {
		title, text, _ := strings.Cut(s, "\n")
		sections[title] = text
	}
	list := func(name string) *regexp.Regexp {
		return regexp.MustCompile(`(?s)\b` + name + `\b[^"]*?[({]\s*((?:"[a-z0-9_]+!?",?\s*)+)[)}]`)
	}
	sections["input"] = sections["dataset"]
	sections["benchmark"], sections["ensure"], sections["metric"] = sections["evaluate"], sections["evaluate"], sections["evaluate"]
	schemas := map[string]string{"modelSchema": "model", "datasetSchema": "dataset", "inputArguments": "input", "outputSchema": "output", "evaluateSchema": "evaluate", "benchmarkSchema": "benchmark", "ensureSchema": "ensure", "metricSchema": "metric"}
	var code strings.Builder
	for _, src := range []string{"input.go", "sources.go", "evaluate.go", "metric.go"} {
		b, err := os.ReadFile("../recipe/" + src)
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(b), "\n)\n") // after the imports
		code.WriteString(after)
	}
	for name, section := range schemas {
		m := list(name).FindStringSubmatch(code.String())
		if m == nil {
			t.Errorf("the arguments of %s were not found", section)
			continue
		}
		for _, a := range regexp.MustCompile(`[a-z0-9_]+`).FindAllString(m[1], -1) {
			if !strings.Contains(sections[section], "`"+a+"`") {
				t.Errorf("docs/language.md does not tell of %s of %s", a, section)
			}
		}
	}
	for _, a := range []string{"for_each", "depends_on", "timeout", "seed", "env", "runs_on", "description"} {
		if !strings.Contains(sections["step"], "`"+a+"`") {
			t.Errorf("docs/language.md does not tell of %s of steps", a)
		}
	}
}

// TestLinks follows the relative links of the documentation: files must be there, and so must headings.
func TestLinks(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	slug := func(heading string) string {
		s := strings.ToLower(strings.TrimLeft(heading, "# "))
		return strings.ReplaceAll(regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(s, ""), " ", "-")
	}
	for _, file := range append(files, "../../README.md", "../../CONTRIBUTING.md", "../../bench/README.md") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code := regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(b), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			to := file
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(file), m[1])
			}
			target, err := os.ReadFile(to)
			if st, serr := os.Stat(to); serr == nil && st.IsDir() {
				continue
			}
			if err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
				continue
			}
			if m[2] == "" {
				continue
			}
			found := false
			for line := range strings.Lines(string(target)) {
				found = found || strings.HasPrefix(line, "#") && slug(strings.TrimSpace(line)) == m[2][1:]
			}
			if !found {
				t.Errorf("%s links to %s%s, and there is no such heading", file, m[1], m[2])
			}
		}
	}
	// The index names every page.
	index, err := os.ReadFile("../../docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := filepath.Base(file); name != "README.md" && !strings.Contains(string(index), "("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
}
