package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parseModel reads the model and gives a way to look into its vocabulary.
func parseModel(b json.RawMessage) (model, func(string) (int64, bool), error) {
	var p struct {
		Type          string
		Vocab         json.RawMessage
		Merges        json.RawMessage
		UnkToken      *string `json:"unk_token"`
		UnkID         *int    `json:"unk_id"`
		Prefix        *string `json:"continuing_subword_prefix"`
		Suffix        *string `json:"end_of_word_suffix"`
		MaxInputChars int     `json:"max_input_chars_per_word"`
		FuseUnk       bool    `json:"fuse_unk"`
		ByteFallback  bool    `json:"byte_fallback"`
		IgnoreMerges  bool    `json:"ignore_merges"`
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, nil, fmt.Errorf("its model cannot be read: %w", err)
	}
	if p.Type == "" { // files of early versions do not say it
		switch {
		case !isNull(p.Merges):
			p.Type = "BPE"
		case p.UnkID != nil:
			p.Type = "Unigram"
		case p.Prefix != nil:
			p.Type = "WordPiece"
		}
	}
	if p.Type == "Unigram" {
		u, err := newUnigram(p.Vocab, p.UnkID, p.ByteFallback)
		if err != nil {
			return nil, nil, err
		}
		return u, u.find, nil
	}
	vocab := map[string]int64{}
	if err := json.Unmarshal(p.Vocab, &vocab); err != nil || len(vocab) == 0 {
		return nil, nil, errors.New("its model has no vocabulary")
	}
	find := func(s string) (int64, bool) { id, ok := vocab[s]; return id, ok }
	unk := int64(-1)
	if p.UnkToken != nil {
		id, ok := vocab[*p.UnkToken]
		if !ok && p.Type != "BPE" {
			return nil, nil, fmt.Errorf("its unknown token %q is not in the vocabulary", clip(*p.UnkToken))
		}
		if ok {
			unk = id
		}
	}
	switch p.Type {
	case "WordLevel":
		return wordLevel{vocab, unk}, find, nil
	case "WordPiece":
		w := &wordPiece{vocab: vocab, unk: unk, prefix: "##", most: p.MaxInputChars}
		if p.Prefix != nil {
			w.prefix = *p.Prefix
		}
		if w.most == 0 {
			w.most = 100
		}
		for piece := range vocab {
			w.longest = max(w.longest, len(piece))
		}
		return w, find, nil
	case "BPE":
		m := &bpe{vocab: vocab, unk: unk, fuse: p.FuseUnk, bytes: p.ByteFallback, whole: p.IgnoreMerges}
		if p.Prefix != nil {
			m.prefix = *p.Prefix
		}
		if p.Suffix != nil {
			m.suffix = *p.Suffix
		}
		return m, find, m.readMerges(p.Merges)
	}
	return nil, nil, unknown("model", p.Type)
}

// wordLevel has a token for each word.
type wordLevel struct {
	vocab map[string]int64
	unk   int64
}

func (m wordLevel) encode(dst []int64, word string) []int64 {
	if id, ok := m.vocab[word]; ok {
		return append(dst, id)
	}
	if m.unk >= 0 {
		dst = append(dst, m.unk)
	}
	return dst
}

// wordPiece takes the longest piece that fits, again and again (Schuster and Nakajima
// 2012, as BERT has it); pieces inside a word carry a prefix.
type wordPiece struct {
	vocab   map[string]int64
	unk     int64
	prefix  string
	most    int // characters of a word
	longest int // bytes of a piece
}

func (m *wordPiece) encode(dst []int64, word string) []int64 {
	start := len(dst)
	fail := func() []int64 {
		if m.unk < 0 {
			return dst[:start]
		}
		return append(dst[:start], m.unk)
	}
	if utf8.RuneCountInString(word) > m.most {
		return fail()
	}
	buf := make([]byte, 0, m.longest+utf8.UTFMax)
	for at := 0; at < len(word); {
		buf = buf[:0]
		if at > 0 {
			buf = append(buf, m.prefix...)
		}
		head := len(buf)
		end := min(len(word), at+max(0, m.longest-head))
		buf = append(buf, word[at:end]...)
		found := false
		for ; end > at; end-- {
			if end < len(word) && !utf8.RuneStart(word[end]) {
				continue
			}
			if id, ok := m.vocab[string(buf[:head+end-at])]; ok {
				dst, at, found = append(dst, id), end, true
				break
			}
		}
		if !found {
			return fail()
		}
	}
	return dst
}

// unigram finds the pieces whose probabilities have the greatest product (Kudo 2018).
type unigram struct {
	pieces  map[string]int
	scores  []float64
	unk     int
	unkCost float64
	longest int // bytes of a piece
	bytes   *[256]int64
}

func newUnigram(b json.RawMessage, unk *int, fallback bool) (*unigram, error) {
	u := &unigram{pieces: map[string]int{}, unk: -1}
	least := math.Inf(1)
	err := elements(b, func(part []byte) error {
		i := len(u.scores)
		piece, score, ok := scored(part)
		if !ok {
			return fmt.Errorf("entry %d of its vocabulary is no piece with a score", i)
		}
		u.pieces[piece] = i
		u.scores = append(u.scores, score)
		u.longest = max(u.longest, len(piece))
		least = min(least, score)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(u.scores) == 0 {
		return nil, errors.New("its model has no vocabulary of pieces and scores")
	}
	if unk != nil {
		if *unk < 0 || *unk >= len(u.scores) {
			return nil, fmt.Errorf("its unknown token is number %d of %d", *unk, len(u.scores))
		}
		u.unk = *unk
	}
	// What is unknown is worse than any piece.
	u.unkCost = least - 10
	if fallback {
		var err error
		if u.bytes, err = byteTokens(u.find); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// scored reads ["piece", score], which is valid JSON. Vocabularies have hundreds of
// thousands of them.
func scored(element []byte) (piece string, score float64, ok bool) {
	comma := bytes.LastIndexByte(element, ',')
	if element[0] != '[' || comma < 0 {
		return "", 0, false
	}
	piece, ok = text(bytes.TrimSpace(element[1:comma]))
	if !ok {
		return "", 0, false
	}
	score, err := strconv.ParseFloat(string(bytes.TrimSpace(element[comma+1:len(element)-1])), 64)
	return piece, score, err == nil
}

// text reads a string of JSON; what is something else is not ok.
func text(b []byte) (s string, ok bool) {
	if len(b) < 2 || b[0] != '"' {
		return "", false
	}
	if inner := b[1 : len(b)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner), bytes.IndexByte(inner, '"') < 0 // "a", "b" is no string
	}
	err := json.Unmarshal(b, &s)
	return s, err == nil
}

func (u *unigram) find(s string) (int64, bool) { id, ok := u.pieces[s]; return int64(id), ok }

// byteTokens are the tokens <0x00> to <0xFF>.
func byteTokens(find func(string) (int64, bool)) (*[256]int64, error) {
	var t [256]int64
	for i := range t {
		id, ok := find(fmt.Sprintf("<0x%02X>", i))
		if !ok {
			return nil, fmt.Errorf("it falls back to bytes, but <0x%02X> is not in the vocabulary", i)
		}
		t[i] = id
	}
	return &t, nil
}

func (u *unigram) encode(dst []int64, word string) []int64 {
	type node struct {
		score float64
		from  int // -1: not reached
		piece int // -1: unknown
	}
	best := make([]node, len(word)+1)
	for i := range best {
		best[i].from = -1
	}
	for at := 0; at < len(word); at += runeLen(word[at]) {
		here, one := best[at].score, runeLen(word[at])
		single := false
		for end := at + one; end <= len(word) && end-at <= u.longest; {
			if id, ok := u.pieces[word[at:end]]; ok {
				single = single || end == at+one
				if s := here + u.scores[id]; best[end].from < 0 || s > best[end].score {
					best[end] = node{s, at, id}
				}
			}
			if end == len(word) {
				break
			}
			end += runeLen(word[end])
		}
		if end := at + one; !single {
			if s := here + u.unkCost; best[end].from < 0 || s > best[end].score {
				best[end] = node{s, at, -1}
			}
		}
	}
	start := len(dst)
	for end := len(word); end > 0; {
		n := best[end]
		from := n.from
		if n.piece < 0 || n.piece == u.unk {
			for from > 0 && (best[from].piece < 0 || best[from].piece == u.unk) { // unknown ones that follow each other are one
				from = best[from].from
			}
			dst = u.unknown(dst, word[from:end])
		} else {
			dst = append(dst, int64(n.piece))
		}
		end = from
	}
	for i, k := start, len(dst)-1; i < k; i, k = i+1, k-1 {
		dst[i], dst[k] = dst[k], dst[i]
	}
	return dst
}

// unknown appends, backwards, what stands for a text without a piece.
func (u *unigram) unknown(dst []int64, s string) []int64 {
	switch {
	case u.bytes != nil:
		for i := len(s) - 1; i >= 0; i-- {
			dst = append(dst, u.bytes[s[i]])
		}
	case u.unk >= 0:
		dst = append(dst, int64(u.unk))
	}
	return dst
}

// trimmed is what the second half of a merge adds to the first.
func trimmed(s, prefix string) string { return strings.TrimPrefix(s, prefix) }
