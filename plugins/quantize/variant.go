package quantize

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/quantize/accuracy"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/plugins/quantize/weightonly"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// variants lowers one prepared model in several ways; the model itself stays as it is.
type variants struct {
	model      *onnx.Model
	bytes      []byte // of model
	target     *Target
	options    placeOptions
	ranges     ranges
	perChannel bool
	full       *placement // of model, nothing excluded
}

// variant is one of them.
type variant struct {
	model     *onnx.Model
	place     *placement
	quantized map[string]bool // names of initializers that became integers
}

// quantizes tells whether anything is left in integers.
func (v *variant) quantizes() bool { return v.place.multiplies() }

// with lowers a copy of the model, the nodes of exclude in float: each, by nodeName, with the reason.
func (v *variants) with(exclude map[string]string) (*variant, error) {
	if v.bytes == nil {
		var err error
		if v.bytes, err = v.model.Marshal(); err != nil {
			return nil, fmt.Errorf("the model cannot be copied: %w", err)
		}
	}
	m, err := onnx.Parse(v.bytes)
	if err != nil {
		return nil, fmt.Errorf("the model cannot be copied: %w", err)
	}
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, sdk.AttrError("model", "the shapes in the model do not fit together", err.Error())
	}
	o := v.options
	o.Exclude = map[string]string{}
	for name, why := range v.options.Exclude {
		o.Exclude[name] = why
	}
	for name, why := range exclude {
		o.Exclude[name] = why
	}
	p := place(m, shapes, v.target, o)
	if v.full != nil {
		p.fixed = v.full.fixed
	}
	out := &variant{model: m, place: p}
	if !p.multiplies() {
		return out, nil
	}
	out.quantized, err = lowerStatic(m, p, v.target, v.ranges, v.perChannel)
	return out, err
}

// inPlace lowers the model itself: no copy is held where there is nothing to compare. The variants are spent then.
func (v *variants) inPlace() (*variant, error) {
	q, err := lowerStatic(v.model, v.full, v.target, v.ranges, v.perChannel)
	return &variant{model: v.model, place: v.full, quantized: q}, err
}

// tableBlock is the number of elements of a table that share a scale: 8.3 bits an element.
const tableBlock = 128

// tables gives the tables that Gather looks up 8-bit elements in blocks.
func (v *variant) tables(ctx context.Context, j job) error {
	shapes, err := onnx.InferShapes(v.model)
	if err != nil {
		return fmt.Errorf("the shapes of the quantized model cannot be inferred: %w", err)
	}
	tables := map[string]bool{}
	for n := range v.model.Graph.Nodes() {
		if n.Is("Gather") {
			tables[nodeName(n)] = true
		}
	}
	r, err := weightonly.Quantize(ctx, v.model, shapes, weightonly.Options{Format: weightonly.Int8, Form: weightonly.FormRuntime, Algorithm: weightonly.RTN,
		BlockSize: tableBlock, Embeddings: true, Threads: j.threads, Keep: func(name string) string {
			if tables[name] {
				return ""
			}
			return "no table"
		}})
	if err != nil {
		return weightsError(err)
	}
	if v.quantized == nil {
		v.quantized = map[string]bool{}
	}
	for _, l := range r.Quantized {
		v.quantized[l.Weight] = true
	}
	return nil
}

// layersOf are the products of a placement, in graph order.
func layersOf(m *onnx.Model, p *placement) []accuracy.Layer {
	var out []accuracy.Layer
	index := map[*onnx.Node]*candidate{}
	for _, k := range p.nodes {
		index[k.node] = k
	}
	for _, k := range p.dynamic {
		index[k.node] = k
	}
	for n := range m.Graph.Nodes() {
		if slices.Contains(p.recurrent, n) {
			l := accuracy.Layer{Name: nodeName(n), Noise: math.NaN(), MACs: p.macs[n]}
			for _, w := range []int{1, 2} {
				l.Bytes += m.Graph.Constant(n.Input(w)).Bytes()
			}
			out = append(out, l)
		}
		k := index[n]
		if k == nil || !k.product() {
			continue
		}
		l := accuracy.Layer{Name: nodeName(n), Noise: math.NaN(), MACs: p.macs[n]}
		if k.weight != nil {
			l.Bytes = k.weight.Bytes()
		}
		out = append(out, l)
	}
	return out
}

// possibleValues are the values that any choice of layers may want a range of: what the candidates read and write.
func (p *placement) possibleValues(g *onnx.Graph) []string {
	seen := map[string]bool{}
	out := append([]string(nil), p.values...)
	for _, v := range out {
		seen[v] = true
	}
	add := func(values ...string) {
		for _, v := range values {
			if v != "" && !seen[v] && g.Initializer(v) == nil {
				seen[v] = true
				out = append(out, v)
			}
		}
	}
	for _, k := range p.nodes {
		add(k.data...)
		add(k.node.Outputs()...)
	}
	for _, f := range p.clamps {
		add(f.in, f.out)
	}
	return out
}

const (
	// rankSamples are enough to tell which layers hurt; the loss itself is measured on all of the data.
	rankSamples = 16
	// rankBytes bounds the outputs of the float model that are kept to compare with.
	rankBytes = 64 << 20
)

// ranker measures what quantizing alone does to the outputs.
type ranker struct {
	variants *variants
	data     calibrate.Source
	fixed    int64
	threads  int
	feeds    []map[string]tensor.Tensor
	want     []map[string]tensor.Tensor
}

// newRanker runs the float model on a few samples.
func newRanker(ctx context.Context, v *variants, job *calibrate.Job, threads int) (*ranker, error) {
	names, fixed, err := job.MatchInputs()
	if err != nil {
		return nil, err
	}
	r := &ranker{variants: v, data: job.Data, fixed: fixed, threads: threads}
	batch, total := int64(1), min(job.Data.Samples(), rankSamples)
	if fixed > 0 {
		batch, total = fixed, max(total-total%fixed, fixed)
	}
	if v.bytes == nil {
		if v.bytes, err = v.model.Marshal(); err != nil {
			return nil, fmt.Errorf("the model cannot be copied: %w", err)
		}
	}
	s, err := r.session(v.bytes)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var kept int64
	for at := int64(0); at < total && kept < rankBytes; at += batch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		all, err := job.Data.Batch(at, batch)
		if err != nil {
			return nil, sdk.AttrError(job.Argument, "the dataset cannot be read", err.Error())
		}
		feed := map[string]tensor.Tensor{}
		for _, n := range names {
			feed[n] = all[n]
		}
		out, err := s.Run(feed, nil)
		if err != nil {
			return nil, sdk.AttrError("model", "the model cannot be run", err.Error())
		}
		for _, t := range out {
			kept += int64(len(t.Data))
		}
		r.feeds, r.want = append(r.feeds, feed), append(r.want, out)
	}
	return r, nil
}

func (r *ranker) session(model []byte) (*ort.Session, error) {
	s, err := ort.NewSession(model, ort.Options{Threads: r.threads, Optimize: true, Arena: true})
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be run", err.Error())
	}
	return s, nil
}

// noise is the energy of the error of a variant's outputs over that of the float model's, the mean over the outputs that
// hold real numbers.
func (r *ranker) noise(ctx context.Context, m *onnx.Model) (float64, error) {
	b, err := m.Marshal()
	if err != nil {
		return 0, fmt.Errorf("the model cannot be written: %w", err)
	}
	s, err := r.session(b)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	type energy struct{ error, signal float64 }
	sums := map[string]*energy{}
	for i, feed := range r.feeds {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		out, err := s.Run(feed, nil)
		if err != nil {
			return 0, sdk.AttrError("model", "the quantized model cannot be run", err.Error())
		}
		for name, want := range r.want[i] {
			if !want.DType.IsFloat() {
				continue
			}
			a, err := tensor.ToFloat32(want)
			if err != nil {
				return 0, err
			}
			b, err := tensor.ToFloat32(out[name])
			if err != nil {
				return 0, err
			}
			if len(a) != len(b) {
				continue // a size that depends on the values
			}
			e := sums[name]
			if e == nil {
				e = &energy{}
				sums[name] = e
			}
			for j, x := range a {
				d := float64(x) - float64(b[j])
				e.error += d * d
				e.signal += float64(x) * float64(x)
			}
		}
	}
	var mean, n float64
	for _, o := range r.variants.model.Graph.Outputs() { // in order: sums of floats depend on it
		if e := sums[o.Name()]; e != nil && e.signal > 0 {
			mean += e.error / e.signal
			n++
		}
	}
	if n == 0 {
		return 0, nil
	}
	return mean / n, nil
}

// rank measures each layer alone in integers, the others in float.
func (r *ranker) rank(ctx context.Context, layers []accuracy.Layer, late func() bool, progress func(done, total int64)) error {
	for i := range layers {
		if late != nil && late() {
			return nil
		}
		exclude := map[string]string{}
		for j, l := range layers {
			if j != i {
				exclude[l.Name] = "ranked alone"
			}
		}
		v, err := r.variants.with(exclude)
		if err != nil {
			return err
		}
		if layers[i].Noise, err = r.noise(ctx, v.model); err != nil {
			return err
		}
		progress(int64(i+1), int64(len(layers)))
	}
	return nil
}
