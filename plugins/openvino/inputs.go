package openvino

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
)

// InputConfig is what becomes of an input before the model sees it.
type InputConfig struct {
	Type            string    `opt:"type" oneof:"u8,i8,u16,i16,i32,i64,f16,f32" doc:"Type of what is given; the model's own when left out."`
	Layout          string    `opt:"layout" doc:"Layout of what is given, a letter for each axis: \"NHWC\". It is transposed to the model's."`
	ModelLayout     string    `opt:"model_layout" doc:"Layout of the model's own input. When left out, channels are first: \"NCHW\" for a layout of \"NHWC\"."`
	Size            []int64   `opt:"size" doc:"Height and width of what is given. With resize and without size, any."`
	Resize          string    `opt:"resize" oneof:"linear,cubic,nearest" doc:"How what is given is brought to the model's height and width."`
	ReverseChannels bool      `opt:"reverse_channels" default:"false" doc:"Reverse the order of the channels: RGB to BGR, or back. Before mean and scale."`
	Mean            []float64 `opt:"mean" doc:"Numbers to subtract: one for all channels, or one for each."`
	Scale           []float64 `opt:"scale" doc:"Numbers to divide by afterwards: one for all channels, or one for each."`
}

// checkInputs tells what is wrong with the blocks by themselves.
func checkInputs(inputs map[string]InputConfig) sdk.Diagnostics {
	var ds sdk.Diagnostics
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		c := inputs[name]
		bad := func(argument, summary, detail string) {
			ds = append(ds, sdk.Diagnostic{Path: []any{"input", sdk.Key(name), argument}, Summary: summary, Detail: detail})
		}
		for argument, layout := range map[string]string{"layout": c.Layout, "model_layout": c.ModelLayout} {
			if layout != "" && !soundLayout(layout) {
				bad(argument, fmt.Sprintf("%q is no layout", layout), "Write a letter for each axis, each once: N (samples), C (channels), H (height), W (width), D (depth); or ? for another axis.")
			}
		}
		if len(c.Size) != 0 && (len(c.Size) != 2 || c.Size[0] < 1 || c.Size[1] < 1 || max(c.Size[0], c.Size[1]) > maxAxis) {
			bad("size", "size is a height and a width", "Write two numbers of pixels: size = [480, 640].")
		}
		spatial := len(c.Size) > 0 || c.Resize != ""
		if spatial && (!strings.Contains(c.Layout, "H") || !strings.Contains(c.Layout, "W")) {
			bad("layout", "the layout names no height and width", "Write it, as in layout = \"NHWC\": size and resize are about the axes H and W.")
		}
		if c.Resize == "" && len(c.Size) > 0 {
			bad("resize", "size without resize", "Add resize = \"linear\"; or set the shape of the input by shapes.")
		}
		if (c.ReverseChannels || len(c.Mean) > 1 || len(c.Scale) > 1) && !strings.Contains(c.Layout, "C") {
			bad("layout", "the layout names no channels", "Write it, as in layout = \"NHWC\": the axis C is the one that is meant.")
		}
		if len(c.Mean) > 1 && len(c.Scale) > 1 && len(c.Mean) != len(c.Scale) {
			bad("scale", fmt.Sprintf("%d means and %d scales", len(c.Mean), len(c.Scale)), "Write as many as the model has channels, or one.")
		}
		if slices.Contains(narrowed(c.Scale), 0) {
			bad("scale", "a scale is 0", "What is given is divided by it, as a float of 32 bits.")
		}
		for argument, numbers := range map[string][]float64{"mean": c.Mean, "scale": c.Scale} {
			if slices.ContainsFunc(numbers, func(x float64) bool { return !(math.Abs(x) <= math.MaxFloat32) }) {
				bad(argument, fmt.Sprintf("a number in %s is too large", argument), "OpenVINO computes it in a float of 32 bits, which ends at 3.4e38.")
			}
		}
	}
	return ds
}

// soundLayout takes what OpenVINO takes, but for the three dots that stand for any axes.
func soundLayout(s string) bool {
	seen := map[rune]bool{}
	for _, r := range s {
		if r != '?' && (seen[r] || !strings.ContainsRune("NCHWDTSL", r)) {
			return false
		}
		seen[r] = true
	}
	return true
}

// prepare folds what the blocks say into the model.
func prepare(m *ov.Model, inputs map[string]InputConfig) error {
	if len(inputs) == 0 {
		return nil
	}
	in, _, err := m.Ports()
	if err != nil {
		return err
	}
	var steps []ov.Preparation
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		c := inputs[name]
		port, err := inputNamed(in, name, "input")
		if err != nil {
			return err
		}
		p, err := c.preparation(port)
		if err != nil {
			return err
		}
		steps = append(steps, p)
	}
	// Where any size is taken, a size that is not the model's makes sure that it is resized; it is freed afterwards.
	free := map[string][]ov.Dim{}
	for i, s := range steps {
		if s.Resize == ov.NoResize || s.Height != 0 {
			continue
		}
		port, _ := inputNamed(in, s.Input, "input")
		if port.Shape == nil {
			continue
		}
		shape := make([]ov.Dim, len(s.Layout))
		for k, letter := range s.Layout {
			shape[k] = ov.Free
			if at := strings.IndexRune(s.ModelLayout, letter); at >= 0 && letter != 'H' && letter != 'W' && letter != '?' {
				shape[k] = port.Shape[at]
			}
		}
		free[s.Input] = shape
		h, w := strings.IndexByte(s.ModelLayout, 'H'), strings.IndexByte(s.ModelLayout, 'W')
		if h < 0 || w < 0 {
			return sdk.Diagnostic{Code: codeInput, Path: []any{"input", sdk.Key(s.Input), "model_layout"}, Summary: "the model's layout names no height and width", Detail: "Write model_layout, as in model_layout = \"NCHW\"."}
		}
		steps[i].Height, steps[i].Width = int(port.Shape[h].Min)+1, int(port.Shape[w].Min)+1
	}
	if err := m.Prepare(steps); err != nil {
		return sdk.Diagnostic{Code: codeInput, Path: []any{"input", sdk.Key(steps[0].Input)}, Summary: "the preparation of the inputs does not fit the model", Detail: sentence(err.Error()) + " Its inputs are " + list(in) + "."}
	}
	return m.Reshape(free)
}

func (c InputConfig) preparation(port ov.Port) (ov.Preparation, error) {
	p := ov.Preparation{Input: port.Name, Layout: c.Layout, ModelLayout: c.ModelLayout, ReverseChannels: c.ReverseChannels, Mean: narrowed(c.Mean), Scale: narrowed(c.Scale)}
	at := func(argument, format string, args ...any) error {
		return sdk.Diagnostic{Code: codeInput, Path: []any{"input", sdk.Key(port.Name), argument}, Summary: fmt.Sprintf(format, args...), Detail: fmt.Sprintf("The model says %s.", port)}
	}
	var err error
	if p.Resize, err = ov.ParseResize(c.Resize); err != nil {
		return p, err
	}
	if c.Type != "" {
		p.Type = ov.ParseType(c.Type)
	}
	if p.ModelLayout == "" {
		p.ModelLayout = usualLayout(c.Layout)
	}
	for argument, layout := range map[string]string{"layout": p.Layout, "model_layout": p.ModelLayout} {
		if layout != "" && port.Shape != nil && len(layout) != len(port.Shape) {
			return p, at(argument, "the layout %q has %d axes, the input %d", layout, len(layout), len(port.Shape))
		}
	}
	if len(c.Size) == 2 {
		p.Height, p.Width = int(c.Size[0]), int(c.Size[1])
	}
	if c.Resize != "" && port.Shape != nil {
		for _, axis := range "HW" {
			if i := strings.IndexRune(p.ModelLayout, axis); i >= 0 && port.Shape[i].Min != port.Shape[i].Max {
				return p, at("resize", "there is no size to resize to: the model's own is free. Set it by shapes")
			}
		}
	}
	if i := strings.IndexByte(p.ModelLayout, 'C'); i >= 0 && port.Shape != nil && port.Shape[i].Min == port.Shape[i].Max {
		for argument, v := range map[string][]float64{"mean": c.Mean, "scale": c.Scale} {
			if n := int64(len(v)); n > 1 && n != port.Shape[i].Min {
				return p, at(argument, "%d numbers in %s, for %d channels", n, argument, port.Shape[i].Min)
			}
		}
	}
	return p, nil
}

// usualLayout is the one that models of a framework have where pictures have the other: ONNX comes with channels first.
func usualLayout(given string) string {
	switch given {
	case "NHWC":
		return "NCHW"
	case "HWC":
		return "CHW"
	case "NDHWC":
		return "NCDHW"
	}
	return given
}

func narrowed(v []float64) []float32 {
	var out []float32
	for _, x := range v {
		out = append(out, float32(x))
	}
	return out
}
