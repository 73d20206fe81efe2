package telemetry

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestDocument keeps docs/telemetry.md equal to the names, with the spans that bundled plugins open.
func TestDocument(t *testing.T) {
	const page = "../../docs/telemetry.md"
	want := Document() + "\n## Spans of bundled plugins\n\n| plugin | span |\n|---|---|\n"
	for _, s := range pluginSpans(t) {
		want += s
	}
	if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the names say; write it anew with OPTIMIZE_UPDATE_GOLDEN=1", page)
	}
}

// pluginSpans finds the calls of sdk.StartSpan in the bundled plugins.
func pluginSpans(t *testing.T) []string {
	var out []string
	files, err := filepath.Glob("../../plugins/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob("../../plugins/*/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, deeper...)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), f, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			if fn, ok := call.Fun.(*ast.SelectorExpr); !ok || fn.Sel.Name != "StartSpan" {
				return true
			}
			lit, ok := call.Args[1].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: the name of a span is a literal, so that it can be listed", f)
				return true
			}
			name, _ := strconv.Unquote(lit.Value)
			out = append(out, "| "+strings.Split(filepath.ToSlash(f), "/")[3]+" | `"+name+"` |\n")
			return true
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestNamesAreListed has every name that the host uses in the tables.
func TestNamesAreListed(t *testing.T) {
	tree, err := parser.ParseFile(token.NewFileSet(), "names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	page := Document()
	ast.Inspect(tree, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 || !strings.HasPrefix(v.Names[0].Name, "Attr") && !strings.HasPrefix(v.Names[0].Name, "Metric") {
			return true
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok {
			if name, _ := strconv.Unquote(lit.Value); !strings.Contains(page, "`"+name+"`") {
				t.Errorf("%s is in no table", name)
			}
		}
		return true
	})
}
