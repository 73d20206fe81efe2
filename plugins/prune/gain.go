package prune

import (
	"fmt"
	"strings"

	"github.com/optimize-hcl/optimize/plugins/prune/sparse"
	"github.com/optimize-hcl/optimize/sdk"
)

// gain is what zeros of some pattern bring on one target.
type gain struct {
	// faster and smaller tell whether anything comes of them; text says on which conditions, or why not.
	faster, smaller bool
	text            string
}

// targetTitles are how they are called in texts.
var targetTitles = map[string]string{
	"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tensorrt": "TensorRT", "coreml": "Core ML", "tflite": "TensorFlow Lite",
}

// gainOf is the table of what is known of each engine. Kernels multiply zeros like any other number unless they were
// written for a pattern; so the answer is no by default, and what differs is written down here with its condition.
func gainOf(target string, p sparse.Pattern, sparsity float64) gain {
	dense := "its kernels multiply zeros like any other number, and the file holds them (it only packs better in an archive)"
	switch target {
	case "tensorrt":
		// Whatever leaves at most 2 of every 4.
		if p.Fixed() && (p.Keep == 1 && p.Of == 2 || p.Keep <= 2 && p.Of%4 == 0) {
			return gain{faster: true, text: "NVIDIA GPUs from Ampere on have kernels for 2 of every 4, which it takes when sparse weights are allowed (trtexec --sparsity=enable) and where they are the faster ones: products in half precision or INT8 of many channels, multiples of 32; the file stays as it is"}
		}
		return gain{text: dense + "; 2:4 is the pattern that NVIDIA GPUs from Ampere on have kernels for"}
	case "coreml":
		if sparsity >= 0.5 {
			return gain{smaller: true, text: fmt.Sprintf("a Core ML package can store such a weight as a bit mask and the rest, about %.0f%% of its size in half precision; reading less can make it faster where memory is the bound, above all on the Neural Engine", 100*(1-sparsity+1.0/16))}
		}
		return gain{text: "a bit mask and the rest are hardly smaller than the weight itself below half zeros; from there on a Core ML package gets smaller"}
	case "openvino":
		return gain{text: dense + "; the one exception is INT8 products of transformers with most weights zero on CPUs with AMX, where CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE asks for it"}
	case "tflite":
		return gain{text: dense + "; XNNPACK's sparse kernels, which must be asked for, take 1x1 convolutions only"}
	}
	return gain{text: dense}
}

// planGains says before the wait what a pattern will bring: a warning for each target where that is nothing.
func planGains(targets []string, p sparse.Pattern, sparsity float64) sdk.Diagnostics {
	var none []string
	for _, t := range targets {
		if g := gainOf(t, p, sparsity); !g.faster && !g.smaller {
			none = append(none, fmt.Sprintf("On %s: %s.", targetTitles[t], g.text))
		}
	}
	if len(none) == 0 {
		return nil
	}
	names := make([]string, 0, len(none))
	for _, t := range targets {
		if g := gainOf(t, p, sparsity); !g.faster && !g.smaller {
			names = append(names, targetTitles[t])
		}
	}
	return sdk.Diagnostics{sdk.AttrWarning("targets", fmt.Sprintf("zeros of the pattern %s make the model neither faster nor smaller on %s", p, strings.Join(names, ", ")),
		strings.Join(none, "\n")+"\nTo be faster everywhere, take out whole channels: prune_channels. Zeros are of use for a target that gains by them, or before steps that do.")}
}

// gains are what the report says of each target.
func gains(targets []string, p sparse.Pattern, sparsity float64) []string {
	out := []string{}
	for _, t := range targets {
		g := gainOf(t, p, sparsity)
		what := "no gain"
		switch {
		case g.faster:
			what = "can be faster"
		case g.smaller:
			what = "smaller"
		}
		out = append(out, fmt.Sprintf("%s, %s: %s", targetTitles[t], what, g.text))
	}
	return out
}
