package coreml

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/onnx/rewrite"
	"github.com/optimize-hcl/optimize/plugins/coreml/lower"
	"github.com/optimize-hcl/optimize/plugins/coreml/mil"
	"github.com/optimize-hcl/optimize/plugins/coreml/qdq"
	"github.com/optimize-hcl/optimize/sdk"
)

// packageFolder is the artifact.
const packageFolder = "model.mlpackage"

// Plan lowers the model already, where there is one: what cannot be is told before any step runs.
func (c Config) Plan(ctx context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	// Weights are read one by one from the mapped file; what is simplified of them is held.
	r := &sdk.PlanResult{Needs: sdk.Needs{Memory: c.Model.Size/2 + 100<<20, Cores: max(run.Threads, 1)}}
	if !c.Model.Exists() {
		return r, nil
	}
	p, err := c.prepare(ctx, c.Model.Path)
	if err != nil {
		return nil, err
	}
	r.Diagnostics = p.warnings
	return r, p.close()
}

// prepared is a model that was lowered.
type prepared struct {
	*lower.Lowered
	model    *onnx.Model
	kept     *patterns
	warnings sdk.Diagnostics
	close    func() error
}

// prepare maps a model and lowers it. The caller closes what it gets.
func (c Config) prepare(ctx context.Context, path string) (_ *prepared, err error) {
	m, unmap, err := onnx.MapFile(path)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be read", sentence(err.Error()))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unmap())
		}
	}()
	if err := onnx.Check(m); err != nil {
		return nil, sdk.AttrError("model", "the model is not valid ONNX", sentence(err.Error()))
	}
	o, wide, err := c.options(m)
	if err != nil {
		return nil, err
	}
	p := &prepared{model: m, close: unmap, kept: &patterns{texts: c.KeepFloat, used: make([]bool, len(c.KeepFloat))}}
	o.Keep = func(n *onnx.Node) bool { return p.kept.match(n.Name, n.OpType) || isWide(n, wide) }
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var problems []lower.Problem
	if p.Lowered, problems = lower.Lower(m, o); len(problems) > 0 {
		return nil, refusal(problems)
	}
	if len(c.KeepFloat) > 0 && c.Precision == "float16" {
		for i, used := range p.kept.used {
			if !used {
				p.warnings = append(p.warnings, sdk.Diagnostic{Severity: sdk.SeverityWarning, Path: []any{"keep_float", sdk.Index(i)},
					Summary: fmt.Sprintf("no node is called %q", c.KeepFloat[i]), Detail: "The model is simplified first, which may join nodes. `optimize inspect --for coreml --json` lists them."})
			}
		}
	}
	c.describe(p.Lowered)
	return p, nil
}

// isWide tells whether a node makes sums that half precision cannot hold.
func isWide(n *onnx.Node, wide map[string]bool) bool {
	return slices.ContainsFunc(n.Outputs(), func(o string) bool { return wide[o] })
}

// prepareGraph simplifies a model, and rewrites operators of integers. It gives the outputs of nodes whose sums half
// precision cannot hold.
func prepareGraph(m *onnx.Model, growth int64) (map[string]bool, error) {
	if _, err := rewrite.Apply(m, lower.Rewrites(onnx.SimplifyOptions{InlineFunctions: true, MaxGrowth: growth})); err != nil {
		return nil, sdk.AttrError("model", "the model cannot be simplified", sentence(err.Error()))
	}
	if _, err := fuse(m); err != nil {
		return nil, sdk.AttrError("model", "the shapes in the model do not fit together", sentence(err.Error()))
	}
	r, err := qdq.Rewrite(m)
	if err != nil {
		return nil, sdk.AttrError("model", "the model's operators of integers cannot be rewritten", sentence(err.Error()))
	}
	if err := wideSums(m, r.Wide); err != nil {
		return nil, sdk.AttrError("model", "the shapes in the model do not fit together", sentence(err.Error()))
	}
	return r.Wide, nil
}

// options fixes the model's inputs, simplifies it, and says how it is lowered.
func (c Config) options(m *onnx.Model) (o lower.Options, wide map[string]bool, err error) {
	s, err := sizesOf(c, m)
	if err != nil {
		return o, nil, err
	}
	if err := onnx.FixInputs(m, s.fixed, c.InputValues); err != nil {
		var wrong *onnx.FixError
		if !errors.As(err, &wrong) {
			return o, nil, err
		}
		argument := "shapes"
		if wrong.Value {
			argument = "input_values"
		} else if len(c.Enumerated) > 0 && len(c.Shapes) == 0 {
			argument = "enumerated_shapes"
		}
		return o, nil, sdk.Diagnostic{Code: codeShape, Path: []any{argument}, Summary: "the model's inputs cannot be fixed", Detail: sentence(wrong.Error())}
	}
	// What is worked out is held in memory, and a weight that was clustered is worked out of its table.
	if wide, err = prepareGraph(m, max(onnx.DefaultMaxGrowth, 8*m.Size())); err != nil {
		return o, nil, err
	}
	for name := range c.InputValues {
		if m.Graph.NumConsumers(name) == 0 && !m.Graph.IsOutput(name) {
			m.Graph.RemoveInput(name)
		}
	}
	o = lower.Options{Opset: opsetOf(c.Target), Half: c.Precision != "float32", Inputs: map[string]lower.Input{}, Names: c.Names}
	if c.Detection == nil {
		o.Classes = c.Classes
	}
	feeds, outputs := map[string]*onnx.ValueInfo{}, map[string]*onnx.ValueInfo{}
	for _, v := range m.Graph.Feeds() {
		feeds[v.Name()] = v
		in := lower.Input{Enumerated: s.enumerated[v.Name()]}
		in.Lower, in.Upper, in.Default = s.bounds(v.Name())
		if in.Enumerated != nil {
			in.Default = in.Enumerated[0]
			if len(in.Enumerated) == 1 {
				in.Enumerated = nil
			}
		}
		o.Inputs[v.Name()] = in
	}
	for _, v := range m.Graph.Outputs() {
		outputs[v.Name()] = v
	}
	for _, err := range []error{c.pictures(feeds, &o), c.named(feeds, outputs), c.statesOf(feeds, outputs, &o), c.chances(m, &o), c.detection(outputs, &o)} {
		if err != nil {
			return o, nil, err
		}
	}
	return o, wide, nil
}

// pictures takes over what the blocks say of inputs.
func (c Config) pictures(feeds map[string]*onnx.ValueInfo, o *lower.Options) error {
	for _, name := range slices.Sorted(maps.Keys(c.Inputs)) {
		b := c.Inputs[name]
		v, err := inputNamed(feeds, name, "input")
		if err != nil {
			return err
		}
		in := o.Inputs[name]
		in.Doc = b.Summary
		if b.Color != "" {
			in.Image = map[string]mil.ColorSpace{"RGB": mil.RGB, "BGR": mil.BGR, "grayscale": mil.Gray}[b.Color]
			in.Scale, in.Bias, in.Last = float32s(b.Scale), float32s(b.Bias), b.Layout == "NHWC"
			channels, at := int64(3), 1
			if in.Image == mil.Gray {
				channels = 1
			}
			if in.Last {
				at = 3
			}
			if v.Type == nil || len(v.Type.Shape) != 4 || v.Type.Shape[0].Value != 1 || v.Type.Shape[at].Value != channels {
				return sdk.Diagnostic{Code: codeInput, Path: []any{"input", sdk.Key(name), "color"}, Summary: fmt.Sprintf("input %q is no picture", name),
					Detail: fmt.Sprintf("A picture of %s is one sample of %d channels in the layout %s, and the model's input is %s. Set shapes = { %s = [...] } where an axis is open.",
						b.Color, channels, b.Layout, shapeText(v), name)}
			}
		}
		o.Inputs[name] = in
	}
	return nil
}

func float32s(v []float64) []float32 {
	if v == nil {
		return nil
	}
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}

// named checks that the argument names is about inputs and outputs that there are.
func (c Config) named(feeds, outputs map[string]*onnx.ValueInfo) error {
	for _, name := range slices.Sorted(maps.Keys(c.Names)) {
		if feeds[name] == nil && outputs[name] == nil {
			return sdk.Diagnostic{Code: codeInput, Path: []any{"names", sdk.Key(name)}, Summary: fmt.Sprintf("the model has no input or output %q", name),
				Detail: "Its inputs are " + list(feeds) + ", its outputs " + list(outputs) + "."}
		}
	}
	return nil
}

func list(vs map[string]*onnx.ValueInfo) string {
	return strings.Join(slices.Sorted(maps.Keys(vs)), ", ")
}

// statesOf takes over the argument states.
func (c Config) statesOf(feeds, outputs map[string]*onnx.ValueInfo, o *lower.Options) error {
	for _, in := range slices.Sorted(maps.Keys(c.States)) {
		out := c.States[in]
		if _, err := inputNamed(feeds, in, "states"); err != nil {
			return err
		}
		if outputs[out] == nil {
			return sdk.Diagnostic{Code: codeInput, Path: []any{"states", sdk.Key(in)}, Summary: fmt.Sprintf("the model has no output %q", out),
				Detail: "Its outputs are " + list(outputs) + "."}
		}
		o.States = append(o.States, lower.State{Input: in, Output: out})
	}
	return nil
}

// chances finds the output that holds the probabilities of the classes.
func (c Config) chances(m *onnx.Model, o *lower.Options) error {
	if len(c.Classes) == 0 || c.Detection != nil {
		return nil
	}
	var floats []string
	for _, v := range m.Graph.Outputs() {
		if v.Name() == c.Chances {
			o.Chances = c.Chances
			return nil
		}
		if v.Type != nil && (v.Type.Elem == onnx.Float || v.Type.Elem == onnx.Float16 || v.Type.Elem == onnx.Double) {
			floats = append(floats, v.Name())
		}
	}
	if c.Chances != "" || len(floats) != 1 {
		return sdk.Diagnostic{Code: codeInput, Path: []any{"classes_output"}, Summary: "it is not clear which output holds the probabilities of the classes",
			Detail: "The model's outputs of floats are " + strings.Join(floats, ", ") + ". Name one of them."}
	}
	o.Chances = floats[0]
	return nil
}

// nameKey begins the keys of metadata that tell what an input or output was called in the ONNX model.
const nameKey = "onnx.name."

// detection takes over the block detection.
func (c Config) detection(outputs map[string]*onnx.ValueInfo, o *lower.Options) error {
	d := c.Detection
	if d == nil {
		return nil
	}
	x := &lower.Detection{Boxes: d.Boxes, Scores: cmp.Or(d.Scores, d.Boxes), Corners: d.Format == "corners", Width: 1, Height: 1,
		Detector: mil.Detector{Labels: c.Classes, IoU: d.IoU, Least: d.Least, PerClass: d.PerClass}}
	for argument, name := range map[string]string{"boxes": x.Boxes, "scores": x.Scores} {
		if outputs[name] == nil {
			return sdk.Diagnostic{Code: codeInput, Path: []any{"detection", argument}, Summary: fmt.Sprintf("the model has no output %q", name), Detail: "Its outputs are " + list(outputs) + "."}
		}
	}
	if len(d.Size) == 2 {
		x.Width, x.Height = float64(d.Size[0]), float64(d.Size[1])
	}
	o.Detection = x
	return nil
}

// describe puts what people read into the package, and the names that were changed.
func (c Config) describe(p *lower.Lowered) {
	m := p.Model
	if d := c.Metadata; d != nil {
		m.Metadata = mil.Metadata{Description: d.Summary, Author: d.Author, Licence: d.License, Version: d.Version, User: maps.Clone(d.User)}
	}
	for from, to := range p.Names {
		if m.Metadata.User == nil {
			m.Metadata.User = map[string]string{}
		}
		m.Metadata.User[nameKey+to] = from
	}
}

// refusal names all that cannot be lowered.
func refusal(problems []lower.Problem) error {
	type group struct{ op, reason string }
	var order []group
	nodes := map[group][]string{}
	shape := false
	for _, p := range problems {
		g := group{p.Op, p.Reason}
		if nodes[g] == nil {
			order = append(order, g)
		}
		nodes[g] = append(nodes[g], p.Node)
		shape = shape || p.Op == "input"
	}
	var b strings.Builder
	for i, g := range order {
		if i > 0 {
			b.WriteString("\n")
		}
		if g.op == "input" || g.op == "output" {
			b.WriteString(g.op + " ")
		}
		fmt.Fprintf(&b, "%s: %s", strings.Join(nodes[g], ", "), sentence(g.reason))
	}
	code, path := codeOperator, []any{"model"}
	if shape {
		code, path = codeShape, []any{"shapes"}
	}
	return sdk.Diagnostic{Code: code, Path: path, Summary: fmt.Sprintf("the model cannot become a Core ML program for %d %s", len(problems), plural(len(problems), "reason")), Detail: b.String()}
}

func plural(n int, s string) string {
	if n == 1 {
		return s
	}
	return s + "s"
}

func sentence(s string) string {
	if s != "" && !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

func legal(s string) bool { return s != "" && s == mil.Identifier(s) }

func applyConvert(ctx context.Context, run *sdk.Run, c Config) (*sdk.Result, error) {
	return convert(ctx, run.OutDir, c, func(phase string) { run.Progress(phase, 0, 0, "") }, run.Warn)
}

// convert writes the package into the folder out.
func convert(ctx context.Context, out string, c Config, phase func(string), warn func(sdk.Diagnostic)) (_ *sdk.Result, err error) {
	phase("lower")
	p, err := c.prepare(ctx, c.Model.Path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for _, d := range p.warnings {
		warn(d)
	}
	phase("write")
	w, err := mil.WritePackage(filepath.Join(out, packageFolder), p.Model)
	if err != nil {
		return nil, sdk.CodeError(codeWrite, "the package cannot be written", sentence(err.Error()))
	}
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Kind: "model", Format: formatPackage, Path: packageFolder}}, Facts: c.facts(p, w)}, nil
}

// facts tells what was written.
func (c Config) facts(p *prepared, w *mil.Written) Facts {
	f := Facts{Size: w.Size, Program: w.Spec, SizeFloat16: w.Size - w.Weights + p.Tally.Half, Specification: int64(p.Model.SpecVersion()), KeptFloat: int64(p.Kept),
		Operations: w.Ops, Forms: p.Tally.Forms, FormBytes: p.Tally.Bytes, Inputs: map[string]string{}, Outputs: map[string]string{}, Renamed: p.Names}
	for _, n := range p.Nodes {
		f.Nodes += int64(n)
	}
	for _, in := range slices.Concat(p.Model.Inputs, p.Model.States) {
		f.Inputs[in.Name] = featureText(in)
	}
	for _, o := range p.Model.Outputs {
		f.Outputs[o.Name] = featureText(o)
	}
	if d := p.Model.Detector; d != nil {
		f.Outputs = map[string]string{}
		for i, name := range mil.DetectorOutputs() {
			f.Outputs[name] = fmt.Sprintf("fp32 [0.., %d]", []int{len(d.Labels), 4}[i])
		}
	}
	return f
}

// featureText is a type for people: "RGB [1, 3, 224, 224]", "fp32 [1..8, 10]".
func featureText(f mil.Feature) string {
	switch {
	case f.Text:
		return "text"
	case f.Dictionary:
		return "probabilities by class"
	}
	kind := f.Type.DataType.String()
	if f.Image != 0 {
		kind = map[mil.ColorSpace]string{mil.RGB: "RGB", mil.BGR: "BGR", mil.Gray: "grayscale"}[f.Image]
	}
	dims := make([]string, len(f.Type.Shape))
	for i, d := range f.Type.Shape {
		low, high := d, d
		if f.Upper != nil {
			low, high = f.Lower[i], f.Upper[i]
		}
		for _, s := range f.Enumerated {
			low = min(low, s[i])
			if high >= 0 {
				high = max(high, s[i])
			}
		}
		switch {
		case d < 0:
			dims[i] = "?"
		case low == high:
			dims[i] = fmt.Sprint(low)
		case high < 0 || high == math.MaxInt64:
			dims[i] = fmt.Sprintf("%d..", low)
		default:
			dims[i] = fmt.Sprintf("%d..%d", low, high)
		}
	}
	return kind + " [" + strings.Join(dims, ", ") + "]"
}
