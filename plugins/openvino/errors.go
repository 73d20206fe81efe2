package openvino

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
)

const (
	codeModel  = "openvino/bad-model"
	codeInput  = "openvino/input"
	codeShape  = "openvino/shape"
	codeWrite  = "openvino/write"
	codeDevice = "openvino/device"
)

// deviceName is one device: "CPU", "GPU", "GPU.0".
var deviceName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*(\.[0-9]+)?$`)

// fullName asks a device for its name, and says which devices there are when there is none.
func fullName(device string) (string, error) {
	has, err := ov.Devices()
	if err != nil {
		return "", sdk.CodeError(codeDevice, "OpenVINO tells no devices", sentence(err.Error()))
	}
	base, _, _ := strings.Cut(device, ".")
	if !slices.ContainsFunc(has, func(d string) bool { b, _, _ := strings.Cut(d, "."); return d == device || b == base && base == device }) {
		return "", sdk.Diagnostic{Code: codeDevice, Path: []any{"compiled"}, Summary: fmt.Sprintf("OpenVINO finds no device %s here", device),
			Detail: "It finds " + cmp.Or(strings.Join(has, ", "), "none") + ". What `optimize init` brings runs on a CPU; for another device set " + ov.EnvLibrary + " to a whole OpenVINO."}
	}
	name, err := ov.DeviceProperty(device, "FULL_DEVICE_NAME")
	if err != nil {
		return "", sdk.Diagnostic{Code: codeDevice, Path: []any{"compiled"}, Summary: fmt.Sprintf("the device %s does not tell its name", device), Detail: sentence(err.Error())}
	}
	return name, nil
}

// lacking is how OpenVINO begins the list of operators that it has not: "com.acme.Foo, Bar".
var lacking = regexp.MustCompile(`(?:does not support the following ONNX operations:|No conversion rule found for operations:)\s*([^\n]*)`)

// readError says why OpenVINO cannot read a model: for operators that it lacks, with the nodes that need them.
func readError(path string, err error) error {
	d := sdk.Diagnostic{Code: codeModel, Path: []any{"model"}, Summary: "OpenVINO cannot read the model", Detail: sentence(err.Error())}
	e, ok := err.(*ov.Error)
	if !ok {
		return d
	}
	d.Detail = sentence(ov.Clean(e.Text))
	if f := lacking.FindStringSubmatch(e.Text); f != nil {
		if nodes := nodesOf(path, f[1]); nodes != "" {
			d.Summary = "OpenVINO lacks operators of the model"
			d.Detail = nodes + " " + sentence(ov.Clean(e.Text)) + " Export the model with standard operators."
		}
	}
	return d
}

// nodesOf names the nodes whose operators are in a list of OpenVINO's, at most five.
func nodesOf(path, names string) string {
	m, unmap, err := onnx.MapFile(path)
	if err != nil {
		return ""
	}
	defer func() { _ = unmap() }()
	var wanted []string
	for _, n := range strings.FieldsFunc(names, func(r rune) bool { return r == ',' || r == ' ' || r == ';' }) {
		wanted = append(wanted, strings.TrimPrefix(strings.TrimSuffix(n, "."), "ai.onnx."))
	}
	var found []string
	more := 0
	for n := range m.Graph.AllNodes() {
		op := n.OpType
		if n.Domain != onnx.DefaultDomain && n.Domain != "" {
			op = n.Domain + "." + n.OpType
		}
		if !slices.Contains(wanted, op) && !slices.Contains(wanted, n.OpType) {
			continue
		}
		if len(found) == 5 {
			more++
			continue
		}
		name := n.Name
		if name == "" && len(n.Outputs()) > 0 {
			name = n.Outputs()[0]
		}
		found = append(found, fmt.Sprintf("node %q (%s)", name, op))
	}
	if len(found) == 0 {
		return ""
	}
	s := upperFirst(strings.Join(found, ", "))
	if more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s + "."
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// compileError says why a device does not take a model: often an axis without a length.
func compileError(m *ov.Model, device string, err error) error {
	d := sdk.Diagnostic{Code: codeDevice, Path: []any{"compiled"}, Summary: fmt.Sprintf("the model cannot be compiled for %s", device), Detail: sentence(err.Error())}
	in, _, e := m.Ports()
	if e != nil {
		return d
	}
	var free []string
	for _, p := range in {
		if p.Shape == nil || slices.Contains(p.Lengths(), -1) {
			free = append(free, p.String())
		}
	}
	if len(free) > 0 {
		d.Detail += " Some devices take fixed shapes only, and these are not: " + strings.Join(free, ", ") + ". Set them by shapes."
	}
	return d
}
