package gram

import (
	"bytes"
	"slices"

	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// runner runs a session again and again. The sums of a layer are large: while batches have the same shapes the engine
// writes them where it wrote those of the first, so that they are no garbage.
type runner struct {
	s     *ort.Session
	bound *ort.Bound // nil before the first run, and where the engine cannot be given places
	in    map[string]tensor.Tensor
	out   map[string]tensor.Tensor
}

// run returns the outputs for feed; they hold until the next run.
func (r *runner) run(feed map[string]tensor.Tensor) (map[string]tensor.Tensor, error) {
	if r.bound != nil && r.fits(feed) {
		for name, t := range feed {
			copy(r.in[name].Data, t.Data)
		}
		return r.out, r.bound.Run()
	}
	r.close()
	out, err := r.s.Run(feed, nil)
	if err != nil {
		return nil, err
	}
	r.in, r.out = make(map[string]tensor.Tensor, len(feed)), out
	for name, t := range feed {
		t.Data = bytes.Clone(t.Data)
		r.in[name] = t
	}
	if r.bound, err = r.s.BindTo(r.in, out); err != nil {
		r.bound = nil
	}
	return out, nil
}

func (r *runner) fits(feed map[string]tensor.Tensor) bool {
	for name, t := range feed {
		if old, ok := r.in[name]; !ok || old.DType != t.DType || !slices.Equal(old.Shape, t.Shape) {
			return false
		}
	}
	return true
}

func (r *runner) close() {
	if r.bound != nil {
		_ = r.bound.Close()
		r.bound = nil
	}
}
