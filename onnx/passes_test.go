package onnx

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

// random returns numbers that are small, of both signs, and the same each time.
func random(seed uint64, n int64) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64()) / 4
	}
	return out
}

// foldingModels are networks of one layer and what can be folded into it.
func foldingModels(t testing.TB) map[string]*Model {
	t.Helper()
	type layer struct {
		op       string
		in       []Dim
		weights  []int64
		channels int64
		bias     []int64 // nil: none
		attrs    []*Attribute
	}
	layers := map[string]layer{
		"conv":        {"Conv", FixedDims(2, 3, 8, 8), []int64{4, 3, 3, 3}, 4, nil, nil},
		"conv-bias":   {"Conv", FixedDims(2, 3, 8, 8), []int64{4, 3, 3, 3}, 4, []int64{4}, nil},
		"conv-group":  {"Conv", FixedDims(2, 4, 8), []int64{4, 2, 3}, 4, []int64{4}, []*Attribute{IntAttr("group", 2)}},
		"transposed":  {"ConvTranspose", FixedDims(2, 3, 5, 5), []int64{3, 4, 3, 3}, 4, []int64{4}, nil},
		"transposed2": {"ConvTranspose", FixedDims(2, 4, 5, 5), []int64{4, 3, 2, 2}, 6, nil, []*Attribute{IntAttr("group", 2), IntsAttr("strides", 2, 2)}},
		"gemm":        {"Gemm", FixedDims(2, 5), []int64{5, 3}, 3, []int64{3}, []*Attribute{FloatAttr("alpha", 0.5), FloatAttr("beta", 2)}},
		"gemm-trans":  {"Gemm", FixedDims(2, 5), []int64{3, 5}, 3, []int64{1, 3}, []*Attribute{IntAttr("transB", 1)}},
		"gemm-scalar": {"Gemm", FixedDims(2, 5), []int64{3, 5}, 3, []int64{}, []*Attribute{IntAttr("transB", 1), FloatAttr("beta", 3)}},
		"gemm-bare":   {"Gemm", FixedDims(2, 5), []int64{5, 3}, 3, nil, nil},
	}
	out := map[string]*Model{}
	for name, l := range layers {
		m := NewModel(name, 13)
		g := m.Graph
		g.AddInput(NewValueInfo("x", Float, l.in))
		size, _ := tensor.Elements(l.weights)
		g.AddInitializer(NewFloats("w", random(1, size), l.weights...))
		inputs := []string{"x", "w"}
		if l.bias != nil {
			n, _ := tensor.Elements(l.bias)
			g.AddInitializer(NewFloats("b", random(2, n), l.bias...))
			inputs = append(inputs, "b")
		}
		g.AppendNode(NewNode(l.op, "", "layer", inputs, []string{"v0"}, l.attrs...))
		variance := random(6, l.channels)
		for i := range variance {
			variance[i] = variance[i]*variance[i] + 0.1
		}
		for i, p := range [][]float32{random(3, l.channels), random(4, l.channels), random(5, l.channels), variance} {
			g.AddInitializer(NewFloats([]string{"scale", "shift", "mean", "var"}[i], p, l.channels))
		}
		g.AppendNode(NewNode("BatchNormalization", "", "bn", []string{"v0", "scale", "shift", "mean", "var"}, []string{"v1"}, FloatAttr("epsilon", 1e-3)))
		per := slices.Repeat([]int64{1}, len(l.in))
		per[1] = l.channels
		g.AddInitializer(NewFloats("factor", random(7, l.channels), per[1:]...))
		g.AppendNode(NewNode("Mul", "", "mul", []string{"factor", "v1"}, []string{"v2"}))
		g.AddInitializer(NewFloats("more", random(8, 1)))
		g.AppendNode(NewNode("Add", "", "add", []string{"v2", "more"}, []string{"y"}))
		shape := slices.Repeat([]Dim{anyDim}, len(l.in))
		g.AddOutput(NewValueInfo("y", Float, shape))
		if err := Check(m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = m
	}
	return out
}

// evaluate runs the layers of foldingModels plainly, in float64.
func evaluate(t *testing.T, m *Model) []float64 {
	t.Helper()
	g := m.Graph
	get := func(name string) ([]float64, []int64) {
		w := g.Initializer(name)
		v, err := w.float64s()
		if err != nil {
			t.Fatal(err)
		}
		return v, w.Dims
	}
	var shape []int64
	for _, d := range g.Inputs()[0].Type.Shape {
		shape = append(shape, d.Value)
	}
	size, _ := tensor.Elements(shape)
	x := make([]float64, size)
	for i, v := range random(9, size) {
		x[i] = float64(v)
	}
	for n := range g.Nodes() {
		inner := int64(1)
		for _, d := range shape[1:] {
			inner *= d
		}
		switch n.OpType {
		case "Gemm":
			w, dims := get(n.Input(1))
			trans := n.IntAttr("transB", 0) == 1
			out, in := dims[1], dims[0]
			if trans {
				out, in = dims[0], dims[1]
			}
			bias := make([]float64, out)
			if n.Input(2) != "" {
				b, _ := get(n.Input(2))
				for i := range bias {
					bias[i] = b[i%len(b)]
				}
			}
			y := make([]float64, shape[0]*out)
			for r := range shape[0] {
				for o := range out {
					sum := 0.0
					for i := range in {
						at := i*out + o
						if trans {
							at = o*in + i
						}
						sum += x[r*in+i] * w[at]
					}
					y[r*out+o] = float64(n.FloatAttr("alpha", 1))*sum + float64(n.FloatAttr("beta", 1))*bias[o]
				}
			}
			x, shape = y, []int64{shape[0], out}
		case "Conv", "ConvTranspose":
			x, shape = convolve(n, get, x, shape)
		case "BatchNormalization":
			var p [4][]float64
			for i := range p {
				p[i], _ = get(n.Input(i + 1))
			}
			for i := range x {
				c := int64(i) % inner / (inner / shape[1])
				x[i] = (x[i]-p[2][c])/math.Sqrt(p[3][c]+float64(n.FloatAttr("epsilon", 1e-5)))*p[0][c] + p[1][c]
			}
		case "Mul", "Add":
			other := n.Input(0)
			if g.Initializer(other) == nil {
				other = n.Input(1)
			}
			v, _ := get(other)
			for i := range x {
				c := int64(i) % inner / (inner / shape[1]) % int64(len(v))
				if n.OpType == "Mul" {
					x[i] *= v[c]
				} else {
					x[i] += v[c]
				}
			}
		default:
			t.Fatalf("unexpected %s", n.Label())
		}
	}
	return x
}

// convolve handles one or two spatial axes, strides, groups, and no padding.
func convolve(n *Node, get func(string) ([]float64, []int64), x []float64, shape []int64) ([]float64, []int64) {
	w, dims := get(n.Input(1))
	pad := func(s []int64) []int64 { // to two spatial axes
		if len(s) == 3 {
			return []int64{s[0], s[1], 1, s[2]}
		}
		return s
	}
	d, k := pad(shape), pad(dims)
	group := n.IntAttr("group", 1)
	stride := int64(1)
	if s := n.IntsAttr("strides"); s != nil {
		stride = s[0]
	}
	transposed := n.OpType == "ConvTranspose"
	channels, rows, columns := k[0], (d[2]-k[2])/stride+1, (d[3]-k[3])/stride+1
	if transposed {
		channels, rows, columns = k[1]*group, (d[2]-1)*stride+k[2], (d[3]-1)*stride+k[3]
	}
	out := make([]float64, d[0]*channels*rows*columns)
	if n.Input(2) != "" {
		b, _ := get(n.Input(2))
		for i := range out {
			out[i] = b[int64(i)/(rows*columns)%channels]
		}
	}
	in, per := d[1]/group, channels/group
	for b := range d[0] {
		for c := range channels {
			for i := range in {
				from := c/per*in + i
				for r := range k[2] {
					for s := range k[3] {
						weight := ((c*in+i)*k[2]+r)*k[3] + s
						if transposed {
							weight = ((from*per+c%per)*k[2]+r)*k[3] + s
						}
						outer, inner := rows, columns
						if transposed {
							outer, inner = d[2], d[3]
						}
						for p := range outer {
							for q := range inner {
								src := ((b*d[1]+from)*d[2]+p*stride+r)*d[3] + q*stride + s
								dst := ((b*channels+c)*rows+p)*columns + q
								if transposed {
									src = ((b*d[1]+from)*d[2]+p)*d[3] + q
									dst = ((b*channels+c)*rows+p*stride+r)*columns + q*stride + s
								}
								out[dst] += x[src] * w[weight]
							}
						}
					}
				}
			}
		}
	}
	if len(shape) == 3 {
		return out, []int64{d[0], channels, columns}
	}
	return out, []int64{d[0], channels, rows, columns}
}

func TestFoldBatchNorm(t *testing.T) {
	for name, m := range foldingModels(t) {
		t.Run(name, func(t *testing.T) {
			want := evaluate(t, m)
			count, err := FoldBatchNorm(m)
			if err != nil || count != 3 {
				t.Fatalf("folded %d nodes of 3: %v", count, err)
			}
			if err := Check(m); err != nil {
				t.Fatal(err)
			}
			if m.Graph.NumNodes() != 1 || m.Graph.NumInitializers() != 2 || m.Graph.First().Output(0) != "y" {
				t.Errorf("%d nodes and %d initializers are left", m.Graph.NumNodes(), m.Graph.NumInitializers())
			}
			got := evaluate(t, reparse(t, m))
			for i := range want {
				if math.Abs(got[i]-want[i]) > 1e-5*(1+math.Abs(want[i])) {
					t.Fatalf("output %d is %v, was %v", i, got[i], want[i])
				}
			}
		})
	}
}

func TestFoldBatchNormOfDigits(t *testing.T) {
	m, _ := readDigits(t)
	count, err := FoldBatchNorm(m)
	if err != nil || count != 9 {
		t.Fatalf("folded %d of 9: %v", count, err)
	}
	m.Graph.Prune()
	if err := Check(m); err != nil {
		t.Fatal(err)
	}
	for n := range m.Graph.Nodes() {
		if n.Is("BatchNormalization") || n.Is("Conv") && m.Graph.Constant(n.Input(2)) == nil {
			t.Errorf("%s is left or has no bias", n.Label())
		}
	}
	s, err := InferShapes(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, shape, _ := s.Of("logits"); len(shape) != 2 || shape[1].Value != 10 {
		t.Errorf("logits are %v", shape)
	}
	// 9 Conv gained a bias; scale, shift, mean and variance of each channel went.
	if got, want := CountParameters(m), int64(77418); got != want {
		t.Errorf("%d parameters, want %d", got, want)
	}
}

func TestFoldBatchNormLeavesAlone(t *testing.T) {
	for name, edit := range map[string]func(m *Model){
		"training":              func(m *Model) { m.Graph.NodeByName("bn").SetAttr(IntAttr("training_mode", 1)) },
		"two readers":           func(m *Model) { m.Graph.AppendNode(NewNode("Relu", "", "", []string{"v0"}, []string{"z"})) },
		"output":                func(m *Model) { m.Graph.AddOutput(NewValueInfo("v0", Float, nil)) },
		"weights not constant":  func(m *Model) { m.Graph.RemoveInitializer("w"); m.Graph.AddInput(NewValueInfo("w", Float, nil)) },
		"weights can change":    func(m *Model) { m.Graph.AddInput(NewValueInfo("w", Float, nil)) },
		"mean not constant":     func(m *Model) { m.Graph.RemoveInitializer("mean"); m.Graph.AddInput(NewValueInfo("mean", Float, nil)) },
		"variance not positive": func(m *Model) { m.Graph.AddInitializer(NewFloats("var", []float32{1, -1, 1, 1}, 4)) },
		"variance is NaN": func(m *Model) {
			m.Graph.AddInitializer(NewFloats("var", []float32{1, float32(math.NaN()), 1, 1}, 4))
		},
		"overflow":     func(m *Model) { m.Graph.AddInitializer(NewFloats("scale", []float32{1, math.MaxFloat32, 1, 1}, 4)) },
		"wrong length": func(m *Model) { m.Graph.AddInitializer(NewFloats("mean", []float32{1, 2}, 2)) },
		"statistic used": func(m *Model) {
			m.Graph.NodeByName("bn").SetOutput(1, "s")
			m.Graph.AddOutput(NewValueInfo("s", Float, nil))
		},
		"in a subgraph": func(m *Model) {
			body := NewGraph("body")
			body.AppendNode(NewNode("Identity", "", "", []string{"v0"}, []string{"inner"}))
			body.AddOutput(NewValueInfo("inner", Float, nil))
			m.Graph.AppendNode(NewNode("Loop", "", "", []string{"", ""}, []string{"z"}, GraphAttr("body", body)))
		},
	} {
		m := foldingModels(t)["conv"]
		edit(m)
		before := m.Graph.NumNodes()
		count, err := FoldBatchNorm(m)
		if err != nil || count != 0 || m.Graph.NumNodes() != before {
			t.Errorf("%s: folded %d: %v", name, count, err)
		}
	}
	m := foldingModels(t)["conv"]
	m.Graph.Initializer("w").Raw = m.Graph.Initializer("w").Raw[:7]
	if _, err := FoldBatchNorm(m); err == nil {
		t.Error("weights that do not fit their shape: no error")
	}
}

func TestFoldBatchNormKeepsSharedWeights(t *testing.T) {
	m := foldingModels(t)["conv"]
	g := m.Graph
	before := slices.Clone(g.Initializer("w").Raw)
	g.AppendNode(NewNode("Conv", "", "other", []string{"x", "w"}, []string{"z"}))
	g.AddOutput(NewValueInfo("z", Float, nil))
	if count, err := FoldBatchNorm(m); err != nil || count != 3 {
		t.Fatalf("folded %d: %v", count, err)
	}
	if got := g.NodeByName("other").Input(1); got != "w" || !slices.Equal(g.Initializer("w").Raw, before) {
		t.Error("the weights of the other node changed")
	}
	if g.NodeByName("layer").Input(1) == "w" {
		t.Error("the layer still has the shared weights")
	}
}

func TestConstantsToInitializers(t *testing.T) {
	m := NewModel("g", 13)
	g := m.Graph
	constant := func(out string, a *Attribute) { g.AppendNode(NewNode("Constant", "", "", nil, []string{out}, a)) }
	constant("t", TensorAttr("value", NewFloats("", []float32{1, 2}, 2)))
	constant("i", IntAttr("value_int", 3))
	constant("is", IntsAttr("value_ints", 3, 4))
	constant("f", FloatAttr("value_float", 3))
	constant("s", StringAttr("value_string", "a"))
	constant("out", FloatsAttr("value_floats", 3))
	constant("sparse", &Attribute{Name: "sparse_value", Type: AttrSparseTensor})
	g.AddOutput(NewValueInfo("out", Float, nil))
	body := NewGraph("body")
	body.AppendNode(NewNode("Constant", "", "", nil, []string{"inner"}, IntAttr("value_int", 1)))
	body.AppendNode(NewNode("Identity", "", "", []string{"inner"}, []string{"body_out"}))
	body.AddOutput(NewValueInfo("body_out", Int64, nil))
	g.AppendNode(NewNode("If", "", "", []string{"i"}, []string{"z"}, GraphAttr("then_branch", body)))
	if count, err := ConstantsToInitializers(m); count != 6 || err != nil {
		t.Errorf("%d constants moved, %v", count, err)
	}
	for name, dims := range map[string][]int64{"t": {2}, "i": {}, "is": {2}, "f": {}, "s": {}} {
		if w := g.Initializer(name); w == nil || !slices.Equal(w.Dims, dims) || g.Producer(name) != nil {
			t.Errorf("%s: %+v", name, w)
		}
	}
	if body.Initializer("inner") == nil || g.Producer("out") == nil || g.Producer("sparse") == nil {
		t.Error("a constant in a subgraph, of a graph output or a sparse one")
	}
}

func TestEliminateIdentity(t *testing.T) {
	m := NewModel("g", 13)
	g := m.Graph
	g.AddInput(NewValueInfo("x", Float, FixedDims(2)))
	add := func(op, out string, in ...string) { g.AppendNode(NewNode(op, "", "", in, []string{out})) }
	add("Identity", "a", "x")
	add("Relu", "b", "a")
	add("Dropout", "c", "b")
	add("Identity", "d", "c")
	add("Concat", "e", "d")
	add("Max", "f", "e", "e")
	add("Identity", "y", "f")
	add("Identity", "same", "x")
	g.AddOutput(NewValueInfo("y", Float, nil))
	g.AddOutput(NewValueInfo("same", Float, nil)) // an input cannot be an output by another name
	if count, err := EliminateIdentity(m); count != 5 || err != nil {
		t.Errorf("%d nodes went, %v", count, err)
	}
	if err := Check(m); err != nil {
		t.Error(err)
	}
	if g.NumNodes() != 3 || g.Producer("y").OpType != "Max" || g.Producer("b").Input(0) != "x" {
		t.Errorf("%d nodes are left", g.NumNodes())
	}
	train := NewModel("g", 13)
	train.Graph.AddInput(NewValueInfo("x", Float, nil))
	train.Graph.AddInput(NewValueInfo("on", Bool, nil))
	train.Graph.AppendNode(NewNode("Dropout", "", "", []string{"x", "", "on"}, []string{"d"}))
	train.Graph.AppendNode(NewNode("Relu", "", "", []string{"d"}, []string{"y"}))
	train.Graph.AddOutput(NewValueInfo("y", Float, nil))
	if count, _ := EliminateIdentity(train); count != 0 {
		t.Error("a Dropout that may train went")
	}
}
