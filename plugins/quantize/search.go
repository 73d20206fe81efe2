package quantize

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/plugins/quantize/layout"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

const (
	// slice is how long the core runs a candidate before the next has its turn.
	slice = 8 * time.Millisecond
	// quickRounds are slices of each candidate while there are many, closeRounds and finalRounds of those that are left. Below fewestRounds
	// an interval says nothing.
	quickRounds  = 9
	closeRounds  = 18
	finalRounds  = 40
	fewestRounds = 5
	// cutsTried, contenders and finalists bound how many candidates the rounds have.
	cutsTried  = 6
	contenders = 6
	finalists  = 3
	// defaultLimit is that of search_limit, in seconds.
	defaultLimit = 60.0
	// formSlack in dB and formAgreement are how much less a form may have while layers may yet go back to float.
	formSlack     = 3.0
	formAgreement = 0.05
)

// search finds the layout that is fast on this machine. Candidates come from rules, are timed side by side, and the
// losers drop out early.
type search struct {
	work *staticWork
	data *tensor.Shards
	dir  string
	end  time.Time
	// limit is how much time there was.
	limit time.Duration

	ref     *reference
	base    []byte               // the rewritten model
	ranges  [2]*calibrate.Ranges // of the model as it came, and rewritten
	seen    map[[sha256.Size]byte]bool
	files   []string
	results []layout.Result
	latency []float64 // ms, by candidate
}

// outcome is what a search found.
type outcome struct {
	layout layout.Layout
	why    string // integers lost
	lines  []string
	noise  string // the race of the model against itself
}

// search times layouts. An error means that none could be; the plain one is left then.
func (w *staticWork) search(ctx context.Context) (*outcome, error) {
	ctx, span := sdk.StartSpan(ctx, "search")
	defer span.End()
	limit := defaultLimit
	if w.config.SearchLimit != nil {
		limit = *w.config.SearchLimit
	}
	dir, err := os.MkdirTemp(w.job.scratch, "search")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the host removes what is left
	data, err := w.config.Calibration.Open()
	if err != nil {
		return nil, sdk.AttrError("calibration", "the dataset cannot be read", err.Error())
	}
	defer data.Close() // samples of the reference lie in it
	took := time.Duration(limit * float64(time.Second))
	s := &search{work: w, data: data, dir: dir, end: time.Now().Add(took), limit: took, seen: map[[sha256.Size]byte]bool{}}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	return s.run(ctx)
}

// prepare runs the model in float, and puts it into the race as it came and rewritten.
func (s *search) prepare(ctx context.Context) error {
	err := loadEngine("a search")
	if err != nil {
		return err
	}
	if s.ref, err = newReference(ctx, s.work.path, s.data, s.work.job.threads); err != nil {
		return fmt.Errorf("the model cannot be run: %w", err)
	}
	size, err := sizeOf(s.work.path)
	if err != nil {
		return err
	}
	target := s.work.target.Name
	s.put(layout.Layout{Target: target, Float: true}, s.work.path, size, math.Inf(1))
	m, err := s.work.rewritten()
	if err != nil {
		return err
	}
	if s.base, err = m.Marshal(); err != nil {
		return err
	}
	return s.candidate(ctx, layout.Layout{Target: target, Float: true, Rewrite: true}, s.base)
}

// sizeOf is the size of a model in bytes; with weights in files of their own it is a folder.
func sizeOf(path string) (size int64, err error) {
	err = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		if err == nil {
			size += st.Size()
		}
		return err
	})
	return size, err
}

// run returns the layout to use.
func (s *search) run(ctx context.Context) (*outcome, error) {
	m, shapes, err := s.model(true)
	if err != nil {
		return nil, err
	}
	if t, err := s.ref.shapes(m); err == nil {
		shapes = t
	}
	net := layout.Inspect(m, shapes)
	if tablesWeigh(m.Graph, s.work.target, placeOptions{Keep: s.work.config.KeepFloat}) {
		net.Tables = 0 // every layout stores them alike
	}
	if err := s.round(ctx, "time forms", layout.Forms(net, s.work.target.Name)); err != nil {
		return nil, err
	}
	for _, next := range []struct {
		phase string
		of    func(layout.Layout) []layout.Layout
	}{
		{"time cuts", func(l layout.Layout) []layout.Layout { return layout.Cuts(net, l, cutsTried) }},
		{"time variations", func(l layout.Layout) []layout.Layout { return layout.Variations(net, l) }},
	} {
		var ls []layout.Layout
		for i, seed := range s.seeds() {
			if i > 0 && time.Until(s.end) < s.limit/2 {
				break // a model that takes long
			}
			ls = append(ls, next.of(seed)...)
		}
		if err := s.round(ctx, next.phase, ls); err != nil {
			return nil, err
		}
	}
	if left := layout.Survivors(s.results, s.gate(), contenders); len(left) > finalists {
		if err := s.again(ctx, "time contenders", left, closeRounds); err != nil {
			return nil, err
		}
	}
	final := layout.Survivors(s.results, s.gate(), finalists)
	noise, err := s.final(ctx, final)
	if err != nil {
		return nil, err
	}
	finals := make([]layout.Result, len(final))
	for k, i := range final {
		finals[k] = s.results[i]
	}
	winner, why := layout.Choose(finals, s.gate())
	if winner < 0 {
		return nil, errors.New(why)
	}
	chosen := final[winner]
	return &outcome{layout: finals[winner].Layout, why: why, noise: noise, lines: s.lines(chosen, final)}, nil
}

// lines tell of each candidate: the one that was chosen first, then those that came as far, then the others as they were tried.
func (s *search) lines(chosen int, final []int) []string {
	var won, far, rest []string
	for i, r := range s.results {
		line := func(mark string) string { return fmt.Sprintf("%s: %s, %s", r.Layout.Name(), mark, r) }
		switch {
		case i == chosen:
			won = append(won, line("chosen"))
		case slices.Contains(final, i):
			far = append(far, line("finalist"))
		case r.Lost != "":
			rest = append(rest, line("out"))
		default:
			rest = append(rest, line("lost early"))
		}
	}
	return slices.Concat(won, far, rest)
}

// gate is what a layout must keep: what is asked for, else what candidates reach that are faster than the model in float.
func (s *search) gate() layout.Gate {
	g := layout.DefaultGate(s.results)
	if m := s.work.config.MinSQNR; m != nil {
		g.SQNR = *m
	}
	switch m := s.work.config.MinAgreement; {
	case s.ref.classes == "":
		g.Agreement = 0
	case m != nil:
		g.Agreement = *m
	}
	return g
}

// seeds are the candidates that the next round changes: the fastest that is good enough, and the fastest that may
// become so when more of it is in float.
func (s *search) seeds() []layout.Layout {
	var out []layout.Layout
	for _, g := range []layout.Gate{s.gate(), s.gate().Less(formSlack, formAgreement)} {
		if best := s.fastest(g); best >= 0 && !slices.ContainsFunc(out, s.results[best].Layout.Equal) {
			out = append(out, s.results[best].Layout)
		}
	}
	return out
}

// model returns the model in the form that lowering works on, fresh.
func (s *search) model(rewritten bool) (*onnx.Model, *onnx.Shapes, error) {
	if !rewritten {
		return s.work.prepared(false)
	}
	m, err := onnx.Parse(bytes.Clone(s.base))
	if err != nil {
		return nil, nil, err
	}
	shapes, err := prepare(m, s.work.target.MinOpset)
	return m, shapes, err
}

// learn measures ranges once for all candidates: of whatever one of them may ask for.
func (s *search) learn(ctx context.Context, m *onnx.Model, names []string, rewritten bool) (ranges, error) {
	at := 0
	if rewritten {
		at = 1
	}
	if len(names) == 0 {
		return nil, nil
	}
	if s.ranges[at] == nil || len(s.ranges[at].Missing(names)) > 0 {
		all := names
		if rewritten {
			fresh, shapes, err := s.model(true)
			if err != nil {
				return nil, err
			}
			expandHardSwish(fresh)
			m, all = fresh, calibratable(fresh.Graph, shapes, false)
			for _, n := range names {
				if !slices.Contains(all, n) {
					all = append(all, n)
				}
			}
		}
		var err error
		if s.ranges[at], err = s.measure(ctx, m, all); err != nil {
			return nil, err
		}
	}
	return rangesOf(s.ranges[at]), nil
}

// measure learns ranges from the first samples: enough to tell candidates apart. Those of the layout that is chosen are
// learnt from all.
func (s *search) measure(ctx context.Context, m *onnx.Model, names []string) (*calibrate.Ranges, error) {
	c := s.work.config.learn()
	job := calibrate.Job{Model: m, Data: head{s.data, min(s.data.Samples(), max(fewestRanged, s.ref.samples()))}, Tensors: names, Options: c.options(),
		Threads: s.work.job.threads, ScratchDir: s.work.job.scratch, Progress: func(done, total int64) { s.work.job.progress("measure ranges", done, total, "samples") }}
	if c.batch != nil {
		job.Batch = *c.batch
	}
	if c.memoryMB != nil {
		job.Memory = *c.memoryMB << 20
	}
	return calibrate.Collect(ctx, job)
}

// fewestRanged is how many samples ranges are learnt from at least, if there are as many.
const fewestRanged = 16

// head has the first samples of a dataset.
type head struct {
	calibrate.Source
	samples int64
}

func (h head) Samples() int64 { return h.samples }

func (s *search) put(l layout.Layout, path string, size int64, sqnr float64) {
	s.results = append(s.results, layout.Result{Layout: l, SQNR: sqnr, Agreement: math.NaN(), Size: size})
	s.files = append(s.files, path)
	s.latency = append(s.latency, 0)
}

// candidate puts a model into the race and judges it. One that is in it already is no other.
func (s *search) candidate(ctx context.Context, l layout.Layout, model []byte) error {
	sum := sha256.Sum256(model)
	if s.seen[sum] {
		return nil
	}
	s.seen[sum] = true
	path := filepath.Join(s.dir, fmt.Sprintf("%d.onnx", len(s.files)))
	if err := os.WriteFile(path, model, 0o600); err != nil {
		return err
	}
	s.put(l, path, int64(len(model)), math.NaN())
	r := &s.results[len(s.results)-1]
	var err error
	if r.SQNR, r.Agreement, err = s.ref.judge(ctx, path); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.Lost = "the engine cannot run it: " + err.Error()
	}
	return nil
}

// add lowers a candidate. One that quantizes nothing is none.
func (s *search) add(ctx context.Context, l layout.Layout) error {
	if slices.ContainsFunc(s.results, func(r layout.Result) bool { return r.Layout.Equal(l) }) {
		return nil
	}
	m, shapes, err := s.model(l.Rewrite)
	if err != nil {
		return err
	}
	v, err := s.work.place(m, shapes, l)
	var none *nothingError
	if errors.As(err, &none) {
		return nil
	}
	if err != nil {
		return err
	}
	if v.ranges, err = s.learn(ctx, m, v.full.values, l.Rewrite); err != nil {
		return err
	}
	w, err := v.inPlace()
	if err != nil {
		return err
	}
	b, err := w.model.Marshal()
	if err != nil {
		return err
	}
	return s.candidate(ctx, l, b)
}
