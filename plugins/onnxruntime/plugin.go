// Package onnxruntime is the bundled plugin that runs ONNX models on ONNX Runtime, on
// its CPU provider or on those that a recipe names, tells what is in them and simplifies them.
package onnxruntime

import (
	"cmp"
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"

	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
)

const (
	engineName = "onnxruntime"
	formatONNX = "onnx"

	codeNoLibrary = "onnxruntime/no-library"
	codeBadModel  = "onnxruntime/bad-model"
	codeMismatch  = "onnxruntime/dataset-mismatch"
	codeRun       = "onnxruntime/run-failed"
)

// Plugin returns the plugin, whose version is that of the program it is part of.
func Plugin(version string) *sdk.Plugin {
	return &sdk.Plugin{
		Name:         engineName,
		Version:      version,
		Licence:      "MPL-2.0",
		RequiresCore: ">= 0.1",
		Runtimes:     []string{"onnxruntime"},
		Formats:      []sdk.Format{{Name: formatONNX, Extensions: []string{".onnx"}, Native: true}},
		Steps: []sdk.StepType{
			sdk.Step(sdk.StepSpec{
				Name:     "onnxruntime_simplify",
				Revision: 1,
				Doc: "Rewrites a model to a smaller one that computes the same: works out constants and arithmetic on shapes, folds batch " +
					"normalization and padding into the layers beside them, and removes nodes that pass a value on, repeat another or are " +
					"read by nothing. Inputs and outputs keep their names and types. It needs no library and no data, and the same model " +
					"gives the same bytes on every machine.",
				Examples:      []string{simplifyExample},
				Outputs:       []sdk.Output{{Name: "model", Kind: "model", Format: formatONNX, Doc: "The simplified model."}},
				ResultExample: SimplifyFacts{},
			}, applySimplify),
			sdk.Step(sdk.StepSpec{
				Name:          "onnxruntime_rewrite",
				Revision:      1,
				Doc:           rewriteDoc(),
				Examples:      []string{rewriteExample, rewriteFixedExample},
				Outputs:       []sdk.Output{{Name: "model", Kind: "model", Format: formatONNX, Doc: "The rewritten model."}},
				ResultExample: RewriteFacts{},
			}, applyRewrite),
		},
		Runtime: host{},
		Inspect: inspect,
		Targets: []sdk.Target{{Name: engineName, Formats: []string{formatONNX},
			Doc: "ONNX Runtime's CPU provider on this machine: the operators that it really runs, after its own rewriting.", Inspect: onTarget}},
	}
}

// onTarget tells what the engine makes of a model.
func onTarget(ctx context.Context, a sdk.Artifact) (_ any, err error) {
	s, err := host{}.Open(ctx, sdk.OpenRequest{Artifact: a, Threads: runtime.GOMAXPROCS(0)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Coverage(ctx)
}

// host is the runtime; it keeps nothing between sessions but the loaded library.
type host struct{}

// CheckOptions tells unknown options and wrong values; which providers there are, only the library knows.
func (host) CheckOptions(_ context.Context, options map[string]string) error {
	_, err := engineOptions(options, 1)
	return err
}

// Probe finds the library and names what predictions depend on: its version and
// bytes, the threads, and the CPU features by which it chooses its kernels.
func (host) Probe(_ context.Context, r sdk.ProbeRequest) (sdk.ProbeResult, error) {
	o, err := engineOptions(r.Options, r.Threads)
	if err != nil {
		return sdk.ProbeResult{}, err
	}
	lib, err := ort.Find()
	var none *ort.NotFoundError
	if errors.As(err, &none) {
		p := sdk.ProbeResult{Missing: []sdk.Missing{{What: "ONNX Runtime " + ort.MinVersion + " or newer", Command: none.Command()}}}
		if os.Getenv(ort.EnvLibrary) != "" || os.Getenv(ort.EnvVersion) != "" {
			// Installing does not help while the variable points elsewhere.
			p.Diagnostics = append(p.Diagnostics, sdk.Diagnostic{
				Severity: sdk.SeverityWarning, Code: codeNoLibrary,
				Summary: cmp.Or(named(ort.EnvLibrary), named(ort.EnvVersion)) + " does not lead to a library that can be used", Detail: err.Error(),
			})
		}
		return p, nil
	}
	if err == nil && lib.Version == "" {
		// Only the library itself can tell.
		if err = ort.Load(lib); err == nil {
			l, _ := ort.Loaded()
			lib.Version = l.Version
		}
	}
	if err != nil {
		return sdk.ProbeResult{}, sdk.CodeError(codeNoLibrary, "ONNX Runtime cannot be used", err.Error())
	}
	fingerprint := map[string]string{
		"onnxruntime":        lib.Version,
		"onnxruntime_digest": lib.Digest,
		"cpu":                engine.CPUFeatures(),
		"arch":               runtime.GOARCH,
		"threads":            strconv.Itoa(o.Threads),
	}
	if len(o.Providers) > 0 {
		if fingerprint["providers"], err = probeProviders(lib, o); err != nil {
			return sdk.ProbeResult{}, err
		}
	}
	return sdk.ProbeResult{Fingerprint: fingerprint}, nil
}

// probeProviders tells whether the providers can be had here, and what their results depend on.
func probeProviders(lib ort.Library, o ort.Options) (string, error) {
	if err := ort.Load(lib); err != nil {
		return "", sdk.CodeError(codeNoLibrary, "ONNX Runtime cannot be loaded", err.Error())
	}
	if err := ort.CheckProviders(o); err != nil {
		return "", providerError(err)
	}
	return fingerprintOf(lib.Path)
}

// named returns a variable's name when it is set.
func named(variable string) string {
	if os.Getenv(variable) == "" {
		return ""
	}
	return variable
}
