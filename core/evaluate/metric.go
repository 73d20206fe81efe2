package evaluate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Metric is a figure of quality that an evaluation takes. Which of the options count depends on Kind; the zero value of
// each leaves it to the kind. All of it enters the cache's key, but for a tokenizer's path.
type Metric struct {
	// Name is what reports and references call it. That of a Change ends in _drop or _rise.
	Name string `json:"name"`
	// Kind is one of Kinds.
	Kind string `json:"kind"`
	// Change makes it the difference from the baseline, paired by sample, that is above 0 when the candidate is worse.
	Change bool `json:"change,omitempty"`
	// Output is the model's output; "" for its only one, or for its first one when it is compared with the baseline's.
	Output string `json:"output,omitempty"`
	// Target is what the outputs are held against: a target of the dataset, "label" for its labels, "baseline" for the
	// baseline's outputs, or "" for what the kind takes by itself.
	Target string `json:"target,omitempty"`

	K         int64    `json:"k,omitempty"`         // of top_k: how many of the highest scores count
	Average   string   `json:"average,omitempty"`   // "macro", "micro" or "weighted"
	Class     *int64   `json:"class,omitempty"`     // only this class counts
	Threshold *float64 `json:"threshold,omitempty"` // a score of at least it is class 1, all others class 0
	Ignore    *int64   `json:"ignore,omitempty"`    // elements with this label do not count
	Span      float64  `json:"span,omitempty"`      // of psnr: the largest value minus the smallest
	Words     int64    `json:"words,omitempty"`     // of chrf: 2 for chrF++

	Decode    string   `json:"decode,omitempty"`   // "ctc" or "tokens"
	Alphabet  []string `json:"alphabet,omitempty"` // what each class but the blank stands for
	Blank     *int64   `json:"blank,omitempty"`    // of ctc: the class of no letter, 0 when nil
	Tokenizer string   `json:"-"`                  // path of a tokenizer.json
	// TokenizerDigest is the SHA-256 of the tokenizer's file.
	TokenizerDigest string `json:"tokenizer,omitempty"`
}

// kind is what a kind of metric needs and means.
type kind struct {
	// reads is what it makes of an output.
	reads reading
	// lower tells that less is better.
	lower bool
	// against is the Target when there is none: "label" or "baseline". only tells that there is no other.
	against string
	only    bool
	// options are those that it takes, besides output and target.
	options []string
}

// reading is how an output is read.
type reading int

const (
	readsScores   reading = iota // [N, C]
	readsClasses                 // a class for each element: [N], [N, H, W], …
	readsValues                  // any numbers
	readsTexts                   // texts
	readsTokens                  // scores of tokens: [N, T, C] or [N, C]
	readsPositive                // scores of one class, or of each class
)

var kinds = map[string]kind{
	"top_k":      {reads: readsScores, against: "label", options: []string{"k"}},
	"accuracy":   {reads: readsClasses, against: "label", options: []string{"threshold", "ignore"}},
	"precision":  {reads: readsClasses, against: "label", options: []string{"average", "class", "threshold", "ignore"}},
	"recall":     {reads: readsClasses, against: "label", options: []string{"average", "class", "threshold", "ignore"}},
	"f1":         {reads: readsClasses, against: "label", options: []string{"average", "class", "threshold", "ignore"}},
	"iou":        {reads: readsClasses, against: "label", options: []string{"average", "class", "threshold", "ignore"}},
	"roc_auc":    {reads: readsPositive, against: "label", options: []string{"average", "class"}},
	"agreement":  {reads: readsScores, against: "baseline", only: true},
	"sqnr":       {reads: readsValues, against: "baseline", only: true},
	"cosine":     {reads: readsValues, against: "baseline", only: true},
	"mse":        {reads: readsValues, against: "baseline", lower: true},
	"mae":        {reads: readsValues, against: "baseline", lower: true},
	"psnr":       {reads: readsValues, against: "baseline", options: []string{"span"}},
	"perplexity": {reads: readsTokens, against: "label", lower: true, options: []string{"ignore"}},
	"cer":        {reads: readsTexts, against: "baseline", lower: true, options: textOptions},
	"wer":        {reads: readsTexts, against: "baseline", lower: true, options: textOptions},
	"bleu":       {reads: readsTexts, against: "baseline", options: textOptions},
	"chrf":       {reads: readsTexts, against: "baseline", options: append(slices.Clone(textOptions), "words")},
}

var textOptions = []string{"decode", "alphabet", "blank", "tokenizer"}

// Kinds lists the kinds of metrics.
var Kinds = []string{"top_k", "accuracy", "precision", "recall", "f1", "iou", "roc_auc", "agreement", "sqnr", "cosine", "mse", "mae", "psnr",
	"perplexity", "cer", "wer", "bleu", "chrf"}

// Averages lists the ways in which the figures of classes become one.
var Averages = []string{"macro", "micro", "weighted"}

// Quality lists the metrics that can be asked for by their name alone; top1 stands for any topK. Each that holds a model
// against labels has a twin that ends in _drop (more is better) or _rise (less is better): the change from the baseline.
var Quality = quality()

func quality() []string {
	names := []string{"top1", "top1_drop", "top5", "top5_drop", "agreement", "sqnr", "cosine", "mse", "mae", "accuracy", "accuracy_drop"}
	for _, k := range []string{"precision", "recall", "f1", "iou"} {
		for _, a := range Averages {
			names = append(names, k+"_"+a, k+"_"+a+"_drop")
		}
	}
	return append(names, "roc_auc", "roc_auc_drop", "perplexity", "perplexity_rise")
}

// Defaults are the quality metrics that an evaluation without any chooses from.
var Defaults = []string{"top1", "top1_drop", "agreement", "sqnr", "cosine"}

// Plain gives the metric of a name that needs no options.
func Plain(name string) (Metric, bool) {
	m, ok := Preset(name)
	if !ok || len(m.Missing()) > 0 {
		return Metric{}, false
	}
	if k := kinds[m.Kind]; slices.Contains(k.options, "average") && m.Average == "" && m.Kind != "roc_auc" {
		return Metric{}, false // precision alone does not say of what
	}
	return m, !m.Change || m.changes()
}

// Preset reads what a name says: top5 is top_k with k = 5, f1_macro is f1 with its average, and what ends in _drop or
// _rise is a change. Options may be missing.
func Preset(name string) (Metric, bool) {
	m := Metric{Name: name, Kind: name}
	if base, ok := strings.CutSuffix(name, "_drop"); ok {
		m.Kind, m.Change = base, true
	} else if base, ok := strings.CutSuffix(name, "_rise"); ok {
		m.Kind, m.Change = base, true
	}
	if digits, ok := strings.CutPrefix(m.Kind, "top"); ok {
		k, err := strconv.ParseInt(digits, 10, 32)
		if err == nil && k > 0 && digits[0] != '0' && digits[0] != '+' {
			m.Kind, m.K = "top_k", k
		}
	}
	for _, a := range Averages {
		if base, ok := strings.CutSuffix(m.Kind, "_"+a); ok && slices.Contains(kinds[base].options, "average") {
			m.Kind, m.Average = base, a
		}
	}
	k, ok := kinds[m.Kind]
	if ok && m.Change && strings.HasSuffix(name, "_rise") != k.lower {
		return Metric{}, false
	}
	return m, ok
}

// Twin is the change of a metric from the baseline, false when it compares with the baseline already.
func (m Metric) Twin() (Metric, bool) {
	if m.Change || !m.changes() {
		return Metric{}, false
	}
	m.Change = true
	if kinds[m.Kind].lower {
		m.Name += "_rise"
	} else {
		m.Name += "_drop"
	}
	return m, true
}

// Lower tells that less of it is better.
func (m Metric) Lower() bool { return kinds[m.Kind].lower || m.Change }

// Against is what the outputs are held against: "label", "baseline" or the name of a target.
func (m Metric) Against() string {
	if m.Target == "" {
		return kinds[m.Kind].against
	}
	return m.Target
}

func (m Metric) changes() bool { return m.Against() != "baseline" }

// Compares tells that it is a figure of candidates only.
func (m Metric) Compares() bool { return m.Change || m.Against() == "baseline" }

// Takes tells whether a kind takes an option.
func Takes(kind, option string) bool {
	k := kinds[kind]
	return option == "output" || option == "target" && !k.only || slices.Contains(k.options, option)
}

// Options lists the options of a kind.
func Options(kind string) []string {
	out := []string{"output"}
	if Takes(kind, "target") {
		out = append(out, "target")
	}
	return append(out, kinds[kind].options...)
}

// Missing says what the metric needs and lacks, "" when nothing.
func (m Metric) Missing() string {
	texts := kinds[m.Kind].reads == readsTexts
	switch {
	case m.Kind == "top_k" && m.K == 0:
		return "How many of the highest scores count is not said: k = 5."
	case m.Kind == "psnr" && m.Span == 0:
		return "The range of the values is not said, from the smallest to the largest: span = 1, or span = 255."
	case texts && m.Decode == "":
		return "How an output becomes a text is not said: decode = \"ctc\" with an alphabet, or decode = \"tokens\" with a tokenizer or an alphabet."
	case m.Decode == "ctc" && len(m.Alphabet) == 0:
		return "What the classes stand for is not said: alphabet = \"0123456789\", a text or a list of texts, in the order of the classes without the blank."
	case m.Decode == "tokens" && len(m.Alphabet) == 0 && m.Tokenizer == "":
		return "What the numbers of the tokens stand for is not said: tokenizer = \"tokenizer.json\", or an alphabet."
	}
	return ""
}

// Wrong says what of the options cannot be, with the option's name; "" when all can.
func (m Metric) Wrong() (option, why string) {
	reads := kinds[m.Kind].reads
	switch {
	case m.Target == "baseline" && !againstBaseline(m.Kind):
		return "target", "It is held against labels; \"agreement\", \"sqnr\" and \"cosine\" compare with the baseline."
	case m.Target == "label" && reads == readsTexts:
		return "target", "Labels are numbers. Give the dataset a target of texts: target \"text\" { field = \"...\" }."
	case m.Kind == "roc_auc" && m.Average == "micro":
		return "average", "The area of one class against all others is averaged by \"macro\" or \"weighted\"."
	case m.Class != nil && m.Average != "":
		return "average", "A single class is not averaged: leave out average, or class."
	case m.Decode == "ctc" && m.Tokenizer != "":
		return "tokenizer", "CTC reads the classes of an alphabet: leave it out, or write decode = \"tokens\"."
	case m.Decode == "tokens" && m.Blank != nil:
		return "blank", "Only CTC has a blank: leave it out, or write decode = \"ctc\"."
	case m.Tokenizer != "" && len(m.Alphabet) > 0:
		return "alphabet", "The tokenizer says what the numbers stand for: leave out the one or the other."
	case m.Blank != nil && *m.Blank > int64(len(m.Alphabet)):
		return "blank", fmt.Sprintf("With %d texts and a blank there are the classes 0 to %d, so the blank cannot be %d.", len(m.Alphabet), len(m.Alphabet), *m.Blank)
	case m.Words != 0 && m.Words > 4:
		return "words", "It is the longest sequence of words that counts: 2 for chrF++, at most 4."
	}
	return "", ""
}

// againstBaseline tells whether a kind can be held against the baseline's outputs.
func againstBaseline(name string) bool {
	k := kinds[name]
	return k.against == "baseline" || k.reads == readsClasses
}

// Named gives the metrics of names as Plain does. A name that is none is an error.
func Named(names []string) ([]Metric, error) {
	var out []Metric
	for _, n := range names {
		m, ok := Plain(n)
		if !ok {
			return nil, problemf("", "Metrics are "+strings.Join(Quality, ", ")+".", "there is no metric %q", n)
		}
		out = append(out, m)
	}
	return out, nil
}

// Described says what a figure of quality is, for readers of a record: Unit is "share" (a fraction of 1), "dB", "points"
// (of 100) or "" for none, and Better "higher" or "lower". A change is better when it is lower.
type Described struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Unit   string `json:"unit,omitempty"`
	Better string `json:"better"`
	Change bool   `json:"change,omitempty"`
}

// Describe gives what a metric is.
func (m Metric) Describe() Described {
	d := Described{Name: m.Name, Kind: m.Kind, Unit: "share", Better: "higher", Change: m.Change}
	switch m.Kind {
	case "psnr", "sqnr":
		d.Unit = "dB"
	case "bleu", "chrf":
		d.Unit = "points"
	case "mse", "mae", "perplexity", "cosine":
		d.Unit = ""
	}
	if m.Lower() {
		d.Better = "lower"
	}
	return d
}
