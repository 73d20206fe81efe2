package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/dataset/internal/heaptest"
)

// TestParseMemory feeds the parser files that are nothing but the shortest parts there are.
func TestParseMemory(t *testing.T) {
	const n = 30_000
	many := func(part func(i int) string) string {
		var list []string
		for i := range n {
			list = append(list, part(i))
		}
		return strings.Join(list, ",")
	}
	same := func(s string) string { return many(func(int) string { return s }) }
	const words = `"model":{"type":"WordLevel","unk_token":"u","vocab":{"u":0}}}`
	for name, file := range map[string]string{
		"words":         `{"model":{"type":"WordPiece","unk_token":"0","vocab":{` + many(func(i int) string { return fmt.Sprintf(`"%d":%d`, i, i) }) + `}}}`,
		"same ids":      `{"model":{"type":"WordPiece","unk_token":"0","vocab":{` + many(func(i int) string { return fmt.Sprintf(`"%x":0`, i) }) + `}}}`,
		"merges":        `{"model":{"type":"BPE","vocab":{"a":0,"aa":1},"merges":[` + same(`"a a"`) + `]}}`,
		"merge pairs":   `{"model":{"type":"BPE","vocab":{"a":0,"aa":1},"merges":[` + same(`["a","a"]`) + `]}}`,
		"no merges":     `{"model":{"type":"BPE","vocab":{"a":0,"aa":1},"merges":[` + same(`""`) + `]}}`,
		"pieces":        `{"model":{"type":"Unigram","unk_id":0,"vocab":[` + many(func(i int) string { return fmt.Sprintf(`["%d",0]`, i) }) + `]}}`,
		"same pieces":   `{"model":{"type":"Unigram","unk_id":0,"vocab":[` + same(`["",0]`) + `]}}`,
		"no pieces":     `{"model":{"type":"Unigram","unk_id":0,"vocab":[` + same(`[]`) + `]}}`,
		"no tokens":     `{"added_tokens":[` + same(`{}`) + `],` + words,
		"added tokens":  `{"added_tokens":[` + many(func(i int) string { return fmt.Sprintf(`{"id":%d,"content":"a"}`, i) }) + `],` + words,
		"normalizers":   `{"normalizer":{"type":"Sequence","normalizers":[` + same(`{"type":"NFC"}`) + `]},` + words,
		"nested":        `{"normalizer":` + strings.Repeat(`{"type":"Sequence","normalizers":[`, 99) + `{"type":"Prepend","prepend":"` + strings.Repeat("a", n) + `"}` + strings.Repeat(`]}`, 99) + `,` + words,
		"processors":    `{"post_processor":{"type":"Sequence","processors":[` + same(`{}`) + `]},` + words,
		"decoders":      `{"decoder":{"type":"Sequence","decoders":[` + same(`{}`) + `]},` + words,
		"pre-tokenizer": `{"pre_tokenizer":{"type":"Sequence","pretokenizers":[` + same(`{}`) + `]},` + words,
		"template": `{"post_processor":{"type":"TemplateProcessing","single":[` + strings.Repeat(`{"SpecialToken":{"id":"a"}},`, 200) + `{}],"special_tokens":{"a":{"ids":[` +
			same("0") + `]}}},` + words,
		"cls": `{"post_processor":{"type":"BertProcessing","cls":[` + same("0") + `]},` + words,
	} {
		var err error
		got := heaptest.Peak(func() { _, err = Parse([]byte(file)) })
		if most := int64(4<<20 + 10*len(file)); got > most {
			t.Errorf("%s: %d bytes take %d, %.1f times as much (%v)", name, len(file), got, float64(got)/float64(len(file)), err)
		}
	}
}

// TestNormalizerBomb: four steps that each make a text a thousand times as long are a
// few kilobytes of file.
func TestNormalizerBomb(t *testing.T) {
	thousand := strings.Repeat(`{"type":"Replace","pattern":{"String":"a"},"content":"`+strings.Repeat("a", 1000)+`"},`, 4)
	const vocab = `"model":{"type":"WordLevel","unk_token":"u","vocab":{"u":0}}}`
	tok, err := Parse([]byte(`{"normalizer":{"type":"Sequence","normalizers":[` + thousand + `{"type":"NFC"}]},` + vocab))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := tok.Encode("a", 8); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a text that explodes: %v", err)
	}
	// The normalizer is used while the file is read, too.
	_, err = Parse([]byte(`{"normalizer":{"type":"Sequence","normalizers":[` + thousand + `{"type":"NFC"}]},"added_tokens":[{"id":1,"content":"a","normalized":true}],` + vocab))
	var f failure
	if err == nil || errors.As(err, &f) || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("an added token that explodes: %v", err)
	}
}

// TestManyAddedTokens: the time for tokens that begin alike does not grow with their square.
func TestManyAddedTokens(t *testing.T) {
	var list []string
	const n = 50_000
	for i := range n {
		list = append(list, fmt.Sprintf(`{"id":%d,"content":"<%d>"}`, i+1, i))
	}
	tok, err := Parse([]byte(`{"added_tokens":[` + strings.Join(list, ",") + `],"model":{"type":"WordLevel","unk_token":"u","vocab":{"u":0}}}`))
	if err != nil {
		t.Fatal(err)
	}
	ids, _, err := tok.Encode("<7><49999>", 0)
	if err != nil || len(ids) != 2 || ids[0] != 8 || ids[1] != n {
		t.Error(ids, err)
	}
}
