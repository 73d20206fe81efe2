package calibrate

import (
	"context"
	"errors"
	"maps"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// view is one tensor in one run, in the order of the taps.
type view struct {
	data  []float32
	shape []int64
}

// pass is what one pass over the data does.
type pass struct {
	// visit is called for each run, one after the other unless anyOrder allows several at the same time. It may use so
	// many threads.
	visit    func(start, n int64, values []view, threads int) error
	anyOrder bool
	done     func()
}

// passes runs the model over the data, as often as the memory for its tensors asks for.
func (j *Job) passes(ctx context.Context, begin func([]*tap) pass) error {
	inputs, fixed, err := j.MatchInputs()
	if err != nil {
		return err
	}
	batch := max(j.Batch, 1)
	if len(j.States) > 0 {
		batch = 1
	}
	if fixed > 0 {
		batch = fixed
	}
	total := j.Data.Samples()
	batch = min(batch, total)
	taps, shapes, err := j.taps(batch)
	if err != nil {
		return err
	}
	limit := j.Memory
	if limit == 0 {
		limit = DefaultMemory
	}
	groups := split(taps, limit)
	for i, g := range groups {
		p := begin(g)
		r := &runner{job: j, taps: g, inputs: inputs, batch: batch, fixed: fixed > 0, before: int64(i) * total, total: total, passes: int64(len(groups))}
		// Where there is room for two sets of tensors, the engine fills one while the other is counted.
		for _, t := range g {
			r.bytes += t.bytes
		}
		r.sets = make([]*set, 1, 2)
		if 2*r.bytes <= limit {
			r.sets = r.sets[:2]
		}
		if n := r.workers(limit, p.anyOrder); n > 1 {
			err = r.runMany(ctx, shapes, p.visit, n)
		} else {
			err = r.run(ctx, shapes, p.visit)
		}
		if err != nil {
			return err
		}
		if p.done != nil {
			p.done()
		}
	}
	return nil
}

// runner does one pass.
type runner struct {
	job    *Job
	taps   []*tap
	inputs []string
	batch  int64
	fixed  bool

	session *ort.Session
	sets    []*set // one or two
	bytes   int64  // that one takes
	states  map[string]tensor.Tensor

	before, total, passes int64
}

// set is one of the two sets of tensors.
type set struct {
	bound *ort.Bound
	n     int64 // samples that it is bound for; 0: it is not
	feed  map[string]tensor.Tensor
	out   map[string]tensor.Tensor
	views []view
}

// unbind frees what is bound.
func (s *set) unbind() error {
	if s.bound == nil {
		return nil
	}
	err := s.bound.Close()
	s.bound, s.n = nil, 0
	return err
}

// run shows each run to visit while the engine does the next.
func (r *runner) run(ctx context.Context, shapes *onnx.Shapes, visit func(start, n int64, values []view, threads int) error) (err error) {
	if needsEngine(r.job, r.taps) {
		if r.session, err = r.job.open(r.taps, shapes, r.job.Threads); err != nil {
			return err
		}
		defer func() {
			for _, s := range r.sets {
				if s != nil {
					err = errors.Join(err, s.unbind())
				}
			}
			err = errors.Join(err, r.session.Close())
		}()
		r.states = r.job.firstStates(r.session)
	}
	visited := make(chan error, 1)
	visited <- nil // the visit before the first
	k := 0
	for done := int64(0); done < r.total; k++ {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, <-visited)
		}
		n := min(r.batch, r.total-done)
		start := done
		if r.fixed {
			// A model that takes just k samples gets the last k again: seeing a sample twice moves no bound.
			n, start = r.batch, min(done, r.total-r.batch)
		}
		at := k % len(r.sets)
		if r.sets[at] == nil {
			r.sets[at] = &set{}
		}
		s := r.sets[at]
		if len(r.sets) == 1 {
			if err := <-visited; err != nil {
				return err
			}
			visited <- nil
		}
		runErr := r.one(s, start, n)
		// The engine is done with this set; whoever counts the other must be too, before that is filled again.
		if err := <-visited; err != nil {
			return err
		}
		if runErr != nil {
			return runErr
		}
		go func() { visited <- visit(start, n, s.views, r.job.Threads) }()
		done = start + n
		if r.job.Progress != nil {
			r.job.Progress(r.before+done, r.total*r.passes)
		}
	}
	return <-visited
}

func needsEngine(j *Job, taps []*tap) bool {
	for _, t := range taps {
		if !j.Model.Graph.IsInput(t.name) {
			return true
		}
	}
	return false
}

// one runs the model on n samples from start into a set.
func (r *runner) one(s *set, start, n int64) error {
	all, err := r.job.Data.Batch(start, n)
	if err != nil {
		return sdk.AttrError(r.job.argument(), "the dataset cannot be read", err.Error())
	}
	if r.session != nil {
		if err := r.engine(s, all, n); err != nil {
			return err
		}
		for in, out := range r.job.States {
			r.states[in] = s.out[out].Clone() // the set is filled again
		}
	}
	s.views = s.views[:0]
	for _, t := range r.taps {
		v, ok := s.out[t.output]
		if r.job.Model.Graph.IsInput(t.name) {
			if v, ok = all[t.name]; !ok {
				v = s.feed[t.name]
			}
		} else if !ok {
			return sdk.AttrError("model", "the model failed during calibration", "The engine returned no values for tensor "+t.name+".")
		}
		f, err := float32s(v)
		if err != nil {
			return err
		}
		s.views = append(s.views, view{f, v.Shape})
	}
	return nil
}

func float32s(t tensor.Tensor) ([]float32, error) {
	if t.DType == tensor.F32 {
		return tensor.View[float32](t)
	}
	return tensor.ToFloat32(t)
}

// engine runs the model. From the second run of a set on it writes to where it wrote before, unless the number of
// samples changed, or the shapes depend on the data.
func (r *runner) engine(s *set, all map[string]tensor.Tensor, n int64) error {
	if s.bound != nil && s.n == n {
		for _, name := range r.inputs {
			copy(s.feed[name].Data, all[name].Data)
		}
		for name, v := range r.states {
			copy(s.feed[name].Data, v.Data)
		}
		err := s.bound.Run()
		if err == nil {
			return nil
		}
		// An output of another shape does not fit; whatever else went wrong goes wrong below too.
		s.n = -1
	}
	if s.bound == nil && s.n == 0 && n == r.batch && r.place(s, all) {
		return nil
	}
	rebind := s.n >= 0 // not once shapes were seen to change
	for _, name := range r.inputs {
		rebind = rebind && len(all[name].Shape) > 0 // the engine has a copy of its own of a scalar
	}
	if s.bound != nil {
		if err := s.bound.Close(); err != nil {
			return err
		}
		s.bound = nil
	}
	feed := make(map[string]tensor.Tensor, len(r.inputs)+len(r.states))
	for _, name := range r.inputs {
		feed[name] = all[name]
		if rebind {
			feed[name] = all[name].Clone() // samples that follow are copied to the same place
		}
	}
	for name, v := range r.states {
		feed[name] = v.Clone()
	}
	out, err := r.session.Run(feed, nil)
	if err != nil {
		return r.job.runError(err)
	}
	s.feed, s.out = feed, out
	if rebind && n == r.batch {
		if b, err := r.session.BindTo(feed, maps.Clone(out)); err == nil {
			s.bound, s.n = b, n
		} else {
			s.n = -1
		}
	}
	return nil
}

// place runs the model with room for its outputs of the shapes that were inferred, so that the engine makes none of its
// own to be copied from; false where a shape is not known, or another than the engine finds.
func (r *runner) place(s *set, all map[string]tensor.Tensor) bool {
	if len(r.job.States) > 0 {
		return false
	}
	out := map[string]tensor.Tensor{}
	for _, t := range r.taps {
		if r.job.Model.Graph.IsInput(t.name) {
			continue
		}
		size, err := tensor.Elements(t.shape)
		if err != nil || size == 0 || len(t.shape) == 0 {
			return false
		}
		out[t.output] = tensor.Of(t.shape, make([]float32, size))
	}
	feed := make(map[string]tensor.Tensor, len(r.inputs))
	for _, name := range r.inputs {
		feed[name] = all[name].Clone()
	}
	b, err := r.session.BindTo(feed, out)
	if err != nil {
		return false
	}
	if err := b.Run(); err != nil {
		_ = b.Close() // whatever went wrong goes wrong again, and is told then
		return false
	}
	s.feed, s.out, s.bound, s.n = feed, out, b, r.batch
	return true
}

// firstStates are the states before the first sample: zeros, of size 1 where the model leaves a size open.
func (j *Job) firstStates(s *ort.Session) map[string]tensor.Tensor {
	states := map[string]tensor.Tensor{}
	for _, in := range s.Inputs() {
		if _, ok := j.States[in.Name]; !ok {
			continue
		}
		shape := make([]int64, len(in.Shape))
		for i, d := range in.Shape {
			shape[i] = max(d, 1)
		}
		if size, err := tensor.Size(in.DType, shape); err == nil {
			states[in.Name] = tensor.Tensor{DType: in.DType, Shape: shape, Data: make([]byte, size)}
		}
	}
	return states
}
