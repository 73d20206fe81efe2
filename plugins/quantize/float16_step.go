package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/quantize/float16"
	"github.com/optimize-hcl/optimize/sdk"
)

func float16Step() sdk.StepType {
	return sdk.Step(sdk.StepSpec{
		Name:     "quantize_float16",
		Revision: 1,
		Doc: "Turns a model into half precision, FLOAT16 or BFLOAT16: half the size, and faster where the engine has kernels for it. Nodes stay " +
			"in float32 where half precision would break them: weights, constants or values beyond 65504 or too small, long sums, sizes " +
			"and indexes that are computed in float, and operators that engines have no half kernels for. Casts are placed where the fewest " +
			"are needed. With a calibration dataset the values of each node are looked at too, and the result is compared with the original.",
		Examples:      []string{float16Example},
		Outputs:       []sdk.Output{{Name: "model", Kind: "model", Format: "onnx", Doc: "The model in half precision."}},
		ResultExample: Float16Facts{},
	}, func(ctx context.Context, run *sdk.Run, c Float16Config) (*sdk.Result, error) {
		return quantizeFloat16(ctx, jobOf(run), c)
	})
}

const float16Example = `step "quantize_float16" "half" {
  model       = model.detector
  calibration = dataset.train
  keep_float  = ["/head/*"]
}`

// Float16Config is the configuration of quantize_float16.
type Float16Config struct {
	Model       sdk.Model    `opt:"model,required" accepts:"onnx" doc:"Float model to convert."`
	Calibration *sdk.Dataset `opt:"calibration" doc:"Samples like those that the model will meet; 8 to 32 are enough. Labels are not used. Without it only weights and the graph are looked at."`
	DType       string       `opt:"dtype" default:"float16" oneof:"float16,bfloat16" doc:"\"float16\" has 11 digits and reaches 65504; \"bfloat16\" has 8 and the range of float32."`
	WeightsOnly *bool        `opt:"weights_only" doc:"Store weights in half precision and compute in float32: engines widen them when they load the model. Without it true for bfloat16, which ONNX Runtime cannot compute with on a CPU, and false for float16."`
	KeepIO      bool         `opt:"keep_io" default:"true" doc:"Leave inputs and outputs of the model in float32."`
	KeepFloat   []string     `opt:"keep_float" default:"[]" doc:"Names of nodes to leave in float32; * stands for any characters and ? for one."`
	KeepOps     []string     `opt:"keep_ops" default:"[]" doc:"Operators to leave in float32, such as \"Softmax\"."`
	AllowOps    []string     `opt:"allow_ops" default:"[]" doc:"Operators to turn into half precision although they stay in float32 otherwise, such as \"Resize\", \"Pow\", \"Exp\" and \"TopK\"."`
	MaxValue    *float64     `opt:"max_value" doc:"Magnitude on the calibration data beyond which a value stays in float32. Without it half of the largest number: 32752 for float16."`
}

// Float16Facts are what quantize_float16 tells about its work.
type Float16Facts struct {
	DType             string   `opt:"dtype" doc:"Element type that was converted to."`
	WeightsOnly       bool     `opt:"weights_only" doc:"Whether only weights are in half precision."`
	ShareMACs         float64  `opt:"share_macs" doc:"Share of the multiply-accumulate operations that run in half precision, from 0 to 1."`
	ShareWeightBytes  float64  `opt:"share_weight_bytes" doc:"Share of the bytes of float weights that became half precision, from 0 to 1."`
	NodesHalf         int64    `opt:"nodes_half" doc:"Nodes that compute in half precision."`
	NodesFloat        []string `opt:"nodes_float" doc:"Nodes left in float32, or weights with weights_only, each with the reason."`
	NodesFollowed     int64    `opt:"nodes_followed" doc:"Nodes without weights that stay in float32 because that takes fewer Casts."`
	Casts             int64    `opt:"casts" doc:"Casts that were added."`
	WeightsSaturated  int64    `opt:"weights_saturated" doc:"Elements of weights beyond the largest number, written as that."`
	WeightsVanished   int64    `opt:"weights_vanished" doc:"Elements of weights that were too small and became zero."`
	WeightsDenormal   int64    `opt:"weights_denormal" doc:"Elements of weights so small that they keep fewer digits."`
	WeightLosses      []string `opt:"weight_losses" doc:"Weights with such elements, those that keep the fewest digits first; at most 20."`
	Samples           int64    `opt:"samples" doc:"Samples of the calibration dataset that were run; 0 without one."`
	SQNR              float64  `opt:"sqnr" doc:"Agreement with the original on these samples, in dB, of the output that agrees least; 0 without a dataset, 200 when all outputs are equal."`
	LeastAgreedOutput string   `opt:"least_agreed_output" doc:"Name of that output."`
}

// Validate checks what the schema cannot.
func (c Float16Config) Validate(context.Context) sdk.Diagnostics {
	ds := validateKeepFloat(c.KeepFloat)
	for _, list := range []struct {
		name string
		ops  []string
	}{{"keep_ops", c.KeepOps}, {"allow_ops", c.AllowOps}} {
		for i, op := range list.ops {
			if !float16.Knows(op) {
				ds = append(ds, sdk.Diagnostic{Path: []any{list.name, sdk.Index(i)}, Summary: fmt.Sprintf("no operator %q can be in half precision", op),
					Detail: "Write its name as ONNX does, such as \"Softmax\". Operators that cannot be in half precision stay in float32 anyway."})
			}
			if list.name == "allow_ops" && slices.Contains(c.KeepOps, op) {
				ds = append(ds, sdk.Diagnostic{Path: []any{"allow_ops", sdk.Index(i)}, Summary: fmt.Sprintf("%q is in keep_ops too", op), Detail: "Leave it out of one of the lists."})
			}
		}
	}
	if c.MaxValue != nil && !(*c.MaxValue > 0) {
		ds = append(ds, sdk.Diagnostic{Path: []any{"max_value"}, Summary: fmt.Sprintf("max_value is %v", *c.MaxValue), Detail: "It is a magnitude greater than 0."})
	}
	return ds
}

func (c Float16Config) weightsOnly() bool {
	if c.WeightsOnly != nil {
		return *c.WeightsOnly
	}
	return c.DType == "bfloat16"
}

// Plan tells what the bytes depend on: with a dataset, on the engine that runs it.
func (c Float16Config) Plan(_ context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	r := &sdk.PlanResult{Fingerprint: map[string]string{}}
	if c.DType == "bfloat16" && !c.weightsOnly() {
		r.Diagnostics = append(r.Diagnostics, sdk.AttrWarning("weights_only", "ONNX Runtime does not compute in bfloat16 on a CPU",
			"The model loads where an engine has kernels for it, such as CUDA, OpenVINO or TensorRT. With weights_only = true it loads everywhere."))
	}
	if c.Calibration == nil {
		r.Needs = dynamicNeeds(c.Model.Size)
		return r, nil
	}
	return r, planEngine(r, run.Threads, c.Model.Size)
}

// planEngine adds the engine that a step runs on data to its fingerprint, or says that it is missing.
func planEngine(r *sdk.PlanResult, threads int, model int64) error {
	lib, err := ort.Find()
	var missing *ort.NotFoundError
	switch {
	case errors.As(err, &missing):
		r.Missing = append(r.Missing, sdk.Missing{What: "ONNX Runtime " + ort.MinVersion + " or newer", Command: missing.Command()})
	case err != nil:
		return err
	}
	r.Needs = staticNeeds(model, threads)
	r.Fingerprint["cpu"] = ThisCPU().String()
	r.Fingerprint["threads"] = strconv.Itoa(threads)
	r.Fingerprint["onnxruntime"] = lib.Version
	r.Fingerprint["onnxruntime_digest"] = lib.Digest
	return nil
}

// loadEngine brings ONNX Runtime into the process; what says for what.
func loadEngine(what string) error {
	lib, err := ort.Find()
	if err != nil {
		return sdk.CodeError("quantize/no-runtime", what+" needs ONNX Runtime", err.Error())
	}
	if err := ort.Load(lib); err != nil {
		return sdk.CodeError("quantize/no-runtime", "ONNX Runtime cannot be loaded", err.Error())
	}
	return nil
}

// poorSQNR is the agreement, in dB, below which a result is likely to be of little use.
const poorSQNR = 20

func quantizeFloat16(ctx context.Context, j job, c Float16Config) (_ *sdk.Result, err error) {
	m, unmap, err := mapModel(c.Model.Path, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unmap()) }()
	if err := float16.Prepare(m); err != nil {
		return nil, sdk.AttrError("model", "the model cannot be simplified", err.Error())
	}
	shapes, err := onnx.InferShapes(m)
	if err != nil {
		return nil, sdk.AttrError("model", "the shapes in the model do not fit together", err.Error())
	}
	total, macs := countWork(m, shapes)
	keep := newKeepFloat(c.KeepFloat)
	o := float16.Options{To: onnx.Float16, AllowOps: c.AllowOps, KeepIO: c.KeepIO, WeightsOnly: c.weightsOnly()}
	if c.DType == "bfloat16" {
		o.To = onnx.BFloat16
	}
	o.Keep = func(n *onnx.Node) (string, bool) {
		if why := keep.why(nodeName(n)); why != "" {
			return why, true
		}
		return "kept by keep_ops", slices.Contains(c.KeepOps, n.OpType)
	}
	if c.MaxValue != nil {
		o.Limit = *c.MaxValue
	}
	var data *float16.Data
	var before *onnx.Model
	if c.Calibration != nil {
		shards, err := openCalibration(c.Calibration)
		if err != nil {
			return nil, err
		}
		defer shards.Close()
		data = &float16.Data{Shards: shards, Threads: j.threads}
		if !o.WeightsOnly {
			data.Progress = func(done, total int64) { j.progress("calibrate", done, total, "samples") }
			if o.Magnitudes, err = float16.Observe(ctx, m, *data); err != nil {
				return nil, dataError(ctx, err)
			}
		}
		original, unmapOriginal, err := mapModel(c.Model.Path, true)
		if err != nil {
			return nil, err
		}
		defer func() { _ = unmapOriginal() }() // only read
		before = original
	}
	r, err := float16.Convert(m, o)
	if err != nil {
		return nil, sdk.AttrError("model", "the model cannot be turned into half precision", err.Error())
	}
	if r.Weights == 0 && r.Half == 0 {
		return nil, nothingHalf(r)
	}
	keep.warn(j)
	f := float16Facts(c, r, macs, total)
	if data != nil {
		data.Progress = func(done, total int64) { j.progress("compare", done, total, "samples") }
		if err := verifyHalf(ctx, j, before, m, *data, &f); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return writeModelTo(j.outDir, m, f)
}

func nothingHalf(r *float16.Report) error {
	detail := "It has no float32 weights or nodes that could be."
	const most = 5
	for i, k := range append(slices.Clone(r.Kept), r.WeightsFloat...) {
		if i == most {
			detail += fmt.Sprintf("\n%d more", len(r.Kept)+len(r.WeightsFloat)-most)
			break
		}
		detail += "\n" + describeKept(k)
	}
	return sdk.AttrError("model", "nothing in the model can be turned into half precision", detail)
}

func describeKept(k float16.Kept) string {
	if k.Node == nil {
		return k.Reason
	}
	return floatNode{k.Node, k.Reason}.String()
}

// dataError tells whose fault it is that a model did not run on the samples.
func dataError(ctx context.Context, err error) error {
	var in *ort.InputError
	var fit *float16.DataError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &in), errors.As(err, &fit):
		return sdk.AttrError("calibration", "the dataset does not fit the model", err.Error())
	}
	return sdk.AttrError("model", "the model cannot be run for calibration", err.Error())
}

// verifyHalf compares the result with the original, and refuses one that computes no numbers.
func verifyHalf(ctx context.Context, j job, before, after *onnx.Model, data float16.Data, f *Float16Facts) error {
	if f.DType == "bfloat16" && !f.WeightsOnly {
		return nil // the engine here cannot
	}
	a, err := float16.Compare(ctx, before, after, data)
	if err != nil {
		return dataError(ctx, err)
	}
	if a.NotFinite > 0 {
		return sdk.AttrError("model", "the result gives values that are no numbers",
			fmt.Sprintf("On the calibration data %d elements of the outputs are finite in float32 and not in half precision. Take a dataset with larger values, lower max_value, or set weights_only = true.", a.NotFinite))
	}
	f.Samples, f.SQNR, f.LeastAgreedOutput = data.Shards.Samples(), a.SQNR, a.Output
	if math.IsInf(a.SQNR, 1) || a.SQNR > 200 {
		f.SQNR = 200
	}
	if f.SQNR < poorSQNR {
		j.warn(sdk.Diagnostic{Severity: sdk.SeverityWarning, Summary: fmt.Sprintf("output %q agrees with the original to %.1f dB only", a.Output, f.SQNR),
			Detail: "Half precision costs this model much: measure it with an evaluate block, keep more in float32 with keep_float, or set weights_only = true."})
	}
	return nil
}

func float16Facts(c Float16Config, r *float16.Report, macs map[*onnx.Node]int64, total int64) Float16Facts {
	f := Float16Facts{DType: c.DType, WeightsOnly: c.weightsOnly(), NodesHalf: int64(r.Half), NodesFollowed: int64(r.Followed),
		Casts: int64(r.Casts), WeightsSaturated: r.Overflowed, WeightsVanished: r.Vanished, WeightsDenormal: r.Denormal,
		ShareWeightBytes: share(r.WeightBytes, r.AllBytes), NodesFloat: []string{}, WeightLosses: []string{}}
	var half int64
	for _, n := range r.Nodes {
		half += macs[n]
	}
	f.ShareMACs = share(half, total)
	for _, k := range append(slices.Clone(r.Kept), r.WeightsFloat...) {
		f.NodesFloat = append(f.NodesFloat, describeKept(k))
	}
	losses := slices.Clone(r.Losses)
	slices.SortStableFunc(losses, func(a, b float16.WeightLoss) int {
		switch {
		case a.SQNR < b.SQNR:
			return -1
		case a.SQNR > b.SQNR:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	const most = 20
	for _, l := range losses[:min(len(losses), most)] {
		f.WeightLosses = append(f.WeightLosses, fmt.Sprintf("%s: %d saturated, %d vanished, %d denormal of %d; %.0f dB",
			l.Name, l.Overflowed, l.Vanished, l.Denormal, l.Elements, l.SQNR))
	}
	return f
}
