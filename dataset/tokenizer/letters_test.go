package tokenizer

import (
	"slices"
	"strings"
	"testing"
)

// TestLettersAlone holds what Hugging Face's tokenizers 0.23 makes of a dotted capital I, which becomes two letters, and
// of a text that is cut at one letter, which is dropped.
func TestLettersAlone(t *testing.T) {
	file := func(delimiter string) string {
		return `{"normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "CharDelimiterSplit", "delimiter": "` + delimiter + `"},
			"model": {"type": "WordLevel", "vocab": {"?": 0, "i\u0307i": 1, "two words": 2, "σ": 3}, "unk_token": "?"}}`
	}
	tok, err := Parse([]byte(file("|")))
	if err != nil {
		t.Fatal(err)
	}
	ids, _, err := tok.Encode("|\u0130I||Two Words|ii|Σ", 0)
	if err != nil || !slices.Equal(ids, []int64{1, 2, 0, 3}) {
		t.Error(ids, err)
	}
	for _, bad := range []string{"", "ab"} {
		if _, err := Parse([]byte(file(bad))); err == nil || !strings.Contains(err.Error(), "CharDelimiterSplit") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
