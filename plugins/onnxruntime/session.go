package onnxruntime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
	"github.com/optimize-hcl/optimize/tensor"
)

// session is a loaded model. The SDK calls one method at a time.
type session struct {
	engine.Session
	model   *ort.Session
	path    string
	options ort.Options
	version string
	// sample is the first batch of the last prediction, kept where providers compile the model: their coverage is measured.
	sample map[string]tensor.Tensor
}

// Open loads a model.
func (host) Open(_ context.Context, r sdk.OpenRequest) (sdk.RuntimeSession, error) {
	o, err := engineOptions(r.Options, r.Threads)
	if err != nil {
		return nil, err
	}
	if r.Artifact.Format != "" && r.Artifact.Format != formatONNX {
		return nil, sdk.CodeError("onnxruntime/format", fmt.Sprintf("the runtime onnxruntime cannot run the format %q", r.Artifact.Format), "It runs \"onnx\". Name another runtime for this artifact.")
	}
	lib, err := ort.Locate()
	if err != nil {
		return nil, sdk.CodeError(codeNoLibrary, "ONNX Runtime is not installed", err.Error())
	}
	if err := ort.Load(lib); err != nil {
		return nil, sdk.CodeError(codeNoLibrary, "ONNX Runtime cannot be loaded", err.Error())
	}
	if l, ok := ort.Loaded(); ok {
		lib = l
	}
	path, err := onnx.ModelFile(r.Artifact.Path)
	if err != nil {
		return nil, modelError(err)
	}
	s := &session{path: path, options: o, version: lib.Version}
	if s.model, err = ort.NewSessionFile(s.path, o); err != nil {
		return nil, modelError(err)
	}
	s.Session = engine.NewSession(engineName, model{s.model, infos(s.model.Inputs()), infos(s.model.Outputs())})
	return s, nil
}

// modelError says that a model cannot be loaded, and what may help.
func modelError(err error) error {
	hint := "Check that the file is an ONNX model, and export it again if it was damaged."
	var refused *ort.Error
	var provider *ort.ProviderError
	switch {
	case errors.As(err, &provider):
		return providerError(err)
	case errors.Is(err, os.ErrNotExist):
		hint = "Check the path."
	case errors.As(err, &refused) && refused.Op != "":
		hint = "Export the model with standard operators and types of an opset that the library knows."
	case errors.As(err, &refused):
		hint = "Check the model, or export it again."
	}
	return sdk.CodeError(codeBadModel, "the model cannot be loaded", sentence(err.Error())+" "+hint)
}

// providerError says that an execution provider cannot be had, or not with its settings.
func providerError(err error) error {
	d := sdk.Diagnostic{Code: codeProvider, Summary: "an execution provider cannot be used", Detail: sentence(err.Error()), Path: []any{"providers"}}
	var p *ort.ProviderError
	if errors.As(err, &p) {
		d.Summary = fmt.Sprintf("the execution provider %s cannot be used", p.Name)
	}
	return d
}

// runError says that a run failed.
func runError(err error) error {
	var in *ort.InputError
	if errors.As(err, &in) {
		return sdk.CodeError(codeMismatch, "the dataset does not fit the model", sentence(err.Error()))
	}
	return sdk.CodeError(codeRun, "the model failed while it ran", sentence(err.Error()))
}

func sentence(s string) string {
	if s != "" && s[len(s)-1] != '.' {
		s += "."
	}
	return s
}

// Info describes the model.
func (s *session) Info() sdk.SessionInfo {
	return sdk.SessionInfo{
		Inputs:  infos(s.model.Inputs()),
		Outputs: infos(s.model.Outputs()),
		Facts:   s.facts(),
	}
}

// facts say what the session runs on: the providers in their order, of which the CPU takes what the others leave.
func (s *session) facts() map[string]string {
	f := map[string]string{"runtime": engineName, "runtime_version": s.version, "device": "cpu"}
	if names := providerNames(s.options); len(names) > 0 {
		f["device"] = strings.ToLower(strings.Join(names, ","))
	}
	return f
}

func infos(from []ort.Info) []sdk.TensorInfo {
	out := make([]sdk.TensorInfo, len(from))
	for i, v := range from {
		out[i] = sdk.TensorInfo{Name: v.Name, DType: v.DType, Shape: v.Shape}
	}
	return out
}

// Predict is that of every engine. Where providers compile the model, a sample is kept for their coverage.
func (s *session) Predict(ctx context.Context, r sdk.PredictRequest) (int64, error) {
	n, err := s.Session.Predict(ctx, r)
	if err == nil && len(s.options.Providers) > 0 {
		s.sample, err = s.Sample(r.Dataset)
	}
	return n, err
}

// model is a session of the library's as [engine.Session] drives it.
type model struct {
	session         *ort.Session
	inputs, outputs []sdk.TensorInfo
}

func (m model) Inputs() []sdk.TensorInfo  { return m.inputs }
func (m model) Outputs() []sdk.TensorInfo { return m.outputs }

func (m model) Run(in map[string]tensor.Tensor, outputs []string) (map[string]tensor.Tensor, error) {
	out, err := m.session.Run(in, outputs)
	if err != nil {
		return nil, runError(err)
	}
	return out, nil
}

func (m model) Bind(in map[string]tensor.Tensor) (engine.Bound, error) {
	b, err := m.session.Bind(in)
	if err != nil {
		return nil, runError(err)
	}
	return bound{b}, nil
}

// bound is a batch in its place.
type bound struct{ b *ort.Bound }

func (b bound) Runs() int    { return 1 }
func (b bound) Close() error { return b.b.Close() }

func (b bound) Do() error {
	if err := b.b.Run(); err != nil {
		return runError(err)
	}
	return nil
}

// Close frees the model.
func (s *session) Close() error {
	return errors.Join(s.Release(), s.model.Close())
}
