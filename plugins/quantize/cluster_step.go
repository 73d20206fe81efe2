package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/quantize/cluster"
	"github.com/optimize-hcl/optimize/plugins/quantize/float16"
	"github.com/optimize-hcl/optimize/sdk"
)

func clusterStep() sdk.StepType {
	return sdk.Step(sdk.StepSpec{
		Name:     "quantize_cluster",
		Revision: 2,
		Doc: "Clusters weights (palettization): each weight keeps a table of a few values, found by k-means, and an index of 1 to 8 bits for each " +
			"element. The file gets as much smaller; engines look the weights up when they load the model and then run at the speed of the " +
			"original. An exporter to Core ML finds the tables in the model's metadata (optimize.palettes) and writes lookup tables. " +
			"Steps that fold constants, such as onnxruntime_simplify, come before this one: they would make plain weights of the tables.",
		Examples:      []string{clusterExample},
		Outputs:       []sdk.Output{{Name: "model", Kind: "model", Format: "onnx", Doc: "The model with clustered weights."}},
		ResultExample: ClusterFacts{},
	}, func(ctx context.Context, run *sdk.Run, c ClusterConfig) (*sdk.Result, error) {
		return quantizeCluster(ctx, jobOf(run), c)
	})
}

const clusterExample = `step "quantize_cluster" "palette" {
  model      = model.classifier
  bits       = 4
  group_size = 16
}`

// ClusterConfig is the configuration of quantize_cluster.
type ClusterConfig struct {
	Model       sdk.Model    `opt:"model,required" accepts:"onnx" doc:"Float model, in float32 or half precision, whose weights are clustered."`
	Bits        int64        `opt:"bits" default:"4" doc:"Bits of an index, 1 to 8: a table has 2 to 256 values."`
	Clusters    *int64       `opt:"clusters" doc:"Values of a table, 2 to 256, in the place of bits; an index takes as many bits as they need."`
	GroupSize   int64        `opt:"group_size" default:"0" doc:"Output channels that share a table; 0 gives each weight one table."`
	Calibration *sdk.Dataset `opt:"calibration" doc:"Samples like those that the model will meet. With them an element counts as much as the square of what it is multiplied with, and the result is compared with the original. Labels are not used."`
	KeepFloat   []string     `opt:"keep_float" default:"[]" doc:"Names of nodes whose weights stay; * stands for any characters and ? for one."`
}

// ClusterFacts are what quantize_cluster tells about its work.
type ClusterFacts struct {
	Clusters          int64    `opt:"clusters" doc:"Values of a table."`
	Bits              int64    `opt:"bits" doc:"Bits of an index."`
	Weights           int64    `opt:"weights" doc:"Weights that were clustered."`
	ShareWeightBytes  float64  `opt:"share_weight_bytes" doc:"Share of the bytes of float weights that were clustered, from 0 to 1."`
	BytesBefore       int64    `opt:"bytes_before" doc:"Bytes of all float constants of the original."`
	BytesAfter        int64    `opt:"bytes_after" doc:"Bytes of what stands for them: indexes, tables and what stays."`
	WeightsFloat      []string `opt:"weights_float" doc:"Weights that stay, each with the reason."`
	WeightSQNR        []string `opt:"weight_sqnr" doc:"The tables' values against the original weights, in dB, the worst first; at most 20."`
	Samples           int64    `opt:"samples" doc:"Samples of the calibration dataset that were run; 0 without one."`
	SQNR              float64  `opt:"sqnr" doc:"Agreement with the original on these samples, in dB, of the output that agrees least; 0 without a dataset, 200 when all outputs are equal."`
	LeastAgreedOutput string   `opt:"least_agreed_output" doc:"Name of that output."`
}

func (c ClusterConfig) clusters() int {
	if c.Clusters != nil {
		return int(*c.Clusters)
	}
	return 1 << c.Bits
}

// Validate checks what the schema cannot.
func (c ClusterConfig) Validate(context.Context) sdk.Diagnostics {
	ds := validateKeepFloat(c.KeepFloat)
	wrong := func(name string, v int64, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: []any{name}, Summary: fmt.Sprintf("%s is %d", name, v), Detail: detail})
	}
	if c.Bits < 1 || c.Bits > 8 {
		wrong("bits", c.Bits, "An index has 1 to 8 bits; 4 and 6 are usual.")
	}
	if c.Clusters != nil && (*c.Clusters < 2 || *c.Clusters > cluster.MaxClusters) {
		wrong("clusters", *c.Clusters, "A table has 2 to 256 values.")
	}
	if c.GroupSize < 0 {
		wrong("group_size", c.GroupSize, "It is a number of output channels, or 0 for all of them.")
	}
	return ds
}

// Plan tells what the bytes depend on: with a dataset, on the engine that runs it.
func (c ClusterConfig) Plan(_ context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	r := &sdk.PlanResult{Fingerprint: map[string]string{}}
	if c.Calibration == nil {
		r.Needs = staticNeeds(c.Model.Size, run.Threads)
		return r, nil
	}
	return r, planEngine(r, run.Threads, c.Model.Size)
}

func quantizeCluster(ctx context.Context, j job, c ClusterConfig) (_ *sdk.Result, err error) {
	m, unmap, err := mapModel(c.Model.Path, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unmap()) }()
	const opset = 13 // ReduceSum reads its axes as an input from there on
	if m.Opset(onnx.DefaultDomain) < opset {
		if err := m.UpgradeOpset(opset); err != nil {
			return nil, sdk.AttrError("model", fmt.Sprintf("the model cannot be raised to opset %d, which looking weights up needs", opset), err.Error())
		}
	}
	if err := float16.Prepare(m); err != nil {
		return nil, sdk.AttrError("model", "the model cannot be simplified", err.Error())
	}
	keep := newKeepFloat(c.KeepFloat)
	o := cluster.Options{Clusters: c.clusters(), GroupSize: int(c.GroupSize), Threads: j.threads,
		Progress: func(done, total int64) { j.progress("cluster", done, total, "tables") },
		Keep: func(n *onnx.Node) (string, bool) {
			why := keep.why(nodeName(n))
			return why, why != ""
		}}
	var data *float16.Data
	if c.Calibration != nil {
		shards, err := openCalibration(c.Calibration)
		if err != nil {
			return nil, err
		}
		defer shards.Close()
		data = &float16.Data{Shards: shards, Threads: j.threads,
			Progress: func(done, total int64) { j.progress("calibrate", done, total, "samples") }}
		if taps, err := cluster.NewTaps(m); err == nil {
			if err := data.Run(ctx, taps.Model, taps.Outputs, taps.Add); err != nil {
				return nil, dataError(ctx, err)
			}
			o.Importance = taps.Importance()
		}
	}
	r, err := cluster.Apply(ctx, m, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, sdk.AttrError("model", "the model's weights cannot be clustered", err.Error())
	}
	if len(r.Weights) == 0 {
		return nil, nothingToCluster(m, r)
	}
	keep.warn(j)
	f := clusterFacts(c, r)
	if data != nil {
		before, unmap, err := mapModel(c.Model.Path, true)
		if err != nil {
			return nil, err
		}
		defer func() { _ = unmap() }() // only read
		data.Progress = func(done, total int64) { j.progress("compare", done, total, "samples") }
		a, err := float16.Compare(ctx, before, m, *data)
		if err != nil {
			return nil, dataError(ctx, err)
		}
		f.Samples, f.SQNR, f.LeastAgreedOutput = data.Shards.Samples(), min(a.SQNR, 200), a.Output
	}
	return writeModelTo(j.outDir, m, f)
}

func nothingToCluster(m *onnx.Model, r *cluster.Report) error {
	if err := alreadyQuantized(m); err != nil && len(r.Kept) == 0 {
		return err
	}
	detail := "It has no weights of Conv, Gemm, MatMul, Gather or recurrent layers that are large enough."
	const most = 5
	for i, k := range r.Kept {
		if i == most {
			detail += fmt.Sprintf("\n%d more", len(r.Kept)-most)
			break
		}
		detail += "\n" + k.Name + ": " + k.Reason
	}
	return sdk.AttrError("model", "the model has no weights that clustering makes smaller", detail)
}

func clusterFacts(c ClusterConfig, r *cluster.Report) ClusterFacts {
	f := ClusterFacts{Clusters: int64(c.clusters()), Bits: int64(cluster.Bits(c.clusters())), Weights: int64(len(r.Weights)),
		BytesBefore: r.Before, BytesAfter: r.After, WeightsFloat: []string{}, WeightSQNR: []string{}}
	var bytes int64
	for _, w := range r.Weights {
		bytes += w.Before
	}
	f.ShareWeightBytes = share(bytes, r.Before)
	for _, k := range r.Kept {
		f.WeightsFloat = append(f.WeightsFloat, k.Name+": "+k.Reason)
	}
	worst := slices.Clone(r.Weights)
	slices.SortStableFunc(worst, func(a, b cluster.Weight) int {
		switch {
		case a.SQNR < b.SQNR:
			return -1
		case a.SQNR > b.SQNR:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	const most = 20
	for _, w := range worst[:min(len(worst), most)] {
		db := fmt.Sprintf("%.1f dB", w.SQNR)
		if math.IsInf(w.SQNR, 1) {
			db = "exact"
		}
		f.WeightSQNR = append(f.WeightSQNR, w.Name+": "+db)
	}
	return f
}
