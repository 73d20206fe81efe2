// Package accuracy decides which layers stay in float: as few as an accuracy budget allows (Control), or with which bits
// each, so that a size holds at the least error (Allocate). It knows neither models nor engines: what a choice costs is
// measured by functions of the caller.
package accuracy

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"
)

// Layer is a node that may be given back its float form.
type Layer struct {
	Name string
	// Noise is the energy of the error at the model's outputs over that of the outputs when this layer alone is
	// quantized; NaN where it was not measured.
	Noise float64
	// MACs that the layer takes for one sample, and the bytes of its weights in float.
	MACs, Bytes int64
}

// SQNR is the noise in decibels, at most 200.
func (l Layer) SQNR() float64 { return SQNR(l.Noise) }

// SQNR turns a share of noise into decibels, at most 200.
func SQNR(noise float64) float64 { return math.Min(-10*math.Log10(noise), 200) }

// Rank puts the layers that hurt most first; those that were not measured come last. Layers that hurt alike keep their
// order.
func Rank(layers []Layer) []Layer {
	out := slices.Clone(layers)
	slices.SortStableFunc(out, func(a, b Layer) int {
		switch x, y := math.IsNaN(a.Noise), math.IsNaN(b.Noise); {
		case x && y:
			return 0
		case x:
			return 1
		case y:
			return -1
		}
		return cmp.Compare(b.Noise, a.Noise)
	})
	return out
}

// Trial measures the loss of the model when the named layers are in float and the others are quantized: a number of
// which less is better.
type Trial func(ctx context.Context, float []string) (loss float64, err error)

// Options of Control.
type Options struct {
	// Limit is the loss that is still accepted.
	Limit float64
	// Late, if any, tells that time is up: no further trial begins then.
	Late func() bool
	// Progress is called before each trial with how many were made, and how many there will be at most; nil is allowed.
	Progress func(done, most int)
}

// Restored is a layer that stays in float.
type Restored struct {
	Layer
	// Without is the loss if this one were quantized after all, NaN where that was not tried for lack of time.
	Without float64
}

// Outcome is what Control found.
type Outcome struct {
	// Restored are the layers that stay in float, those that hurt most first.
	Restored []Restored
	// First is the loss with all layers quantized, Loss that with Restored in float.
	First, Loss float64
	// Best is the smallest loss that was measured.
	Best float64
	// Held tells that Loss is within the limit. If not, nothing but the float model would be.
	Held bool
	// Late tells that time was up before the end: more layers than needed may be in float, or Held is false though some
	// choice would hold.
	Late bool
	// Trials that were made.
	Trials int
}

// Control gives layers back their float form until the loss is within the limit: it bisects over the ranking, whose first
// hurt most, and then tries each restored layer in integers again, the one that hurts least first. A trial of the same
// layers is made once. ranked is never restored whole: that would be the float model.
func Control(ctx context.Context, ranked []Layer, trial Trial, o Options) (*Outcome, error) {
	c := &control{ranked: ranked, trial: trial, o: o, out: &Outcome{Best: math.Inf(1)}}
	n := len(ranked)
	c.most = 1 + 2*bitsOf(n)
	float := make([]bool, n)
	loss, err := c.try(ctx, float)
	if err != nil {
		return nil, err
	}
	c.out.First, c.out.Loss = loss, loss
	if loss <= o.Limit {
		c.out.Held = true
		return c.out, nil
	}
	losses := map[int]float64{0: loss}
	lo, hi := 0, n // lo fails; n is the float model
	for hi-lo > 1 {
		if c.late() {
			break
		}
		mid := (lo + hi) / 2
		for i := range float {
			float[i] = i < mid
		}
		if losses[mid], err = c.try(ctx, float); err != nil {
			return nil, err
		}
		if losses[mid] <= o.Limit {
			hi = mid
		} else {
			lo = mid
		}
	}
	if hi == n {
		return c.out, nil
	}
	for i := range float {
		float[i] = i < hi
	}
	c.out.Held, c.out.Loss = true, losses[hi]
	without := make([]float64, hi)
	for i := range without {
		without[i] = math.NaN()
	}
	if lo == hi-1 {
		without[hi-1] = losses[lo] // known to fail
	}
	c.most = c.out.Trials + hi
	for i := hi - 1; i >= 0; i-- {
		if !math.IsNaN(without[i]) {
			continue
		}
		if c.late() {
			break
		}
		float[i] = false
		if loss, err = c.try(ctx, float); err != nil {
			return nil, err
		}
		if loss <= o.Limit {
			c.out.Loss = loss
			continue
		}
		float[i], without[i] = true, loss
	}
	for i := range hi {
		if float[i] {
			c.out.Restored = append(c.out.Restored, Restored{ranked[i], without[i]})
		}
	}
	return c.out, nil
}

type control struct {
	ranked []Layer
	trial  Trial
	o      Options
	out    *Outcome
	most   int
}

func (c *control) late() bool {
	c.out.Late = c.out.Late || c.o.Late != nil && c.o.Late()
	return c.out.Late
}

func (c *control) try(ctx context.Context, float []bool) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if c.o.Progress != nil {
		c.o.Progress(c.out.Trials, c.most)
	}
	var names []string
	for i, f := range float {
		if f {
			names = append(names, c.ranked[i].Name)
		}
	}
	loss, err := c.trial(ctx, names)
	if err != nil {
		return 0, err
	}
	if math.IsNaN(loss) {
		loss = math.Inf(1)
	}
	c.out.Trials++
	c.out.Best = min(c.out.Best, loss)
	return loss, nil
}

// bitsOf is how often n can be halved, rounded up.
func bitsOf(n int) int {
	b := 0
	for ; n > 1; n = (n + 1) / 2 {
		b++
	}
	return b
}

// Deadline is an Options.Late for a time limit; 0 is none.
func Deadline(limit time.Duration) func() bool {
	if limit <= 0 {
		return nil
	}
	end := time.Now().Add(limit)
	return func() bool { return !time.Now().Before(end) }
}
