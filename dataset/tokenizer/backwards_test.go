package tokenizer

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestBackwards(t *testing.T) { checkBackwards(t, filepath.Join("testdata", "backwards.json")) }

// TestBackwardsReferee makes the maps and decodes anew, with a Python that has sentencepiece and Hugging Face's tokenizers.
func TestBackwardsReferee(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	if exec.Command(python, "-c", "import sentencepiece").Run() != nil {
		t.Skip("OPTIMIZE_REFEREE_PYTHON has no sentencepiece")
	}
	path := filepath.Join(t.TempDir(), "backwards.json")
	if out, err := exec.Command(python, filepath.Join("testdata", "backwards.py"), path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	checkBackwards(t, path)
}

func checkBackwards(t *testing.T, path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Charmaps []struct {
			Map   string
			Cases [][2]string
		}
		Decoding []struct {
			Tokenizer json.RawMessage
			Cases     [][2]json.RawMessage
		}
	}
	if err := json.Unmarshal(b, &g); err != nil || len(g.Charmaps) == 0 || len(g.Decoding) == 0 {
		t.Fatal(err)
	}
	for i, c := range g.Charmaps {
		n, err := parseCharmap(c.Map)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range c.Cases {
			if got := n(x[0]); got != x[1] {
				t.Errorf("map %d: %q becomes %q, want %q", i, x[0], got, x[1])
			}
		}
	}
	for i, c := range g.Decoding {
		tok, err := Parse(c.Tokenizer)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range c.Cases {
			var ids []int64
			var want string
			if err := json.Unmarshal(x[0], &ids); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(x[1], &want); err != nil {
				t.Fatal(err)
			}
			if got, err := tok.Decode(ids); err != nil || got != want {
				t.Errorf("decoder %d: %v gives %q %v, want %q", i, ids, got, err, want)
			}
		}
	}
}

// A damaged map is refused or harmless, and a text of nothing but combining marks ends.
func TestCharmapDamaged(t *testing.T) {
	for _, b := range [][]byte{nil, {1, 0}, {8, 0, 0, 0, 1, 2, 3, 4}, {3, 0, 0, 0, 1, 2, 3}, {0, 0, 0, 0}} {
		if _, err := parseCharmap(base64.StdEncoding.EncodeToString(b)); err == nil {
			t.Errorf("%v is taken", b)
		}
	}
	wild := binary.LittleEndian.AppendUint32(nil, 4*64)
	for i := range uint32(64) {
		wild = binary.LittleEndian.AppendUint32(wild, 1<<10*i|1<<8|'a'+i%4)
	}
	n, err := parseCharmap(base64.StdEncoding.EncodeToString(wild))
	if err != nil {
		t.Fatal(err)
	}
	for _, pad := range []string{"", "x", "xy"} {
		n(pad + "abcdabcd\xcc\x81 ä" + strings.Repeat("\u0301", 1<<12) + strings.Repeat("\u0939\u093f", 1<<10))
	}
}
