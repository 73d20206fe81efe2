// Package openvino is the bundled plugin that drives the real OpenVINO.
package openvino

import (
	"errors"
	"runtime"

	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
)

const (
	pluginName = "openvino"
	formatIR   = "openvino-ir"

	codeNoLibrary = "openvino/no-library"
	codeNotBuilt  = "openvino/not-built"
)

// Serve is the plugin's process.
func Serve(version string) {
	sdk.Serve(Plugin(version))
}

// Plugin returns the plugin, whose version is that of the program it is part of.
func Plugin(version string) *sdk.Plugin {
	return &sdk.Plugin{
		Name:         pluginName,
		Version:      version,
		Licence:      "MPL-2.0",
		RequiresCore: ">= 0.1",
		Runtimes:     []string{"openvino"},
		Formats:      []sdk.Format{{Name: formatIR, Extensions: []string{".xml"}, Native: true}, {Name: formatONNX, RunOnly: true}},
		Steps:        []sdk.StepType{exportStep()},
		Runtime:      host{},
		Inspect:      inspect,
		Targets: []sdk.Target{{Name: "openvino-cpu", Formats: []string{formatIR, formatONNX}, Inspect: onTarget,
			Doc: "OpenVINO's CPU device on this machine: the layers that it really runs, after its own rewriting, and the precision of each."}},
	}
}

// probe finds the library and adds what results depend on to a fingerprint: its version and files, and the processor's
// kind. Where there is none it tells what brings one.
func probe(fingerprint map[string]string) ([]sdk.Missing, error) {
	if !ov.Built {
		return nil, notBuilt()
	}
	l, err := ov.Find()
	var none *ov.NotFoundError
	if errors.As(err, &none) {
		return []sdk.Missing{{What: "OpenVINO " + ov.MinVersion + " or newer", Command: none.Command()}}, nil
	}
	if err == nil && l.Version == "" {
		// Only the library itself can tell.
		if err = ov.Load(l); err == nil {
			l, _ = ov.Loaded()
		}
	}
	if err != nil {
		return nil, sdk.CodeError(codeNoLibrary, "OpenVINO cannot be used", err.Error())
	}
	digest, err := l.Digest()
	if err != nil {
		return nil, sdk.CodeError(codeNoLibrary, "OpenVINO cannot be used", err.Error())
	}
	fingerprint["openvino"], fingerprint["openvino_digest"], fingerprint["arch"] = l.Version, digest, runtime.GOARCH
	return nil, nil
}

// whyMissing warns where a variable leads to no library: installing one does not help then.
func whyMissing() sdk.Diagnostics {
	_, err := ov.Find()
	var none *ov.NotFoundError
	if !errors.As(err, &none) || !none.Named {
		return nil
	}
	return sdk.Diagnostics{{Severity: sdk.SeverityWarning, Code: codeNoLibrary, Summary: ov.EnvLibrary + " does not lead to a library that can be used", Detail: err.Error()}}
}

// load brings the library into the process.
func load() (ov.Library, error) {
	if !ov.Built {
		return ov.Library{}, notBuilt()
	}
	l, err := ov.Find()
	if err != nil {
		return l, sdk.CodeError(codeNoLibrary, "OpenVINO is not installed", err.Error())
	}
	if err := ov.Load(l); err != nil {
		return l, sdk.CodeError(codeNoLibrary, "OpenVINO cannot be loaded", err.Error())
	}
	l, _ = ov.Loaded()
	return l, nil
}

func notBuilt() error {
	return sdk.CodeError(codeNotBuilt, "OpenVINO is not in this build of optimize",
		"It takes one for Linux that was built with cgo: CGO_ENABLED=1 and a C++ compiler. Everything else works without it.")
}
