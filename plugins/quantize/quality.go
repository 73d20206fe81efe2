package quantize

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/tensor"
)

const (
	// qualitySamples is how many samples a candidate of a search is judged by, classSamples how many the candidate of a
	// classifier is: a class that flips is rare.
	qualitySamples = 16
	classSamples   = 512
	// qualityTime bounds what a model that takes long spends on being judged; fewestSamples are judged in any case.
	qualityTime   = time.Second
	fewestSamples = 4
)

// reference holds what the float model answers, to judge candidates by.
type reference struct {
	feeds   []map[string]tensor.Tensor
	outputs []string
	answers []map[string]tensor.Tensor
	classes string // the output that holds a score a class; empty where the model is no classifier
	threads int
	batch   int64 // samples that the model takes at a time
}

// newReference runs the float model on a few samples, as many at a time as the model wants.
func newReference(ctx context.Context, path string, data calibrate.Source, threads int) (ref *reference, err error) {
	s, err := ort.NewSessionFile(path, ort.Options{Threads: threads, Optimize: true, Arena: true})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	ref = &reference{threads: threads, batch: 1}
	whole := calibrate.WholeInputs(data.Fields(), func(input string) ([]int64, bool) {
		i := slices.IndexFunc(s.Inputs(), func(in ort.Info) bool { return in.Name == input })
		return s.Inputs()[max(i, 0)].Shape, i >= 0 && s.Inputs()[i].Shape != nil
	})
	data = calibrate.SingleSamples(data, whole)
	for _, in := range s.Inputs() {
		if len(in.Shape) > 0 && in.Shape[0] > 0 && len(whole) == 0 {
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
	began, most := time.Now(), max(qualitySamples, batch)
	for start := int64(0); start+batch <= min(data.Samples(), most); start += batch {
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
		if start == 0 && isScores(out, ref.outputs, batch) {
			ref.classes, most = ref.outputs[0], max(classSamples, batch)
		}
	}
	if ref.classes != "" && !ref.sure() {
		ref.classes = ""
	}
	if len(ref.feeds) == 0 {
		return nil, fmt.Errorf("the dataset has %d samples and the model takes %d at a time", data.Samples(), batch)
	}
	return ref, nil
}

// isScores tells whether the only output of real numbers has one for each of several classes, a row a sample.
func isScores(out map[string]tensor.Tensor, outputs []string, batch int64) bool {
	if len(outputs) != 1 {
		return false
	}
	shape := out[outputs[0]].Shape
	return len(shape) == 2 && shape[0] == batch && shape[1] > 1
}

// sure tells whether the model's scores have winners: they are probabilities, or mostly the first leads the second by a
// standard deviation of the scores. A vector that stands for a text or a face, or a net that nobody has trained,
// has a largest number too, but what that is means nothing.
func (ref *reference) sure() bool {
	var m margins
	var leads []float64
	for _, out := range ref.answers {
		v, err := tensor.View[float32](out[ref.classes])
		if err != nil {
			return false
		}
		m.add(v, v, int(ref.batch))
		n := len(v) / int(ref.batch)
		for r := range int(ref.batch) {
			row := v[r*n : (r+1)*n]
			if probabilities(row) {
				leads = append(leads, math.Inf(1))
				continue
			}
			var sum, squares float64
			for _, x := range row {
				sum, squares = sum+float64(x), squares+float64(x)*float64(x)
			}
			mean := sum / float64(n)
			leads = append(leads, m.margin[len(leads)]/math.Sqrt(squares/float64(n)-mean*mean))
		}
	}
	slices.Sort(leads)
	return len(leads) > 0 && leads[len(leads)/2] >= 1
}

// judge returns the ratio of signal to noise of a candidate over all samples in dB, that of its worst output: +Inf when
// it answers the same. Of a classifier it returns the share of samples whose class stays, NaN for another model.
func (ref *reference) judge(ctx context.Context, path string) (sqnr, agreement float64, err error) {
	fail := func(err error) (float64, float64, error) { return math.NaN(), math.NaN(), err }
	s, err := ort.NewSessionFile(path, ort.Options{Threads: ref.threads, Optimize: true, Arena: true})
	if err != nil {
		return fail(err)
	}
	defer s.Close()
	signal, noise := map[string]float64{}, map[string]float64{}
	var flips margins
	for i, feed := range ref.feeds {
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		out, err := s.Run(feed, ref.outputs)
		if err != nil {
			return fail(err)
		}
		for _, name := range ref.outputs {
			a, err := tensor.View[float32](ref.answers[i][name])
			if err != nil {
				return fail(err)
			}
			b, err := tensor.View[float32](out[name])
			if err != nil {
				return fail(err)
			}
			if len(a) != len(b) {
				return fail(fmt.Errorf("output %q has another size than the model's", name))
			}
			if name == ref.classes {
				flips.add(a, b, int(ref.batch))
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
			return fail(nil)
		case noise[name] > 0:
			worst = min(worst, 10*math.Log10(signal[name]/noise[name]))
		}
	}
	return worst, flips.agreement(), nil
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
