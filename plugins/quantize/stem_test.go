package quantize

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/layout"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// withLayout quantizes in a layout.
func withLayout(t *testing.T, c StaticConfig, l layout.Layout) (*onnx.Model, StaticFacts) {
	t.Helper()
	l.Target = c.Target
	text, err := l.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "layout.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Layout = &sdk.Artifact{Path: path}
	return static(t, c)
}

// TestStem: squares of pixels as channels give the same bits, for every kernel and padding, and what they do not fit
// stays as it is.
func TestStem(t *testing.T) {
	needRuntime(t)
	for _, c := range []struct {
		in, height, width, kh, kw, stride int64
		pads                              []int64
		want                              int
	}{
		{3, 16, 20, 7, 7, 2, []int64{3, 3, 3, 3}, 1},
		{3, 16, 20, 3, 3, 2, []int64{1, 1, 1, 1}, 1},
		{3, 16, 20, 3, 3, 2, []int64{0, 0, 1, 1}, 1},
		{1, 16, 20, 5, 4, 2, []int64{2, 1, 2, 1}, 1},
		{4, 16, 20, 2, 2, 2, nil, 1},
		{4, 16, 20, 6, 3, 2, []int64{2, 2, 3, 0}, 1},
		{3, 15, 20, 3, 3, 2, []int64{1, 1, 1, 1}, 0}, // an odd height
		{3, 16, 20, 3, 3, 1, []int64{1, 1, 1, 1}, 0},
		{5, 16, 20, 3, 3, 2, []int64{1, 1, 1, 1}, 0},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			b := newBuilder(17)
			attrs := []*onnx.Attribute{onnx.IntsAttr("strides", c.stride, c.stride)}
			if c.pads != nil {
				attrs = append(attrs, onnx.IntsAttr("pads", c.pads...))
			}
			x := b.node("Conv", "stem", []string{b.input("x", c.in, c.height, c.width), b.random("w", 0.4, 8, c.in, c.kh, c.kw), b.random("bias", 0.3, 8)}, attrs...)
			b.output(b.conv("next", b.relu("r", x), 8, 8))
			data := b.noise(1, 8, c.in, c.height, c.width)
			set := writeDataset(t, map[string]tensor.Tensor{"x": data})
			cfg := StaticConfig{Model: writeModel(t, b.m), Calibration: &set, Target: "onnxruntime-x86", PerChannel: true}
			plain, _ := withLayout(t, cfg, layout.Layout{})
			squares, facts := withLayout(t, cfg, layout.Layout{Stem: true})
			if n := counts(squares)["SpaceToDepth"]; n != c.want {
				t.Fatalf("%d convolutions read squares, want %d", n, c.want)
			}
			if g := counts(engineGraph(t, squares)); g["QLinearConv"] != 2 {
				t.Errorf("the engine runs %s", show(g))
			}
			in := map[string]tensor.Tensor{"x": data}
			want, got := runModel(t, plain, in), runModel(t, squares, in)
			for name := range want {
				if !slices.Equal(want[name], got[name]) {
					t.Errorf("%s: output %s differs", facts.Layout, name)
				}
			}
		})
	}
}
