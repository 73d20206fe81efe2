package recipe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/optimize-hcl/optimize/core/diag"
)

// Bounds of what a recipe may be. HCL's parser calls itself for each level of nesting and for each operator; without
// bounds a file of a megabyte ends the process by exhausting its stack.
const (
	maxFile     = 256 << 10 // bytes of one file
	maxNesting  = 200       // levels of brackets, and signs in a row
	maxExponent = 1100      // binary exponent of a number: about what a float64 holds
	maxText     = 1 << 20   // bytes that a function reads or pads to
	maxElements = 1 << 16   // elements that a function makes
	maxLocal    = 16 << 20  // bytes of one local value: a value that doubles its predecessor grows beyond any memory
)

// readBounded reads a regular file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a regular file")
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it is larger than %d KiB", limit>>10)
	}
	return b, err
}

// scanner gives the tokens of a source; it is not recursive.
type scanner func(src []byte, filename string, start hcl.Pos) (hclsyntax.Tokens, hcl.Diagnostics)

// checkNesting refuses a source whose brackets or signs are nested too deeply. JSON has no scanner.
func checkNesting(src []byte, name string, scan scanner) diag.Diags {
	at, deep := deepest(src)
	if !deep {
		return nil
	}
	if scan != nil {
		// Brackets in comments and texts do not count: the scanner knows them.
		tokens, _ := scan(src, name, hcl.InitialPos)
		depth, signs := 0, 0
		deep = false
		for _, t := range tokens {
			switch t.Type {
			case hclsyntax.TokenMinus, hclsyntax.TokenBang:
				signs++
			case hclsyntax.TokenNewline:
			default:
				signs = 0
			}
			switch t.Type {
			case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
				depth++
			case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd:
				depth--
			}
			if depth > maxNesting || signs > maxNesting {
				at, deep = t.Range, true
				break
			}
		}
		if !deep {
			return nil
		}
	}
	at.Filename = name
	return diag.Diags{diag.At(at, "recipe/nesting", "Brackets or signs are nested too deeply", "At most %d levels can be read. Give parts of it names in a locals block.", maxNesting)}
}

// deepest gives the place at which brackets or signs exceed the bound, wherever they stand.
func deepest(src []byte) (hcl.Range, bool) {
	pos := hcl.InitialPos
	depth, signs := 0, 0
	for i, c := range src {
		switch c {
		case '-', '!':
			signs++
		case ' ', '\t', '\r', '\n':
		default:
			signs = 0
		}
		switch c {
		case '[', '(', '{':
			depth++
		case ']', ')', '}':
			depth = max(depth-1, 0)
		case '\n':
			pos = hcl.Pos{Line: pos.Line + 1, Byte: i + 1}
		}
		if depth > maxNesting || signs > maxNesting {
			start := hcl.Pos{Line: pos.Line, Column: 1 + utf8.RuneCount(src[pos.Byte:i]), Byte: i}
			return hcl.Range{Start: start, End: hcl.Pos{Line: start.Line, Column: start.Column + 1, Byte: i + 1}}, true
		}
	}
	return hcl.Range{}, false
}

// checkNumbersJSON is numbersOf for a source in JSON; one that is no JSON is the parser's matter.
func checkNumbersJSON(src []byte, name string) (ds diag.Diags) {
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	for {
		t, err := d.Token()
		if err != nil {
			return ds
		}
		n, ok := t.(json.Number)
		if !ok {
			continue
		}
		// A float64 tells in no time what a big number would not.
		if f, err := n.Float64(); err == nil && (f != 0 || !strings.ContainsAny(string(n), "123456789")) && math.Abs(f) < 1e301 {
			continue
		}
		end := int(d.InputOffset())
		ds = ds.Append(diag.At(rangeAt(src, name, end-len(n), end), "recipe/number", "This number is too large or too small", "Numbers are as large as 1e300 and as small as 1e-300. Write another one."))
	}
}

// rangeAt is the range of bytes of a source, within a line.
func rangeAt(src []byte, name string, start, end int) hcl.Range {
	line := bytes.LastIndexByte(src[:start], '\n') + 1
	pos := hcl.Pos{Line: 1 + bytes.Count(src[:start], []byte("\n")), Column: 1 + utf8.RuneCount(src[line:start]), Byte: start}
	return hcl.Range{Filename: name, Start: pos, End: hcl.Pos{Line: pos.Line, Column: pos.Column + utf8.RuneCount(src[start:end]), Byte: end}}
}

// numbersOf refuses numbers whose spelling out would take forever, such as 1e999999999.
func numbersOf(n hclsyntax.Node) (ds diag.Diags) {
	_ = hclsyntax.VisitAll(n, func(n hclsyntax.Node) hcl.Diagnostics {
		if l, ok := n.(*hclsyntax.LiteralValueExpr); ok && !sane(l.Val) {
			ds = ds.Append(diag.At(l.SrcRange, "recipe/number", "This number is too large or too small", "Numbers are as large as 1e300 and as small as 1e-300. Write another one."))
		}
		return nil
	})
	return ds
}

// sane tells whether a value is no number, or one of an exponent within bounds.
func sane(v cty.Value) bool {
	if v.IsNull() || !v.IsKnown() || v.Type() != cty.Number {
		return true
	}
	f := v.AsBigFloat()
	e := f.MantExp(nil)
	return !f.IsInf() && -maxExponent < e && e < maxExponent
}

// weight is about how many bytes a value takes: its texts, and a word for each element. It stops once that is beyond
// maxLocal.
func weight(v cty.Value) (n int) {
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		n += 8
		if v, _ := v.Unmark(); v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
			n += len(v.AsString())
		}
		if n > maxLocal {
			return false, errHeavy
		}
		return true, nil
	})
	return n
}

var errHeavy = errors.New("too large")

// guarded is f with a check of its arguments, which may be unknown.
func guarded(f function.Function, check func(args []cty.Value) error) function.Function {
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			if err := check(args); err != nil {
				return cty.NilType, err
			}
			return f.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f.Call(args) },
	})
}

// calm is f with an error or something unknown in the place of a panic: the library has functions that do not look at
// what they are given.
func calm(f function.Function) function.Function {
	instead := func(args []cty.Value, err error) error {
		if err == nil || !strings.Contains(err.Error(), "panic in function") {
			return err
		}
		for _, a := range args {
			if !a.IsWhollyKnown() {
				return nil
			}
		}
		return errors.New("there is no result for these values")
	}
	return function.New(&function.Spec{
		Params: f.Params(), VarParam: f.VarParam(),
		Type: func(args []cty.Value) (cty.Type, error) {
			ty, err := f.ReturnTypeForValues(args)
			if err != nil {
				return cty.DynamicPseudoType, instead(args, err)
			}
			return ty, nil
		},
		Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
			v, err := f.Call(args)
			if err != nil {
				return cty.UnknownVal(ty), instead(args, err)
			}
			return v, nil
		},
	})
}

// widths refuses a format whose width or precision has five digits or more.
func widths(args []cty.Value) error {
	if len(args) == 0 {
		return nil
	}
	s, _ := asString(args[0])
	digits := 0
	for _, c := range s {
		if c < '0' || c > '9' {
			digits = 0
			continue
		}
		if digits++; digits > 4 {
			return function.NewArgErrorf(0, "a width has at most four digits")
		}
	}
	return nil
}

// indents refuses to indent by more than a line is wide.
func indents(args []cty.Value) error {
	n, ok := wholeNumber(args[0])
	if args[0].IsKnown() && (!ok || n > 1000) {
		return function.NewArgErrorf(0, "indent by at most 1000 spaces")
	}
	return nil
}

// products refuses a product of too many elements.
func products(args []cty.Value) error {
	n := 1
	for _, a := range args {
		if a.IsNull() || !a.IsKnown() || !a.CanIterateElements() {
			return nil
		}
		if n *= max(a.LengthInt(), 1); n > maxElements {
			return fmt.Errorf("the product has more than %d elements", maxElements)
		}
	}
	return nil
}
