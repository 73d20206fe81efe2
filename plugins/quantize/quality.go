package quantize

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// qualitySamples is how many samples a candidate of a search is judged by.
const qualitySamples = 16

// reference holds what the float model answers, to judge candidates by.
type reference struct {
	feeds   []map[string]tensor.Tensor
	outputs []string
	answers []map[string]tensor.Tensor
	threads int
	batch   int64 // samples that the model takes at a time
}

// qualityTime bounds what a model that takes long spends on being judged; fewestSamples are judged in any case.
const (
	qualityTime   = time.Second
	fewestSamples = 4
)

// newReference runs the float model on a few samples, as many at a time as the model wants.
func newReference(ctx context.Context, path string, data *tensor.Shards, threads int) (ref *reference, err error) {
	s, err := ort.NewSessionFile(path, ort.Options{Threads: threads, Optimize: true, Arena: true})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	ref = &reference{threads: threads, batch: 1}
	for _, in := range s.Inputs() {
		if len(in.Shape) > 0 && in.Shape[0] > 0 {
			ref.batch = in.Shape[0]
		}
	}
	batch := ref.batch
	for _, o := range s.Outputs() {
		if o.DType == tensor.F32 {
			ref.outputs = append(ref.outputs, o.Name)
		}
	}
	if len(ref.outputs) == 0 {
		return nil, fmt.Errorf("no output of the model is float32")
	}
	began := time.Now()
	for start := int64(0); start+batch <= min(data.Samples(), max(qualitySamples, batch)); start += batch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if start >= fewestSamples && time.Since(began) > qualityTime {
			break
		}
		all, err := data.Batch(start, batch)
		if err != nil {
			return nil, err
		}
		feed := map[string]tensor.Tensor{}
		for _, in := range s.Inputs() {
			t, ok := all[in.Name]
			if !ok {
				return nil, fmt.Errorf("the dataset has nothing for input %q", in.Name)
			}
			feed[in.Name] = t
		}
		out, err := s.Run(feed, ref.outputs)
		if err != nil {
			return nil, err
		}
		ref.feeds, ref.answers = append(ref.feeds, feed), append(ref.answers, out)
	}
	if len(ref.feeds) == 0 {
		return nil, fmt.Errorf("the dataset has %d samples and the model takes %d at a time", data.Samples(), batch)
	}
	return ref, nil
}

// sqnr returns the ratio of signal to noise of a candidate over all samples in dB, that of its worst output; +Inf when
// it answers the same.
func (ref *reference) sqnr(ctx context.Context, path string) (float64, error) {
	s, err := ort.NewSessionFile(path, ort.Options{Threads: ref.threads, Optimize: true, Arena: true})
	if err != nil {
		return math.NaN(), err
	}
	defer s.Close()
	signal, noise := map[string]float64{}, map[string]float64{}
	for i, feed := range ref.feeds {
		if err := ctx.Err(); err != nil {
			return math.NaN(), err
		}
		out, err := s.Run(feed, ref.outputs)
		if err != nil {
			return math.NaN(), err
		}
		for _, name := range ref.outputs {
			a, err := tensor.View[float32](ref.answers[i][name])
			if err != nil {
				return math.NaN(), err
			}
			b, err := tensor.View[float32](out[name])
			if err != nil {
				return math.NaN(), err
			}
			if len(a) != len(b) {
				return math.NaN(), fmt.Errorf("output %q has another size than the model's", name)
			}
			for k, x := range a {
				d := float64(b[k]) - float64(x)
				signal[name] += float64(x) * float64(x)
				noise[name] += d * d
			}
		}
	}
	worst := math.Inf(1)
	for _, name := range ref.outputs {
		switch {
		case math.IsNaN(noise[name]):
			return math.NaN(), nil
		case noise[name] > 0:
			worst = min(worst, 10*math.Log10(signal[name]/noise[name]))
		}
	}
	return worst, nil
}

// samples is how many the reference holds.
func (ref *reference) samples() int64 { return int64(len(ref.feeds)) * ref.batch }

// shapes infers those of a model on a sample. The model's inputs take on its sizes.
func (ref *reference) shapes(m *onnx.Model) (*onnx.Shapes, error) {
	for _, in := range m.Graph.Feeds() {
		x, ok := ref.feeds[0][in.Name()]
		if !ok || in.Type == nil || in.Type.Kind != onnx.KindTensor {
			continue
		}
		in.Type.HasShape, in.Type.Shape = true, make([]onnx.Dim, len(x.Shape))
		for i, d := range x.Shape {
			in.Type.Shape[i] = onnx.Dim{Value: d}
		}
	}
	return onnx.InferShapes(m)
}
