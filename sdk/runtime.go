package sdk

import (
	"context"
	"time"

	"github.com/optimize-hcl/optimize/tensor"
)

// Runtime runs artifacts, so that the host can measure them. Its errors become diagnostics.
type Runtime interface {
	// Probe tells whether the runtime can work here and what its results depend on, without loading a model.
	Probe(ctx context.Context, r ProbeRequest) (ProbeResult, error)
	// Open loads an artifact. The session outlives ctx.
	Open(ctx context.Context, r OpenRequest) (RuntimeSession, error)
}

// OptionChecker is a [Runtime] that says what is wrong with options without looking at the machine, so that a mistake is
// told when a recipe is checked and not only when it is planned. An error becomes diagnostics; paths begin with an
// option's name.
type OptionChecker interface {
	CheckOptions(ctx context.Context, options map[string]string) error
}

// ProbeRequest asks what Open with the same options would need.
type ProbeRequest struct {
	Options map[string]string
	Threads int
}

// ProbeResult is as PlanResult, for what Predict writes.
type ProbeResult struct {
	Fingerprint map[string]string
	Missing     []Missing
	Diagnostics Diagnostics
}

// OpenRequest names the artifact to load.
type OpenRequest struct {
	Artifact Artifact
	Options  map[string]string
	Threads  int
}

// RuntimeSession is a loaded artifact. The SDK calls one method at a time.
type RuntimeSession interface {
	Info() SessionInfo
	// Predict runs the whole dataset and writes r.Output: a safetensors file with one tensor per model output, axis 0
	// counting samples. It returns the number of samples.
	Predict(ctx context.Context, r PredictRequest) (samples int64, err error)
	// Benchmark times runs on one fixed batch, in nanoseconds, one entry a run.
	Benchmark(ctx context.Context, r BenchmarkRequest) ([]int64, error)
	// Coverage reads the engine's own optimized graph back, as a value that encoding/json turns into an
	// optimize.coverage/v1 document.
	Coverage(ctx context.Context) (any, error)
	Close() error
}

// SessionInfo is what a loaded artifact takes and gives.
type SessionInfo struct {
	Inputs, Outputs []TensorInfo
	// Facts: "runtime", "runtime_version", "device", "precision".
	Facts map[string]string
}

// TensorInfo is a model input or output.
type TensorInfo struct {
	Name  string
	DType tensor.DType
	// Shape has -1 where a dimension is dynamic.
	Shape []int64
}

// PredictRequest names the data and what to write. The SDK opens and closes the dataset.
type PredictRequest struct {
	Dataset *tensor.Shards
	// Output is the absolute path of the safetensors file to write.
	Output string
	// Names are the model outputs to write; empty means all.
	Names []string
	// Batch is the number of samples per run, at least 1.
	Batch int64
}

// BenchmarkRequest names the data and the length of one slice.
type BenchmarkRequest struct {
	Dataset *tensor.Shards
	// Batch is the number of samples per run, at least 1.
	Batch      int64
	Duration   time.Duration
	WarmupRuns int
}
