package recipe

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/evaluate"
)

var metricSchema = attributes("kind", "output", "target", "k", "average", "class", "threshold", "ignore", "span", "words",
	"decode", "alphabet", "blank", "tokenizer")

// asked is what an evaluation measures of quality, as the recipe says it.
type asked struct {
	metrics []evaluate.Metric
	ranges  map[string]hcl.Range // by name
	// names are those of the metrics, and of what was meant to be one.
	names []string
	// written tells that the recipe asks for metrics at all.
	written bool
}

// askedMetrics reads the argument metrics and the metric blocks of an evaluation.
func (p *Program) askedMetrics(r *reader, body *hcl.BodyContent) *asked {
	a := &asked{ranges: map[string]hcl.Range{}}
	if v, rng, ok := r.value("metrics", cty.List(cty.String)); ok {
		a.written = true
		for _, m := range v.AsValueSlice() {
			name, _ := asString(m)
			p.plainMetric(r, a, name, rng)
		}
	}
	blocks := body.Blocks.OfType("metric")
	slices.SortStableFunc(blocks, func(x, y *hcl.Block) int { return x.DefRange.Start.Byte - y.DefRange.Start.Byte })
	for _, b := range blocks {
		a.written = true
		p.metricBlock(r, a, b)
	}
	return a
}

func (a *asked) add(m evaluate.Metric, rng hcl.Range) {
	a.metrics, a.ranges[m.Name] = append(a.metrics, m), rng
	a.names = append(a.names, m.Name)
}

func (p *Program) plainMetric(r *reader, a *asked, name string, rng hcl.Range) {
	bad := func(code, summary, detail string) {
		r.ds = r.ds.Append(diag.At(rng, code, summary, "%s", detail))
	}
	m, plain := evaluate.Plain(name)
	switch {
	case slices.Contains(a.names, name):
		bad("recipe/duplicate", fmt.Sprintf("Metric %q is asked for twice", name), "Once is enough: remove one.")
		return
	case slices.Contains(alwaysMetrics, name):
		bad("recipe/unknown-metric", fmt.Sprintf("Metric %q need not be asked for", name), "It is always there: remove it.")
		return
	case slices.Contains(latencyMetrics, name):
		bad("recipe/unknown-metric", fmt.Sprintf("Metric %q is not asked for here", name), "Latency is measured when the evaluation has a benchmark block: benchmark {}.")
		return
	case plain:
		a.add(m, rng)
		return
	}
	a.names = append(a.names, name)
	preset, known := evaluate.Preset(name)
	switch missing := preset.Missing(); {
	case known && missing != "":
		bad("recipe/metric-option", fmt.Sprintf("Metric %q needs a block of its own", name), missing+fmt.Sprintf(" Write metric %q { … } in place of its name here.", preset.Kind))
	case known && evaluate.Takes(preset.Kind, "average"):
		end := strings.TrimPrefix(name, preset.Kind)
		bad("recipe/metric-option", fmt.Sprintf("Metric %q does not say how the figures of classes become one", name),
			fmt.Sprintf("Write %q, %q or %q, or a block metric %q { class = 1 } for one class.", preset.Kind+"_macro"+end, preset.Kind+"_micro"+end, preset.Kind+"_weighted"+end, preset.Kind))
	default:
		bad("recipe/unknown-metric", fmt.Sprintf("There is no metric %q to ask for", name), meantMetric(name))
	}
}

// meantMetric suggests the nearest name of a metric, or lists the kinds.
func meantMetric(name string) string {
	for _, swap := range [][2]string{{"_drop", "_rise"}, {"_rise", "_drop"}} {
		if base, ok := strings.CutSuffix(name, swap[0]); ok {
			if _, ok := evaluate.Preset(base + swap[1]); ok {
				return fmt.Sprintf("A change that is above 0 when the candidate is worse is called %q here.", base+swap[1])
			}
		}
	}
	names := append(slices.Clone(evaluate.Quality), evaluate.Kinds...)
	if s := didYouMean(name, names, ""); strings.HasPrefix(s, "Did") {
		return s
	}
	return "There is top1, top5 and so on; " + strings.Join(evaluate.Kinds[1:], ", ") + "."
}

// metricBlock reads one metric block; it gives the metric and its change from the baseline.
func (p *Program) metricBlock(outer *reader, a *asked, b *hcl.Block) {
	r, _ := p.body(b.Body, metricSchema, outer.ctx)
	defer func() { outer.ds = outer.ds.Append(r.ds...) }()
	name := b.Labels[0]
	bad := func(rng hcl.Range, code, summary, detail string) {
		r.ds = r.ds.Append(diag.At(rng, code, summary, "%s", detail))
	}
	place := b.LabelRanges[0]
	switch {
	case !hclsyntax.ValidIdentifier(name):
		bad(place, "recipe/name", fmt.Sprintf("%q is no name for a metric", name), "It is written in references: letters, digits and underscores, a letter first.")
		return
	case slices.Contains(append([]string{"low", "high", "baseline"}, append(slices.Clone(alwaysMetrics), latencyMetrics...)...), name):
		bad(place, "recipe/reserved", fmt.Sprintf("A metric may not be called %q", name), "The name stands for something else in references. Give it another name, and say the kind: kind = \"f1\".")
		return
	}
	word, wordRange, ok := r.written("kind")
	if !ok {
		word, wordRange = name, place
	}
	m, known := evaluate.Preset(word)
	if !known || m.Change {
		a.names = append(a.names, name)
		if r.ds.HasErrors() {
			return
		}
		detail := didYouMean(word, evaluate.Kinds, "Kinds are")
		if m.Change {
			detail = fmt.Sprintf("A block gives the metric and its change from the baseline: write metric %q.", m.Kind)
		} else if !ok {
			detail += fmt.Sprintf(" A metric of another name says its kind: metric %q { kind = \"f1\" }.", name)
		}
		bad(wordRange, "recipe/unknown-metric", fmt.Sprintf("There is no kind of metric %q", word), detail)
		return
	}
	m.Name = name
	p.metricOptions(r, &m)
	if missing := m.Missing(); missing != "" && !r.ds.HasErrors() {
		bad(b.DefRange, "recipe/metric-option", fmt.Sprintf("Metric %q needs more", name), missing)
	}
	all := []evaluate.Metric{m}
	if twin, ok := m.Twin(); ok {
		all = append(all, twin)
	}
	for _, m := range all {
		if first, again := a.ranges[m.Name]; again || slices.Contains(a.names, m.Name) {
			why := "Once is enough: remove one."
			if again {
				why = fmt.Sprintf("The first is at %s; a block gives the metric and its change from the baseline. Remove one, or give this block another name and say its kind.", spot(first))
			}
			bad(place, "recipe/duplicate", fmt.Sprintf("Metric %q is asked for twice", m.Name), why)
			continue
		}
		a.add(m, b.DefRange)
	}
}

// metricOptions reads the options of a metric block.
func (p *Program) metricOptions(r *reader, m *evaluate.Metric) {
	for _, at := range sortedAttrs(r.attrs) {
		if at.Name == "kind" || evaluate.Takes(m.Kind, at.Name) {
			continue
		}
		r.ds = r.ds.Append(diag.At(at.NameRange, "recipe/metric-option", fmt.Sprintf("%s does nothing here", at.Name),
			"A metric of the kind %q takes %s. Leave it out.", m.Kind, strings.Join(evaluate.Options(m.Kind), ", ")))
	}
	m.Output, _ = r.text("output")
	m.Target, _ = r.text("target")
	if k := r.count("k", 0, 1); k > 0 {
		m.K = k
	}
	oneOf := func(name string, allowed []string, to *string) {
		s, rng, ok := r.written(name)
		if ok && !slices.Contains(allowed, s) {
			r.ds = r.ds.Append(diag.At(rng, "recipe/metric-option", fmt.Sprintf("%s is not %q", name, s), "%s", didYouMean(s, allowed, "It is one of")))
		}
		if ok {
			*to = s
		}
	}
	oneOf("average", evaluate.Averages, &m.Average)
	oneOf("decode", []string{"ctc", "tokens"}, &m.Decode)
	m.Class, m.Blank, m.Ignore = r.whole("class", 0), r.whole("blank", 0), r.whole("ignore", math.MinInt64)
	m.Threshold = r.number("threshold")
	if s := r.number("span"); s != nil {
		if *s <= 0 {
			r.ds = r.ds.Append(diag.At(r.attrs["span"].Expr.Range(), "recipe/number", "span is not above 0", "It is the largest value minus the smallest that the data can take, such as 1 or 255."))
		}
		m.Span = *s
	}
	m.Words = r.count("words", 0, 0)
	m.Alphabet = r.alphabet("alphabet")
	if t, _ := r.text("tokenizer"); t != "" {
		m.Tokenizer = resolve(p.recipe.Dir, t)
	}
	if option, why := m.Wrong(); option != "" && r.attrs[option] != nil && !r.ds.HasErrors() {
		r.ds = r.ds.Append(diag.At(r.attrs[option].Expr.Range(), "recipe/metric-option", option+" does not fit the rest", "%s", why))
	}
}

// whole reads a whole number of at least least; nil when absent.
func (r *reader) whole(name string, least int64) *int64 {
	f := r.number(name)
	if f == nil {
		return nil
	}
	if *f != math.Trunc(*f) || math.Abs(*f) > 1<<53 || int64(*f) < least {
		detail := "Write one, or leave it out."
		if least == 0 {
			detail = "It is the number of a class, from 0."
		}
		r.ds = r.ds.Append(diag.At(r.attrs[name].Expr.Range(), "recipe/number", name+" is not such a whole number", "%s", detail))
		return nil
	}
	n := int64(*f)
	return &n
}

// alphabet reads a list of texts, or a text whose code points they are.
func (r *reader) alphabet(name string) []string {
	a, ok := r.attrs[name]
	if !ok {
		return nil
	}
	if v, hd := r.p.eval(a.Expr, r.ctx); !hd.HasErrors() && v.Type() == cty.String {
		s, _, ok := r.written(name)
		if !ok {
			return nil
		}
		var out []string
		for _, c := range s {
			out = append(out, string(c))
		}
		if len(out) == 0 {
			r.ds = r.ds.Append(diag.At(a.Expr.Range(), "recipe/metric-option", name+" is empty", "It is a text or a list of texts, one for each class but the blank."))
		}
		return out
	}
	v, rng, ok := r.value(name, cty.List(cty.String))
	if !ok {
		return nil
	}
	var out []string
	for _, e := range v.AsValueSlice() {
		if e.IsNull() {
			r.ds = r.ds.Append(diag.At(rng, "recipe/type", name+" holds null", "Write texts only; \"\" for a class without any."))
			return nil
		}
		out = append(out, e.AsString())
	}
	if len(out) == 0 {
		r.ds = r.ds.Append(diag.At(rng, "recipe/metric-option", name+" is empty", "It is a text or a list of texts, one for each class but the blank."))
	}
	return out
}

// checkMetricData tells what the dataset of an evaluation lacks for its metrics, where the recipe says what it has.
func (p *Program) checkMetricData(c *EvaluateConfig, r *reader) {
	n := p.byAddr[c.Dataset.Addr]
	if n == nil || n.Kind != KindDataset {
		return // a step makes it: what it has is known when it exists
	}
	d, ds := p.DecodeDataset(n)
	if ds.HasErrors() {
		return
	}
	var targets []string
	for _, t := range d.Targets {
		targets = append(targets, t.Name)
	}
	said := map[string]bool{}
	for _, m := range c.Metrics {
		against := m.Against()
		if said[against] {
			continue
		}
		switch {
		case against == "baseline":
		case against == "label" && d.Label == "":
			said[against] = true
			r.ds = r.ds.Append(diag.At(c.MetricRange(m.Name), "recipe/metric-data", fmt.Sprintf("Metric %q needs labels, and %s has none", m.Name, n.Addr), "%s", evaluate.NoLabels(m)))
		case against != "label" && !slices.Contains(targets, against):
			said[against] = true
			detail := evaluate.NoTarget(against)
			if len(targets) > 0 {
				detail = didYouMean(against, targets, "It has") + " " + detail
			}
			r.ds = r.ds.Append(diag.At(c.MetricRange(m.Name), "recipe/metric-data", fmt.Sprintf("Metric %q needs the target %q, and %s has no such", m.Name, against, n.Addr), "%s", detail))
		}
	}
}
