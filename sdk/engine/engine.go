// Package engine is what the runtimes of plugins have in common: it fits the samples of a dataset into a model's inputs,
// predicts a dataset batch by batch into a file, times one batch in slices, and counts what an engine runs in which
// precision. An engine brings a [Model]; a [Session] makes an [sdk.RuntimeSession] of it, but for what only the engine
// can tell.
//
//	type session struct {
//		engine.Session
//		model *acme.Model
//	}
//
//	func (s *session) Coverage(context.Context) (any, error) { ... }
//	func (s *session) Close() error { return errors.Join(s.Release(), s.model.Close()) }
package engine

import (
	"fmt"
	"slices"

	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// Model is a loaded model as its engine runs it. One method is called at a time.
type Model interface {
	// Inputs and Outputs describe the model, in its order. A shape is nil where not even the rank is stated.
	Inputs() []sdk.TensorInfo
	Outputs() []sdk.TensorInfo
	// Run computes the outputs that are named, from one tensor for each input in its element type. Neither side keeps
	// the other's: inputs may change after the call, outputs are valid until the next one.
	Run(inputs map[string]tensor.Tensor, outputs []string) (map[string]tensor.Tensor, error)
	// Bind puts a batch in place for timing. The bytes of the inputs stay where they are until Close, and may change
	// between runs.
	Bind(inputs map[string]tensor.Tensor) (Bound, error)
}

// Bound is a batch in its place.
type Bound interface {
	// Do runs the model: nothing but the engine's own work.
	Do() error
	// Runs is how many runs one Do makes side by side, at least 1: an engine set up for throughput makes several. Each
	// counts with its share of the time.
	Runs() int
	Close() error
}

// Session predicts and times on a model. It is embedded in an engine's own session.
type Session struct {
	plugin string
	model  Model
	bench  *bench
}

// NewSession makes a session of a model. plugin is the name with which codes of its diagnostics begin.
func NewSession(plugin string, m Model) Session { return Session{plugin: plugin, model: m} }

// Release frees what was put in place for timing. The model is the caller's to close, afterwards.
func (s *Session) Release() error {
	b := s.bench
	s.bench = nil
	return b.close()
}

// Sample copies what one small run takes: as many samples as it must, or one.
func (s *Session) Sample(data *tensor.Shards) (map[string]tensor.Tensor, error) {
	how, err := s.match(data)
	if err != nil {
		return nil, err
	}
	n := max(how.fixed, 1)
	in, err := s.batch(data, 0, min(n, data.Samples()))
	if err != nil {
		return nil, err
	}
	in = pad(in, n)
	if err := how.feed(in, s.model.Inputs()); err != nil {
		return nil, err
	}
	for name, t := range in {
		t.Data = slices.Clone(t.Data)
		in[name] = t
	}
	return in, nil
}

// match tells how the samples of a dataset go into the model. Without samples there is nothing to run.
func (s *Session) match(data *tensor.Shards) (fit, error) {
	how, err := match(s.model.Inputs(), data.Fields())
	if err != nil {
		return fit{}, s.fault("dataset-mismatch", "the dataset does not fit the model", err.Error())
	}
	if data.Samples() == 0 {
		return fit{}, s.fault("dataset-mismatch", "the dataset has no samples", "Check its source and limit.")
	}
	return how, nil
}

func (s *Session) batch(data *tensor.Shards, start, n int64) (map[string]tensor.Tensor, error) {
	in, err := data.Batch(start, n)
	if err != nil {
		return nil, s.fault("dataset-mismatch", "the dataset cannot be read", err.Error())
	}
	return in, nil
}

// fault is a diagnostic of the plugin.
func (s *Session) fault(code, summary, detail string) error {
	return sdk.CodeError(fmt.Sprintf("%s/%s", s.plugin, code), summary, detail)
}
