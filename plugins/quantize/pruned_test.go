package quantize

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/plugins/prune/layer"
	"github.com/optimize-hcl/optimize/plugins/prune/sparse"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// prunedNet has a Conv, a Gemm and two MatMuls, each with 2 of every 4 weights zero along its inputs. Biases and
// activations lie far from zero, so that what makes up for errors has something to make up for.
func prunedNet(t *testing.T) (*onnx.Model, map[string]tensor.Tensor) {
	t.Helper()
	b := newBuilder(21)
	x := b.relu("r", b.conv("c", b.input("x", 8, 6, 6), 8, 32))
	x = b.node("Flatten", "f", []string{b.node("MaxPool", "p", []string{x}, onnx.IntsAttr("kernel_shape", 6, 6))})
	x = b.relu("gr", b.node("Gemm", "g", []string{x, b.random("g.w", 0.4, 64, 32), b.random("g.b", 0.4, 64)}, onnx.IntAttr("transB", 1)))
	x = b.relu("mr", b.node("MatMul", "m", []string{x, b.random("m.w", 0.4, 64, 64)}))
	b.output(b.node("MatMul", "n", []string{x, b.random("n.w", 0.4, 64, 16)}))
	layers, _ := layer.Find(b.m, nil)
	var listed []onnx.Sparsity
	for _, l := range layers {
		rows, err := l.Rows()
		if err != nil {
			t.Fatal(err)
		}
		p := sparse.Pattern{Keep: 2, Of: 4}
		sparse.Apply(rows, sparse.Choice{Pattern: p, Segment: l.Channels}.Mask(sparse.Magnitude(rows), l.Groups*l.N, l.K))
		if err := l.SetRows(rows); err != nil {
			t.Fatal(err)
		}
		listed = append(listed, onnx.Sparsity{Weight: l.Weight.Name(), Pattern: "2:4", Share: 0.5})
	}
	if len(layers) != 4 {
		t.Fatalf("%d layers", len(layers))
	}
	if err := onnx.SetSparsities(b.m, listed); err != nil {
		t.Fatal(err)
	}
	b.shapeOutputs(t)
	return b.m, map[string]tensor.Tensor{"x": b.noise(1, 40, 8, 6, 6)}
}

// materialWeight is a weight of a quantized model as what multiplies with it sees it, and along which axis its inputs lie.
type materialWeight struct {
	node string
	v    []float32
	dims []int64
	axis int
	zero float32 // what stands for 0
}

// materialWeights finds the weight of every product, and has the engine compute it where nodes do.
func materialWeights(t *testing.T, m *onnx.Model) []materialWeight {
	t.Helper()
	var out []materialWeight
	taps := map[string]int{}
	for n := range m.Graph.AllNodes() {
		axis := 0
		switch {
		case n.Is("Conv"), n.Is("Gemm") && n.IntAttr("transB", 0) != 0:
			axis = 1
		case n.Is("Gemm"), n.Is("MatMul"), n.Is("MatMulInteger"):
		case n.OpType == "MatMulNBits" || n.OpType == "MatMulBnb4":
			out = append(out, unpacked(t, m, n))
			continue
		default:
			continue
		}
		w := materialWeight{node: nodeName(n), axis: axis}
		if c := m.Graph.Constant(n.Input(1)); c != nil {
			v, err := c.Float32s()
			if err != nil {
				t.Fatal(err)
			}
			w.v, w.dims = v, c.Dims
			if z := m.Graph.Constant(n.Input(3)); n.Is("MatMulInteger") && z != nil {
				ints, _ := z.Ints()
				w.zero = float32(ints[0])
			}
		} else {
			taps[n.Input(1)] = len(out)
		}
		out = append(out, w)
	}
	if len(taps) == 0 {
		return out
	}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p, err := onnx.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for len(p.Graph.Outputs()) > 0 {
		p.Graph.RemoveOutput(p.Graph.Outputs()[0].Name())
	}
	for _, in := range p.Graph.Inputs() {
		p.Graph.RemoveInput(in.Name())
	}
	for v := range taps {
		p.Graph.AppendNode(onnx.NewNode("Cast", "", p.Graph.UniqueName("cast"), []string{v}, []string{v + "_float"}, onnx.IntAttr("to", int64(onnx.Float))))
		p.Graph.AddOutput(onnx.NewValueInfo(v+"_float", onnx.Float, nil))
	}
	// The engine is not run without an input.
	p.Graph.AddInput(onnx.NewValueInfo("nothing", onnx.Float, onnx.FixedDims(1)))
	p.Graph.AppendNode(onnx.NewNode("Identity", "", "same", []string{"nothing"}, []string{"nothing_same"}))
	p.Graph.AddOutput(onnx.NewValueInfo("nothing_same", onnx.Float, nil))
	p.Graph.Prune()
	if b, err = p.Marshal(); err != nil {
		t.Fatal(err)
	}
	s, err := ort.NewSession(b, ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := s.Run(map[string]tensor.Tensor{"nothing": tensor.Of([]int64{1}, []float32{0})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for v, i := range taps {
		f, err := tensor.ToFloat32(got[v+"_float"])
		if err != nil {
			t.Fatal(err)
		}
		out[i].v, out[i].dims = f, got[v+"_float"].Shape
	}
	return out
}

// unpacked asks the engine for the product of a packed weight with the identity.
func unpacked(t *testing.T, m *onnx.Model, n *onnx.Node) materialWeight {
	t.Helper()
	k, cols := n.IntAttr("K", 0), n.IntAttr("N", 0)
	p := onnx.NewModel("unpack", 21)
	p.SetOpset(microsoft, 1)
	p.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(k, k)))
	inputs := []string{"x"}
	for _, in := range n.Inputs()[1:] {
		inputs = append(inputs, in)
		if c := m.Graph.Constant(in); c != nil {
			p.Graph.AddInitializer(c)
		}
	}
	p.Graph.AppendNode(onnx.NewNode(n.OpType, n.Domain, "u", inputs, []string{"y"}, n.Attributes()...))
	p.Graph.AddOutput(onnx.NewValueInfo("y", onnx.Float, nil))
	one := make([]float32, k*k)
	for i := range k {
		one[i*k+i] = 1
	}
	return materialWeight{node: nodeName(n), v: runModel(t, p, map[string]tensor.Tensor{"x": tensor.Of([]int64{k, k}, one)})["y"], dims: []int64{k, cols}}
}

// holds tells where a weight has more than 2 of 4 along its inputs.
func (w materialWeight) holds() error {
	inner, of := int64(1), w.dims[w.axis]
	for _, d := range w.dims[w.axis+1:] {
		inner *= d
	}
	for outer := range int64(len(w.v)) / (inner * of) {
		for i := range inner {
			for k := int64(0); k < of; k += 4 {
				alive := 0
				for j := range min(4, of-k) {
					if w.v[(outer*of+k+j)*inner+i] != w.zero {
						alive++
					}
				}
				if alive > 2 {
					return fmt.Errorf("%s: %d of 4 from input %d on are not zero", w.node, alive, k)
				}
			}
		}
	}
	return nil
}

// TestPrunedStaysPruned: 2 of every 4 stay zero through every step that quantizes, by every way to round.
func TestPrunedStaysPruned(t *testing.T) {
	needRuntime(t)
	model, data := prunedNet(t)
	in := writeModel(t, model)
	calibration := writeDataset(t, data)
	type run func(j job) (*sdk.Result, error)
	cases := map[string]run{}
	for _, rounding := range []string{"nearest", "gptq", "adaround"} {
		for _, target := range []string{"onnxruntime-x86", "onnxruntime-x86-vnni", "onnxruntime-arm64", "tensorrt", "openvino", "coreml", "tflite"} {
			for _, per := range []bool{true, false} {
				if rounding != "nearest" && target != "onnxruntime-x86-vnni" {
					continue // rounding does not know the target
				}
				cases[fmt.Sprintf("static %s %s per channel %v", rounding, target, per)] = func(j job) (*sdk.Result, error) {
					return quantizeStatic(t.Context(), j, StaticConfig{Model: in, Calibration: &calibration, Target: target, PerChannel: per, Rounding: rounding,
						BiasCorrection: ptr(rounding != "nearest"), Equalize: rounding == "gptq", Search: "off"})
				}
			}
		}
	}
	for _, format := range []string{"int4", "int8"} {
		for _, algorithm := range []string{"rtn", "hqq", "gptq", "awq"} {
			for _, form := range []string{"onnxruntime", "standard"} {
				for _, symmetric := range []bool{false, true} {
					c := WeightsConfig{Model: in, Format: format, Form: form, Algorithm: algorithm, BlockSize: 16, Symmetric: symmetric, Damping: 0.01, Compute: "float32"}
					if algorithm == "gptq" || algorithm == "awq" {
						c.Calibration = &calibration
					}
					cases[fmt.Sprintf("weights %s %s %s symmetric %v", format, algorithm, form, symmetric)] = func(j job) (*sdk.Result, error) {
						return quantizeWeights(t.Context(), j, t.TempDir(), c)
					}
				}
			}
		}
	}
	for format, form := range map[string]string{"nf4": "onnxruntime", "fp4": "onnxruntime", "fp8": "standard"} {
		cases["weights "+format] = func(j job) (*sdk.Result, error) {
			return quantizeWeights(t.Context(), j, t.TempDir(), WeightsConfig{Model: in, Format: format, Form: form, Algorithm: "rtn", BlockSize: 16, Damping: 0.01, Compute: "float32"})
		}
	}
	cases["weights gptq act_order"] = func(j job) (*sdk.Result, error) {
		return quantizeWeights(t.Context(), j, t.TempDir(), WeightsConfig{Model: in, Format: "int4", Form: "onnxruntime", Algorithm: "gptq", BlockSize: 16, Damping: 0.01, Compute: "float32", ActOrder: true, Calibration: &calibration})
	}
	cases["dynamic"] = func(j job) (*sdk.Result, error) {
		return quantizeDynamic(t.Context(), j, DynamicConfig{Model: in, Target: "onnxruntime-x86-vnni", PerChannel: true})
	}
	for _, bits := range []int64{1, 3, 4} {
		for _, group := range []int64{0, 16} {
			cases[fmt.Sprintf("cluster %d bits in groups of %d", bits, group)] = func(j job) (*sdk.Result, error) {
				return quantizeCluster(t.Context(), j, ClusterConfig{Model: in, Bits: bits, GroupSize: group, Calibration: &calibration})
			}
		}
	}
	for _, typ := range []string{"float16", "bfloat16"} {
		cases[typ] = func(j job) (*sdk.Result, error) {
			return quantizeFloat16(t.Context(), j, Float16Config{Model: in, DType: typ, KeepIO: true})
		}
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			j, _ := testJob(t)
			j.scratch = t.TempDir()
			r, err := f(j)
			if err != nil {
				t.Fatal(err)
			}
			m, err := onnx.ReadFile(filepath.Join(j.outDir, r.Outputs["model"].Path))
			if err != nil {
				t.Fatal(err)
			}
			found := materialWeights(t, m)
			if len(found) < 4 {
				t.Fatalf("%d weights found", len(found))
			}
			for _, w := range found {
				if err := w.holds(); err != nil {
					t.Error(err)
				}
			}
			if _, err := onnx.Sparsities(m); err != nil {
				t.Errorf("the list of pruned weights: %v", err)
			}
		})
	}
}
