package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/core/term"
)

// Facts sum up what a step says about its work: one text for what it did, and one for each reason why something was
// left as it was.
type Facts struct {
	// Did holds the figures: "target x86", "macs 99.8%", "9 nodes quantized".
	Did []string
	// Left holds the lists, grouped by their reasons: "nodes float, no integer kernel (3): Softmax_1 (Softmax), …".
	Left []string
}

// maxNamed is how many members of a list are named.
const maxNamed = 3

// FactsOf reads the result of a step, whatever the plugin declares: a number between 0 and 1 whose name begins with
// share_ is a percentage, a list of texts is counted and grouped by what follows the first ": ". What is empty, zero or
// nested deeper says nothing to a reader at a glance; it is in the record.
func FactsOf(result json.RawMessage) Facts {
	var f Facts
	d := json.NewDecoder(strings.NewReader(string(result)))
	d.UseNumber()
	var fields map[string]any
	if len(result) == 0 || d.Decode(&fields) != nil {
		return f
	}
	for _, name := range orderedKeys(result) {
		switch v := fields[name].(type) {
		case string:
			if v != "" {
				f.Did = append(f.Did, words(name)+" "+term.Clean(v))
			}
		case bool:
			if v {
				f.Did = append(f.Did, words(name))
			}
		case json.Number:
			if t := number(name, v); t != "" {
				f.Did = append(f.Did, t)
			}
		case []any:
			f.Left = append(f.Left, list(name, v)...)
		}
	}
	return f
}

// orderedKeys gives the keys of an object: shares first, the rest in the order of the text.
func orderedKeys(doc json.RawMessage) []string {
	d := json.NewDecoder(strings.NewReader(string(doc)))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	var keys []string
	for d.More() {
		t, err := d.Token()
		if err != nil {
			break
		}
		k, _ := t.(string)
		keys = append(keys, k)
		var skip json.RawMessage
		if d.Decode(&skip) != nil {
			break
		}
	}
	slices.SortStableFunc(keys, func(a, b string) int {
		return isShare(b) - isShare(a)
	})
	return slices.Compact(keys)
}

func isShare(name string) int {
	if strings.HasPrefix(name, "share_") {
		return 1
	}
	return 0
}

// words turns the name of a fact into words.
func words(name string) string {
	s := strings.ReplaceAll(term.Clean(name), "_", " ")
	for _, w := range []string{"macs", "flops"} {
		s = strings.ReplaceAll(s, w, strings.ToUpper(w))
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "MACS", "MACs"), "FLOPS", "FLOPs")
}

func number(name string, n json.Number) string {
	v, err := n.Float64()
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	if rest, ok := strings.CutPrefix(name, "share_"); ok && v >= 0 && v <= 1 {
		return percent(v) + " of " + words(rest)
	}
	switch {
	case v == 0:
		return ""
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		if v == 1 {
			name = singular(name)
		}
		return fmt.Sprintf("%s %s", thousands(int64(v)), words(name))
	}
	return fmt.Sprintf("%s %.4g", words(name), v)
}

// singular takes the plural from the first word of a fact's name: what is counted.
func singular(name string) string {
	first, rest, _ := strings.Cut(name, "_")
	if rest != "" {
		rest = "_" + rest
	}
	for _, end := range []struct{ many, one string }{
		{"ies", "y"}, {"sses", "ss"}, {"ches", "ch"}, {"shes", "sh"}, {"xes", "x"}, {"ss", "ss"}, {"us", "us"}, {"is", "is"}, {"s", ""},
	} {
		if stem, ok := strings.CutSuffix(first, end.many); ok && stem != "" {
			return stem + end.one + rest
		}
	}
	return name
}

// percent never rounds what is not all to 100%, nor what is something to 0%.
func percent(v float64) string {
	p := v * 100
	switch {
	case v > 0 && p < 0.05:
		return "under 0.1%"
	case v < 1 && p >= 99.95:
		return "99.9%"
	case p == math.Trunc(p):
		return fmt.Sprintf("%.0f%%", p)
	}
	return fmt.Sprintf("%.1f%%", p)
}

// list counts the texts of a fact and groups those of the form "WHAT: WHY" by why.
func list(name string, items []any) []string {
	groups := map[string][]string{}
	var reasons []string
	for _, it := range items {
		text, ok := it.(string)
		if !ok {
			return nil
		}
		what, why, found := strings.Cut(term.Clean(text), ": ")
		if !found {
			why = ""
		}
		if _, ok := groups[why]; !ok {
			reasons = append(reasons, why)
		}
		groups[why] = append(groups[why], what)
	}
	slices.SortStableFunc(reasons, func(a, b string) int { return len(groups[b]) - len(groups[a]) })
	var out []string
	for _, why := range reasons {
		g := groups[why]
		named := strings.Join(g[:min(len(g), maxNamed)], ", ")
		if len(g) > maxNamed {
			named += fmt.Sprintf(" and %d more", len(g)-maxNamed)
		}
		if why != "" {
			why = ", " + why
		}
		count := ""
		if len(g) > 1 {
			count = fmt.Sprintf(" (%d)", len(g))
		}
		out = append(out, fmt.Sprintf("%s%s%s: %s", words(name), why, count, named))
	}
	return out
}

// WriteFacts writes what a step says about its work below the line that tells of its end.
func WriteFacts(w io.Writer, s Style, indent string, f Facts) {
	if len(f.Did) > 0 {
		fmt.Fprintf(w, "%s%s\n", indent, s.Faint(strings.Join(f.Did, " · ")))
	}
	for _, l := range f.Left {
		fmt.Fprintf(w, "%s%s\n", indent, s.Faint(l))
	}
}
