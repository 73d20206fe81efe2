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
// depends on the engine is in the table below: to add a backend, add a row (and its name to the oneof of the
// configurations in plugin.go; a test holds the two together).

// Role says how an operator takes part in a quantized graph.
type Role uint8

const (
	// RoleConv has a kernel only when data, weights and output are all quantized, so its output always gets a
	// QuantizeLinear that is the only consumer.
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
	// RoleClamp is Relu or Clip: it vanishes where the saturation of the following QuantizeLinear does the
	// same, and stays in float otherwise.
	RoleClamp
)

// OpRule is how one operator of the default domain is lowered.
type OpRule struct {
	Role Role
	// MinOpset is the first version of the default domain whose operator takes 8-bit tensors; 0 is any.
	MinOpset int64
}

// Scheme is how one kind of tensor becomes integers.
type Scheme struct {
	DType      tensor.DType
	QMin, QMax int32
	Symmetric  bool // zero point in the middle of the range: 0 for signed types
}

// Target is one row: an engine on a kind of machine.
type Target struct {
	Name string
	Doc  string
	Arch []string // values of GOARCH

	// Needs holds CPU features of which one must be there for "auto" to choose the row; empty accepts all.
	// "auto" takes the first row of the table that fits.
	Needs []string

	Activation Scheme
	Weight     Scheme
	// ChannelAxes says along which axis per-channel scales run; a MatMul's and a Gemm's depend on transB.
	ConvChannelAxis int64
	// MinOpset is the version of the default domain that the lowered model has at least.
	MinOpset int64

	Ops map[string]OpRule
	// Requantizes are operators that the engine itself quantizes, weights per tensor, where it finds them in float
	// between a DequantizeLinear and a QuantizeLinear. What is to stay in float must be hidden from that.
	Requantizes []string
}

var x86 = []string{"amd64", "386"}

// u8 is asymmetric, so that its zero point is 0 after a Relu and the whole range serves positive values.
var u8 = Scheme{DType: tensor.U8, QMin: 0, QMax: 255}

// ortCPUOps are the operators that ONNX Runtime's CPU provider fuses from Q and DQ. ConvTranspose has no 8-bit
// kernel there; LSTM and attention take part in dynamic quantization only.
var ortCPUOps = map[string]OpRule{
	"Conv":   {Role: RoleConv},
	"Gemm":   {Role: RoleMatrix},
	"MatMul": {Role: RoleMatrix},

	"Add":               {Role: RoleJoin},
	"Mul":               {Role: RoleJoin},
	"AveragePool":       {Role: RoleJoin},
	"GlobalAveragePool": {Role: RoleJoin},
	"LeakyRelu":         {Role: RoleJoin},
	"Sigmoid":           {Role: RoleJoin},

	"MaxPool":   {Role: RolePass, MinOpset: 12},
	"Reshape":   {Role: RolePass},
	"Flatten":   {Role: RolePass},
	"Transpose": {Role: RolePass},
	"Squeeze":   {Role: RolePass},
	"Unsqueeze": {Role: RolePass},
	"Slice":     {Role: RolePass},
	"Split":     {Role: RolePass},
	"Concat":    {Role: RolePass},
	"Gather":    {Role: RolePass},
	"Resize":    {Role: RolePass},

	"Relu": {Role: RoleClamp},
	"Clip": {Role: RoleClamp},
}

// ortCPURequantizes is what ONNX Runtime's WeightBiasQuantization takes (1.23 and newer).
var ortCPURequantizes = []string{"Conv", "ConvTranspose", "Gemm"}

// Targets is the table, best first.
var Targets = []Target{
	{
		Name:            "onnxruntime-x86-vnni",
		Doc:             "ONNX Runtime's CPU provider on x86 with AVX512-VNNI or AVX-VNNI: U8 activations, S8 weights.",
		Arch:            x86,
		Needs:           []string{"AVX512VNNI", "AVXVNNI"},
		Activation:      u8,
		Weight:          Scheme{DType: tensor.I8, QMin: -127, QMax: 127, Symmetric: true},
		ConvChannelAxis: 0,
		MinOpset:        13,
		Ops:             ortCPUOps,
		Requantizes:     ortCPURequantizes,
	},
	{
		Name: "onnxruntime-x86",
		Doc:  "ONNX Runtime's CPU provider on any x86: U8 activations, weights of 7 bits.",
		Arch: x86,
		// Without VNNI the kernel adds two products of U8 and S8 in 16 bits: 2*255*127 saturates, 2*255*64 fits.
		Activation:      u8,
		Weight:          Scheme{DType: tensor.I8, QMin: -64, QMax: 64, Symmetric: true},
		ConvChannelAxis: 0,
		MinOpset:        13,
		Ops:             ortCPUOps,
		Requantizes:     ortCPURequantizes,
	},
}

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
