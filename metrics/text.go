package metrics

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// WER is the word error rate: the insertions, deletions and substitutions of words
// that turn the references into the hypotheses, over the words of the references.
// Words are what stands between white space (jiwer, whose figure it is, parts them at
// spaces only, not at tabs). It may exceed 1; lower is better. References without any
// word leave it undefined.
func WER(hypotheses, references []string) (Measure, error) {
	return errorRate(hypotheses, references, func(a, b string) (float64, float64) {
		ids := map[string]int32{}
		number := func(s string) []int32 {
			words := fields(s)
			out := make([]int32, len(words))
			for i, w := range words {
				id, ok := ids[w]
				if !ok {
					id = int32(len(ids))
					ids[w] = id
				}
				out[i] = id
			}
			return out
		}
		x, y := number(a), number(b)
		return float64(distance(x, y)), float64(len(y))
	})
}

// CER is the character error rate: [WER] of Unicode code points, with the white space
// at both ends left out, as in jiwer.
func CER(hypotheses, references []string) (Measure, error) {
	return errorRate(hypotheses, references, func(a, b string) (float64, float64) {
		x, y := []rune(strings.TrimFunc(a, isSpace)), []rune(strings.TrimFunc(b, isSpace))
		return float64(distance(x, y)), float64(len(y))
	})
}

func errorRate(hypotheses, references []string, count func(a, b string) (edits, length float64)) (Measure, error) {
	if err := sameTexts(len(hypotheses), len(references)); err != nil {
		return Measure{}, err
	}
	rows := make([]float64, 2*len(references))
	eachSample(len(references), func(i int) {
		rows[2*i], rows[2*i+1] = count(hypotheses[i], references[i])
	})
	return ratio(rows), nil
}

func sameTexts(hypotheses, references int) error {
	if hypotheses != references {
		return fmt.Errorf("there are %d references for %d hypotheses", references, hypotheses)
	}
	if references == 0 {
		return errNoSamples
	}
	return nil
}

// eachSample spreads independent work on samples over the cores.
func eachSample(n int, work func(i int)) {
	cores := min(runtime.GOMAXPROCS(0), n)
	var wg sync.WaitGroup
	for c := range cores {
		wg.Go(func() {
			for i := c; i < n; i += cores {
				work(i)
			}
		})
	}
	wg.Wait()
}

// isSpace is what Python counts as white space: Unicode's, and four separators.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func fields(s string) []string { return strings.FieldsFunc(s, isSpace) }

// distance is the least number of insertions, deletions and substitutions between two
// sequences (Levenshtein 1966), in two rows of memory; what both begin and end with is
// passed over.
func distance(a, b []int32) int {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a) < len(b) {
		a, b = b, a
	}
	if len(b) == 0 {
		return len(a)
	}
	row := make([]int32, len(b)+1)
	for j := range row {
		row[j] = int32(j)
	}
	for i, x := range a {
		diagonal := row[0]
		row[0] = int32(i + 1)
		left := row[0]
		for j, y := range b {
			above := row[j+1]
			best := diagonal
			if x != y {
				best = min(diagonal, above, left) + 1
			}
			diagonal, left = above, best
			row[j+1] = best
		}
	}
	return int(row[len(b)])
}

// tokenize13a splits as WMT's mteval-v13a does, which is sacreBLEU's default: an
// ASCII sign stands alone, except for periods and commas inside numbers.
func tokenize13a(line string) []string {
	line = strings.TrimRightFunc(line, isSpace)
	line = strings.NewReplacer("<skipped>", "").Replace(line)
	line = strings.NewReplacer("-\n", "").Replace(line)
	line = strings.ReplaceAll(line, "\n", " ")
	if strings.Contains(line, "&") {
		for _, e := range [][2]string{{"&quot;", `"`}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}} {
			line = strings.ReplaceAll(line, e[0], e[1])
		}
	}
	src := append(append([]byte{' '}, line...), ' ')
	// Each pass sees what the one before wrote. Bytes do: every sign is ASCII.
	dst := make([]byte, 0, 2*len(src))
	for _, c := range src {
		switch {
		case c == '\'' || c == '.' || c == ',' || c == '-' || c <= ' ' || c >= 0x7f, isDigit(c), isLetter(c):
			dst = append(dst, c)
		default:
			dst = append(dst, ' ', c, ' ')
		}
	}
	src, dst = dst, src[:0:0]
	for i := 0; i < len(src); i++ { // a point after anything but a digit
		if i+1 < len(src) && !isDigit(src[i]) && isPoint(src[i+1]) {
			dst = append(dst, src[i], ' ', src[i+1], ' ')
			i++
			continue
		}
		dst = append(dst, src[i])
	}
	src, dst = dst, src[:0:0]
	for i := 0; i < len(src); i++ { // a point before anything but a digit
		if i+1 < len(src) && isPoint(src[i]) && !isDigit(src[i+1]) {
			dst = append(dst, ' ', src[i], ' ', src[i+1])
			i++
			continue
		}
		dst = append(dst, src[i])
	}
	src, dst = dst, src[:0:0]
	for i := 0; i < len(src); i++ { // a dash after a digit
		if i+1 < len(src) && isDigit(src[i]) && src[i+1] == '-' {
			dst = append(dst, src[i], ' ', '-', ' ')
			i++
			continue
		}
		dst = append(dst, src[i])
	}
	return fields(string(dst))
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isPoint(c byte) bool  { return c == '.' || c == ',' }

// pieces cuts a text without white space into its code points.
func pieces(s string) (text string, starts []int) {
	var b strings.Builder
	for _, f := range fields(s) {
		b.WriteString(f)
	}
	text = b.String()
	for i := 0; i < len(text); {
		starts = append(starts, i)
		_, n := utf8.DecodeRuneInString(text[i:])
		i += n
	}
	return text, append(starts, len(text))
}
