package quantize

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"

	"github.com/optimize-hcl/optimize/tensor"
)

// A Q/DQ layout that is fast on one engine is slow or not fused at all on another, at equal accuracy. All that
// depends on the engine is in the table of this file, with the rows in target_onnxruntime.go and target_others.go: to
// add a backend, add a row (and its name to the oneof of the configurations in plugin.go; a test holds the two
// together).

// Role says how an operator takes part in a quantized graph.
type Role uint8

const (
	// RoleConv has a kernel only when data, weights and output are all quantized. Under PlaceOutputs its output
	// always gets a QuantizeLinear that is the only consumer.
	RoleConv Role = iota + 1
	// RoleMatrix (Gemm and MatMul with a constant weight operand) may also answer in float, and does so
	// unless a quantized node reads the answer.
	RoleMatrix
	// RoleJoin computes in integers with scales of its own for each operand and the output: worth it between
	// quantized nodes only.
	RoleJoin
	// RolePass moves elements without computing: input and output share one scale, and the pairs of Q and DQ
	// around it vanish.
	RolePass
	// RoleClamp is Relu or Clip: Target.Clamp says what becomes of it.
	RoleClamp
)

// Placement says where the pairs of Q and DQ stand.
type Placement uint8

const (
	// PlaceOutputs puts a pair behind every node that computes in integers, beside those in front of operands.
	PlaceOutputs Placement = iota
	// PlaceInputs puts pairs in front of operands only: the engine looks there, and fuses what follows a
	// convolution into it as long as no pair stands between.
	PlaceInputs
)

// Clamping says what becomes of a Relu or Clip behind a quantized node. Under PlaceInputs it always stays.
type Clamping uint8

const (
	// ClampFold drops it where the saturation of the following QuantizeLinear does the same, and else puts a pair
	// on both of its sides.
	ClampFold Clamping = iota
	// ClampInside leaves it between the node and the pair behind: the engine fuses it into the node.
	ClampInside
)

// Residual says which operands of an Add are quantized.
type Residual uint8

const (
	// ResidualBoth quantizes both.
	ResidualBoth Residual = iota
	// ResidualSkip leaves the operand that a convolution makes in float, so that the two become one kernel, and
	// quantizes the other. An Add without such an operand stays in float.
	ResidualSkip
)

// OpRule is how one operator of the default domain is lowered.
type OpRule struct {
	Role Role
	// MinOpset is the first version of the default domain whose operator takes 8-bit tensors; 0 is any.
	MinOpset int64
	// AnyMode accepts a Resize that computes new values, as a pass: the engine computes them at one scale.
	AnyMode bool
	// Output is the scale and zero point that the engine demands of the output; nil lets calibration choose.
	Output *Params
}

// Scheme is how one kind of tensor becomes integers.
type Scheme struct {
	DType      tensor.DType
	QMin, QMax int32
	Symmetric  bool // zero point in the middle of the range: 0 for signed types
	// HalfOpen gives a tensor without negative values the whole range, with zero point QMin.
	HalfOpen bool
	// Skew, if any, gives a range whose shorter side is less than this share of the longer one the whole range too, with
	// the zero point where it falls.
	Skew float64
}

// Target is one row: an engine on a kind of machine.
type Target struct {
	Name string
	Doc  string
	// Engine is the runtime that runs the layout here: a plugin's name. Empty: it is checked against its rules only.
	Engine string
	Arch   []string // values of GOARCH for which "auto" may choose it

	// Needs holds CPU features of which one must be there for "auto" to choose the row; empty accepts all.
	// "auto" takes the first row of the table that fits.
	Needs []string

	Activation Scheme
	Weight     Scheme
	// FirstWeight, if any, is that of the layers that read the model's inputs.
	FirstWeight *Scheme
	// Transformer, if any, is the scheme of activations in a model with attention.
	Transformer *Scheme
	// Attention, if any, is the scheme of the operands of a product of two activations.
	Attention *Scheme
	FloatBias bool // else a bias is int32, at the scale of the product
	// CorrectBias corrects biases where the recipe says nothing of it: see correctsByMeans.
	CorrectBias bool

	Placement Placement
	Clamp     Clamping
	Residual  Residual
	// Everywhere quantizes joins and passes wherever they stand, not only between two products: the engine has
	// nothing but integers.
	Everywhere bool
	// NormInputs are operators that want their first operand quantized where a convolution makes it.
	NormInputs []string
	// MinChannels, if any, is the number of channels below which a convolution is not worth quantizing.
	MinChannels int64
	// SkipVectors leaves products in float one of whose operands is a vector.
	SkipVectors bool

	// FloatConstants leaves a join in float one of whose operands is a constant, such as the addition of a bias: the
	// engine computes it along with the layer in front.
	FloatConstants bool

	// Tables that rows are looked up in may be stored in 8 bits, as where Dynamic has Gather.
	Tables bool

	// MinOpset is the version of the default domain that the lowered model has at least.
	MinOpset int64

	Ops map[string]OpRule
	// Requantizes are operators that the engine itself quantizes, weights per tensor, where it finds them in float
	// between a DequantizeLinear and a QuantizeLinear. What is to stay in float must be hidden from that.
	Requantizes []string
	// Dynamic are operators beside MatMul and Gemm that quantize_dynamic can lower, in com.microsoft.
	Dynamic []string
}

// Targets is the table. "auto" takes the first row that fits.
var Targets = slices.Concat(onnxruntimeTargets, otherTargets)

// TargetNames lists the names of the table in its order.
func TargetNames() []string {
	names := make([]string, len(Targets))
	for i, t := range Targets {
		names[i] = t.Name
	}
	return names
}

// CPU is what the choice of a target depends on.
type CPU struct {
	Arch     string   // GOARCH
	Features []string // names as in cpuid, sorted
}

// Has tells whether the CPU has a feature.
func (c CPU) Has(feature string) bool { return slices.Contains(c.Features, feature) }

// String lists the features, for a cache key: calibration runs kernels that depend on them.
func (c CPU) String() string {
	if len(c.Features) == 0 {
		return c.Arch
	}
	return c.Arch + " " + strings.Join(c.Features, " ")
}

// ThisCPU looks at the machine that the program runs on.
func ThisCPU() CPU {
	c := CPU{Arch: runtime.GOARCH}
	for _, f := range []cpuid.FeatureID{
		cpuid.AMXINT8, cpuid.ASIMD, cpuid.ASIMDDP, cpuid.AVX, cpuid.AVX2, cpuid.AVX512BW, cpuid.AVX512F,
		cpuid.AVX512VNNI, cpuid.AVXVNNI, cpuid.FMA3, cpuid.SSE4,
	} {
		if cpuid.CPU.Supports(f) {
			c.Features = append(c.Features, f.String())
		}
	}
	slices.Sort(c.Features)
	return c
}

// fits tells whether "auto" may choose the target on this CPU.
func (t *Target) fits(c CPU) bool {
	if !slices.Contains(t.Arch, c.Arch) {
		return false
	}
	return len(t.Needs) == 0 || slices.ContainsFunc(t.Needs, c.Has)
}

// resolveTarget returns the row of a name, or for "auto" the first that fits this CPU.
func resolveTarget(name string, c CPU) (*Target, error) {
	if name == "auto" || name == "" {
		for i := range Targets {
			if Targets[i].fits(c) {
				return &Targets[i], nil
			}
		}
		return nil, fmt.Errorf("\"auto\" knows no target for a machine of type %s; name the target that the model will run on: %s",
			c.Arch, strings.Join(TargetNames(), " or "))
	}
	for i := range Targets {
		if Targets[i].Name == name {
			return &Targets[i], nil
		}
	}
	return nil, fmt.Errorf("there is no target %q; targets are auto, %s", name, strings.Join(TargetNames(), ", "))
}
