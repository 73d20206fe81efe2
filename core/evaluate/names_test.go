package evaluate

import (
	"slices"
	"strings"
	"testing"
)

// TestNames holds the lists of names against what is known of the kinds: the language refers to metrics by these lists.
func TestNames(t *testing.T) {
	for _, name := range append(slices.Clone(Defaults), Quality...) {
		m, ok := Plain(name)
		if !ok || m.Name != name {
			t.Errorf("%s is listed, but it is %+v", name, m)
			continue
		}
		if twin, ok := m.Twin(); ok && !slices.Contains(Quality, twin.Name) {
			t.Errorf("%s is not listed", twin.Name)
		}
	}
	for _, k := range Kinds {
		if _, ok := kinds[k]; !ok {
			t.Errorf("there is no kind %s", k)
		}
	}
	if len(Kinds) != len(kinds) {
		t.Errorf("%d kinds are listed of %d", len(Kinds), len(kinds))
	}
	for _, name := range []string{"nothing", "top0", "top", "top01", "f1", "iou", "psnr", "cer", "sqnr_drop", "perplexity_drop", "f1_macro_rise", "roc_auc_micro_", "top1_drop_drop"} {
		if m, ok := Plain(name); ok {
			t.Errorf("%s is a metric: %+v", name, m)
		}
	}
	for name := range quantiles {
		if !slices.Contains(Latency, name) {
			t.Errorf("%s is measured and not listed", name)
		}
	}
	if len(quantiles)+1 != len(Latency) || !slices.Contains(Latency, "speedup") {
		t.Errorf("listed: %v", Latency)
	}
}

func TestCheckSaysBothSides(t *testing.T) {
	two := []Output{{"scores", "F32", []int64{-1, 10}}, {"map", "F32", []int64{-1, 3, 8, 8}}}
	for want, m := range map[string]Metric{
		`the model has the outputs "scores", "map"`: {Name: "top1", Kind: "top_k", K: 1},
		`no output "x"`: {Name: "top1", Kind: "top_k", K: 1, Output: "x"},
		`scores of shape [N, C], a row of classes for each sample, but output "map" has shape [N, 3, 8, 8]`:    {Name: "top1", Kind: "top_k", K: 1, Output: "map"},
		`top20 looks at the 20 highest scores, but output "scores" has 10 classes`:                             {Name: "top20", Kind: "top_k", K: 20, Output: "scores"},
		`which makes 3 classes, but output "map" has 8`:                                                        {Name: "cer", Kind: "cer", Decode: "ctc", Alphabet: []string{"a", "b"}, Output: "map"},
		`scores of shape [N, T, C], the classes of each step in time, but output "scores" has shape [N, 10]`:   {Name: "cer", Kind: "cer", Decode: "ctc", Alphabet: []string{"a", "b"}, Output: "scores"},
		`numbers of tokens, [N, T] of integers, or their scores, [N, T, C], but output "scores" has`:           {Name: "bleu", Kind: "bleu", Decode: "tokens", Alphabet: []string{"a", "b"}, Output: "scores"},
		`roc_auc needs scores of shape [N, C], or [N] of the positive class, but output "map" has shape [N, 3`: {Name: "roc_auc", Kind: "roc_auc", Output: "map"},
	} {
		if err := m.Check(two); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for _, m := range []Metric{{Name: "f", Kind: "f1", Output: "map"}, {Name: "sqnr", Kind: "sqnr"}, {Name: "top10", Kind: "top_k", K: 10, Output: "scores"}} {
		if err := m.Check(two); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
	if got := InspectedOutputs([]byte(`{"outputs":[{"name":"a","dtype":"F32","shape":["N",3,"?"]},{"name":"b","dtype":"F32","shape":null}]}`)); len(got) != 2 ||
		!slices.Equal(got[0].Shape, []int64{-1, 3, -1}) || got[1].Shape != nil {
		t.Errorf("%+v", got)
	}
}

func TestCollapse(t *testing.T) {
	at := int64(1)
	for _, c := range []struct {
		m    Metric
		ids  []int64
		want string
	}{
		{Metric{Alphabet: []string{"a", "b"}}, []int64{0, 1, 1, 0, 1, 2, 2, 0}, "aab"},
		{Metric{Alphabet: []string{"a", "b"}, Blank: &at}, []int64{0, 0, 1, 0, 2, 1, 2}, "aabb"},
		{Metric{Alphabet: []string{"a"}}, []int64{0, 0}, ""},
	} {
		if got := c.m.collapse(c.ids, 1)[0]; got != c.want {
			t.Errorf("%v: %q, want %q", c.ids, got, c.want)
		}
	}
}
