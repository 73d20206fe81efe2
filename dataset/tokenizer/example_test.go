package tokenizer_test

import (
	"fmt"
	"log"

	"github.com/optimize-hcl/optimize/dataset/tokenizer"
)

// The tokens of a text, cut to six, and the text of tokens.
func ExampleParse() {
	t, err := tokenizer.Parse([]byte(`{
		"normalizer": {"type": "Lowercase"},
		"pre_tokenizer": {"type": "Whitespace"},
		"decoder": {"type": "WordPiece", "prefix": "##"},
		"model": {"type": "WordPiece", "unk_token": "?", "vocab": {"?": 0, "a": 1, "cat": 2, "##s": 3}}
	}`))
	if err != nil {
		log.Fatal(err)
	}
	ids, _, err := t.Encode("A cats dog", 6)
	fmt.Println(ids, err)
	text, err := t.Decode(ids[:3])
	fmt.Println(text, err)
	// Output:
	// [1 2 3 0] <nil>
	// a cats <nil>
}
