package tokenizer

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// goldenFile is what testdata/golden.py writes.
type goldenFile map[string]struct {
	Tokenizer json.RawMessage
	Cases     []struct {
		Text       string
		IDs, Types []int64
	}
	Length int
	Cut    [][]int64
}

func TestGolden(t *testing.T) { checkGolden(t, filepath.Join("testdata", "golden.json")) }

// TestReferee trains and encodes anew, with a Python that has Hugging Face's tokenizers.
func TestReferee(t *testing.T) {
	python := os.Getenv("OPTIMIZE_REFEREE_PYTHON")
	if python == "" {
		t.Skip("OPTIMIZE_REFEREE_PYTHON is not set")
	}
	path := filepath.Join(t.TempDir(), "golden.json")
	if out, err := exec.Command(python, filepath.Join("testdata", "golden.py"), path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	checkGolden(t, path)
}

func readGolden(t testing.TB, path string) goldenFile {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var g goldenFile
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func checkGolden(t *testing.T, path string) {
	g := readGolden(t, path)
	if len(g) < 10 {
		t.Fatalf("only %d tokenizers", len(g))
	}
	for name, c := range g {
		tok, err := Parse(c.Tokenizer)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, x := range c.Cases {
			ids, types, err := tok.Encode(x.Text, 0)
			if err != nil || !slices.Equal(ids, x.IDs) || !slices.Equal(types, x.Types) {
				t.Errorf("%s: %q\n got %v %v\nwant %v %v", name, x.Text, ids, types, x.IDs, x.Types)
			}
			if cut, _, _ := tok.Encode(x.Text, c.Length); !slices.Equal(cut, c.Cut[i]) {
				t.Errorf("%s: %q cut to %d\n got %v\nwant %v", name, x.Text, c.Length, cut, c.Cut[i])
			}
		}
	}
}
