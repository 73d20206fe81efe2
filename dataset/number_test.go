package dataset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestScanNumber: what is taken for a number is one of JSON's, read by nobody else differently.
func TestScanNumber(t *testing.T) {
	for _, c := range []struct {
		s           string
		end         int
		whole, sure bool
	}{
		{"0", 1, true, true}, {"-7,", 2, true, true}, {"12.5]", 4, false, true}, {"1e5 ", 3, false, true}, {"-1.5E-12", 8, false, true},
		{"999999999999999999", 18, true, true}, {"9999999999999999999", 19, true, false}, {"1e100", 5, false, false},
		{"01", 0, false, false}, {"", 0, false, false}, {"-", 0, false, false}, {"1.", 0, false, false}, {".5", 0, false, false},
		{"1e", 0, false, false}, {"1e+", 0, false, false}, {"+1", 0, false, false}, {"x", 0, false, false}, {"NaN", 0, false, false},
	} {
		if end, whole, sure := scanNumber(c.s); end != c.end || end > 0 && (whole != c.whole || sure != c.sure) {
			t.Errorf("%q: %d %v %v", c.s, end, whole, sure)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		b := make([]byte, 1+r.IntN(8))
		for i := range b {
			b[i] = "0123456789-+.eE"[r.IntN(15)]
		}
		s := string(b)
		end, whole, sure := scanNumber(s)
		if end == 0 || !sure {
			continue
		}
		if _, err := strconv.ParseFloat(s[:end], 64); err != nil {
			t.Fatal(s, end, err)
		}
		if _, err := strconv.ParseInt(s[:end], 10, 64); whole != (err == nil) {
			t.Fatal(s, end, whole, err)
		}
		if v, ok := shortWhole(s[:end]); whole {
			if want, _ := strconv.ParseInt(s[:end], 10, 64); !ok || v != want {
				t.Fatal(s, v, want)
			}
		}
	}
}

// TestPlainMembers: a line that is taken for a plain one is read as the general reader reads it.
func TestPlainMembers(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pieces := []string{`{`, `}`, `"a"`, `"b"`, `:`, `,`, `[`, `]`, ` `, `1`, `-2.5`, `true`, `false`, `null`, `"x y"`, `"é"`, `"\n"`, `{}`, `1e3`, "\t", `[1,2]`, `"`, `x`}
	plain := 0
	for i := range 60000 {
		var line string
		if i%2 == 0 {
			var b strings.Builder
			b.WriteString(`{"a": [[1, 2], [3, 4.5]], "b" :"t", "c": -3 }`)
			s := []byte(b.String())
			for range r.IntN(3) {
				s[r.IntN(len(s))] = pieces[r.IntN(len(pieces))][0]
			}
			line = string(s)
		} else {
			for range 1 + r.IntN(12) {
				line += pieces[r.IntN(len(pieces))]
			}
			line = "{" + line + "}"
		}
		var a, b []string
		ok, err := plainMembers(line, func(key, value string) error {
			a = append(a, fmt.Sprintf("%s=%s", key, value))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			continue
		}
		plain++
		err = jsonMembers([]byte(line), func(key, value []byte) error {
			b = append(b, fmt.Sprintf("%s=%s", key, value))
			return nil
		})
		if err != nil || !slices.Equal(a, b) {
			t.Fatalf("%s: %q, the general reader has %q, %v", line, a, b, err)
		}
	}
	if plain < 1000 {
		t.Fatal("only", plain, "lines were plain")
	}
}
