package recipe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// consoleProgram is a program with a sensitive variable, a model and steps that have not run.
func consoleProgram(t testing.TB) *Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.hcl")
	src := good + "\nvariable \"password\" {\n  default   = \"hunter22\"\n  sensitive = true\n}\n"
	if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	r, ds := Load(path)
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	p, ds := r.Check(nil, types(), []string{"onnxruntime", "quantize"})
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	return p
}

// FuzzExpression: no expression makes the console panic or shows what is sensitive, and every complaint has words.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"1 + 1", "var", "step", "model", "var.password", "[var.password, upper(var.password)]", "{a = var.password}", "1/0", "toset([1,2])", "<<A\nb\nA\n",
		"jsonencode(var)", "[for k, v in var : v]", "step.int8.model", "try(nosuch, 1)", "templatefile(\"x\", {})", "\"${", "keys(step)", "sort([\"a\"])", "{ \"a b\" = null }", "path", "sensitive", "(", "a.b[*].c"} {
		f.Add(s)
	}
	p := consoleProgram(f)
	f.Fuzz(func(t *testing.T, src string) {
		_ = Complete([]byte(src))
		_ = p.Names(src)
		e, ds := p.ParseExpression([]byte(src), "<console>", hcl.InitialPos)
		v := cty.DynamicVal
		if !ds.HasErrors() {
			v, ds = p.Evaluate(e)
		}
		for _, d := range ds {
			if strings.TrimSpace(d.Summary) == "" {
				t.Errorf("%q: a complaint without words: %+v", src, d)
			}
		}
		if ds.HasErrors() {
			return
		}
		shown := p.Show(v, e.Nodes)
		plain, _, _ := Plain(v)
		b, err := ctyjson.Marshal(plain, plain.Type())
		if err != nil {
			t.Errorf("%q has no JSON: %v", src, err)
		}
		if !strings.Contains(src, "hunter22") && strings.Contains(shown+string(b), "hunter22") {
			t.Errorf("%q shows the password: %s", src, shown)
		}
	})
}

func TestComplete(t *testing.T) {
	for src, want := range map[string]bool{
		"": true, "1": true, "[": false, "[1,\n2": false, "[1]": true, "\"a\"": true, "\"${": false, "\"${a}\"": true, "<<A\nb": false, "<<A\nb\nA\n": true, ")": true, "f(\n1)": true, "\"[\"": true, "# [": true,
	} {
		if got := Complete([]byte(src)); got != want {
			t.Errorf("%q: %v, want %v", src, got, want)
		}
	}
}
