package cli_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// unshown are messages that no script can bring about, and why. Tests of the package itself show them.
var unshown = map[string]string{
	"Plugin %s declares %s wrongly":                                   "only a broken plugin does, and the SDK makes none",
	"%s. This is a mistake of the plugin":                             "the same",
	"The %s blocks have arguments of different types":                 "the SDK makes no argument of any type",
	"An argument that takes any type has the same type in all blocks": "the same",
	"A %s block is missing":                                           "no plugin at hand requires a block",
	"At least %d must stand here":                                     "the same",
	"%s cannot be formatted":                                          "it would be a mistake of the formatter",
	"Its canonical form would not mean the same":                      "the same",
	"A follow-up":                   "nobody sees it",
	"it matches more than %d files": "a script makes not so many",
}

// TestEveryMessage gathers what the language can say from its source; each is in a script, as a user sees it.
func TestEveryMessage(t *testing.T) {
	var shown strings.Builder
	scripts, err := filepath.Glob("testdata/script/*/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, f := range scripts {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		shown.WriteString(" " + strings.Join(strings.Fields(string(b)), " "))
	}
	text := strings.ToLower(shown.String())
	messages := literals(t, "../recipe")
	if len(messages) < 150 {
		t.Errorf("only %d messages were found", len(messages))
	}
	used := map[string]bool{}
	for m, place := range messages {
		if why := excused(m, used); why {
			continue
		}
		if !shows(text, m) {
			t.Errorf("%s: no script shows %q", place, m)
		}
	}
	for m := range unshown {
		if !used[m] {
			t.Errorf("%q is excused, and nobody says it", m)
		}
	}
}

func excused(message string, used map[string]bool) bool {
	for m := range unshown {
		if strings.HasPrefix(message, m) {
			used[m] = true
			return true
		}
	}
	return false
}

var verb = regexp.MustCompile(`%[sdqv]`)

// shows tells whether a text, in small letters, holds a message with anything short in the place of its verbs.
func shows(text, message string) bool {
	parts := verb.Split(strings.ToLower(strings.Join(strings.Fields(message), " ")), -1)
	for at := 0; ; at++ {
		i := strings.Index(text[at:], parts[0])
		if i < 0 {
			return false
		}
		at += i
		if rest, ok := text[at+len(parts[0]):], true; ok {
			for _, p := range parts[1:] {
				j := strings.Index(rest[:min(len(rest), 400+len(p))], p)
				if ok = j >= 0; !ok {
					break
				}
				rest = rest[j+len(p):]
			}
			if ok {
				return true
			}
		}
		if parts[0] == "" { // it begins with a verb: only the next part can tell where to look
			next := strings.Index(text[at+1:], parts[1])
			if next < 0 {
				return false
			}
			at += max(0, next-1)
		}
	}
}

// literals are the texts in calls that make diagnostics and errors, with their places.
func literals(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	fset := token.NewFileSet()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			// HCL's own messages stand in a map with the code of each.
			if kv, ok := n.(*ast.KeyValueExpr); ok && filepath.Base(name) == "hclwords.go" {
				for _, s := range texts(kv.Key) {
					if s != "Missing required argument" { // it has words of our own
						out["Error: "+s] = fset.Position(kv.Pos()).String()
					}
				}
			}
			c, ok := n.(*ast.CallExpr)
			if !ok || !says(c) {
				return true
			}
			for _, a := range c.Args {
				for _, s := range texts(a) {
					if strings.Contains(s, " ") && !strings.HasPrefix(s, "recipe/") {
						out[s] = fset.Position(a.Pos()).String()
					}
				}
			}
			return true
		})
	}
	return out
}

// says tells whether a call makes a diagnostic, or the reason in one.
func says(c *ast.CallExpr) bool {
	name := ""
	switch f := c.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	switch name {
	case "At", "Errorf", "bad", "NewArgErrorf", "New":
		return true
	}
	return false
}

// texts are the string literals of an argument: plain, in a Sprintf, or joined with other values.
func texts(e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, err := strconv.Unquote(e.Value)
			if err == nil {
				return []string{s}
			}
		}
	case *ast.BinaryExpr:
		// A text that is put together is one pattern.
		s := join(e)
		return []string{s}
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			return texts(e.Args[0])
		}
	}
	return nil
}

func join(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil {
			return s
		}
	case *ast.BinaryExpr:
		return join(e.X) + join(e.Y)
	}
	return "%s"
}
