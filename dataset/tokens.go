package dataset

import (
	"fmt"
	"os"
	"strings"

	"github.com/optimize-hcl/optimize/dataset/tokenizer"
	"github.com/optimize-hcl/optimize/tensor"
)

// maxTokenizer bounds a tokenizer.json; the largest vocabularies take some 40 MB.
const maxTokenizer = 512 << 20

// tokenMemory keeps the last encoding, since the numbers, the mask and the types of one
// text are usually three inputs.
type tokenMemory struct {
	of         *tokenizer.Tokenizer
	index      int64
	field      int
	limit      int
	valid      bool
	ids, types []int64
}

// text makes a column of a field's tokens.
func (p *tablePlan) text(in Input, path []string, i int) (*column, error) {
	at := func(name string) []string { return []string{"input", in.Name, name} }
	if err := checkLength(in); err != nil {
		return nil, err
	}
	what := in.Tokens
	if what == "" {
		what = tokensFor(in.Name)
	}
	if err := checkTokens(in); err != nil {
		return nil, err
	}
	tok, err := p.tokenizer(in.Tokenizer)
	if err != nil {
		return nil, &Error{Path: at("tokenizer"), Summary: "The tokenizer cannot be used", Detail: fmt.Sprintf("%s: %s.", in.Tokenizer, err), Err: err}
	}
	length := int(in.Length)
	if length == 0 {
		length = tok.Length
	}
	if length == 0 {
		return nil, &Error{Path: at("tokenizer"), Summary: "The length of the texts is not known", Detail: fmt.Sprintf("All samples have one length, and %s does not say it: write how many tokens the model takes, such as length = 128.", in.Tokenizer)}
	}
	isFile := p.t.fields[i].kind == kindFile
	return p.column(in, path, p.t.fields[i].name, tensor.I64, tensor.I64, []int64{int64(length)}, func(w *worker, r row, raw []byte) error {
		m := &w.tokens
		if !m.valid || m.of != tok || m.index != r.index || m.field != i || m.limit != length {
			s := r.cells[i]
			if isFile {
				b, err := w.read(p.t.dir, s)
				if err != nil {
					return err
				}
				s = string(b)
			}
			ids, types, err := tok.Encode(s, length)
			if err != nil {
				return err
			}
			*m = tokenMemory{of: tok, index: r.index, field: i, limit: length, valid: true, ids: ids, types: types}
		}
		out := elements[int64](raw)
		// Where the text is, and where the padding.
		text, rest := out[:len(m.ids)], out[len(m.ids):]
		if tok.PadLeft {
			rest, text = out[:length-len(m.ids)], out[length-len(m.ids):]
		}
		fill := int64(0)
		switch what {
		case "ids":
			copy(text, m.ids)
			fill = tok.Pad
		case "type_ids":
			copy(text, m.types)
			fill = tok.PadType
		default:
			for k := range text {
				text[k] = 1
			}
		}
		for k := range rest {
			rest[k] = fill
		}
		return nil
	})
}

func checkTokens(in Input) error {
	switch in.Tokens {
	case "", "ids", "mask", "type_ids":
		return nil
	}
	return &Error{Path: []string{"input", in.Name, "tokens"}, Summary: "tokens is not known", Detail: fmt.Sprintf("%q is none of \"ids\", \"mask\" and \"type_ids\".", clip(in.Tokens))}
}

// tokensFor guesses from the names that exporters give: attention_mask, token_type_ids.
func tokensFor(input string) string {
	switch {
	case strings.Contains(input, "mask"):
		return "mask"
	case strings.Contains(input, "type"):
		return "type_ids"
	}
	return "ids"
}

// tokenizer loads a file once, whatever the number of inputs that need it.
func (p *tablePlan) tokenizer(path string) (*tokenizer.Tokenizer, error) {
	if t := p.tokenizers[path]; t != nil {
		return t, nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxTokenizer || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("it is no file of at most %d bytes", maxTokenizer)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t, err := tokenizer.Parse(b)
	if err != nil {
		return nil, err
	}
	if p.tokenizers == nil {
		p.tokenizers = map[string]*tokenizer.Tokenizer{}
	}
	p.tokenizers[path] = t
	return t, nil
}
