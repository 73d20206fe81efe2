package accuracy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// layers of the given noises, called a, b, c and so on.
func layers(noise ...float64) []Layer {
	var out []Layer
	for i, n := range noise {
		out = append(out, Layer{Name: string(rune('a' + i)), Noise: n})
	}
	return out
}

// additive is a trial whose loss is the sum of what each quantized layer costs.
func additive(cost map[string]float64, trials *[]string) Trial {
	return func(_ context.Context, float []string) (float64, error) {
		*trials = append(*trials, strings.Join(float, ""))
		var sum float64
		for name, c := range cost {
			if !slices.Contains(float, name) {
				sum += c
			}
		}
		return sum, nil
	}
}

func TestControl(t *testing.T) {
	for _, c := range []struct {
		name     string
		noise    []float64 // the ranking
		cost     []float64 // what each really costs
		limit    float64
		restored string
		held     bool
	}{
		{"all integers hold", []float64{4, 3, 2, 1}, []float64{1, 1, 1, 1}, 4, "", true},
		{"one is enough", []float64{4, 3, 2, 1}, []float64{9, 1, 1, 1}, 3, "a", true},
		{"the one that counts is not the first of the ranking", []float64{4, 3, 2, 1}, []float64{1, 1, 9, 1}, 3, "c", true},
		{"two", []float64{5, 4, 3, 2, 1}, []float64{5, 5, 1, 1, 1}, 3, "ab", true},
		{"only the float model would hold", []float64{4, 3, 2, 1}, []float64{1, 1, 1, 9}, 0.5, "", false},
		{"a layer alone cannot be restored", []float64{4}, []float64{1}, 0.5, "", false},
		{"unmeasured layers come last", []float64{math.NaN(), 3, 2}, []float64{0, 5, 0}, 1, "b", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := layers(c.noise...)
			cost := map[string]float64{}
			for i, l := range all {
				cost[l.Name] = c.cost[i]
			}
			var trials []string
			out, err := Control(t.Context(), Rank(all), additive(cost, &trials), Options{Limit: c.limit})
			if err != nil {
				t.Fatal(err)
			}
			var got string
			for _, r := range out.Restored {
				got += r.Name
			}
			if got != c.restored || out.Held != c.held {
				t.Errorf("restored %q and held %v, want %q and %v; trials %q", got, out.Held, c.restored, c.held, trials)
			}
			if len(trials) != out.Trials || out.First != sum(c.cost) {
				t.Errorf("%d trials, first loss %v; want %d and %v", out.Trials, out.First, len(trials), sum(c.cost))
			}
			// What is restored is needed: without any one of them the budget does not hold, and the report says so.
			for _, r := range out.Restored {
				if !(r.Without > c.limit) {
					t.Errorf("without %s the loss is %v, within %v", r.Name, r.Without, c.limit)
				}
			}
			seen := map[string]bool{}
			for _, s := range trials {
				if seen[s] {
					t.Errorf("%q was tried twice", s)
				}
				seen[s] = true
			}
		})
	}
}

func sum(v []float64) (s float64) {
	for _, x := range v {
		s += x
	}
	return s
}

// TestControlFewTrials: bisection, not one trial a layer.
func TestControlFewTrials(t *testing.T) {
	all := make([]Layer, 1000)
	for i := range all {
		all[i] = Layer{Name: fmt.Sprint(i), Noise: float64(1000 - i)}
	}
	out, err := Control(t.Context(), all, func(_ context.Context, float []string) (float64, error) {
		if len(float) >= 3 {
			return 0, nil
		}
		return 1, nil
	}, Options{Limit: 0})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Restored) != 3 || out.Trials > 16 {
		t.Errorf("%d restored in %d trials", len(out.Restored), out.Trials)
	}
}

// TestControlLate: what holds so far is kept when time is up.
func TestControlLate(t *testing.T) {
	for _, c := range []struct {
		after int
		held  bool
		n     int
	}{{1, false, 0}, {2, true, 4}, {100, true, 1}} {
		var trials []string
		left := c.after
		late := func() bool { return len(trials) >= left }
		out, err := Control(t.Context(), layers(8, 7, 6, 5, 4, 3, 2, 1), additive(map[string]float64{"a": 5}, &trials), Options{Late: late})
		if err != nil {
			t.Fatal(err)
		}
		if out.Held != c.held || len(out.Restored) != c.n || out.Late != (c.after < 100) {
			t.Errorf("after %d trials: held %v, %d restored, late %v; want %v, %d", c.after, out.Held, len(out.Restored), out.Late, c.held, c.n)
		}
	}
}

func TestControlErrors(t *testing.T) {
	boom := errors.New("boom")
	calls := 0
	_, err := Control(t.Context(), layers(3, 2, 1), func(context.Context, []string) (float64, error) {
		if calls++; calls == 2 {
			return 0, boom
		}
		return math.NaN(), nil // no figure holds nothing
	}, Options{Limit: 1})
	if !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Control(ctx, layers(1), nil, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestGauge(t *testing.T) {
	for _, c := range []struct {
		metric      string
		ask, shown  string
		value, want float64
	}{
		{"top1", "top1_drop", "top1_drop 0.01", 0.01, 0.01},
		{"f1_macro_drop", "f1_macro_drop", "f1_macro_drop 0.01", 0.01, 0.01},
		{"cosine", "cosine", "1 - cosine 0.25", 0.75, 0.25},
		{"mse", "mse", "mse 0.5", 0.5, 0.5},
		{"perplexity", "perplexity_rise", "perplexity_rise 2", 2, 2},
	} {
		g, err := DropGauge(c.metric)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := g.Loss(c.value, c.value, c.value)
		if g.Ask != c.ask || got != c.want || g.Show(got) != c.shown {
			t.Errorf("%s: asks %q, loss %v, %q", c.metric, g.Ask, got, g.Show(got))
		}
	}
	g, err := LevelGauge("sqnr")
	if err != nil {
		t.Fatal(err)
	}
	loss, worst := g.Loss(30, 28, 32)
	if loss != -30 || worst != -28 || g.Show(loss) != "sqnr 30" {
		t.Errorf("sqnr: %v %v %q", loss, worst, g.Show(loss))
	}
	if _, err := DropGauge("sqnr"); err == nil {
		t.Error("sqnr has no drop")
	}
	for _, m := range []string{"", "mse", "top1_drop"} {
		if _, err := LevelGauge(m); err == nil {
			t.Errorf("%q has no minimum", m)
		}
	}
	for _, c := range []struct{ has, ask string }{{"top1_drop", "top1_drop"}, {"cosine", "cosine"}} {
		g, _ := DropGauge("")
		if g, err = g.Settle(func(m string) bool { return m == c.has }); err != nil || g.Ask != c.ask {
			t.Errorf("%+v: %+v %v", c, g, err)
		}
	}
	g, _ = DropGauge("")
	if _, err := g.Settle(func(string) bool { return false }); err == nil {
		t.Error("nothing to settle on")
	}
}
