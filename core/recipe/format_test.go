package recipe

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/rogpeppe/go-internal/txtar"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"aligns", "a=1\nbcd   = 2\n", "a   = 1\nbcd = 2\n"},
		{"indents", "model \"m\" {\nsource=\"m.onnx\"\n}\n", "model \"m\" {\n  source = \"m.onnx\"\n}\n"},
		{"ends the last line", "a = 1", "a = 1\n"},
		{"drops lines at the end", "a = 1\n\n\n", "a = 1\n"},
		{"keeps empty", "", ""},
		{"keeps comments", "# one\na=1 // two\n/* three */\n", "# one\na = 1 // two\n/* three */\n"},
		{"keeps CRLF", "a=1\r\nbc = 2\r\n", "a  = 1\r\nbc = 2\r\n"},
		{"adds the last CRLF", "a=1\r\nb=2", "a = 1\r\nb = 2\r\n"},
		{"leaves heredocs", "a=<<EOT\n   x\n  y  \nEOT\n", "a = <<EOT\n   x\n  y  \nEOT\n"},
		{"leaves templates", "a=\"${ var.x }%{if true}b%{endif}\"\n", "a = \"${var.x}%{if true}b%{endif}\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, ds := Format([]byte(c.in), "r.hcl")
			if ds.HasErrors() || string(got) != c.want {
				t.Errorf("got %q, want %q (%v)", got, c.want, ds)
			}
		})
	}
	if _, _, ds := Format([]byte("a = 5 .2\n"), "r.hcl"); !ds.HasErrors() {
		t.Error("a source whose meaning would change was formatted")
	}
	if _, f, ds := Format([]byte("a = ["), "r.hcl"); !ds.HasErrors() || f == nil {
		t.Error("a source that does not parse was formatted")
	}
	if _, _, ds := Format(bytes.Repeat([]byte("["), 100_000), "r.hcl"); !ds.HasErrors() {
		t.Error("a source that is nested too deeply was formatted")
	}
	if _, _, ds := Format(make([]byte, maxFile+1), "r.hcl"); !ds.HasErrors() {
		t.Error("a source that is too large was formatted")
	}
}

// FuzzFormat: what is formatted stays as it is when it is formatted again, and means what it meant.
func FuzzFormat(f *testing.F) {
	for _, s := range []string{good, each, "a=1", "a = <<-EOT\n  x\n\tEOT\n", "b {\r\n}\r\n", "a=[1,# c\n2]", "a=-1", "a = x ? y:z", "x \"y\" z {}\n\n\n", "a={b:1,c=2}", "\ufeffa=1", "a=b[*].c", "a=!b\nc = a.0"} {
		f.Add([]byte(s))
	}
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, name := range files {
		if a, err := txtar.ParseFile(name); err == nil {
			f.Add(a.Files[0].Data)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		once, _, ds := Format(src, "r.hcl")
		if ds.HasErrors() {
			if strings.Contains(ds.Error(), "cannot be formatted") && !partOfNumber(src) {
				t.Fatalf("%q is valid, and cannot be formatted", src)
			}
			return
		}
		twice, _, ds := Format(once, "r.hcl")
		if ds.HasErrors() || !bytes.Equal(once, twice) {
			t.Fatalf("formatting again changes it:\n%q\n%q\n%q (%v)", src, once, twice, ds)
		}
		if a, b := meaning(t, src), meaning(t, once); a != b {
			t.Fatalf("the meaning changed:\n%q\n%q\n%s\n%s", src, once, a, b)
		}
	})
}

// partOfNumber tells whether a member of a number is taken, as in 5 .2, which is valid, means nothing, and would become
// another number without its space. Such a source is refused.
func partOfNumber(src []byte) bool {
	tokens := words(src)
	for i := range tokens[:max(len(tokens)-1, 0)] {
		if tokens[i].Type == hclsyntax.TokenNumberLit && tokens[i+1].Type == hclsyntax.TokenDot {
			return true
		}
	}
	return false
}

// meaning is everything that a source says, without its places: blocks, arguments, and what expressions refer to or are
// worth.
func meaning(t *testing.T, src []byte) string {
	t.Helper()
	f, hd := hclsyntax.ParseConfig(src, "r.hcl", hcl.InitialPos)
	if hd.HasErrors() {
		t.Fatalf("%q does not parse: %v", src, hd)
	}
	var b strings.Builder
	var body func(*hclsyntax.Body)
	body = func(x *hclsyntax.Body) {
		as := map[string]*hcl.Attribute{}
		for k, a := range x.Attributes {
			as[k] = a.AsHCLAttribute()
		}
		for _, a := range sortedAttrs(as) {
			b.WriteString(a.Name + " = ")
			for _, v := range a.Expr.Variables() {
				for _, s := range v {
					switch s := s.(type) {
					case hcl.TraverseRoot:
						b.WriteString(s.Name)
					case hcl.TraverseAttr:
						b.WriteString("." + s.Name)
					case hcl.TraverseIndex:
						b.WriteString("[" + s.Key.GoString() + "]")
					}
				}
				b.WriteString(" ")
			}
			if !numbersOf(a.Expr.(hclsyntax.Expression)).HasErrors() {
				v, hd := a.Expr.Value(nil)
				b.WriteString(v.GoString())
				for _, d := range hd {
					b.WriteString(d.Summary)
				}
			}
			b.WriteString("\n")
		}
		for _, x := range x.Blocks {
			b.WriteString(x.Type + " " + strings.Join(x.Labels, "\x00") + " {\n")
			body(x.Body)
			b.WriteString("}\n")
		}
	}
	body(f.Body.(*hclsyntax.Body))
	return b.String()
}

// The recipes that come with Optimize are in the canonical style.
func TestRecipesAreFormatted(t *testing.T) {
	files, _ := filepath.Glob("../../recipes/*/*.hcl")
	if len(files) == 0 {
		t.Fatal("there are no recipes")
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, ds := Format(b, name); ds.HasErrors() || !bytes.Equal(got, b) {
			t.Errorf("%s is not: run optimize fmt on it (%v)", name, ds)
		}
	}
}
