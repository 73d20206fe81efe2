package prune

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/plugins/prune/score"
	"github.com/optimize-hcl/optimize/sdk"
)

func channelsStep() sdk.StepType {
	return sdk.Step(sdk.StepSpec{
		Name:     "prune_channels",
		Revision: 1,
		Doc: "Takes whole channels out of a model: filters of convolutions, outputs of linear layers, attention heads, the width of feed-forward layers, " +
			"hidden numbers of LSTM, GRU and RNN. Weights get smaller for real, so every engine is faster. What must leave together is found on the graph " +
			"itself, through residual additions, concatenations, splits, reshapes and groups; what cannot be taken out safely stays, and the report names it with " +
			"the reason. Each result is checked: its shapes are inferred, ONNX Runtime runs it, and it computes what the original does with the same channels " +
			"masked by zero. The model comes out simplified, with BatchNormalization as it was; where nothing leaves, it comes out as it is, byte by byte. " +
			"Pruning comes before quantization.",
		Examples:      []string{channelsExample, channelsBudgetExample, channelsAccuracyExample},
		Outputs:       []sdk.Output{{Name: "model", Kind: "model", Format: "onnx", Doc: "The smaller model. Its inputs and outputs are those of the original."}},
		ResultExample: ChannelsFacts{},
	}, func(ctx context.Context, run *sdk.Run, c ChannelsConfig) (*sdk.Result, error) {
		return pruneChannels(ctx, jobOf(run), c)
	})
}

const channelsExample = `step "prune_channels" "narrow" {
  model = model.classifier
  ratio = 0.3
  keep  = ["/stem/*"]
}`

const channelsBudgetExample = `step "prune_channels" "half" {
  model       = model.classifier
  calibration = dataset.train
  target      = "tensorrt"

  budget {
    macs = 0.5
  }
}`

const channelsAccuracyExample = `step "prune_channels" "fast" {
  model      = model.classifier
  validation = dataset.validation

  accuracy {
    max_drop = 0.01
  }
}`

// The scopes of a ratio.
const (
	scopeAll  = "global"
	scopeEach = "local"
)

// taylor needs gradients.
const taylor = "taylor"

// ChannelsConfig is the configuration of prune_channels.
type ChannelsConfig struct {
	Model       sdk.Model          `opt:"model,required" accepts:"onnx" doc:"Float model to prune. Quantize afterwards."`
	Ratio       *float64           `opt:"ratio" doc:"Share of the channels that leave, from 0 up to less than 1; about twice that share of the work goes. Give this, budget or accuracy."`
	Scope       string             `opt:"scope" default:"global" oneof:"global,local" doc:"\"global\" takes the channels that matter least in the whole model, so that groups lose different shares; \"local\" takes the same share of each group."`
	Ratios      map[string]float64 `opt:"ratios" default:"{}" doc:"Shares for single groups, by the name in the report or a pattern with * and ?, in the place of what the rest decides; the longest pattern that fits counts. 0 keeps a group whole."`
	Importance  *string            `opt:"importance" oneof:"l1,l2,bn_scale,fpgm,lamp,activation,taylor,random" doc:"What tells how much a channel matters. Without it \"activation\" where calibration is given, else \"lamp\". \"l1\", \"l2\": the sum of magnitudes, or of squares, of all weights that make it or read it, each layer's as its BatchNormalization scales it. \"bn_scale\": the factors of its BatchNormalization. \"fpgm\": how far its filters are from the others. \"lamp\": its squares as a share of those that are not smaller, which spares narrow layers. \"activation\": the energy that it brings, on the calibration data, to the layers that read it. \"random\": nothing, for comparison. \"taylor\" needs gradients, which come with the training engine."`
	Calibration *sdk.Dataset       `opt:"calibration" doc:"Samples like those that the model will meet, for importance = \"activation\", to repair the result on, and to check it; 64 to 512 are enough. Labels are not used."`
	Repair      *string            `opt:"repair" oneof:"off,bias,batch_norm,least_squares" doc:"How the model wins back, without training, what it lost, on the calibration data; labels are not needed. \"least_squares\": layer by layer from the front, the weights that are left become those whose products come nearest to the original's, and the statistics of BatchNormalization are measured anew. \"batch_norm\": only these. \"bias\": only the mean of each output is brought back. What is no better on samples that were held back is not taken. Without it \"least_squares\" where calibration is given, else \"off\"."`
	Sensitivity *sdk.Artifact      `opt:"sensitivity" kind:"sensitivity" accepts:"optimize-sensitivity" doc:"What prune_sensitivity found with what = \"channels\": each group gets a share of its own, so that all lose as little. Then ratio is the share of the weights that leave."`
	MaxRatio    float64            `opt:"max_ratio" default:"0.9" doc:"Most that one group may lose, from 0 up to less than 1."`
	RoundTo     *int64             `opt:"round_to" doc:"What stays of a group's channels is a multiple of this, the nearest; groups that are narrower stay whole. Without it as the target's kernels want it: 32 for tensorrt, 16 for openvino, coreml and x86 CPUs with AVX-512, else 8. 1 takes any number."`
	Target      string             `opt:"target" default:"auto" oneof:"auto,onnxruntime-x86-vnni,onnxruntime-x86,onnxruntime-arm64,tensorrt,openvino,coreml,tflite" doc:"What the model will run on, for round_to. \"auto\" looks at this machine."`
	Keep        []string           `opt:"keep" default:"[]" doc:"Names of nodes all of whose channels stay; * stands for any characters and ? for one."`
	Budget      *ChannelsBudget    `opt:"budget,block" doc:"What the result may take: as few channels leave as that allows, those first that matter least."`
	Validation  *sdk.Dataset       `opt:"validation" doc:"Samples that accuracy is measured on, and speed; with labels where the metric needs them."`
	Accuracy    *ChannelsAccuracy  `opt:"accuracy,block" doc:"A bound on what pruning may cost: as much leaves as it allows. Candidates are measured on validation."`
}

// ChannelsBudget is the block budget.
type ChannelsBudget struct {
	MACs       *float64 `opt:"macs" doc:"Largest number of multiply-accumulates, as a share of the original's: 0.5."`
	Parameters *float64 `opt:"parameters" doc:"Largest number of parameters, as a share of the original's: 0.5."`
	Speedup    *float64 `opt:"speedup" doc:"How many times as fast as the original the result must be, on this machine, in ONNX Runtime: 1.5. Timed on validation or calibration, so that the result may differ from run to run."`
	Batch      int64    `opt:"batch" default:"1" doc:"Samples at a time when it is timed."`
	Threads    int64    `opt:"threads" default:"1" doc:"Threads of the engine when it is timed."`
}

// ChannelsAccuracy is the block accuracy.
type ChannelsAccuracy struct {
	Metric  string   `opt:"metric" doc:"What is measured: a metric as in an evaluate block that needs no options, such as \"top1\", \"f1_macro\", \"agreement\", \"cosine\" or \"sqnr\". Without it top-1 accuracy where validation has labels, else the cosine of the outputs with those of the original."`
	MaxDrop *float64 `opt:"max_drop" doc:"How much of the metric may be lost against the original: 0.01 is a percentage point of top-1. For agreement and cosine, how far below 1 it may be. Give this or minimum."`
	Minimum *float64 `opt:"minimum" doc:"The figure that must be reached, such as 20 for sqnr, in decibels."`
	Trials  int64    `opt:"trials" default:"8" doc:"Candidates that are measured, from 1 to 30: the share of the work that leaves is found by halving."`
}

// ChannelsFacts are what prune_channels tells about its work.
type ChannelsFacts struct {
	Importance       string       `opt:"importance" doc:"What told how much a channel matters."`
	Scope            string       `opt:"scope" doc:"How shares were chosen: global, local or sensitivity."`
	RoundTo          int64        `opt:"round_to" doc:"What stays of a group's channels is a multiple of this, where it was."`
	ChannelsBefore   int64        `opt:"channels_before" doc:"Channels that could be taken out: of each group, those of its narrowest layer."`
	ChannelsRemoved  int64        `opt:"channels_removed" doc:"How many of them left."`
	MACsBefore       int64        `opt:"macs_before" doc:"Multiply-accumulates for a sample of usual size, of the original."`
	MACsAfter        int64        `opt:"macs_after" doc:"The same of the result."`
	ParametersBefore int64        `opt:"parameters_before" doc:"Parameters of the original."`
	ParametersAfter  int64        `opt:"parameters_after" doc:"Parameters of the result."`
	Groups           []string     `opt:"groups" doc:"Each group: its channels before and after, the layers that make them, and why it stays whole where it does."`
	LeftAlone        []string     `opt:"left_alone" doc:"Layers with channels that cannot be taken out safely, each with the reason."`
	Check            string       `opt:"check" doc:"What the result was run on, and compared with."`
	Difference       float64      `opt:"difference" doc:"Largest difference of an output from that of the original with the same channels masked by zero, as a share of its largest magnitude; -1 where that could not be told."`
	Repair           *RepairFacts `opt:"repair" doc:"What the repair did: used, sqnr_before and sqnr_after (against the original, on samples that were held back), layers, left, norms and samples; null without one."`
	Accuracy         *SearchFacts `opt:"accuracy" doc:"What the search for a bound on accuracy or a speed did; null without one."`
}

// SearchFacts tell what a search has measured.
type SearchFacts struct {
	Metric string   `opt:"metric" doc:"What was measured."`
	Figure float64  `opt:"figure" doc:"The figure of the model that came out."`
	Held   bool     `opt:"held" doc:"The bound holds."`
	Trials []string `opt:"trials" doc:"Candidates that were measured: the share of multiply-accumulates that is left, and the figure."`
}

// importance is what tells how much a channel matters.
func (c ChannelsConfig) importance() string {
	switch {
	case c.Importance != nil:
		return *c.Importance
	case c.Calibration != nil:
		return score.Activation
	}
	return score.LAMP
}

// Validate checks what the schema cannot.
func (c ChannelsConfig) Validate(ctx context.Context) sdk.Diagnostics {
	ds := validateKeep(c.Keep)
	bad := func(path []any, summary, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: path, Summary: summary, Detail: detail})
	}
	share := func(x float64) bool { return x >= 0 && x < 1 }
	if c.Ratio != nil && !share(*c.Ratio) {
		bad([]any{"ratio"}, fmt.Sprintf("ratio is %v", *c.Ratio), "It is a share of the channels from 0 up to less than 1: 1 would leave layers without any.")
	}
	for _, name := range sortedKeys(c.Ratios) {
		if x := c.Ratios[name]; !share(x) {
			bad([]any{"ratios", name}, fmt.Sprintf("the ratio of %q is %v", name, x), "It is a share of the channels from 0 up to less than 1: 1 would leave the layer without any.")
		}
	}
	if !share(c.MaxRatio) {
		bad([]any{"max_ratio"}, fmt.Sprintf("max_ratio is %v", c.MaxRatio), "It is a share of the channels from 0 up to less than 1.")
	}
	if c.RoundTo != nil && (*c.RoundTo < 1 || *c.RoundTo > 1024) {
		bad([]any{"round_to"}, fmt.Sprintf("round_to is %d", *c.RoundTo), "It is a number of channels from 1 to 1024.")
	}
	if c.importance() == taylor {
		bad([]any{"importance"}, "importance = \"taylor\" needs gradients", "They come with the training engine. \"activation\" looks at the data too, without gradients.")
	}
	ways := 0
	for name, given := range map[string]bool{"ratio": c.Ratio != nil, "budget": c.Budget != nil, "accuracy": c.Accuracy != nil} {
		switch {
		case given:
			ways++
		case !sdk.Known(ctx, name):
			ways = 1
		}
	}
	switch {
	case ways == 0 && len(c.Ratios) == 0:
		bad([]any{"ratio"}, "nothing says how much is to leave", "Write ratio, ratios, a block budget or a block accuracy.")
	case ways > 1:
		bad([]any{"ratio"}, "two things say how much is to leave", "Write one of ratio, budget and accuracy, and check the rest with ensure in an evaluate block.")
	}
	if c.Budget != nil {
		ds = append(ds, c.Budget.validate()...)
	}
	if c.Accuracy != nil {
		ds = append(ds, c.Accuracy.validate(ctx)...)
	}
	return ds
}

func (b *ChannelsBudget) validate() sdk.Diagnostics {
	var ds sdk.Diagnostics
	bad := func(arg, summary, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: []any{"budget", arg}, Summary: summary, Detail: detail})
	}
	if b.MACs == nil && b.Parameters == nil && b.Speedup == nil {
		bad("macs", "budget has no bound", "Write macs, parameters or speedup.")
	}
	if b.Speedup != nil && (b.MACs != nil || b.Parameters != nil) {
		bad("speedup", "budget has a bound on speed and one on size", "Write speedup, or macs and parameters.")
	}
	for arg, x := range map[string]*float64{"macs": b.MACs, "parameters": b.Parameters} {
		if x != nil && !(*x > 0 && *x <= 1) {
			bad(arg, fmt.Sprintf("%s is %v", arg, *x), "It is a share of the original's: more than 0, up to 1.")
		}
	}
	if b.Speedup != nil && !(*b.Speedup > 1 && *b.Speedup <= 1000) {
		bad("speedup", fmt.Sprintf("speedup is %v", *b.Speedup), "It is a factor greater than 1, such as 1.5.")
	}
	for arg, x := range map[string]int64{"batch": b.Batch, "threads": b.Threads} {
		if x < 1 || x > 4096 {
			bad(arg, fmt.Sprintf("%s is %d", arg, x), "It is a number from 1 to 4096.")
		}
	}
	return ds
}

func (a *ChannelsAccuracy) validate(ctx context.Context) sdk.Diagnostics {
	var ds sdk.Diagnostics
	bad := func(arg, summary, detail string) {
		ds = append(ds, sdk.Diagnostic{Path: []any{"accuracy", arg}, Summary: summary, Detail: detail})
	}
	switch {
	case a.MaxDrop == nil && a.Minimum == nil:
		if sdk.Known(ctx, "accuracy") {
			bad("max_drop", "accuracy has no bound", "Write max_drop, or minimum for a metric such as sqnr.")
		}
	case a.MaxDrop != nil && a.Minimum != nil:
		bad("minimum", "accuracy has two bounds", "Write max_drop or minimum, not both.")
	case a.MaxDrop != nil && !(*a.MaxDrop >= 0 && !math.IsInf(*a.MaxDrop, 0)):
		bad("max_drop", fmt.Sprintf("max_drop is %v", *a.MaxDrop), "It is at least 0.")
	default:
		if _, err := a.gauge(); err != nil {
			arg := "metric"
			if a.Minimum != nil {
				arg = "minimum"
			}
			bad(arg, "this bound does not fit the metric", err.Error()+".")
		}
	}
	if a.Trials < 1 || a.Trials > 30 {
		bad("trials", fmt.Sprintf("trials is %d", a.Trials), "It is a number from 1 to 30.")
	}
	return ds
}

// Plan tells what the bytes depend on: the machine, for round_to and where it calibrates, and says before the wait what a
// look at the model shows.
func (c ChannelsConfig) Plan(ctx context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	r := &sdk.PlanResult{Fingerprint: map[string]string{}}
	if c.RoundTo == nil {
		r.Fingerprint["round_to"] = fmt.Sprint(c.roundTo())
	}
	if err := planEngine(r, run.Threads); err != nil {
		return r, err
	}
	r.Nondeterministic = c.Budget != nil && c.Budget.Speedup != nil
	// Measured: the model as it came and as it goes, and the engine's copy of one of them.
	r.Needs = sdk.Needs{Memory: 64<<20 + 5*c.Model.Size/2, Cores: run.Threads}
	if c.repairs() != repairOff {
		r.Needs.Memory += 512<<20 + 4*c.Model.Size // both models side by side, and the sums over the data
	}
	r.Diagnostics = append(c.planData(ctx), c.promise()...)
	return r, nil
}

// planData checks what only Plan and Apply know: which artifacts are given.
func (c ChannelsConfig) planData(ctx context.Context) sdk.Diagnostics {
	fail := func(arg, summary, detail string) sdk.Diagnostics {
		return sdk.Diagnostics{{Path: []any{arg}, Summary: summary, Detail: detail}}
	}
	switch {
	case c.importance() == score.Activation && c.Calibration == nil && sdk.Known(ctx, "calibration"):
		return fail("calibration", "importance = \"activation\" has no data to look at", "Write calibration = dataset.NAME: 32 to 256 samples like those that the model will meet.")
	case c.repairs() != repairOff && c.Calibration == nil && sdk.Known(ctx, "calibration"):
		return fail("calibration", fmt.Sprintf("repair = %q has no data to learn from", c.repairs()), "Write calibration = dataset.NAME: 64 to 512 samples like those that the model will meet.")
	case c.Accuracy != nil && c.Validation == nil && sdk.Known(ctx, "validation"):
		return fail("validation", "accuracy has no data to measure on", "Write validation = dataset.NAME, with labels where the metric needs them.")
	case c.Budget != nil && c.Budget.Speedup != nil && c.Validation == nil && c.Calibration == nil:
		return fail("validation", "budget has no data to time on", "Write validation = dataset.NAME, or calibration = dataset.NAME.")
	case c.Validation != nil && c.Accuracy == nil && (c.Budget == nil || c.Budget.Speedup == nil):
		return fail("validation", "validation does nothing", "It is what a block accuracy, and a speedup in budget, are measured on: write one of them, or leave validation out.")
	}
	return nil
}

// seenAtPlan is the largest model that is looked into while planning.
const seenAtPlan = 128 << 20

// promise looks into the model, where it is there, and says what pruning cannot do for it.
func (c ChannelsConfig) promise() sdk.Diagnostics {
	if !c.Model.Exists() || c.Model.Size > seenAtPlan {
		return nil
	}
	w, err := c.open(newKeeper(c.Keep))
	if err != nil {
		return asDiagnostics(err)
	}
	defer func() { _ = w.done() }()
	if c.Ratio == nil || *c.Ratio == 0 || c.Sensitivity != nil {
		return nil
	}
	sel := w.local(*c.Ratio) // what each group loses in the mean
	if cost := w.a.Cost(sel); float64(cost.MACs) < 0.98*float64(w.before.MACs) || w.before.MACs == 0 && !sel.Empty() {
		return nil
	}
	return sdk.Diagnostics{sdk.AttrWarning("ratio", fmt.Sprintf("a ratio of %v takes next to nothing out of this model", *c.Ratio),
		fmt.Sprintf("%d groups of channels can be pruned, but what stays of each is a multiple of %d (round_to), and most are too narrow for that, or the work is done in layers that stay. ", len(w.a.Groups), w.round)+
			"Write a smaller round_to, or a larger ratio.\n"+strings.Join(w.lines(sel), "\n"))}
}

// asDiagnostics is an error of a plan.
func asDiagnostics(err error) sdk.Diagnostics {
	switch d := err.(type) { //nolint:errorlint // what the functions here return
	case sdk.Diagnostics:
		return d
	case sdk.Diagnostic:
		return sdk.Diagnostics{d}
	}
	return sdk.Diagnostics{sdk.Diagnostic{Path: []any{"model"}, Summary: "the model cannot be pruned", Detail: err.Error()}}
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// nameOfNode is the name that patterns are matched against.
func nameOfNode(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.Output(0)
}
