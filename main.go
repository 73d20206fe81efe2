// Command optimize runs recipes that make trained models smaller and faster.
package main

import (
	"os"

	"github.com/optimize-hcl/optimize/core/cli"
	"github.com/optimize-hcl/optimize/plugins/coreml"
	"github.com/optimize-hcl/optimize/plugins/onnxruntime"
	"github.com/optimize-hcl/optimize/plugins/openvino"
	"github.com/optimize-hcl/optimize/plugins/prune"
	"github.com/optimize-hcl/optimize/plugins/quantize"
	"github.com/optimize-hcl/optimize/sdk"
)

// version is set by the linker for a release: -X main.version=1.2.3.
var version = "0.1.0"

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Program{
		Version: version,
		// Each bundled plugin runs as a process of its own: this binary, started as `optimize plugin serve NAME`.
		Bundled: map[string]func(){
			"coreml":      func() { sdk.Serve(coreml.Plugin(version)) },
			"onnxruntime": func() { sdk.Serve(onnxruntime.Plugin(version)) },
			"openvino":    func() { openvino.Serve(version) },
			"prune":       func() { sdk.Serve(prune.Plugin(version)) },
			"quantize":    func() { sdk.Serve(quantize.Plugin(version)) },
		},
	}))
}
