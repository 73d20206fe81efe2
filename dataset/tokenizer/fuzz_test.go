package tokenizer

import (
	"encoding/json"
	"path/filepath"
	"testing"
)

func FuzzTokenizer(f *testing.F) {
	for name, c := range readGolden(f, filepath.Join("testdata", "golden.json")) {
		if len(c.Tokenizer) < 20000 {
			f.Add([]byte(c.Tokenizer), name+" [MASK] x\u0301 12")
		}
	}
	for _, seed := range []string{
		`{"model":{"type":"WordPiece","unk_token":"u","vocab":{"u":0,"a":1,"##b":2}},"pre_tokenizer":{"type":"BertPreTokenizer"}}`,
		`{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]},"normalizer":{"type":"Sequence","normalizers":[{"type":"NFKC"}]}}`,
		`{"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1.5],["\u2581",-2]]},"pre_tokenizer":{"type":"Metaspace"}}`,
		`{"model":{"type":"WordLevel","unk_token":"u","vocab":{"u":0}},"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\s+(?!\\S)"},"behavior":"Isolated"},"added_tokens":[{"id":7,"content":"<x>","lstrip":true,"rstrip":true,"single_word":true}]}`,
	} {
		f.Add([]byte(seed), "ab <x> c\xff")
	}
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		if len(text) > 1<<10 {
			return
		}
		tok, err := Parse(b)
		if err != nil {
			return
		}
		ids, types, err := tok.Encode(text, 16)
		if err == nil && (len(ids) > 16 || len(ids) != len(types)) {
			t.Errorf("%d tokens and %d types, at most 16 were wanted", len(ids), len(types))
		}
		if !json.Valid(b) {
			t.Error("bytes that are no JSON were read")
		}
	})
}
