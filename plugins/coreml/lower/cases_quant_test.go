package lower_test

import (
	"math/rand/v2"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/tensor"
)

// random are numbers, the same in every run.
func random() *rand.Rand { return rand.New(rand.NewPCG(5, 6)) } //nolint:gosec // test data

func elements(shape []int64) int {
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	return n
}

// bytesBetween are constants of a type of a byte, or of 4 bits.
func bytesBetween(d tensor.DType, low, high int, shape ...int64) operand {
	r, n := random(), elements(shape)
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(low + r.IntN(high-low+1))
	}
	if d == tensor.U4 || d == tensor.I4 {
		packed := make([]byte, (n+1)/2)
		for i, b := range data {
			packed[i/2] |= b & 15 << (4 * (i & 1))
		}
		data = packed
	}
	return operand{value: tensor.Tensor{DType: d, Shape: shape, Data: data}, constant: true}
}

// scalesOf are constants that serve as scales.
func scalesOf(shape ...int64) operand { return weights(0.002, 0.01, shape...) }

// few are weights of so many values, of which every keep-th is not zero; each of the groups of the first axis has others.
func few(values, groups, keep int, shape ...int64) operand {
	r, n := random(), elements(shape)
	f := make([]float32, n)
	for g := range groups {
		table := make([]float32, values)
		for i := range table {
			table[i] = float32(r.NormFloat64())
		}
		for i := g * n / groups; i < (g+1)*n/groups; i++ {
			v := float32(r.NormFloat64())
			if values > 0 {
				v = table[r.IntN(values)]
			}
			if r.IntN(keep) == 0 {
				f[i] = v
			}
		}
	}
	return floats(shape, f...)
}

// stored makes a model of an operator whose weight is stored in integers; what follows the weight are scale and zero point.
func stored(name string, op string, x operand, weight []operand, attrs, of []*onnx.Attribute) opCase {
	c := opCase{name: name, op: op, opset: 21, feeds: []operand{x}}
	c.build = func(t *testing.T, m *onnx.Model) {
		var in []string
		for i, o := range weight {
			in = append(in, "w"+string(rune('0'+i)))
			m.Graph.AddInitializer(onnx.NewTensor(in[i], o.value))
		}
		appendNode(m, "DequantizeLinear", in, "w", attrs...)
		appendNode(m, op, []string{"x0", "w"}, "y", of...)
		give(t, m, nil, "y")
	}
	return c
}

// rounded makes a model that quantizes its input and makes floats of it again.
func rounded(name string, opset int64, x operand, params []operand, attrs ...*onnx.Attribute) opCase {
	c := opCase{name: name, op: "QuantizeLinear", opset: opset, feeds: []operand{x}, half: 0.03}
	c.build = func(t *testing.T, m *onnx.Model) {
		var in []string
		for i, o := range params {
			in = append(in, "p"+string(rune('0'+i)))
			m.Graph.AddInitializer(onnx.NewTensor(in[i], o.value))
		}
		appendNode(m, "QuantizeLinear", append([]string{"x0"}, in...), "q", attrs...)
		appendNode(m, "DequantizeLinear", append([]string{"q"}, in...), "y", attrs...)
		give(t, m, nil, "y")
	}
	return c
}

// quantizationCases are those of quant.go.
func quantizationCases() []opCase {
	axis := func(i int64) []*onnx.Attribute { return []*onnx.Attribute{ai("axis", i)} }
	block := func(i, n int64) []*onnx.Attribute {
		return []*onnx.Attribute{ai("axis", i), ai("block_size", n)}
	}
	padded := []*onnx.Attribute{ais("pads", 1, 1, 1, 1)}
	image, rows := x(1, 16, 8, 8), x(3, 64)
	ms := func(name string, in ...operand) opCase { return node("com.microsoft:MatMulNBits"+name, 17, in...) }
	nbits := func(k, n, bits, size int64) []*onnx.Attribute {
		return []*onnx.Attribute{ai("K", k), ai("N", n), ai("bits", bits), ai("block_size", size)}
	}
	u8 := func(shape ...int64) operand { return bytesBetween(tensor.U8, 0, 255, shape...) }
	dynamic := opCase{name: "DynamicQuantizeLinear", op: "DynamicQuantizeLinear", opset: 13, feeds: []operand{x(4, 50)}, half: 0.03,
		build: func(t *testing.T, m *onnx.Model) {
			m.Graph.AppendNode(onnx.NewNode("DynamicQuantizeLinear", "", "d", []string{"x0"}, []string{"q", "s", "z"}))
			appendNode(m, "DequantizeLinear", []string{"q", "s", "z"}, "y")
			give(t, m, nil, "y", "s")
		}}
	return []opCase{
		stored("DequantizeLinear int8 channels", "Conv", image, []operand{bytesBetween(tensor.I8, -127, 127, 32, 16, 3, 3), scalesOf(32)}, axis(0), padded),
		stored("DequantizeLinear uint8", "Conv", image, []operand{u8(32, 16, 3, 3), floats([]int64{}, 0.004), bytesBetween(tensor.U8, 100, 100)}, nil, padded),
		stored("DequantizeLinear uint8 columns", "MatMul", rows, []operand{u8(64, 48), scalesOf(48), u8(48)}, axis(1), nil),
		stored("DequantizeLinear int8 transB", "Gemm", rows, []operand{bytesBetween(tensor.I8, -128, 127, 48, 64), scalesOf(48)}, axis(0), []*onnx.Attribute{ai("transB", 1)}),
		stored("DequantizeLinear int4 columns", "MatMul", rows, []operand{bytesBetween(tensor.I4, -8, 7, 64, 48), scalesOf(48)}, axis(-1), nil),
		stored("DequantizeLinear int4 blocks", "MatMul", rows, []operand{bytesBetween(tensor.I4, -8, 7, 64, 48), scalesOf(4, 48)}, block(0, 16), nil),
		stored("DequantizeLinear uint4 blocks", "MatMul", rows, []operand{bytesBetween(tensor.U4, 0, 15, 64, 48), scalesOf(4, 48), bytesBetween(tensor.U4, 0, 15, 4, 48)}, block(0, 16), nil),
		stored("DequantizeLinear int8 pruned", "Conv", image, []operand{sparseBytes(10, 32, 16, 3, 3), scalesOf(32)}, axis(0), padded),
		stored("DequantizeLinear int32", "Add", x(3, 8), []operand{intsOf32(8), scalesOf(8)}, axis(0), nil),
		rounded("QuantizeLinear uint8", 13, x(2, 30), []operand{scalar(0.02), bytesBetween(tensor.U8, 110, 110)}),
		rounded("QuantizeLinear int8", 13, x(2, 30), []operand{scalar(0.02)}),
		rounded("QuantizeLinear int8 channels", 13, x(2, 3, 5), []operand{floats([]int64{3}, 0.02, 0.01, 0.03), bytesBetween(tensor.I8, 0, 5, 3)}, ai("axis", 1)),
		rounded("QuantizeLinear int16", 21, x(2, 30), []operand{scalar(0.0002), {value: tensor.Of([]int64{}, []int16{5}), constant: true}}),
		rounded("QuantizeLinear int4", 21, x(2, 30), []operand{scalar(0.3), bytesBetween(tensor.I4, 1, 1)}),
		dynamic,
		ms("", rows, u8(48, 4, 8), scalesOf(192)).with(nbits(64, 48, 4, 16)...),
		ms(" zeros", rows, u8(48, 4, 8), scalesOf(192), u8(96)).with(nbits(64, 48, 4, 16)...),
		ms(" odd", x(2, 3, 56), u8(48, 4, 8), scalesOf(192), u8(96)).with(nbits(56, 48, 4, 16)...),
		ms(" 8", rows, u8(48, 4, 16), scalesOf(192)).with(nbits(64, 48, 8, 16)...),
		ms(" 2", rows, u8(48, 4, 4), scalesOf(192)).with(nbits(64, 48, 2, 16)...),
		ms(" bias", rows, u8(48, 4, 8), scalesOf(192), none, none, w(48)).with(nbits(64, 48, 4, 16)...),
		node("Conv pruned", 13, image, few(0, 1, 4, 32, 16, 3, 3)), node("Conv clustered", 13, image, few(16, 1, 1, 32, 16, 3, 3)),
		node("Conv of 5 values", 13, image, few(5, 1, 1, 32, 16, 3, 3)), node("Conv of 2 values", 13, image, few(2, 1, 1, 32, 16, 3, 3)),
		node("Conv of 60 values", 13, image, few(60, 1, 1, 32, 16, 3, 3)), node("Conv of 200 values", 13, image, few(200, 1, 1, 32, 16, 3, 3)),
		node("Conv clustered in groups", 13, image, few(16, 4, 1, 32, 16, 3, 3)), node("Conv clustered and pruned", 13, image, few(16, 1, 5, 32, 16, 3, 3)),
		node("Conv clustered in groups and pruned", 13, image, few(16, 4, 5, 32, 16, 3, 3)),
		node("MatMul clustered in groups", 13, rows, few(16, 1, 1, 64, 48)),
	}
}

// sparseBytes are int8 of which every keep-th is not zero.
func sparseBytes(keep int, shape ...int64) operand {
	o := bytesBetween(tensor.I8, -127, 127, shape...)
	r := random()
	for i := range o.value.Data {
		if r.IntN(keep) != 0 {
			o.value.Data[i] = 0
		}
	}
	return o
}
