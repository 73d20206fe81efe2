package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// decoder turns the texts of tokens into the parts of a text.
type decoder func(tokens []string) []string

// Decode gives the text of tokens, without those that the file calls special and without numbers that are no token, such
// as the -100 that pads labels: what Hugging Face's decode does with skip_special_tokens. A decoder that is not known is
// an error, told here so that such a file can still encode.
func (t *Tokenizer) Decode(ids []int64) (text string, err error) {
	t.decoding.Do(func() {
		t.names = vocabulary(t.model)
		for id, name := range t.addedNames {
			t.names[id] = name
		}
		t.decode, t.decodeErr = parseDecoder(t.decoderJSON, 0)
	})
	if t.decodeErr != nil {
		return "", t.decodeErr
	}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			text, err = "", r.error
		default:
			panic(r)
		}
	}()
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		if name, ok := t.names[id]; ok && !t.specialIDs[id] {
			tokens = append(tokens, name)
		}
	}
	if t.decode == nil {
		return strings.Join(tokens, " "), nil
	}
	return strings.Join(t.decode(tokens), ""), nil
}

// backwards is what Decode needs; it is made when first needed.
type backwards struct {
	decoding    sync.Once
	decoderJSON json.RawMessage
	decode      decoder // nil: tokens are parted by spaces
	decodeErr   error
	names       map[int64]string
	addedNames  map[int64]string
	specialIDs  map[int64]bool
}

// vocabulary gives the tokens of a model by their number.
func vocabulary(m model) map[int64]string {
	names := map[int64]string{}
	var vocab map[string]int64
	switch m := m.(type) {
	case wordLevel:
		vocab = m.vocab
	case *wordPiece:
		vocab = m.vocab
	case *bpe:
		vocab = m.vocab
	case *unigram:
		for piece, id := range m.pieces {
			names[int64(id)] = piece
		}
	}
	for piece, id := range vocab {
		names[id] = piece
	}
	return names
}

func parseDecoder(b json.RawMessage, depth int) (decoder, error) {
	if isNull(b) {
		return nil, nil
	}
	kind, err := kindOf(b)
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errors.New("its decoders lie too deep in each other")
	}
	p := struct {
		Decoders                json.RawMessage
		Prefix, Suffix, Content string
		Cleanup                 bool
		Replacement             string
		PrependScheme           string `json:"prepend_scheme"`
		AddPrefixSpace          *bool  `json:"add_prefix_space"`
		Pattern                 pattern
		Start, Stop             int
	}{Prefix: "##", Suffix: "</w>", Replacement: "▁"}
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("its decoder cannot be read: %w", err)
	}
	switch kind {
	case "Sequence":
		list, err := parts("decoders", p.Decoders)
		if err != nil {
			return nil, err
		}
		var all []decoder
		for _, part := range list {
			d, err := parseDecoder(part, depth+1)
			if err != nil {
				return nil, err
			}
			if d != nil {
				all = append(all, d)
			}
		}
		return func(tokens []string) []string {
			for _, d := range all {
				tokens = d(tokens)
			}
			return tokens
		}, nil
	case "WordPiece":
		return each(func(s string, i, _ int) string {
			if i > 0 {
				if rest, ok := strings.CutPrefix(s, p.Prefix); ok {
					s = rest
				} else {
					s = " " + s
				}
			}
			if p.Cleanup {
				s = cleanup.Replace(s)
				s = strings.ReplaceAll(s, " 've", "'ve")
				s = strings.ReplaceAll(s, " 're", "'re")
			}
			return s
		}), nil
	case "ByteLevel":
		return func(tokens []string) []string {
			var out []byte
			for _, s := range tokens {
				out = append(out, bytesOf(s)...)
			}
			return []string{lossy(out)}
		}, nil
	case "Metaspace":
		never := p.PrependScheme == "never" || p.PrependScheme == "" && p.AddPrefixSpace != nil && !*p.AddPrefixSpace
		return each(func(s string, i, _ int) string {
			if i == 0 && !never {
				return replaceAll(s, p.Replacement, "")
			}
			return replaceAll(s, p.Replacement, " ")
		}), nil
	case "BPEDecoder":
		return each(func(s string, i, n int) string {
			if i == n-1 {
				return replaceAll(s, p.Suffix, "")
			}
			return replaceAll(s, p.Suffix, " ")
		}), nil
	case "Fuse":
		return func(tokens []string) []string { return []string{strings.Join(tokens, "")} }, nil
	case "Strip":
		return each(func(s string, _, _ int) string {
			for k := 0; k < p.Start && p.Content != "" && strings.HasPrefix(s, p.Content); k++ {
				s = s[len(p.Content):]
			}
			for k := 0; k < p.Stop && p.Content != "" && strings.HasSuffix(s, p.Content); k++ {
				s = s[:len(s)-len(p.Content)]
			}
			return s
		}), nil
	case "Replace":
		n, err := parseNormalizer(b, depth)
		if err != nil {
			return nil, err
		}
		return each(func(s string, _, _ int) string { return n(s) }), nil
	case "ByteFallback":
		return byteFallback, nil
	}
	return nil, unknown("decoder", kind)
}

// cleanup takes the spaces away that English does not have, one pattern after the other.
var cleanup = chain{{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}}

type chain [][2]string

// Replace replaces each pattern in the order of the chain.
func (c chain) Replace(s string) string {
	for _, r := range c {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s
}

func each(do func(s string, i, n int) string) decoder {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, s := range tokens {
			out[i] = do(s, i, len(tokens))
		}
		return out
	}
}

// byteFallback joins the bytes of tokens such as <0xE2>; those that are no UTF-8 become one mark each.
func byteFallback(tokens []string) (out []string) {
	var held []byte
	flush := func() {
		switch {
		case len(held) == 0:
		case utf8.Valid(held):
			out = append(out, string(held))
		default:
			for range held {
				out = append(out, "\uFFFD")
			}
		}
		held = held[:0]
	}
	for _, s := range tokens {
		if len(s) == 6 && strings.HasPrefix(s, "<0x") && s[5] == '>' {
			if b, err := strconv.ParseUint(s[3:5], 16, 8); err == nil {
				held = append(held, byte(b))
				continue
			}
		}
		flush()
		out = append(out, s)
	}
	flush()
	return out
}

// lossy makes UTF-8 of bytes; each part that is none becomes one mark, as in Rust's from_utf8_lossy.
func lossy(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r != utf8.RuneError || n > 1 {
			s.Write(b[:n])
			b = b[n:]
			continue
		}
		s.WriteRune(utf8.RuneError)
		b = b[invalid(b):]
	}
	return s.String()
}

// invalid is how many bytes of a code point that is cut off or wrong belong together (Unicode 3.9, maximal subparts).
func invalid(b []byte) int {
	low, high, want := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		want = 1
	case c == 0xe0:
		low, want = 0xa0, 2
	case c == 0xed:
		high, want = 0x9f, 2
	case c >= 0xe1 && c <= 0xef:
		want = 2
	case c == 0xf0:
		low, want = 0x90, 3
	case c == 0xf4:
		high, want = 0x8f, 3
	case c >= 0xf1 && c <= 0xf3:
		want = 3
	}
	n := 1
	for ; n <= want && n < len(b) && b[n] >= low && b[n] <= high; n++ {
		low, high = 0x80, 0xbf
	}
	return n
}

// runeBytes is byteRunes backwards.
var runeBytes = sync.OnceValue(func() map[rune]byte {
	m := map[rune]byte{}
	for b, s := range byteRunes {
		r, _ := utf8.DecodeRuneInString(s)
		m[r] = byte(b)
	}
	return m
})

// bytesOf gives the bytes that a token of GPT-2's vocabulary shows; a token with other characters is taken as it is.
func bytesOf(s string) []byte {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		b, ok := runeBytes()[r]
		if !ok {
			return []byte(s)
		}
		out = append(out, b)
	}
	return out
}
