package quantize

import "github.com/optimize-hcl/optimize/tensor"

// half8 is unsigned: zero point 0 where nothing is negative, else 128.
var half8 = Scheme{DType: tensor.U8, QMin: 0, QMax: 255, Symmetric: true, HalfOpen: true}

// skew8 is half8, but asymmetric where symmetry would waste more than a quarter of the codes.
var skew8 = Scheme{DType: tensor.U8, QMin: 0, QMax: 255, Symmetric: true, HalfOpen: true, Skew: 0.5}

// Outputs that TFLite's kernels assume, by its quantization specification.
var (
	tfliteUnit     = &Params{DType: tensor.I8, Scale: 1.0 / 256, Zero: -128}
	tfliteSigned   = &Params{DType: tensor.I8, Scale: 1.0 / 128, Zero: 0}
	tfliteLogarith = &Params{DType: tensor.I8, Scale: 16.0 / 256, Zero: 127}
)

var otherTargets = []Target{
	{
		// Explicit quantization: all zero points are 0, biases and what is not multiplied stay in float, and no pair
		// stands between a convolution and what fuses into it.
		Name:        "tensorrt",
		Doc:         "NVIDIA TensorRT 10 and newer, explicit quantization: symmetric S8 in front of convolutions and products, float biases, residual additions with the skip operand in S8.",
		Activation:  narrow8,
		Weight:      narrow8,
		FloatBias:   true,
		Placement:   PlaceInputs,
		Residual:    ResidualSkip,
		NormInputs:  []string{"LayerNormalization"},
		MinChannels: 16,
		SkipVectors: true,
		MinOpset:    19,
		Ops: map[string]OpRule{
			"Conv":          {Role: RoleConv},
			"ConvTranspose": {Role: RoleConv},
			"Gemm":          {Role: RoleMatrix},
			"MatMul":        {Role: RoleMatrix},

			"Add":               {Role: RoleJoin},
			"AveragePool":       {Role: RoleJoin},
			"GlobalAveragePool": {Role: RoleJoin},

			"MaxPool":   {Role: RolePass},
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
		},
	},
	{
		// Weights must be signed and symmetric in the narrow range, else no convolution runs in integers; the rest is
		// what NNCF places. Without VNNI the first layers saturate most, so they get 7 bits, as NNCF does. OpenVINO 2026.4
		// does not even compile an addition of a quantized constant behind a convolution on some models.
		Name:           "openvino",
		Doc:            "OpenVINO on a CPU: narrow symmetric S8 weights, 7 bits in the first layers; activations symmetric where their ranges are about, in transformers asymmetric.",
		Engine:         "openvino",
		Activation:     skew8,
		Weight:         narrow8,
		FirstWeight:    &narrow7,
		Transformer:    &u8,
		Attention:      &half8,
		FloatBias:      true,
		CorrectBias:    true,
		Placement:      PlaceInputs,
		FloatConstants: true,
		Tables:         true,
		MinOpset:       13,
		Ops: map[string]OpRule{
			"Conv":          {Role: RoleConv},
			"ConvTranspose": {Role: RoleConv},
			"Gemm":          {Role: RoleMatrix},
			"MatMul":        {Role: RoleMatrix},

			"Add":               {Role: RoleJoin},
			"Mul":               {Role: RoleJoin},
			"AveragePool":       {Role: RoleJoin},
			"GlobalAveragePool": {Role: RoleJoin},

			"MaxPool":   {Role: RolePass},
			"Reshape":   {Role: RolePass},
			"Flatten":   {Role: RolePass},
			"Transpose": {Role: RolePass},
			"Squeeze":   {Role: RolePass},
			"Unsqueeze": {Role: RolePass},
			"Slice":     {Role: RolePass},
			"Split":     {Role: RolePass},
			"Pad":       {Role: RolePass},
			"Concat":    {Role: RolePass},
			"Gather":    {Role: RolePass},
			"Resize":    {Role: RolePass},

			"Relu": {Role: RoleClamp},
			"Clip": {Role: RoleClamp},
		},
	},
	{
		// For a converter to Core ML's quantize and dequantize operators: pairs in front of the operands and around
		// the whole pattern of an operator with its activation.
		Name:       "coreml",
		Doc:        "Core ML from iOS 17 and macOS 14, as input of its converter: U8 activations with zero point 0 or 128, symmetric S8 weights. Fast on the Neural Engine of the A17 Pro and M4 and newer.",
		Activation: half8,
		Weight:     narrow8,
		FloatBias:  true,
		Clamp:      ClampInside,
		Everywhere: true,
		MinOpset:   13,
		Ops: map[string]OpRule{
			"Conv":   {Role: RoleConv},
			"Gemm":   {Role: RoleMatrix},
			"MatMul": {Role: RoleMatrix},

			"Add":         {Role: RoleJoin},
			"AveragePool": {Role: RoleJoin},
			"MaxPool":     {Role: RolePass, MinOpset: 12},
			"Concat":      {Role: RolePass},

			"Relu": {Role: RoleClamp},
			"Clip": {Role: RoleClamp},
		},
	},
	{
		// Everything is 8 bits; Relu and Relu6 are part of the operator in front.
		Name:       "tflite",
		Doc:        "TensorFlow Lite and LiteRT, as input of a converter: asymmetric S8 activations, narrow symmetric S8 weights, int32 biases, the fixed scales that its kernels assume.",
		Activation: Scheme{DType: tensor.I8, QMin: -128, QMax: 127},
		Weight:     narrow8,
		Clamp:      ClampInside,
		Everywhere: true,
		MinOpset:   13,
		Ops: map[string]OpRule{
			"Conv":   {Role: RoleConv},
			"Gemm":   {Role: RoleMatrix},
			"MatMul": {Role: RoleMatrix},

			"Add":               {Role: RoleJoin},
			"Mul":               {Role: RoleJoin},
			"Sub":               {Role: RoleJoin},
			"GlobalAveragePool": {Role: RoleJoin},
			"LeakyRelu":         {Role: RoleJoin},
			"HardSwish":         {Role: RoleJoin},
			"Softmax":           {Role: RoleJoin, Output: tfliteUnit},
			"Sigmoid":           {Role: RoleJoin, Output: tfliteUnit},
			"Tanh":              {Role: RoleJoin, Output: tfliteSigned},
			"LpNormalization":   {Role: RoleJoin, Output: tfliteSigned},
			"LogSoftmax":        {Role: RoleJoin, Output: tfliteLogarith},

			"AveragePool":  {Role: RolePass},
			"MaxPool":      {Role: RolePass, MinOpset: 12},
			"Concat":       {Role: RolePass},
			"Reshape":      {Role: RolePass},
			"Flatten":      {Role: RolePass},
			"Resize":       {Role: RolePass, AnyMode: true},
			"Pad":          {Role: RolePass},
			"Gather":       {Role: RolePass},
			"Transpose":    {Role: RolePass},
			"Slice":        {Role: RolePass},
			"Split":        {Role: RolePass},
			"Squeeze":      {Role: RolePass},
			"Unsqueeze":    {Role: RolePass},
			"Max":          {Role: RolePass},
			"Min":          {Role: RolePass},
			"SpaceToDepth": {Role: RolePass},
			"DepthToSpace": {Role: RolePass},

			"Relu": {Role: RoleClamp},
			"Clip": {Role: RoleClamp},
		},
	},
}
