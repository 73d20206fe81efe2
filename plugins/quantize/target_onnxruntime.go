package quantize

import "github.com/optimize-hcl/optimize/tensor"

var x86 = []string{"amd64", "386"}

// u8 is asymmetric, so that its zero point is 0 after a Relu and the whole range serves positive values.
var u8 = Scheme{DType: tensor.U8, QMin: 0, QMax: 255}

var (
	// narrow8 is symmetric, with as many codes below zero as above.
	narrow8 = Scheme{DType: tensor.I8, QMin: -127, QMax: 127, Symmetric: true}
	// narrow7 halves the range. Kernels without VNNI add two products of U8 and S8 in 16 bits: 2*255*127
	// saturates, 2*255*64 fits.
	narrow7 = Scheme{DType: tensor.I8, QMin: -64, QMax: 64, Symmetric: true}
)

// onnxruntimeOps are the operators that ONNX Runtime's CPU provider fuses from Q and DQ. ConvTranspose has no 8-bit
// kernel there; LSTM and attention take part in dynamic quantization only.
var onnxruntimeOps = map[string]OpRule{
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

// onnxruntimeRequantizes is what ONNX Runtime's WeightBiasQuantization takes (1.23 and newer).
var onnxruntimeRequantizes = []string{"Conv", "ConvTranspose", "Gemm"}

// onnxruntimeDynamic are the operators with a kernel that measures its activation: DynamicQuantizeLSTM; a Gather of an
// 8-bit table is an ordinary one.
var onnxruntimeDynamic = []string{"LSTM", "Gather"}

// onnxruntimeTargets: data, weights and output of a convolution must be quantized, in one type, and a residual Add's
// three values too, or nothing fuses (qdq_selectors.cc).
var onnxruntimeTargets = []Target{
	{
		Name:        "onnxruntime-x86-vnni",
		Doc:         "ONNX Runtime's CPU provider on x86 with AVX512-VNNI or AVX-VNNI: U8 activations, S8 weights.",
		Engine:      "onnxruntime",
		Arch:        x86,
		Needs:       []string{"AVX512VNNI", "AVXVNNI"},
		Activation:  u8,
		Weight:      narrow8,
		MinOpset:    13,
		Ops:         onnxruntimeOps,
		Requantizes: onnxruntimeRequantizes,
		Dynamic:     onnxruntimeDynamic,
	},
	{
		Name:        "onnxruntime-x86",
		Doc:         "ONNX Runtime's CPU provider on any x86: U8 activations, weights of 7 bits.",
		Engine:      "onnxruntime",
		Arch:        x86,
		Activation:  u8,
		Weight:      narrow7,
		MinOpset:    13,
		Ops:         onnxruntimeOps,
		Requantizes: onnxruntimeRequantizes,
		Dynamic:     onnxruntimeDynamic,
	},
	{
		// Symmetric S8 throughout. A Relu is then no saturation, so a pair stands on both of its sides.
		Name:        "onnxruntime-arm64",
		Doc:         "ONNX Runtime's CPU provider on 64-bit ARM: symmetric S8 activations and weights.",
		Engine:      "onnxruntime",
		Arch:        []string{"arm64"},
		Activation:  narrow8,
		Weight:      narrow8,
		MinOpset:    13,
		Ops:         onnxruntimeOps,
		Requantizes: onnxruntimeRequantizes,
		Dynamic:     onnxruntimeDynamic,
	},
}
