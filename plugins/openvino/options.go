package openvino

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/optimize-hcl/optimize/sdk"
)

const codeOption = "openvino/unknown-option"

// optionDocs are the options of the runtime.
var optionDocs = map[string]string{
	"device":     `"CPU", "GPU", "NPU", or "HETERO:GPU,CPU" and the like`,
	"hint":       `"latency", or "throughput" for several runs side by side`,
	"streams":    "runs side by side with the hint throughput; OpenVINO's choice when left out",
	"threads":    "threads of the CPU, in place of the evaluation's",
	"precision":  `"f32", "f16", "bf16", or "auto" for what the device likes`,
	"properties": "an object of OpenVINO's own properties",
}

// options are what a recipe says about the engine.
type options struct {
	device     string
	throughput bool
	threads    int
	precision  string
	properties map[string]string
}

// engineOptions reads what a recipe says. The defaults are those under which models are compared: numbers of 32 bits,
// where a CPU with AMX would round them to bf16 unasked, one run at a time, and no models kept in a cache.
func engineOptions(given map[string]string, threads int) (options, error) {
	o := options{device: "CPU", threads: threads, properties: map[string]string{}}
	streams := ""
	for _, name := range slices.Sorted(maps.Keys(given)) {
		v := given[name]
		if key, ok := strings.CutPrefix(name, "properties."); ok {
			o.properties[key] = v
			continue
		}
		var err error
		switch name {
		case "device":
			if o.device = strings.ToUpper(strings.TrimSpace(v)); o.device == "" {
				err = badOption(name, "the device has no name", `Write device = "CPU", or leave it out.`)
			}
		case "hint":
			switch strings.ToLower(v) {
			case "latency":
			case "throughput":
				o.throughput = true
			default:
				err = badOption(name, fmt.Sprintf("there is no hint %q", v), `It is "latency" or "throughput".`)
			}
		case "streams":
			_, err = count(name, v)
			streams = v
		case "threads":
			o.threads, err = count(name, v)
		case "precision":
			switch v {
			case "f32", "f16", "bf16", "auto":
				o.precision = v
			default:
				err = badOption(name, fmt.Sprintf("there is no precision %q", v), `It is "f32", "f16", "bf16", or "auto" for what the device likes.`)
			}
		case "properties":
			err = badOption(name, "the properties are no object", `Write properties = { CPU_DENORMALS_OPTIMIZATION = "YES" }.`)
		default:
			err = badOption(strings.Split(name, ".")[0], fmt.Sprintf("the runtime openvino has no option %q", name), knownOptions())
		}
		if err != nil {
			return o, err
		}
	}
	if streams != "" && !o.throughput {
		return o, badOption("streams", "streams are runs side by side, and the hint latency makes one run at a time", `Write hint = "throughput", or remove streams.`)
	}
	if streams != "" {
		o.set("NUM_STREAMS", streams)
	}
	if o.precision == "" {
		o.precision = "f32"
		if strings.HasPrefix(o.device, "NPU") {
			o.precision = "auto" // an NPU knows half precision alone
		}
	}
	o.set("PERFORMANCE_HINT", map[bool]string{false: "LATENCY", true: "THROUGHPUT"}[o.throughput])
	if o.precision != "auto" {
		o.set("INFERENCE_PRECISION_HINT", o.precision)
	}
	if o.threads > 0 && o.device == "CPU" {
		o.set("INFERENCE_NUM_THREADS", strconv.Itoa(o.threads))
	}
	return o, nil
}

// set sets a property that the recipe does not set itself.
func (o *options) set(key, value string) {
	if _, ok := o.properties[key]; !ok {
		o.properties[key] = value
	}
}

func count(name, v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 4096 {
		return 0, badOption(name, fmt.Sprintf("%s is not a whole number of at least 1, but %q", name, v), fmt.Sprintf("Write %s = 2, or leave it out.", name))
	}
	return n, nil
}

// badOption is an error at an argument of the engine block.
func badOption(name, summary, detail string) error {
	return sdk.Diagnostic{Path: []any{name}, Code: codeOption, Summary: summary, Detail: detail}
}

// knownOptions lists what there is.
func knownOptions() string {
	lines := make([]string, 0, len(optionDocs))
	for _, name := range slices.Sorted(maps.Keys(optionDocs)) {
		lines = append(lines, name+" ("+optionDocs[name]+")")
	}
	return "It takes " + strings.Join(lines, ", ") + "."
}
