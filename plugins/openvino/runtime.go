package openvino

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/engine"
)

// formatONNX is run when the runtime is named; its own is IR.
const formatONNX = "onnx"

// host is the runtime; it keeps nothing between sessions but the loaded library.
type host struct{}

// CheckOptions tells unknown options and wrong values; which devices there are, only the library knows.
func (host) CheckOptions(_ context.Context, options map[string]string) error {
	_, err := engineOptions(options, 1)
	return err
}

// Probe finds the library and names what predictions depend on.
func (host) Probe(_ context.Context, r sdk.ProbeRequest) (sdk.ProbeResult, error) {
	o, err := engineOptions(r.Options, r.Threads)
	if err != nil {
		return sdk.ProbeResult{}, err
	}
	f := map[string]string{"device": o.device, "cpu": engine.CPUFeatures(), "threads": strconv.Itoa(o.threads)}
	for k, v := range o.properties {
		f["property."+k] = v
	}
	missing, err := probe(f)
	if err == nil && len(missing) == 0 && o.device != "CPU" {
		err = checkDevice(o.device)
	}
	if err != nil {
		return sdk.ProbeResult{}, err
	}
	return sdk.ProbeResult{Fingerprint: f, Missing: missing}, nil
}

// checkDevice tells whether OpenVINO finds the devices that a name is made of: "GPU.1", "HETERO:GPU,CPU".
func checkDevice(device string) error {
	lib, err := load()
	if err != nil {
		return err
	}
	have, err := ov.Devices()
	if err != nil {
		return sdk.CodeError(codeDevice, "OpenVINO cannot list its devices", sentence(err.Error()))
	}
	kind, list, virtual := strings.Cut(device, ":")
	if !virtual && (kind == "AUTO" || kind == "HETERO" || kind == "MULTI" || kind == "BATCH") {
		return nil
	}
	if !virtual {
		list = kind
	}
	for name := range strings.SplitSeq(list, ",") {
		name, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(name), "-"), "(")
		if !slices.ContainsFunc(have, func(d string) bool { return d == name || strings.HasPrefix(d, name+".") }) {
			return sdk.Diagnostic{Path: []any{"device"}, Code: codeDevice, Summary: fmt.Sprintf("there is no device %s", name),
				Detail: fmt.Sprintf("OpenVINO finds %s here. A device needs its plugin (libopenvino_intel_%s_plugin.so) beside the library in %s, and its driver.",
					cmp.Or(strings.Join(have, ", "), "none"), strings.ToLower(strings.Split(name, ".")[0]), lib.Dir)}
		}
	}
	return nil
}

// Open loads a model and makes it ready for its device.
func (host) Open(_ context.Context, r sdk.OpenRequest) (sdk.RuntimeSession, error) {
	o, err := engineOptions(r.Options, r.Threads)
	if err != nil {
		return nil, err
	}
	lib, err := load()
	if err != nil {
		return nil, err
	}
	read, err := readArtifact(r.Artifact)
	if err != nil {
		return nil, err
	}
	defer read.model.Close()
	s := &session{version: lib.Version}
	if s.compiled, s.unmap = imported(read.path, o, lib); s.compiled != nil {
		s.blob = compiledFile
	} else if s.compiled, err = read.model.Compile(o.device, o.properties); err != nil {
		return nil, readyError(err, o.device, read.path)
	}
	if err := s.begin(read, o); err != nil {
		return nil, errors.Join(err, s.free())
	}
	return s, nil
}

// readyError says that a device does not take a model, or a property.
func readyError(err error, device, path string) error {
	return sdk.CodeError("openvino/compile", fmt.Sprintf("the model cannot be made ready for %s", device),
		path+": "+sentence(err.Error())+" Where it refuses free axes, give the inputs fixed shapes: reshape in a step openvino, or export the model so.")
}

// onTarget tells what a CPU runs of a model.
func onTarget(ctx context.Context, a sdk.Artifact) (_ any, err error) {
	s, err := host{}.Open(ctx, sdk.OpenRequest{Artifact: a, Threads: runtime.GOMAXPROCS(0)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Coverage(ctx)
}
