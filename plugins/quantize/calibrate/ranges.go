package calibrate

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Range is an interval of values, both bounds included.
type Range struct{ Min, Max float32 }

// Union returns the smallest range that holds both.
func (r Range) Union(o Range) Range { return Range{min(r.Min, o.Min), max(r.Max, o.Max)} }

// Finite tells whether both bounds are numbers.
func (r Range) Finite() bool {
	return !math.IsNaN(float64(r.Min)) && !math.IsInf(float64(r.Min), 0) &&
		!math.IsNaN(float64(r.Max)) && !math.IsInf(float64(r.Max), 0)
}

// Method is a way to choose a range from what was seen.
type Method string

// The methods, by their names in a recipe.
const (
	// MinMax takes the smallest and the largest value.
	MinMax Method = "minmax"
	// MovingAverage takes the mean of the bounds of the runs, as ONNX Runtime does with moving_average.
	MovingAverage Method = "moving_average"
	// Entropy takes the range around zero whose 8-bit histogram diverges least from the whole one (Kullback and
	// Leibler), as ONNX Runtime's EntropyCalibrater.
	Entropy Method = "entropy"
	// Percentile cuts off the same share of values on both sides, as ONNX Runtime's PercentileCalibrater.
	Percentile Method = "percentile"
	// MSE takes the range whose 8-bit grid has the least squared error.
	MSE Method = "mse"
)

// Methods are all of them, in the order of the documentation.
var Methods = []Method{MinMax, MovingAverage, Entropy, Percentile, MSE}

// Histograms tells whether a method chooses from a histogram.
func (m Method) Histograms() bool { return m == Entropy || m == Percentile || m == MSE }

// Options say how ranges are chosen. The zero value is min-max.
type Options struct {
	Method Method
	// Bins of the histogram that Entropy and Percentile look at, from -a to a where a is the largest absolute value; 0
	// is DefaultBins. At least 128, and even for Entropy.
	Bins int
	// Percentile is the share of values kept, in percent; 0 is DefaultPercentile.
	Percentile float64
}

const (
	// DefaultBins is ONNX Runtime's number for percentiles. Its 128 for entropy are as many as an 8-bit grid is taken
	// to have there, so that nothing is left to choose and min-max comes out.
	DefaultBins = 2048
	// DefaultPercentile is ONNX Runtime's.
	DefaultPercentile = 99.999
	// quantizedBins is the number of steps that Entropy compares with, ONNX Runtime's.
	quantizedBins = 128
	maxBins       = 1 << 15
)

// withDefaults fills what is zero.
func (o Options) withDefaults() Options {
	if o.Method == "" {
		o.Method = MinMax
	}
	if o.Bins == 0 {
		o.Bins = DefaultBins
	}
	if o.Percentile == 0 {
		o.Percentile = DefaultPercentile
	}
	return o
}

// Check tells what is wrong with options: the name of the option and a sentence, both empty when all is well.
func (o Options) Check() (option, problem string) {
	o = o.withDefaults()
	switch {
	case !slices.Contains(Methods, o.Method):
		names := make([]string, len(Methods))
		for i, m := range Methods {
			names[i] = string(m)
		}
		return "method", fmt.Sprintf("There is no method %q; there are %s.", o.Method, strings.Join(names, ", "))
	case o.Bins < quantizedBins || o.Bins > maxBins:
		return "bins", fmt.Sprintf("bins is %d; from %d to %d can be told apart.", o.Bins, quantizedBins, maxBins)
	case o.Method == Entropy && o.Bins%2 != 0:
		return "bins", fmt.Sprintf("bins is %d; entropy wants an even number, so that zero lies between two.", o.Bins)
	case !(o.Percentile > 50 && o.Percentile <= 100):
		return "percentile", fmt.Sprintf("percentile is %g; it is the share of values kept, more than 50 and at most 100.", o.Percentile)
	}
	return "", ""
}

// Tensor is what calibration learnt about one tensor.
type Tensor struct {
	// Seen are the smallest and the largest value, exactly.
	Seen Range
	// Average is the mean of the smallest and of the largest value of each run of the model: with one sample a run,
	// as by default, of each sample.
	Average Range
	// Elements that were looked at.
	Elements uint64
	// Histogram of all elements; nil when none was asked for.
	Histogram *Histogram
	// Chosen is the range by Ranges.Options.
	Chosen Range
	// Axis along which Channels are counted; -1 without them.
	Axis int
	// Channels are the ranges by Ranges.Options of each channel; nil when none were asked for, or the tensor has no
	// channels: one axis or none, or channels that are not of one number in all runs.
	Channels []Range
}

// Ranges is the result of a calibration.
type Ranges struct {
	Options Options
	// Samples that the model was run on.
	Samples int64
	// Random: the samples were made up.
	Random bool
	// Tensors by their name in the model, as it is after preparation.
	Tensors map[string]*Tensor
}

// Names are the tensors' names in order.
func (r *Ranges) Names() []string {
	names := make([]string, 0, len(r.Tensors))
	for n := range r.Tensors {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Range is the chosen range of a tensor.
func (r *Ranges) Range(name string) (Range, bool) {
	t := r.Tensors[name]
	if t == nil {
		return Range{}, false
	}
	return t.Chosen, true
}

// Map are the chosen ranges of all tensors.
func (r *Ranges) Map() map[string]Range {
	m := make(map[string]Range, len(r.Tensors))
	for n, t := range r.Tensors {
		m[n] = t.Chosen
	}
	return m
}

// Missing returns those of the names that have no range.
func (r *Ranges) Missing(names []string) []string {
	var out []string
	for _, n := range names {
		if r.Tensors[n] == nil {
			out = append(out, n)
		}
	}
	return out
}

// Choose chooses the ranges anew by other options, from what was kept: Entropy, Percentile and MSE want histograms. The
// ranges of channels go, unless the options are the same, for histograms of channels are not kept.
func (r *Ranges) Choose(o Options, threads int) error {
	o = o.withDefaults()
	if opt, problem := o.Check(); opt != "" {
		return fmt.Errorf("%s", problem)
	}
	if o == r.Options {
		return nil
	}
	names := r.Names()
	for _, n := range names {
		if o.Method.Histograms() && r.Tensors[n].Histogram == nil {
			return fmt.Errorf("the method %s chooses from histograms, and tensor %q has none: the ranges were made without", o.Method, n)
		}
	}
	r.Options = o
	parallel(len(names), threads, func(i int) {
		t := r.Tensors[names[i]]
		t.Chosen = o.choose(t.Seen, t.Average, t.Histogram)
		t.Axis, t.Channels = -1, nil
	})
	return nil
}
