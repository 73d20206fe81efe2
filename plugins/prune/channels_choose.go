package prune

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/groups"
	"github.com/optimize-hcl/optimize/plugins/prune/score"
	"github.com/optimize-hcl/optimize/plugins/prune/sensitivity"
	"github.com/optimize-hcl/optimize/sdk"
)

// roundTo is what the number of channels that stay is a multiple of. Blocked layouts of CPU kernels hold 8 or 16 channels,
// tensor cores multiply 32 integers at a time; a layer that is not a multiple computes on padding.
func (c ChannelsConfig) roundTo() int64 {
	if c.RoundTo != nil {
		return *c.RoundTo
	}
	switch c.Target {
	case "tensorrt":
		return 32
	case "openvino", "coreml", "onnxruntime-x86-vnni":
		return 16
	case "auto":
		if runtime.GOARCH == "amd64" && cpuid.CPU.Supports(cpuid.AVX512F) {
			return 16
		}
	}
	return 8
}

// work is a model that is being pruned.
type work struct {
	config ChannelsConfig
	model  *onnx.Model
	done   func() error
	a      *groups.Analysis
	before groups.Cost
	round  int64
	fixed  map[*groups.Group]float64 // shares that ratios gives
	scores *score.Result
	order  map[*groups.Group][]*groups.Unit // those that matter least first
	rank   []*groups.Unit                   // of all groups
	scan   *sensitivity.File
}

// open reads a model and finds its groups.
func (c ChannelsConfig) open(keep *keeper) (_ *work, err error) {
	m, done, err := mapModel(c.Model.Path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = firstOf(err, done())
		}
	}()
	if err := groups.Prepare(m); err != nil {
		if errors.Is(err, groups.ErrQuantized) {
			return nil, sdk.AttrError("model", "the model is quantized already", err.Error())
		}
		return nil, sdk.AttrError("model", "the model cannot be simplified", err.Error())
	}
	a, err := groups.Analyze(m, groups.Options{Keep: func(n *onnx.Node) string { return keep.why(nameOfNode(n)) }})
	if err != nil {
		return nil, sdk.AttrError("model", "the shapes in the model do not fit together", err.Error())
	}
	w := &work{config: c, model: m, done: done, a: a, round: c.roundTo(), fixed: map[*groups.Group]float64{}, order: map[*groups.Group][]*groups.Unit{}}
	w.before = a.Cost(a.Select())
	if len(a.Groups) == 0 {
		return nil, w.nothing()
	}
	for _, g := range a.Groups {
		w.order[g] = g.Units
	}
	return w, w.fix()
}

// firstOf keeps the error that matters beside one of clearing up.
func firstOf(err, other error) error {
	if other == nil {
		return err
	}
	return errors.Join(err, other)
}

// nothing says why no channel can be taken out.
func (w *work) nothing() error {
	lines := w.leftAlone()
	if len(lines) == 0 {
		lines = []string{"It has no Conv, Gemm, MatMul, LSTM, GRU or RNN with constant weights outside of control flow."}
	}
	const most = 8
	if n := len(lines); n > most {
		lines = append(lines[:most], fmt.Sprintf("%d more", n-most))
	}
	return sdk.AttrError("model", "no channels can be taken out of the model safely", strings.Join(lines, "\n"))
}

// leftAlone are the lines about layers whose channels stay.
func (w *work) leftAlone() []string {
	out := []string{}
	for _, l := range w.a.Left {
		out = append(out, l.String())
	}
	for n := range w.model.Graph.Nodes() {
		inside := 0
		for _, g := range n.Subgraphs() {
			for k := range g.AllNodes() {
				switch k.OpType {
				case "Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN":
					inside++
				}
			}
		}
		if inside > 0 {
			out = append(out, fmt.Sprintf("%s: %d layers inside stay: channels are not followed into control flow", n.Label(), inside))
		}
	}
	return out
}

// fix finds the groups that ratios names.
func (w *work) fix() error {
	for _, pattern := range sortedKeys(w.config.Ratios) {
		found := false
		for _, g := range w.a.Groups {
			if !sdk.MatchName(pattern, g.Name) {
				continue
			}
			found = true
			if longest(w.config.Ratios, g.Name) != pattern {
				continue
			}
			x := w.config.Ratios[pattern]
			w.fixed[g] = x
			if x > 0 && int(math.Round(x*float64(len(g.Units)))) >= len(g.Units) {
				return sdk.AttrError("ratios", fmt.Sprintf("a ratio of %v would leave group %q without channels", x, g.Name),
					fmt.Sprintf("It has %d that can leave one by one. Write a smaller ratio.", len(g.Units)))
			}
		}
		if !found {
			return sdk.AttrError("ratios", fmt.Sprintf("no group is called %q", pattern), "The groups are: "+strings.Join(w.names(), ", ")+". * stands for any characters and ? for one.")
		}
	}
	return nil
}

func (w *work) names() []string {
	var out []string
	const most = 20
	for i, g := range w.a.Groups {
		if i == most {
			return append(out, fmt.Sprintf("and %d more", len(w.a.Groups)-most))
		}
		out = append(out, fmt.Sprintf("%q", g.Name))
	}
	return out
}

// longest is the longest pattern that fits a name, "" where none does.
func longest(patterns map[string]float64, name string) string {
	best := ""
	for _, p := range sortedKeys(patterns) {
		if len(p) > len(best) && sdk.MatchName(p, name) {
			best = p
		}
	}
	return best
}

// ranked puts units in order of their scores.
func (w *work) ranked(r *score.Result) {
	w.scores = r
	for _, g := range w.a.Groups {
		of, ok := r.Of[g]
		if !ok {
			continue
		}
		units := slices.Clone(g.Units)
		slices.SortStableFunc(units, func(a, b *groups.Unit) int { return compare(of[a.Index], of[b.Index]) })
		w.order[g] = units
		if _, fixed := w.fixed[g]; !fixed {
			w.rank = append(w.rank, units...)
		}
	}
	slices.SortStableFunc(w.rank, func(a, b *groups.Unit) int {
		return compare(r.Of[a.Group][a.Index], r.Of[b.Group][b.Index])
	})
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// remove takes about n units out of a group, those that matter least: as many as rounding, max_ratio and one that stays
// allow.
func (w *work) remove(s *groups.Selection, g *groups.Group, n float64) {
	if w.scores != nil && w.scores.Of[g] == nil {
		return
	}
	total := len(g.Units)
	kept := float64(total) - n
	step := w.step(g)
	if step > 1 {
		kept = math.Round(kept/float64(step)) * float64(step)
	}
	stay := max(int(math.Round(kept)), int(math.Ceil(float64(total)*(1-w.config.MaxRatio)-1e-9)), 1)
	if step > 1 {
		stay = (stay + step - 1) / step * step
	}
	for _, u := range w.order[g][:max(total-stay, 0)] {
		s.Remove(u)
	}
}

// step is how many units make a multiple of round_to channels.
func (w *work) step(g *groups.Group) int {
	a, b := int64(g.Channels), w.round
	for b != 0 {
		a, b = b, a%b
	}
	return int(w.round / a)
}

// local takes the same share of each group.
func (w *work) local(ratio float64) *groups.Selection {
	s := w.a.Select()
	for _, g := range w.a.Groups {
		w.remove(s, g, w.shareOf(g, ratio)*float64(len(g.Units)))
	}
	return s
}

func (w *work) shareOf(g *groups.Group, otherwise float64) float64 {
	if x, ok := w.fixed[g]; ok {
		return x
	}
	return otherwise
}

// global takes the units that matter least of all.
func (w *work) global(ratio float64) *groups.Selection {
	total := 0
	for _, u := range w.rank {
		total += u.Group.Channels
	}
	want := ratio * float64(total)
	count := map[*groups.Group]int{}
	for _, u := range w.rank {
		if want < float64(u.Group.Channels)/2 {
			break
		}
		if most := int(w.config.MaxRatio * float64(len(u.Group.Units))); count[u.Group] >= most {
			continue // the rest comes from others
		}
		want -= float64(u.Group.Channels)
		count[u.Group]++
	}
	s := w.a.Select()
	for _, g := range w.a.Groups {
		n := float64(count[g])
		if x, ok := w.fixed[g]; ok {
			n = x * float64(len(g.Units))
		}
		w.remove(s, g, n)
	}
	return s
}

// scanned gives each group a share by what a scan of sensitivity found.
func (w *work) scanned(ratio float64) (*groups.Selection, error) {
	known := map[string]bool{}
	for _, g := range w.a.Groups {
		if _, fixed := w.fixed[g]; !fixed {
			known[g.Name] = true
		}
	}
	ratios, _, err := w.scan.Allocate(ratio, func(name string) bool { return !known[name] })
	if err != nil {
		return nil, err
	}
	s := w.a.Select()
	for _, g := range w.a.Groups {
		w.remove(s, g, w.shareOf(g, ratios[g.Name])*float64(len(g.Units)))
	}
	return s, nil
}

// level is a selection that takes about a share of all that can leave.
func (w *work) level(ratio float64) (*groups.Selection, error) {
	switch {
	case w.scan != nil:
		return w.scanned(ratio)
	case w.config.Scope == scopeEach:
		return w.local(ratio), nil
	}
	return w.global(ratio), nil
}

// smallest is the level that takes least among those that satisfy a condition which holds from some level on; false where
// none does.
func (w *work) smallest(holds func(groups.Cost) bool) (*groups.Selection, bool, error) {
	most := 1.0
	if w.scan != nil { // a scan goes up to its last point
		lo, hi := 0.0, 1.0
		for range 30 {
			if _, err := w.level((lo + hi) / 2); err != nil {
				hi = (lo + hi) / 2
			} else {
				lo = (lo + hi) / 2
			}
		}
		most = lo
	}
	best, err := w.level(most)
	if err != nil {
		return nil, false, err
	}
	if !holds(w.a.Cost(best)) {
		return best, false, nil
	}
	lo, hi := 0.0, most
	for range 30 {
		mid := (lo + hi) / 2
		s, err := w.level(mid)
		if err != nil {
			return nil, false, err
		}
		if holds(w.a.Cost(s)) {
			best, hi = s, mid
		} else {
			lo = mid
		}
	}
	return best, true, nil
}

// lines tell about each group.
func (w *work) lines(s *groups.Selection) []string {
	var out []string
	for _, g := range w.a.Groups {
		gone := 0
		for _, u := range g.Units {
			if s.Has(u) {
				gone++
			}
		}
		total := len(g.Units) * g.Channels
		line := fmt.Sprintf("%s: %d of %d channels stay", g.Name, total-gone*g.Channels, total)
		if g.Channels > 1 {
			line += fmt.Sprintf(", in units of %d", g.Channels)
		}
		if len(g.Nodes) > 1 {
			var also []string
			for _, n := range g.Nodes[1:] {
				also = append(also, nameOfNode(n))
			}
			const most = 4
			if n := len(also); n > most {
				also = append(also[:most], fmt.Sprintf("%d more", n-most))
			}
			line += ", with " + strings.Join(also, ", ")
		}
		if gone == 0 {
			line += w.whyWhole(g)
		}
		out = append(out, line)
	}
	return out
}

// whyWhole says why a group lost nothing.
func (w *work) whyWhole(g *groups.Group) string {
	switch {
	case w.scores != nil && w.scores.Skipped[g] != "":
		return ": " + w.scores.Skipped[g]
	case len(g.Units) <= w.step(g):
		return fmt.Sprintf(": narrower than round_to (%d) asks for", w.round)
	}
	return ""
}
