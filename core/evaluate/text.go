package evaluate

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/optimize-hcl/optimize/dataset/tokenizer"
	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/tensor"
)

// texts compares what the model wrote with what it should have written.
func (r *subjectReader) texts() (figure, error) {
	have, err := r.written(r.out)
	if err != nil {
		return figure{}, err
	}
	want, err := r.wanted()
	if err != nil {
		return figure{}, err
	}
	switch r.m.Kind {
	case "cer":
		return asMeasure(metrics.CER(have, want))
	case "wer":
		return asMeasure(metrics.WER(have, want))
	}
	refs := make([][]string, len(want))
	for i := range want {
		refs[i] = want[i : i+1]
	}
	if r.m.Kind == "bleu" {
		return asMeasure(metrics.BLEU(have, refs))
	}
	return asMeasure(metrics.ChrF(have, refs, int(r.m.Words)))
}

// wanted gives the reference of each sample: a target of texts, one of tokens' numbers, or what the baseline wrote.
func (r *subjectReader) wanted() ([]string, error) {
	name := r.m.Against()
	if name == "baseline" {
		return r.written(r.base)
	}
	t, err := r.data.Target(name)
	if err != nil {
		return nil, err
	}
	if len(t.Shape) != 2 {
		return nil, fmt.Errorf("target %q has shape %s, but a text, or the numbers of tokens, are needed for each sample", name, axes(t.Shape))
	}
	switch {
	case t.DType == tensor.U8:
		return tensor.Texts(t)
	case t.DType.IsInteger():
		ids, err := metrics.Integers(t)
		if err != nil {
			return nil, err
		}
		return r.spelled(ids, int(t.Shape[0]))
	}
	return nil, fmt.Errorf("target %q holds %s, but texts are needed: a field of texts without a tokenizer", name, t.DType)
}

// written reads texts from an output.
func (r *subjectReader) written(t tensor.Tensor) ([]string, error) {
	if s := t.Shape; len(s) == 4 && s[2] == 1 {
		t.Shape = []int64{s[0], s[1], s[3]} // [T, 1, C] of models that write one sample at a time
	}
	if t.DType.IsInteger() {
		if len(t.Shape) != 2 || r.m.Decode == "ctc" {
			return nil, fmt.Errorf("the output has shape %s of %s, from which %s reads no text", axes(t.Shape), t.DType, r.m.Decode)
		}
		ids, err := metrics.Integers(t)
		if err != nil {
			return nil, err
		}
		return r.spelled(ids, int(t.Shape[0]))
	}
	if len(t.Shape) != 3 || t.Shape[1] == 0 || t.Shape[2] == 0 {
		return nil, fmt.Errorf("the output has shape %s; %s reads scores of shape [N, T, C]", axes(t.Shape), r.m.Decode)
	}
	n, steps, classes := t.Shape[0], t.Shape[1], t.Shape[2]
	if len(r.m.Alphabet) > 0 && classes != r.m.letters() {
		return nil, r.m.wrongAlphabet(r.m.Output, classes)
	}
	t.Shape = []int64{n * steps, classes}
	best, err := metrics.Classes(t)
	if err != nil {
		return nil, err
	}
	ids, err := tensor.View[int64](best)
	if err != nil {
		return nil, err
	}
	if r.m.Decode == "ctc" {
		return r.m.collapse(ids, int(n)), nil
	}
	return r.spelled(ids, int(n))
}

// collapse reads CTC's best path (Graves et al. 2006): repeats count once, and blanks part them.
func (m Metric) collapse(ids []int64, n int) []string {
	blank := int64(0)
	if m.Blank != nil {
		blank = *m.Blank
	}
	out := make([]string, n)
	each := len(ids) / n
	var b strings.Builder
	for i := range out {
		b.Reset()
		last := blank
		for _, id := range ids[i*each : (i+1)*each] {
			if id != last && id != blank {
				k := id
				if id > blank {
					k-- // the blank has no letter
				}
				b.WriteString(m.Alphabet[k])
			}
			last = id
		}
		out[i] = b.String()
	}
	return out
}

// spelled turns numbers of tokens into texts.
func (r *subjectReader) spelled(ids []int64, n int) ([]string, error) {
	each := len(ids) / n
	out := make([]string, n)
	if r.m.Tokenizer != "" {
		tok, err := r.g.tokenizer(r.m.Tokenizer)
		if err != nil {
			return nil, err
		}
		for i := range out {
			if out[i], err = tok.Decode(ids[i*each : (i+1)*each]); err != nil {
				return nil, fmt.Errorf("sample %d: %w", i, err)
			}
		}
		return out, nil
	}
	var b strings.Builder
	for i := range out {
		b.Reset()
		for _, id := range ids[i*each : (i+1)*each] {
			if id < 0 {
				continue // what pads a target
			}
			if id >= int64(len(r.m.Alphabet)) {
				return nil, fmt.Errorf("sample %d holds token %d, but the alphabet has %d texts, from 0", i, id, len(r.m.Alphabet))
			}
			b.WriteString(r.m.Alphabet[id])
		}
		out[i] = b.String()
	}
	return out, nil
}

func (g *grader) tokenizer(path string) (*tokenizer.Tokenizer, error) {
	if t := g.tokenizers[path]; t != nil {
		return t, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("%s is no tokenizer.json: it is not UTF-8", path)
	}
	t, err := tokenizer.Parse(bytes.TrimSpace(b))
	if err != nil {
		return nil, fmt.Errorf("the tokenizer %s cannot be used: %w", path, err)
	}
	if g.tokenizers == nil {
		g.tokenizers = map[string]*tokenizer.Tokenizer{}
	}
	g.tokenizers[path] = t
	return t, nil
}
