// Package prune is the bundled plugin that takes weights out of a model: whole channels, which make every engine
// faster, and single weights, which make few faster. It works on the ONNX graph that a user has, without the program
// that made it.
package prune

import "github.com/optimize-hcl/optimize/sdk"

// Plugin returns the plugin, for sdk.Serve.
func Plugin(version string) *sdk.Plugin {
	return &sdk.Plugin{
		Name:         "prune",
		Version:      version,
		Licence:      "MPL-2.0",
		RequiresCore: ">= 0.1",
		Runtimes:     []string{"onnxruntime"},
		Steps: []sdk.StepType{
			channelsStep(),
			depthStep(),
			weightsStep(),
			sensitivityStep(),
		},
	}
}
