package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/plan"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

func (a *app) inspectCommand() *cobra.Command {
	var target string
	c := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what is in a model",
		Long: `Show what is in a model: size, parameters, multiply-accumulate operations, inputs,
outputs and operators. With --for it tells what a target would make of it: the
operators that the engine really runs, after its own rewriting, and in which
precision.`,
		Example: "  optimize inspect model.onnx\n  optimize inspect model.onnx --json\n  optimize inspect model.onnx --for onnxruntime",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.looks = true
			ctx := cmd.Context()
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			st, err := os.Stat(path)
			switch {
			case errors.Is(err, os.ErrNotExist):
				return diag.Errorf("inspect/file", "There is no file "+args[0], "Name a model that exists.")
			case err != nil:
				return diag.Errorf("inspect/file", args[0]+" cannot be read", "%s", err)
			}
			w := &work{app: a}
			defer w.close(ctx)
			if err := w.prepare(false); err != nil {
				return err
			}
			format, err := w.registry.FormatOf(ctx, path)
			if err != nil {
				return diag.Errorf("inspect/format", "The format of "+args[0]+" is not known", "%s.", upperFirst(err.Error()))
			}
			name, err := inspectorOf(ctx, w.registry, format, target)
			if err != nil {
				return err
			}
			p, err := w.registry.Plugin(ctx, name)
			if err != nil {
				return err
			}
			r, err := p.Inspect(ctx, &pluginv1.InspectRequest{Artifact: &pluginv1.Artifact{Kind: "model", Format: format, Path: path, Size: st.Size()}, Target: target})
			if err != nil {
				return err
			}
			if ds := diag.FromPlugin(r.GetDiagnostics(), nil, name, ""); ds.HasErrors() {
				a.printDiags(ds, nil)
				return errPrinted
			}
			if a.json {
				var b bytes.Buffer
				if err := json.Indent(&b, r.GetDocument(), "", "  "); err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.stdout, b.String())
				return err
			}
			style := report.Style{Color: a.color(a.stdout)}
			if target != "" {
				return writeCoverage(a.stdout, style, args[0]+" on "+target, r.GetDocument())
			}
			return writeInspect(a.stdout, style, args[0], r.GetDocument())
		},
	}
	c.Flags().StringVar(&target, "for", "", "tell what this target would make of the model")
	return c
}

// inspectorOf finds the plugin that inspects a format, or knows a target.
func inspectorOf(ctx context.Context, r *plan.Registry, format, target string) (string, error) {
	if target == "" {
		name, ok, err := r.Inspector(ctx, format)
		if err == nil && !ok {
			err = diag.Errorf("inspect/format", "No plugin inspects "+format, "Name a model of another format.")
		}
		return name, err
	}
	name, formats, names, err := r.Target(ctx, target)
	switch {
	case err != nil:
		return "", err
	case name == "":
		return "", diag.Errorf("inspect/target", fmt.Sprintf("There is no target %q", target), "Known are %s.", strings.Join(names, ", "))
	case !slices.Contains(formats, format):
		return "", diag.Errorf("inspect/target", fmt.Sprintf("Target %s does not take %s", target, format), "It takes %s.", strings.Join(formats, ", "))
	}
	return name, nil
}

// writeCoverage writes a document of the schema optimize.coverage/v1 for people.
func writeCoverage(w io.Writer, s report.Style, name string, document []byte) error {
	type op struct {
		Op        string `json:"op"`
		Precision string `json:"precision"`
		Count     int    `json:"count"`
	}
	type layer struct {
		op
		Total int `json:"total"`
	}
	type node struct {
		Name   string `json:"name"`
		Op     string `json:"op"`
		Reason string `json:"reason"`
	}
	var d struct {
		Engine string  `json:"engine"`
		Layers []layer `json:"layers"`
		Ops    []op    `json:"ops"`
		Nodes  []node  `json:"nodes"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return fmt.Errorf("the plugin's document cannot be read: %w", err)
	}
	fmt.Fprintln(w, s.Bold(name))
	if d.Engine != "" {
		fmt.Fprintf(w, "  engine      %s\n", d.Engine)
	}
	slices.SortStableFunc(d.Ops, func(a, b op) int { return cmp.Compare(b.Count, a.Count) })
	for _, o := range d.Ops {
		fmt.Fprintf(w, "  %5d  %-20s %s\n", o.Count, o.Op, o.Precision)
	}
	for _, l := range d.Layers {
		fmt.Fprintf(w, "  %d of %d %s %s\n", l.Count, l.Total, l.Op, l.Precision)
	}
	// A reason is given once, with the nodes that it holds for: a large model leaves hundreds of nodes in float.
	type group struct{ op, reason string }
	var order []group
	names := map[group][]string{}
	for _, n := range d.Nodes {
		if n.Reason == "" {
			continue
		}
		g := group{n.Op, n.Reason}
		if names[g] == nil {
			order = append(order, g)
		}
		names[g] = append(names[g], n.Name)
	}
	for _, g := range order {
		fmt.Fprintf(w, "  %s %s: %s\n", g.op, some(names[g]), g.reason)
	}
	return nil
}

// some names the first of many.
func some(names []string) string {
	if n := len(names) - 3; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), n)
	}
	return strings.Join(names, ", ")
}

// writeInspect writes a document of the schema optimize.inspect/v1 for people.
func writeInspect(w io.Writer, s report.Style, name string, document []byte) error {
	type port struct {
		Name  string `json:"name"`
		DType string `json:"dtype"`
		Shape []any  `json:"shape"`
	}
	var d struct {
		Format     string           `json:"format"`
		Size       int64            `json:"size"`
		Parameters float64          `json:"parameters"`
		MACs       float64          `json:"macs"`
		Opset      int64            `json:"opset"`
		IRVersion  int64            `json:"ir_version"`
		Producer   string           `json:"producer"`
		Quantized  bool             `json:"quantized"`
		Inputs     []port           `json:"inputs"`
		Outputs    []port           `json:"outputs"`
		Ops        map[string]int   `json:"ops"`
		Weights    map[string]int64 `json:"weights"`
		Missing    []string         `json:"missing"`
	}
	read := json.NewDecoder(bytes.NewReader(document))
	read.UseNumber() // or an axis of a million would be printed as 1e+06
	if err := read.Decode(&d); err != nil {
		return fmt.Errorf("the plugin's document cannot be read: %w", err)
	}
	fmt.Fprintln(w, s.Bold(name))
	line := func(k, v string) { fmt.Fprintf(w, "  %-11s %s\n", k, v) }
	format := d.Format
	if d.Opset > 0 {
		format += fmt.Sprintf(", opset %d", d.Opset)
	}
	if d.IRVersion > 0 {
		format += fmt.Sprintf(", IR %d", d.IRVersion)
	}
	line("format", format)
	if d.Producer != "" {
		line("producer", d.Producer)
	}
	line("size", report.Bytes(d.Size))
	line("parameters", report.Count(d.Parameters))
	var open []string
	for _, x := range d.Inputs {
		for axis, size := range x.Shape {
			if _, ok := size.(string); ok && axis > 0 { // the first counts samples
				open = append(open, fmt.Sprintf("%s[%d]", x.Name, axis))
			}
		}
	}
	macs := report.Count(d.MACs) + " for one sample"
	if len(open) > 0 && d.MACs > 0 {
		macs += ", where axes of open size count as 1: " + some(open)
	}
	line("MACs", macs)
	if d.Quantized {
		line("quantized", "yes")
	}
	for _, x := range d.Inputs {
		line("input", fmt.Sprintf("%s %s %v", x.Name, x.DType, x.Shape))
	}
	for _, x := range d.Outputs {
		line("output", fmt.Sprintf("%s %s %v", x.Name, x.DType, x.Shape))
	}
	var weights, ops []string
	for _, k := range slices.Sorted(maps.Keys(d.Weights)) {
		weights = append(weights, k+" "+report.Bytes(d.Weights[k]))
	}
	names := slices.SortedFunc(maps.Keys(d.Ops), func(a, b string) int {
		return cmp.Or(cmp.Compare(d.Ops[b], d.Ops[a]), cmp.Compare(a, b))
	})
	for _, k := range names {
		ops = append(ops, fmt.Sprintf("%d %s", d.Ops[k], k))
	}
	line("weights", strings.Join(weights, ", "))
	if len(d.Missing) > 0 {
		line("missing", some(d.Missing)+": not beside the model, or too short; it cannot be run without its weights")
	}
	line("ops", strings.Join(ops, ", "))
	return nil
}
