package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/core/term"
)

// Facts sum up what a step says about its work: one text for what it did, one for each reason why something was left as it
// was, and tables of what is told of one thing after another.
type Facts struct {
	// Did holds the figures: "target x86", "macs 99.8%", "9 nodes quantized".
	Did []string
	// Left holds the lists, grouped by their reasons: "nodes float, no integer kernel (3): Softmax_1 (Softmax), …"; and of
	// each object its figures: "accuracy: metric top1 · 7 trials".
	Left []string
	// Tables hold the lists that cannot be grouped: layers that were restored, candidates of a search.
	Tables []FactTable
}

// FactTable is a list each of whose members has something of its own to say.
type FactTable struct {
	Title string // "accuracy restored (12)"
	// Head names the columns; nil where there are two, what it is about and what is said of it.
	Head []string
	Rows [][]string
	// More is how many rows were left out.
	More int
}

const (
	maxNamed  = 3  // members of a group that are named
	maxGroups = 4  // groups of a list, and twice as many where they are of two members or more; else it is a table
	maxRows   = 40 // of a table in a report
	maxLines  = 8  // of a table on a terminal
)

// FactsOf reads the result of a step, whatever the plugin declares: a number between 0 and 1 whose name begins with
// share_ is a percentage, a list of texts is counted and grouped by what follows the first ": ", or is a table where that
// differs from text to text; a list of objects is a table; the fields of an object go by its name. What is empty, zero or
// nested deeper says nothing to a reader at a glance; it is in the record.
func FactsOf(result json.RawMessage) Facts {
	var f Facts
	f.read("", result)
	return f
}

// read adds the fields of an object, which is a field of that name itself where it has one.
func (f *Facts) read(of string, doc json.RawMessage) {
	var fields map[string]json.RawMessage
	if len(doc) == 0 || json.Unmarshal(doc, &fields) != nil {
		return
	}
	var objects []string
	for _, name := range orderedKeys(doc) {
		d := json.NewDecoder(bytes.NewReader(fields[name]))
		d.UseNumber()
		var value any
		if d.Decode(&value) != nil {
			continue
		}
		title := name
		if of != "" {
			title = of + "_" + name
		}
		switch v := value.(type) {
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
			f.list(title, fields[name], v)
		case map[string]any:
			if of == "" && !isChart(fields[name]) { // a chart is drawn
				objects = append(objects, name)
			}
		}
	}
	for _, name := range objects {
		var o Facts
		o.read(name, fields[name])
		if len(o.Did) > 0 {
			f.Left = append(f.Left, words(name)+": "+strings.Join(o.Did, " · "))
		}
		f.Left = append(f.Left, o.Left...)
		f.Tables = append(f.Tables, o.Tables...)
	}
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

// list counts the texts of a fact and groups those of the form "WHAT: WHY" by why; what makes many groups is a table.
func (f *Facts) list(name string, doc json.RawMessage, items []any) {
	groups := map[string][]string{}
	var reasons []string
	var rows [][]string
	for _, it := range items {
		text, ok := it.(string)
		if !ok {
			f.objects(name, doc)
			return
		}
		what, why, found := strings.Cut(term.Clean(text), ": ")
		if !found {
			why = ""
		}
		if _, ok := groups[why]; !ok {
			reasons = append(reasons, why)
		}
		groups[why] = append(groups[why], what)
		rows = append(rows, []string{what, why})
	}
	many := len(reasons) > 2*maxGroups || len(reasons) > maxGroups && 2*len(reasons) > len(rows)
	if many || len(rows) > 2 && len(reasons) == len(rows) {
		f.table(name, nil, rows)
		return
	}
	slices.SortStableFunc(reasons, func(a, b string) int { return len(groups[b]) - len(groups[a]) })
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
		f.Left = append(f.Left, fmt.Sprintf("%s%s%s: %s", words(name), why, count, named))
	}
}

// objects makes a table of a list of flat objects that all have the fields of the first.
func (f *Facts) objects(name string, doc json.RawMessage) {
	var list []map[string]any
	var raw []json.RawMessage
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if d.Decode(&list) != nil || json.Unmarshal(doc, &raw) != nil || len(raw) == 0 {
		return
	}
	var head, keys []string
	for _, k := range orderedKeys(raw[0]) {
		switch list[0][k].(type) {
		case string, bool, json.Number:
			keys, head = append(keys, k), append(head, words(k))
		}
	}
	if len(keys) == 0 {
		return
	}
	var rows [][]string
	for _, o := range list {
		row := make([]string, len(keys))
		for i, k := range keys {
			switch v := o[k].(type) {
			case string:
				row[i] = term.Clean(v)
			case bool:
				row[i] = map[bool]string{true: "yes", false: "no"}[v]
			case json.Number:
				row[i] = figure(k, v)
			}
		}
		rows = append(rows, row)
	}
	f.table(name, head, rows)
}

// figure is a number in a column that has its name.
func figure(name string, n json.Number) string {
	v, err := n.Float64()
	switch {
	case err != nil:
		return ""
	case isShare(name) == 1 && v >= 0 && v <= 1:
		return percent(v)
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		return thousands(int64(v))
	}
	return fmt.Sprintf("%.4g", v)
}

func (f *Facts) table(name string, head []string, rows [][]string) {
	t := FactTable{Title: fmt.Sprintf("%s (%d)", words(name), len(rows)), Head: head, Rows: rows}
	if len(rows) > maxRows {
		t.Rows, t.More = rows[:maxRows], len(rows)-maxRows
	}
	f.Tables = append(f.Tables, t)
}

// Line is a row of the table as one text.
func (t *FactTable) Line(row []string) string {
	if t.Head == nil {
		return strings.TrimSuffix(strings.Join(row, ": "), ": ")
	}
	var parts []string
	for i, c := range row {
		if c != "" {
			parts = append(parts, t.Head[i]+" "+c)
		}
	}
	return strings.Join(parts, " · ")
}

// lines is the table as text, with so many rows at most.
func (t *FactTable) lines(most int) []string {
	out := []string{t.Title + ":"}
	for _, r := range t.Rows[:min(most, len(t.Rows))] {
		out = append(out, "  "+t.Line(r))
	}
	if left := t.More + max(0, len(t.Rows)-most); left > 0 {
		out = append(out, fmt.Sprintf("  and %d more", left))
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
	for i := range f.Tables {
		for _, l := range f.Tables[i].lines(maxLines) {
			fmt.Fprintf(w, "%s%s\n", indent, s.Faint(l))
		}
	}
}
