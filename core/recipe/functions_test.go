package recipe

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// TestFunctions evaluates the example of every function; the result that stands beside it is what comes out.
func TestFunctions(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"version.txt": "1.2\n", "greeting.tftpl": "Hello ${name}!\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx := &hcl.EvalContext{Functions: functions(&Recipe{Dir: dir, shown: dir})}
	eval := func(src string) string {
		e, hd := hclsyntax.ParseExpression([]byte(src), "example", hcl.InitialPos)
		if hd.HasErrors() {
			t.Fatalf("%s: %v", src, hd)
		}
		v, hd := e.Value(ctx)
		if hd.HasErrors() {
			t.Fatalf("%s: %v", src, hd)
		}
		b, err := ctyjson.Marshal(v, cty.DynamicPseudoType) // the type is in it
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		if ty := v.Type(); ty.IsTupleType() || ty.IsListType() || ty.IsObjectType() || ty.IsMapType() {
			b, err = ctyjson.Marshal(v, ty) // a tuple or a list: a recipe writes them alike
			if err != nil {
				t.Fatalf("%s: %v", src, err)
			}
		}
		return string(b)
	}
	last := ""
	for _, d := range Functions() {
		if got, want := eval(d.Example), eval(d.Result); got != want {
			t.Errorf("%s gives %s, the table says %s", d.Example, got, want)
		}
		if !strings.Contains(d.Example, d.Name+"(") || !strings.HasPrefix(d.Signature, d.Name+"(") || !strings.HasSuffix(d.Description, ".") {
			t.Errorf("the description of %s: %+v", d.Name, d)
		}
		if now := d.Group + "." + d.Name; strings.HasPrefix(last, d.Group+".") && now <= last {
			t.Errorf("%s stands after %s", now, last)
		} else {
			last = now
		}
	}
	if got, want := len(ctx.Functions), len(Functions()); got != want {
		t.Errorf("%d functions, %d descriptions", got, want)
	}
}

// operators are functions of go-cty that a recipe writes as operators.
var operators = []string{
	"AddFunc", "AndFunc", "DivideFunc", "EqualFunc", "GreaterThanFunc", "GreaterThanOrEqualToFunc", "IndexFunc", "LessThanFunc",
	"LessThanOrEqualToFunc", "ModuloFunc", "MultiplyFunc", "NegateFunc", "NotEqualFunc", "NotFunc", "OrFunc", "SubtractFunc",
}

// TestStdlib: every function of go-cty's library is offered, is an operator, or works on what a recipe cannot have.
func TestStdlib(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/zclconf/go-cty/cty/function/stdlib").Output()
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("functionlist.go")
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, n := range names {
		if strings.HasSuffix(n, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), n, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for name, o := range f.Scope.Objects {
			if o.Kind != ast.Var || !strings.HasSuffix(name, "Func") || !ast.IsExported(name) {
				continue
			}
			seen++
			others := []string{"BytesLenFunc", "BytesSliceFunc", "SetHasElementFunc", "LengthFunc"} // the last two are contains and length
			if !strings.Contains(string(list), "stdlib."+name) && !slices.Contains(operators, name) && !slices.Contains(others, name) {
				t.Errorf("%s is not offered", name)
			}
		}
	}
	if seen < 70 {
		t.Errorf("%d functions found", seen)
	}
}

// TestFunctionsTakeAnything calls every function with odd values: an error is fine, a panic or an hour is not.
func TestFunctionsTakeAnything(t *testing.T) {
	values := []cty.Value{
		cty.NullVal(cty.String), cty.UnknownVal(cty.String), cty.DynamicVal, cty.StringVal(""), cty.StringVal("%99d"), cty.StringVal("1e999"),
		cty.NumberIntVal(-1), cty.NumberIntVal(0), cty.NumberFloatVal(1e300), cty.NumberFloatVal(0.5), cty.PositiveInfinity, cty.True,
		cty.EmptyTupleVal, cty.ListVal([]cty.Value{cty.NullVal(cty.String)}), cty.TupleVal([]cty.Value{cty.NumberIntVal(1), cty.StringVal("a")}),
		cty.EmptyObjectVal, cty.MapVal(map[string]cty.Value{"a": cty.UnknownVal(cty.Number)}), cty.SetVal([]cty.Value{cty.StringVal("a")}), cty.StringVal("s").Mark(sensitive),
	}
	for name, f := range functions(&Recipe{Dir: t.TempDir()}) {
		if name == "try" || name == "can" || name == "convert" {
			continue // they take expressions, which only a call in a recipe has
		}
		for _, a := range values {
			for _, args := range [][]cty.Value{{a}, {a, values[3]}, {a, values[6]}, {a, values[8]}, {a, values[12]}, {a, a}, {a, a, a}, {values[6], a}, {values[14], a}, {values[4], a}, {values[14], values[6], a}, {values[3], a, values[7]}} {
				if _, err := f.Call(args); err != nil && strings.Contains(err.Error(), "panic") {
					t.Errorf("%s(%#v): %.200v", name, args, err)
				}
			}
		}
	}
}
