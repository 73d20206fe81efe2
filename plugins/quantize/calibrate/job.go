package calibrate

import (
	"context"
	"maps"
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/sdk"
)

// Job is one calibration: what to run, on what, and what to learn.
type Job struct {
	// Model in the prepared form: constants are initializers, nodes in order. It is run and, at the end, as before.
	Model *onnx.Model
	// Data has a field for each input of the model that is not a state.
	Data Source
	// Argument is the recipe's argument that names the data, for errors; "" is "calibration".
	Argument string
	// Tensors to learn the ranges of: inputs and outputs of nodes of the main graph, of a floating-point type.
	Tensors []string
	Options Options
	// Histograms are kept, also where the method needs none.
	Histograms bool
	// PerChannel learns the range of each channel too.
	PerChannel bool
	// Batch is the number of samples run at a time; 0 is 1, so that the result is that of each sample for itself.
	Batch int64
	// Threads that the engine and the counting use.
	Threads int
	// Memory bounds what the tensors of one run take, in bytes; 0 is DefaultMemory. When they take more, the data is run
	// several times, for some of the tensors each time. A tensor that alone takes more is run for itself.
	Memory int64
	// States are inputs that the data does not have, each with the output that is its value for the next sample. They
	// begin as zeros. Samples are then a sequence, whose order matters, and run one at a time.
	States map[string]string
	// ScratchDir is for a model of more than 2 GiB; "" refuses one.
	ScratchDir string
	// Progress is called after each run with the number of samples done, and of all, over all passes; nil is allowed.
	Progress func(done, total int64)
}

// DefaultMemory is room for all tensors of PP-OCR's detector at 640x640.
const DefaultMemory = 1 << 30

func (j *Job) argument() string {
	if j.Argument == "" {
		return "calibration"
	}
	return j.Argument
}

func (j *Job) histograms() bool { return j.Histograms || j.Options.Method.Histograms() }

func (j *Job) stateOutputs() []string {
	var out []string
	for _, in := range slices.Sorted(maps.Keys(j.States)) {
		out = append(out, j.States[in])
	}
	return out
}

// Collect runs the model over the data and returns what it learnt. Problems of the model, the data or the arguments
// are diagnostics (sdk.Diagnostic).
func Collect(ctx context.Context, job Job) (*Ranges, error) {
	ctx, span := sdk.StartSpan(ctx, "calibrate")
	defer span.End()
	job.Options = job.Options.withDefaults()
	if opt, problem := job.Options.Check(); opt != "" {
		return nil, sdk.AttrError(opt, "a calibration argument is out of bounds", problem)
	}
	r := &Ranges{Options: job.Options, Samples: job.Data.Samples(), Tensors: map[string]*Tensor{}}
	_, r.Random = job.Data.(*RandomSource)
	err := job.passes(ctx, func(taps []*tap) pass {
		obs := make([]*observer, len(taps))
		for i := range taps {
			obs[i] = newObserver(job.histograms(), -1)
		}
		return pass{
			anyOrder: true,
			visit: func(start, n int64, values []view, threads int) error {
				bad := make([]*float32, len(taps))
				parallel(len(taps), threads, func(i int) {
					o, v := obs[i], values[i]
					o.mu.Lock()
					defer o.mu.Unlock()
					if o.runs == 0 && job.PerChannel {
						o.axis = job.channelAxis(taps[i].name, len(v.shape))
					}
					bad[i] = o.observe(v.data, v.shape, job.Options)
				})
				for i, x := range bad {
					if x != nil {
						return job.nonFinite(taps[i].name, *x, start, n)
					}
				}
				return nil
			},
			done: func() {
				parallel(len(taps), job.Threads, func(i int) {
					obs[i].finished = obs[i].result(job.Options)
				})
				for i, t := range taps {
					r.Tensors[t.name] = obs[i].finished
				}
			},
		}
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Value is one tensor in one run.
type Value struct {
	Name  string
	Shape []int64
	// Data is used again once the visit has returned.
	Data []float32
}

// Stream runs the model over the data and shows the values of job.Tensors, run by run: samples start to start+n-1. A
// model that takes just k samples sees the last k again at the end, so that samples may come twice. When the tensors
// of one run take more than job.Memory, there are several passes, each with some of the tensors.
func Stream(ctx context.Context, job Job, visit func(start, n int64, values []Value) error) error {
	return job.passes(ctx, func(taps []*tap) pass {
		out := make([]Value, len(taps))
		return pass{visit: func(start, n int64, values []view, _ int) error {
			for i, v := range values {
				out[i] = Value{taps[i].name, v.shape, v.data}
			}
			return visit(start, n, out)
		}}
	})
}
