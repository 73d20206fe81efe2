package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"slices"

	"github.com/optimize-hcl/optimize/gram"
	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/quantize/calibrate"
	"github.com/optimize-hcl/optimize/plugins/quantize/weightonly"
	"github.com/optimize-hcl/optimize/sdk"
)

const weightsExample = `step "quantize_weights" "int4" {
  model      = model.encoder
  format     = "int4"
  algorithm  = "hqq"
  block_size = 32
}

step "quantize_weights" "calibrated" {
  model       = model.encoder
  format      = "int4"
  algorithm   = "gptq"
  calibration = dataset.train
}`

// WeightsConfig is the configuration of quantize_weights.
type WeightsConfig struct {
	Model       sdk.Model    `opt:"model,required" accepts:"onnx" doc:"Float model whose weights to quantize."`
	Format      string       `opt:"format" default:"int4" oneof:"int4,int8,nf4,fp4,fp8" doc:"What a weight becomes: integers in blocks, the four-bit floats of bitsandbytes in blocks, or 8-bit floats (E4M3) with one scale for each output."`
	Form        string       `opt:"form" default:"auto" oneof:"auto,onnxruntime,standard" doc:"The operators that hold the weights. \"onnxruntime\": MatMulNBits, MatMulBnb4 and GatherBlockQuantized, which compute on packed weights. \"standard\": DequantizeLinear, which any runtime of opset 21 takes (19 for fp8). \"auto\" is \"onnxruntime\" where it has the format, so not for fp8."`
	Algorithm   string       `opt:"algorithm" default:"rtn" oneof:"rtn,hqq,gptq,awq" doc:"How integers are chosen: \"rtn\" rounds to the nearest; \"hqq\" searches scale and zero point for the smallest error of the weights; \"gptq\" and \"awq\" look for the smallest error of the products on the calibration data."`
	BlockSize   int64        `opt:"block_size" default:"32" doc:"Elements that share one scale: a power of two from 16 to 256. Smaller is more accurate and larger on disk. Not for fp8."`
	Symmetric   bool         `opt:"symmetric" default:"false" doc:"Integers around 0, without zero points."`
	Embeddings  bool         `opt:"embeddings" default:"true" doc:"Quantize the tables that Gather looks up too."`
	Calibration *sdk.Dataset `opt:"calibration" doc:"Samples like those that the model will meet, for \"gptq\" and \"awq\"; 32 to 256 are enough. Labels are not used."`
	Compute     string       `opt:"compute" default:"float32" oneof:"float32,int8" doc:"How ONNX Runtime multiplies: \"int8\" rounds activations to 8 bits, block by block, which is faster. Only for integers in the form \"onnxruntime\"."`
	Damping     float64      `opt:"damping" default:"0.03" doc:"gptq: what is added to the diagonal of the Hessian, as a share of its mean. More trusts the calibration data less: for few samples, or such as are unlike those to come."`
	ActOrder    bool         `opt:"act_order" default:"true" doc:"gptq: round the inputs of largest activation first, with scales that are chosen beforehand. false goes through a weight block by block and chooses the scales of each when it comes."`
	KeepFloat   []string     `opt:"keep_float" default:"[]" doc:"Names of nodes to leave in float; * stands for any characters and ? for one."`
	Batch       *int64       `opt:"batch" doc:"Samples that calibration runs at a time. Without it at most 8, and fewer when they are large."`
}

// WeightsFacts are what quantize_weights tells about its work.
type WeightsFacts struct {
	Format           string   `opt:"format" doc:"What the weights became."`
	Form             string   `opt:"form" doc:"Operators that hold them: \"onnxruntime\" or \"standard\"."`
	Algorithm        string   `opt:"algorithm" doc:"How the codes were chosen."`
	ShareWeightBytes float64  `opt:"share_weight_bytes" doc:"Share of the bytes of float weights that were quantized, from 0 to 1."`
	BitsPerWeight    float64  `opt:"bits_per_weight" doc:"Bits that a quantized weight takes, scales and zero points included."`
	BytesBefore      int64    `opt:"bytes_before" doc:"Bytes of the quantized weights as they were."`
	BytesAfter       int64    `opt:"bytes_after" doc:"Bytes that they take now, scales and zero points included."`
	WeightSQNR       float64  `opt:"weight_sqnr" doc:"Energy of the quantized weights over that of their error, in dB, at most 200."`
	OutputError      *float64 `opt:"output_error" doc:"Mean over the layers of the error of their products on the calibration data, relative to the products' energy; null without calibration."`
	WorstLayers      []string `opt:"worst_layers" doc:"The five layers with the largest error: of the product with calibration, else of the weight."`
	Weights          int64    `opt:"weights" doc:"Weights quantized; one that several nodes share counts once."`
	NodesQuantized   int64    `opt:"nodes_quantized" doc:"Nodes whose weight was quantized."`
	NodesFloat       []string `opt:"nodes_float" doc:"Nodes that keep a float weight, each with the reason."`
	Scaled           []string `opt:"scaled" doc:"awq: activations that are scaled, and what took the factor in."`
	Samples          int64    `opt:"samples" doc:"Samples that calibration has seen."`
}

// Validate checks what the schema cannot.
func (c WeightsConfig) Validate(context.Context) sdk.Diagnostics {
	ds := validateKeepFloat(c.KeepFloat)
	bad := func(attr, summary, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: []any{attr}, Summary: summary, Detail: detail})
	}
	if c.BlockSize < 16 || c.BlockSize > 256 || bits.OnesCount64(uint64(c.BlockSize)) != 1 {
		bad("block_size", fmt.Sprintf("block_size is %d", c.BlockSize), "It is a power of two from 16 to 256: that is what the kernels take.")
	}
	integers := c.Format == weightonly.Int4 || c.Format == weightonly.Int8
	if !integers && c.Algorithm != weightonly.RTN {
		bad("algorithm", fmt.Sprintf("%s is for integers", c.Algorithm), fmt.Sprintf("The values of %s are given: they are only rounded to (algorithm = \"rtn\"). Or take format = \"int4\" or \"int8\".", c.Format))
	}
	switch form := c.form(); {
	case c.Format == weightonly.FP8 && form == weightonly.FormRuntime:
		bad("form", "ONNX Runtime has no operator of its own for fp8", "Take form = \"standard\", or \"auto\".")
	case (c.Format == weightonly.NF4 || c.Format == weightonly.FP4) && form == weightonly.FormStandard:
		bad("form", fmt.Sprintf("the standard operators have no %s", c.Format), "Take form = \"onnxruntime\", or \"auto\"; or format = \"int4\".")
	case c.Compute == "int8" && (!integers || form != weightonly.FormRuntime):
		bad("compute", "compute = \"int8\" is for integers in MatMulNBits", "Take format = \"int4\" or \"int8\" and form = \"onnxruntime\", or leave compute out.")
	}
	if !integers && c.Symmetric {
		bad("symmetric", fmt.Sprintf("%s is symmetric anyway", c.Format), "Leave symmetric out.")
	}
	if !(c.Damping > 0 && c.Damping <= 10) {
		bad("damping", fmt.Sprintf("damping is %v", c.Damping), "It is more than 0 and at most 10; 0.01 is usual.")
	}
	if c.Batch != nil && *c.Batch < 1 {
		bad("batch", fmt.Sprintf("batch is %d", *c.Batch), "Calibration runs at least one sample at a time.")
	}
	return ds
}

// source checks that calibration data are given where they are needed. Only Plan and Apply know which artifacts are.
func (c WeightsConfig) source() sdk.Diagnostics {
	switch {
	case weightonly.Calibrates(c.Algorithm) && c.Calibration == nil:
		return sdk.Diagnostics{{Path: []any{"calibration"}, Summary: fmt.Sprintf("%s needs calibration data", c.Algorithm),
			Detail: "Name a dataset: calibration = dataset.NAME. Without data, algorithm = \"hqq\" is the most accurate."}}
	case !weightonly.Calibrates(c.Algorithm) && c.Calibration != nil:
		return sdk.Diagnostics{{Path: []any{"calibration"}, Summary: fmt.Sprintf("%s looks at no data", c.Algorithm),
			Detail: "Take algorithm = \"gptq\" or \"awq\", or leave calibration out."}}
	}
	return nil
}

// form resolves "auto".
func (c WeightsConfig) form() string {
	switch {
	case c.Form != "auto" && c.Form != "":
		return c.Form
	case c.Format == weightonly.FP8:
		return weightonly.FormStandard
	}
	return weightonly.FormRuntime
}

// Plan tells what the bytes will depend on: with calibration, the engine and the processor that it runs on.
func (c WeightsConfig) Plan(ctx context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	r := &sdk.PlanResult{Fingerprint: map[string]string{"form": c.form()}}
	if sdk.Known(ctx, "algorithm") {
		r.Diagnostics = c.source()
	}
	if c.Model.Size > 0 {
		r.Needs = sdk.Needs{Memory: 2*c.Model.Size + 64<<20, Cores: run.Threads}
	}
	if !weightonly.Calibrates(c.Algorithm) {
		return r, nil
	}
	needs := r.Needs
	if c.Model.Size > 0 {
		// The engine maps what we hold, and the sums of a few layers come on top.
		needs.Memory = 3*c.Model.Size + 768<<20
	}
	err := planEngine(r, run.Threads, c.Model.Size)
	r.Needs = needs
	return r, err
}

func applyWeights(ctx context.Context, run *sdk.Run, c WeightsConfig) (*sdk.Result, error) {
	return quantizeWeights(ctx, jobOf(run), run.ScratchDir, c)
}

func quantizeWeights(ctx context.Context, j job, scratch string, c WeightsConfig) (_ *sdk.Result, err error) {
	if ds := c.source(); len(ds) > 0 {
		return nil, ds[0]
	}
	m, unmap, err := mapModel(c.Model.Path, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unmap()) }()
	form := c.form()
	shapes, err := prepare(m, weightonly.MinOpset(c.Format, form))
	if err != nil {
		return nil, err
	}
	keep := newKeepFloat(c.KeepFloat)
	o := weightonly.Options{
		Format: c.Format, Form: form, Algorithm: c.Algorithm, BlockSize: int(c.BlockSize), Symmetric: c.Symmetric, Embeddings: c.Embeddings,
		Int8Compute: c.Compute == "int8", Damping: c.Damping, ActOrder: c.ActOrder, Threads: j.threads,
		Keep:     keep.why,
		Progress: func(done, total int64) { j.progress("quantize", done, total, "weights") },
		Used:     m.Release,
	}
	var samples int64
	if weightonly.Calibrates(c.Algorithm) {
		done, n, err := c.calibrate(j, scratch, m, &o)
		if err != nil {
			return nil, err
		}
		defer done()
		samples = n
	}
	_, total := weightBytes(m.Graph)
	r, err := weightonly.Quantize(ctx, m, shapes, o)
	if err != nil {
		return nil, weightsError(err)
	}
	keep.warn(j)
	if len(r.Quantized) == 0 {
		return foldInstead(ctx, j, c.Model.Path, nothingWeights(m, r), func(share float64) any {
			return WeightsFacts{Format: c.Format, Form: form, Algorithm: c.Algorithm, ShareWeightBytes: share}
		})
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return writeModelTo(j.outDir, m, weightsFacts(c, form, r, total, samples))
}

// calibrate opens the dataset and what the algorithms run; done closes them.
func (c WeightsConfig) calibrate(j job, scratch string, m *onnx.Model, o *weightonly.Options) (done func(), samples int64, err error) {
	data, err := openCalibration(c.Calibration)
	if err != nil {
		return nil, 0, err
	}
	job := &calibrate.Job{Model: m, Data: data}
	_, fixed, err := job.MatchInputs()
	if err != nil {
		return nil, 0, errors.Join(err, data.Close())
	}
	dir, err := os.MkdirTemp(scratch, "gram")
	if err != nil {
		return nil, 0, errors.Join(err, data.Close())
	}
	closeAll := func() { _, _ = data.Close(), os.RemoveAll(dir) }
	g := gram.Options{Fixed: fixed, Threads: j.threads, Progress: func(n, total int64) { j.progress("calibrate", n, total, "samples") }}
	if c.Batch != nil {
		g.Batch = *c.Batch
	}
	if o.Data, err = gram.Open(m, dir, job.Data, g); err != nil {
		closeAll()
		return nil, 0, err
	}
	// The engine reads the copy. Weights come back one by one, when they are rounded.
	for t := range m.Graph.Initializers() {
		m.Release(t.Raw)
	}
	gemm, err := gram.NewGemm(j.threads)
	if err != nil {
		closeAll()
		return nil, 0, err
	}
	o.Gemm = gemm
	return func() { _ = gemm.Close(); closeAll() }, data.Samples(), nil
}

// weightsError points at the argument that an error is about.
func weightsError(err error) error {
	var in *ort.InputError
	var engine *ort.Error
	switch {
	case errors.As(err, &in):
		return sdk.AttrError("calibration", "the dataset does not fit the model", err.Error())
	case errors.As(err, &engine):
		return sdk.AttrError("model", "the model failed during calibration", err.Error())
	case errors.Is(err, gram.ErrNotFinite):
		return sdk.AttrError("calibration", "calibration met values that are no numbers", err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return sdk.AttrError("model", "the weights cannot be quantized", err.Error())
}

func nothingWeights(m *onnx.Model, r *weightonly.Report) error {
	if err := alreadyQuantized(m); err != nil {
		return err
	}
	detail := "It has no MatMul, Gemm or Gather with a constant float matrix outside of keep_float."
	for i, f := range r.Float {
		if i == 5 {
			detail += fmt.Sprintf("\n%d more", len(r.Float)-i)
			break
		}
		detail += "\n" + f.String()
	}
	return sdk.AttrError("model", "the model has nothing that quantize_weights can quantize", detail)
}

func weightsFacts(c WeightsConfig, form string, r *weightonly.Report, total, samples int64) WeightsFacts {
	f := WeightsFacts{
		Format: c.Format, Form: form, Algorithm: c.Algorithm, ShareWeightBytes: share(r.BytesBefore, total),
		BitsPerWeight: 8 * share(r.BytesAfter, r.Elements), BytesBefore: r.BytesBefore, BytesAfter: r.BytesAfter,
		WeightSQNR: math.Min(r.SQNR(), 200), Weights: int64(len(r.Quantized)), Samples: samples, Scaled: r.Scaled,
	}
	for _, k := range r.Float {
		f.NodesFloat = append(f.NodesFloat, k.String())
	}
	layers := slices.Clone(r.Quantized)
	var sum float64
	var n int
	for _, l := range layers {
		f.NodesQuantized += int64(len(l.Names))
		if l.Output >= 0 {
			sum += l.Output
			n++
		}
	}
	if n > 0 {
		mean := sum / float64(n)
		f.OutputError = &mean
		layers = slices.DeleteFunc(layers, func(l weightonly.Layer) bool { return l.Output < 0 })
	}
	slices.SortStableFunc(layers, func(a, b weightonly.Layer) int {
		if n > 0 {
			return -compare(a.Output, b.Output)
		}
		return compare(a.SQNR, b.SQNR)
	})
	for _, l := range layers[:min(5, len(layers))] {
		if n > 0 {
			f.WorstLayers = append(f.WorstLayers, fmt.Sprintf("%s: error of the product %.3g", l.Names[0], l.Output))
		} else {
			f.WorstLayers = append(f.WorstLayers, fmt.Sprintf("%s: SQNR of the weight %.1f dB", l.Names[0], l.SQNR))
		}
	}
	return f
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
