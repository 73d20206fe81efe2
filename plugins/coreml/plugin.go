// Package coreml is the bundled plugin that writes Core ML packages: ML Programs, in pure Go, without Apple's tools.
package coreml

import "github.com/optimize-hcl/optimize/sdk"

const (
	pluginName    = "coreml"
	formatPackage = "coreml-package"
	formatONNX    = "onnx"

	codeModel    = "coreml/bad-model"
	codeOperator = "coreml/operator"
	codeShape    = "coreml/shape"
	codeInput    = "coreml/input"
	codeTarget   = "coreml/target"
	codeWrite    = "coreml/write"
)

// Plugin returns the plugin, whose version is that of the program it is part of.
func Plugin(version string) *sdk.Plugin {
	return &sdk.Plugin{
		Name:         pluginName,
		Version:      version,
		Licence:      "MPL-2.0",
		RequiresCore: ">= 0.1",
		Formats:      []sdk.Format{{Name: formatPackage, Extensions: []string{".mlpackage"}}},
		Inspect:      inspect,
		Steps:        []sdk.StepType{convertStep()},
		Targets: []sdk.Target{{Name: "coreml", Formats: []string{formatONNX}, Inspect: inspectFor,
			Doc: "Core ML from iOS 17 and macOS 14 on: the nodes that the step coreml lowers, and for each that it cannot, why."}},
	}
}
