package openvino

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
)

// maxAxis is the longest axis that a recipe may ask for.
const maxAxis = math.MaxInt32

// parseDim reads an axis of a shape: "224", "?" or "-1" for any length, "1..8" for a range, "1.." for one without end.
func parseDim(s string) (ov.Dim, error) {
	s = strings.TrimSpace(s)
	if s == "?" || s == "-1" {
		return ov.Free, nil
	}
	low, high, ranged := strings.Cut(s, "..")
	a, err := parseLength(low)
	if err != nil {
		return ov.Dim{}, err
	}
	if !ranged {
		return ov.Fixed(a), nil
	}
	if strings.TrimSpace(high) == "" {
		return ov.Dim{Min: a, Max: -1}, nil
	}
	b, err := parseLength(high)
	if err != nil {
		return ov.Dim{}, err
	}
	if b < a {
		return ov.Dim{}, fmt.Errorf("the range %s ends before it begins", s)
	}
	return ov.Dim{Min: a, Max: b}, nil
}

func parseLength(s string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 || n > maxAxis {
		return 0, fmt.Errorf("%q is no length of an axis", s)
	}
	return n, nil
}

// checkShapes tells what is wrong with the argument shapes by itself.
func checkShapes(shapes map[string][]string) sdk.Diagnostics {
	var ds sdk.Diagnostics
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		for i, s := range shapes[name] {
			if _, err := parseDim(s); err != nil {
				ds = append(ds, sdk.Diagnostic{Path: []any{"shapes", sdk.Key(name), sdk.Index(i)}, Summary: err.Error(),
					Detail: "An axis is a number, \"?\" for any length, or a range such as \"1..8\"."})
			}
		}
	}
	return ds
}

// reshape gives the model's inputs the shapes that the recipe names.
func reshape(m *ov.Model, in []ov.Port, shapes map[string][]string) error {
	if len(shapes) == 0 {
		return nil
	}
	want := map[string][]ov.Dim{}
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		port, err := inputNamed(in, name, "shapes")
		if err != nil {
			return err
		}
		if port.Shape != nil && len(port.Shape) != len(shapes[name]) {
			return sdk.Diagnostic{Code: codeShape, Path: []any{"shapes", sdk.Key(name)}, Summary: fmt.Sprintf("input %q has %d axes, not %d", name, len(port.Shape), len(shapes[name])),
				Detail: fmt.Sprintf("The model says %s.", port)}
		}
		dims := make([]ov.Dim, len(shapes[name]))
		for i, s := range shapes[name] {
			if dims[i], err = parseDim(s); err != nil {
				return err
			}
		}
		want[name] = dims
	}
	if err := m.Reshape(want); err != nil {
		return sdk.Diagnostic{Code: codeShape, Path: []any{"shapes"}, Summary: "the model does not take these shapes", Detail: sentence(err.Error()) + " Its inputs are " + list(in) + "."}
	}
	return nil
}

// inputNamed finds an input, or says at the argument which there are.
func inputNamed(in []ov.Port, name, argument string) (ov.Port, error) {
	for _, p := range in {
		if p.Name == name {
			return p, nil
		}
	}
	return ov.Port{}, sdk.Diagnostic{Code: codeInput, Path: []any{argument, sdk.Key(name)}, Summary: fmt.Sprintf("the model has no input %q", name), Detail: "Its inputs are " + list(in) + "."}
}

func list(ports []ov.Port) string {
	var out []string
	for _, p := range ports {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}

func sentence(s string) string {
	if s != "" && !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}
