// Package tokenizer turns text into the numbers that language models take, as the
// tokenizer.json of Hugging Face describes it: WordPiece, BPE, Unigram and word-level
// models with the usual normalizers, pre-tokenizers and post-processors. What a file
// asks for that is not known is an error that names it, never a guess.
package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Tokenizer is a loaded tokenizer.json. It may be used by several goroutines at once.
type Tokenizer struct {
	normalize normalizer
	split     preTokenizer
	model     model
	before    []special // what the post-processor puts in front of a text and after it
	after     []special
	typeID    int64 // of the text itself
	raw       added // tokens looked for in the text as it is
	cooked    added // tokens looked for in the normalized text

	// Length is what the file truncates or pads every text to; 0 when it does not say.
	Length int
	// Pad is the padding's token, PadType its type, and PadLeft where it goes.
	Pad, PadType int64
	PadLeft      bool

	backwards
}

// special is a token that is not in the text.
type special struct{ id, typeID int64 }

// model turns a word into tokens; unknown tells whether it had to give up on a part.
type model interface {
	encode(dst []int64, word string) []int64
}

// file is the outline of a tokenizer.json.
type file struct {
	AddedTokens   json.RawMessage `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Model         json.RawMessage `json:"model"`
	Decoder       json.RawMessage `json:"decoder"`
	Truncation    *struct {
		MaxLength int `json:"max_length"`
	} `json:"truncation"`
	Padding *struct {
		Strategy  json.RawMessage `json:"strategy"`
		Direction string          `json:"direction"`
		PadID     int64           `json:"pad_id"`
		PadTypeID int64           `json:"pad_type_id"`
	} `json:"padding"`
}

// fileToken is one of the file's added_tokens.
type fileToken struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// maxLength bounds what a file may ask every text to be padded to.
const maxLength = 1 << 20

// Parse reads a tokenizer.json. It takes memory in proportion to the file.
func Parse(b []byte) (t *Tokenizer, err error) {
	// Added tokens go through the normalizer, which may give up.
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failure)
			if !ok {
				panic(r)
			}
			t, err = nil, f.error
		}
	}()
	return parse(b)
}

func parse(b []byte) (*Tokenizer, error) {
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("it is no tokenizer.json: %w", err)
	}
	if isNull(f.Model) {
		return nil, errors.New("it is no tokenizer.json: it has no model")
	}
	t := &Tokenizer{}
	t.decoderJSON, t.addedNames, t.specialIDs = f.Decoder, map[int64]string{}, map[int64]bool{}
	var err error
	if t.normalize, err = parseNormalizer(f.Normalizer, 0); err != nil {
		return nil, err
	}
	if t.split, err = parsePreTokenizer(f.PreTokenizer, 0); err != nil {
		return nil, err
	}
	var vocab func(string) (int64, bool)
	if t.model, vocab, err = parseModel(f.Model); err != nil {
		return nil, err
	}
	if err := t.post(f.PostProcessor, 0); err != nil {
		return nil, err
	}
	err = elements(f.AddedTokens, func(part []byte) error {
		var a fileToken
		if err := json.Unmarshal(part, &a); err != nil || a.Content == "" {
			return err
		}
		t.addedNames[a.ID] = a.Content
		t.specialIDs[a.ID] = a.Special
		tok := addedToken{a.Content, a.ID, a.SingleWord, a.LStrip, a.RStrip}
		if !a.Normalized {
			t.raw.add(tok)
			return nil
		}
		tok.text = t.normalize(tok.text)
		t.cooked.add(tok)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("its added tokens cannot be read: %w", err)
	}
	t.raw.sort()
	t.cooked.sort()
	for _, name := range []string{"[PAD]", "<pad>", "<|pad|>", "<|endoftext|>"} {
		if id, ok := vocab(name); ok {
			t.Pad = id
			break
		}
		if id, ok := t.raw.find(name); ok {
			t.Pad = id
			break
		}
	}
	if p := f.Padding; p != nil {
		t.Pad, t.PadType, t.PadLeft = p.PadID, p.PadTypeID, strings.EqualFold(p.Direction, "left")
		var fixed struct{ Fixed int }
		if json.Unmarshal(p.Strategy, &fixed) == nil {
			t.Length = fixed.Fixed
		}
	}
	if t.Length == 0 && f.Truncation != nil {
		t.Length = f.Truncation.MaxLength
	}
	if t.Length < 0 || t.Length > maxLength {
		return nil, fmt.Errorf("it makes every text %d tokens long; up to %d are allowed", t.Length, maxLength)
	}
	return t, nil
}

func isNull(b json.RawMessage) bool { return len(b) == 0 || string(b) == "null" }

// kindOf reads the type of a part of the file.
func kindOf(b json.RawMessage) (string, error) {
	var k struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(b, &k); err != nil {
		return "", fmt.Errorf("a part of it cannot be read: %w", err)
	}
	return k.Type, nil
}

const (
	// maxDepth bounds how deep parts of the file lie in each other, each of which is
	// copied out of the one around it.
	maxDepth = 6
	// maxParts bounds how many steps a part of the file has.
	maxParts = 256
	// maxSpecials bounds the tokens that are put round a text.
	maxSpecials = 1 << 10
)

// elements gives the elements of a list one by one, as parts of b, which is valid JSON.
// Into a slice they would be read all at once, and a slice of messages takes many times
// the memory of the text. It does nothing when there is no list.
func elements(b json.RawMessage, do func(element []byte) error) error {
	if isNull(b) {
		return nil
	}
	if b = bytes.TrimSpace(b); b[0] != '[' {
		return errors.New("it is no list")
	}
	depth, start := 0, 1
	for i := 1; i < len(b); i++ {
		switch c := b[i]; c {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			depth++
		case ']', '}', ',':
			if depth > 0 {
				if c != ',' {
					depth--
				}
				continue
			}
			if element := bytes.TrimSpace(b[start:i]); len(element) > 0 { // none: the list is empty
				if err := do(element); err != nil {
					return err
				}
			}
			start = i + 1
		}
	}
	return nil
}

// parts reads the list of steps that a part of the file consists of.
func parts(what string, b json.RawMessage) (list []json.RawMessage, err error) {
	err = elements(b, func(element []byte) error {
		if len(list) == maxParts {
			return fmt.Errorf("there are more than %d", maxParts)
		}
		list = append(list, element)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("its list of %s cannot be used: %w", what, err)
	}
	return list, nil
}

// Encode returns the tokens of a text with what the post-processor adds, and the type
// of each. With limit over 0 the text is cut at its end so that all are at most limit.
// The only error is a regular expression that takes too long.
func (t *Tokenizer) Encode(text string, limit int) (ids, types []int64, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			ids, types, err = nil, nil, r.error
		default:
			panic(r)
		}
	}()
	ids, types = t.encode(text, limit)
	return ids, types, nil
}

func (t *Tokenizer) encode(text string, limit int) (ids, types []int64) {
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	room := -1
	if limit > 0 {
		room = max(0, limit-len(t.before)-len(t.after))
	}
	for _, s := range t.before {
		ids = append(ids, s.id)
	}
	start := len(ids)
	t.raw.split(text, func(part string, first bool, id int64, token bool) {
		switch {
		case room >= 0 && len(ids)-start > room: // the rest is cut anyway
		case token:
			ids = append(ids, id)
		default:
			t.cooked.split(t.normalize(part), func(part string, f bool, id int64, token bool) {
				if token {
					ids = append(ids, id)
				} else if part != "" {
					t.split(part, first && f, func(word string) {
						if word != "" {
							ids = t.model.encode(ids, word)
						}
					})
				}
			})
		}
	})
	if room >= 0 && len(ids)-start > room {
		ids = ids[:start+room]
	}
	types = make([]int64, len(ids)+len(t.after))
	for i := range types {
		types[i] = t.typeID
	}
	for i, s := range t.before {
		types[i] = s.typeID
	}
	for i, s := range t.after {
		types[len(ids)+i] = s.typeID
	}
	for _, s := range t.after {
		ids = append(ids, s.id)
	}
	if limit > 0 && len(ids) > limit { // there is no room even for what is added
		ids, types = ids[:limit], types[:limit]
	}
	return ids, types
}

// post reads the post-processor.
func (t *Tokenizer) post(b json.RawMessage, depth int) error {
	if isNull(b) {
		return nil
	}
	kind, err := kindOf(b)
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return errors.New("its post-processors lie too deep in each other")
	}
	var p struct {
		Processors    json.RawMessage
		Single        json.RawMessage
		SpecialTokens map[string]struct {
			IDs []int64 `json:"ids"`
		} `json:"special_tokens"`
		Cls, Sep [3]json.RawMessage // a third one is too many
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("its post-processor cannot be read: %w", err)
	}
	switch kind {
	case "ByteLevel": // concerns offsets only
	case "Sequence":
		list, err := parts("post-processors", p.Processors)
		if err != nil {
			return err
		}
		for _, part := range list {
			if err := t.post(part, depth+1); err != nil {
				return err
			}
		}
	case "BertProcessing", "RobertaProcessing":
		cls, ok1 := idOf(p.Cls)
		sep, ok2 := idOf(p.Sep)
		if !ok1 || !ok2 {
			return errors.New("its post-processor lacks cls or sep")
		}
		t.before, t.after = []special{{cls, 0}}, []special{{sep, 0}}
	case "TemplateProcessing":
		text := false
		list, err := parts("pieces round a text", p.Single)
		if err != nil {
			return err
		}
		for _, part := range list {
			var piece map[string]json.RawMessage
			if err := json.Unmarshal(part, &piece); err != nil {
				return fmt.Errorf("its post-processor cannot be read: %w", err)
			}
			for what, v := range piece {
				var x struct {
					ID     string `json:"id"`
					TypeID int64  `json:"type_id"`
				}
				if err := json.Unmarshal(v, &x); err != nil {
					return fmt.Errorf("its post-processor cannot be read: %w", err)
				}
				if what == "Sequence" {
					if text {
						return errors.New("its post-processor takes the text twice")
					}
					text, t.typeID = true, x.TypeID
					continue
				}
				ids := p.SpecialTokens[x.ID].IDs
				if len(ids) > maxSpecials-len(t.before)-len(t.after) {
					return fmt.Errorf("its post-processor puts more than %d tokens round a text", maxSpecials)
				}
				for _, id := range ids {
					if text {
						t.after = append(t.after, special{id, x.TypeID})
					} else {
						t.before = append(t.before, special{id, x.TypeID})
					}
				}
			}
		}
	default:
		return unknown("post-processor", kind)
	}
	return nil
}

// idOf reads ["[CLS]", 101].
func idOf(pair [3]json.RawMessage) (id int64, ok bool) {
	if isNull(pair[1]) || pair[2] != nil {
		return 0, false
	}
	return id, json.Unmarshal(pair[1], &id) == nil
}

func unknown(what, kind string) error {
	return fmt.Errorf("its %s %q is not known to this version", what, clip(kind))
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:61] + "..."
	}
	return s
}
