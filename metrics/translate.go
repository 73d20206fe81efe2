package metrics

import (
	"math"
	"strings"
	"unicode/utf8"
)

const bleuOrder = 4

// BLEU is the corpus BLEU of Papineni et al. (2002) from 0 to 100 as sacreBLEU takes
// it by default: tokens of mteval-v13a, case kept, n-grams up to 4, exponential
// smoothing. references holds one or more for each hypothesis.
func BLEU(hypotheses []string, references [][]string) (Measure, error) {
	if err := sameReferences(len(hypotheses), references); err != nil {
		return Measure{}, err
	}
	const width = 2 + 2*bleuOrder
	rows := make([]float64, width*len(hypotheses))
	eachSample(len(hypotheses), func(i int) {
		bleuCounts(rows[i*width:(i+1)*width], hypotheses[i], references[i])
	})
	return sums(rows, width, bleu), nil
}

// gram is an n-gram of token numbers from 1; shorter ones end in zeros.
type gram [bleuOrder]int32

// bleuCounts fills row with the lengths of the hypothesis and of the reference nearest
// in length, and for each order the n-grams that match and all of the hypothesis.
func bleuCounts(row []float64, hypothesis string, references []string) {
	ids := map[string]int32{}
	count := func(text string) (map[gram]int32, int) {
		tokens := tokenize13a(text)
		numbers := make([]int32, len(tokens))
		for i, t := range tokens {
			id, ok := ids[t]
			if !ok {
				id = int32(len(ids) + 1)
				ids[t] = id
			}
			numbers[i] = id
		}
		grams := make(map[gram]int32, bleuOrder*len(tokens))
		for i := range numbers {
			var g gram
			for k := 0; k < bleuOrder && i+k < len(numbers); k++ {
				g[k] = numbers[i+k]
				grams[g]++
			}
		}
		return grams, len(tokens)
	}
	own, length := count(hypothesis)
	limit := map[gram]int32{} // how often an n-gram may match: the most of any reference
	nearest := -1
	for _, ref := range references {
		grams, n := count(ref)
		for g, c := range grams {
			limit[g] = max(limit[g], c)
		}
		d, best := abs(n-length), abs(nearest-length)
		if nearest < 0 || d < best || d == best && n < nearest {
			nearest = n
		}
	}
	row[0], row[1] = float64(length), float64(nearest)
	for g, c := range own {
		order := 0
		for order+1 < bleuOrder && g[order+1] != 0 {
			order++
		}
		row[2+order] += float64(min(c, limit[g]))
		row[2+bleuOrder+order] += float64(c)
	}
}

func abs(x int) int { return max(x, -x) }

func bleu(t []float64) float64 {
	length, reference, match, all := t[0], t[1], t[2:2+bleuOrder], t[2+bleuOrder:]
	var sum float64
	var any bool
	smooth := 1.0
	for n, m := range match {
		any = any || m > 0
		switch {
		case all[n] == 0:
			return 0
		case m == 0:
			smooth *= 2
			sum += math.Log(100 / (smooth * all[n]))
		default:
			sum += math.Log(100 * m / all[n])
		}
	}
	if !any {
		return 0
	}
	brevity := 1.0
	if length < reference {
		brevity = math.Exp(1 - reference/length)
	}
	return brevity * math.Exp(sum/bleuOrder)
}

func sameReferences(hypotheses int, references [][]string) error {
	if err := sameTexts(hypotheses, len(references)); err != nil {
		return err
	}
	for i, r := range references {
		if len(r) == 0 {
			return sampleError(i, "has no reference")
		}
	}
	return nil
}

const (
	chrfOrder = 6
	chrfBeta2 = 4 // beta is 2: recall counts twice as much
)

// ChrF is the character n-gram F-score of Popović (2015) from 0 to 100 as sacreBLEU
// takes it: n-grams of up to 6 code points without white space, beta 2; of several
// references the best one of each sample. With words 0 it is chrF, and with words 2
// chrF++ (Popović 2017), which adds n-grams of up to that many words.
func ChrF(hypotheses []string, references [][]string, words int) (Measure, error) {
	if err := sameReferences(len(hypotheses), references); err != nil {
		return Measure{}, err
	}
	words = max(words, 0)
	width := 3 * (chrfOrder + words)
	rows := make([]float64, width*len(hypotheses))
	eachSample(len(hypotheses), func(i int) {
		own := chrfGrams(hypotheses[i], words)
		best := -1.0
		stats := make([]float64, width)
		for _, ref := range references[i] {
			for n, r := range chrfGrams(ref, words) {
				var hyp, all, match float64
				for g, c := range own[n] {
					hyp += float64(c)
					match += float64(min(c, r[g]))
				}
				for _, c := range r {
					all += float64(c)
				}
				if all == 0 {
					hyp = 0 // nothing to be measured against
				}
				stats[3*n], stats[3*n+1], stats[3*n+2] = hyp, all, match
			}
			if s := chrf(stats); s > best {
				best = s
				copy(rows[i*width:], stats)
			}
		}
	})
	return sums(rows, width, chrf), nil
}

// chrfGrams counts the n-grams of each order: first of code points, then of words.
func chrfGrams(s string, words int) []map[string]int32 {
	text, starts := pieces(s)
	n := len(starts) - 1
	out := make([]map[string]int32, chrfOrder+words)
	for k := range out[:chrfOrder] {
		out[k] = make(map[string]int32, max(n-k, 0))
		for i := 0; i+k < n; i++ {
			out[k][text[starts[i]:starts[i+k+1]]]++
		}
	}
	if words == 0 {
		return out
	}
	tokens := splitSigns(s)
	for k := range words {
		m := map[string]int32{}
		for i := 0; i+k < len(tokens); i++ {
			m[strings.Join(tokens[i:i+k+1], " ")]++
		}
		out[chrfOrder+k] = m
	}
	return out
}

// splitSigns takes one ASCII sign off the end of each word, or else off its front.
func splitSigns(s string) (out []string) {
	for _, w := range fields(s) {
		switch first, last := w[:1], w[len(w)-1:]; {
		case utf8.RuneCountInString(w) == 1:
			out = append(out, w)
		case isSign(last[0]):
			out = append(out, w[:len(w)-1], last)
		case isSign(first[0]):
			out = append(out, first, w[1:])
		default:
			out = append(out, w)
		}
	}
	return out
}

func isSign(c byte) bool { return c > ' ' && c < 0x7f && !isDigit(c) && !isLetter(c) }

// chrf averages precision and recall over the orders that both sides have.
func chrf(t []float64) float64 {
	var precision, recall, orders float64
	for i := 0; i < len(t); i += 3 {
		if t[i] > 0 && t[i+1] > 0 {
			precision += t[i+2] / t[i]
			recall += t[i+2] / t[i+1]
			orders++
		}
	}
	if precision+recall == 0 {
		return 0
	}
	precision, recall = precision/orders, recall/orders
	return 100 * (1 + chrfBeta2) * precision * recall / (chrfBeta2*precision + recall)
}
