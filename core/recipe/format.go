package recipe

import (
	"bytes"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/optimize-hcl/optimize/core/diag"
)

// MaxFile is the size that a recipe's file may have, in bytes.
const MaxFile = maxFile

// Format gives a source in the canonical style: indentation, spaces, aligned equals signs, one line end at its end. Line
// ends stay as they are, LF or CRLF. A source that does not parse is an error. The file is for the snippets of what is
// wrong with it.
func Format(src []byte, name string) ([]byte, *hcl.File, diag.Diags) {
	file := &hcl.File{Bytes: src}
	if len(src) > maxFile {
		return nil, file, diag.Diags{diag.Errorf("recipe/unreadable", name+" is too large", "A file has at most %d KiB.", maxFile>>10)}
	}
	if !utf8.Valid(src) {
		return nil, file, diag.Diags{diag.Errorf("recipe/encoding", name+" is not UTF-8 text", "Save it as UTF-8.")}
	}
	if ds := checkNesting(src, name, hclsyntax.LexConfig); ds.HasErrors() {
		return nil, file, ds
	}
	f, hd := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	if hd.HasErrors() {
		return nil, file, firstOf(coded(hd))
	}
	out := src
	// One pass is not always enough: what it does to a comment may move what stands after it.
	for range 4 {
		next := canonical(out)
		if bytes.Equal(next, out) {
			break
		}
		out = next
	}
	if !sameWords(src, out) || !bytes.Equal(canonical(out), out) {
		return nil, f, diag.Diags{diag.Errorf("recipe/format", name+" cannot be formatted", "Its canonical form would not mean the same. The file is left as it is; please report this with the file.")}
	}
	return out, f, nil
}

// canonical is one pass of the formatter.
func canonical(src []byte) []byte {
	out := hclwrite.Format(src)
	end := []byte("\n")
	if bytes.HasSuffix(bytes.TrimRight(out, "\n"), []byte("\r")) || bytes.Contains(out, []byte("\r\n")) {
		end = []byte("\r\n")
	}
	if trimmed := bytes.TrimRight(out, " \t\r\n"); len(trimmed) == 0 {
		return nil
	} else if !bytes.HasSuffix(out, end) || len(out)-len(trimmed) > len(end) {
		out = append(bytes.Clone(trimmed), end...)
	}
	return out
}

// sameWords tells whether two sources have the same tokens, white space aside: what is said is the same then.
func sameWords(a, b []byte) bool {
	x, y := words(a), words(b)
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i].Type != y[i].Type || !bytes.Equal(x[i].Bytes, y[i].Bytes) {
			return false
		}
	}
	return true
}

// words are the tokens of a source. Line ends at the end of the source and around comments say nothing.
func words(src []byte) hclsyntax.Tokens {
	tokens, _ := hclsyntax.LexConfig(src, "", hcl.InitialPos)
	var out hclsyntax.Tokens
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenEOF:
			continue
		case hclsyntax.TokenNewline:
			t.Bytes = []byte("\n")
		case hclsyntax.TokenComment, hclsyntax.TokenCHeredoc:
			t.Bytes = bytes.TrimRight(t.Bytes, " \t\r\n")
		}
		out = append(out, t)
	}
	for len(out) > 0 && out[len(out)-1].Type == hclsyntax.TokenNewline {
		out = out[:len(out)-1]
	}
	return out
}
