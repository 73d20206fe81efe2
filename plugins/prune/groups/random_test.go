package groups

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/optimize-hcl/optimize/onnx"
)

// network grows a random convolutional network.
type network struct {
	r     *rand.Rand
	m     *onnx.Model
	n     int
	value string
	c     int64 // channels, and the side of the image
	side  int64
	ops   []string
}

func (w *network) name(prefix string) string { w.n++; return fmt.Sprintf("%s%d", prefix, w.n) }

func (w *network) floats(scale float64, shape ...int64) string {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	data := make([]float32, n)
	for i := range data {
		data[i] = float32(scale * w.r.NormFloat64())
	}
	name := w.name("w")
	w.m.Graph.AddInitializer(onnx.NewFloats(name, data, shape...))
	return name
}

func (w *network) positive(shape ...int64) string {
	name := w.floats(1, shape...)
	t, _ := w.m.Graph.Initializer(name).Float32s()
	for i := range t {
		t[i] = float32(math.Abs(float64(t[i])) + 0.1)
	}
	return name
}

func (w *network) ints(v ...int64) string {
	name := w.name("i")
	w.m.Graph.AddInitializer(onnx.NewInt64s(name, v, int64(len(v))))
	return name
}

func (w *network) op(op string, in []string, attrs ...*onnx.Attribute) string {
	out := w.name("v")
	w.m.Graph.AppendNode(onnx.NewNode(op, "", w.name(op), in, []string{out}, attrs...))
	return out
}

func (w *network) ops2(op string, in []string, n int, attrs ...*onnx.Attribute) []string {
	var outs []string
	for range n {
		outs = append(outs, w.name("v"))
	}
	w.m.Graph.AppendNode(onnx.NewNode(op, "", w.name(op), in, outs, attrs...))
	return outs
}

// conv makes out channels of x, which has c.
func (w *network) conv(x string, c, out, group, kernel int64) string {
	scale := 1 / math.Sqrt(float64(c/group*kernel*kernel))
	return w.op("Conv", []string{x, w.floats(scale, out, c/group, kernel, kernel), w.floats(0.1, out)},
		onnx.IntAttr("group", group), onnx.IntsAttr("pads", kernel/2, kernel/2, kernel/2, kernel/2))
}

var pieces = map[string]func(*network){
	"conv": func(w *network) {
		out := []int64{8, 12, 16, 24}[w.r.IntN(4)]
		w.value = w.conv(w.value, w.c, out, 1, []int64{1, 3}[w.r.IntN(2)])
		w.c = out
	},
	"norm": func(w *network) {
		w.value = w.op("BatchNormalization", []string{w.value, w.floats(1, w.c), w.floats(1, w.c), w.floats(1, w.c), w.positive(w.c)})
	},
	"relu":  func(w *network) { w.value = w.op("Relu", []string{w.value}) },
	"clip":  func(w *network) { w.value = w.op("Clip", []string{w.value, w.scalar(-1), w.scalar(2)}) },
	"prelu": func(w *network) { w.value = w.op("PRelu", []string{w.value, w.floats(1, w.c, 1, 1)}) },
	"bias":  func(w *network) { w.value = w.op("Add", []string{w.floats(1, 1, w.c, 1, 1), w.value}) },
	"instance": func(w *network) {
		w.value = w.op("InstanceNormalization", []string{w.value, w.floats(1, w.c), w.floats(1, w.c)})
	},
	"group norm": func(w *network) {
		x := w.op("Reshape", []string{w.value, w.ints(0, 4, -1)})
		x = w.op("InstanceNormalization", []string{x, w.floats(1, 4), w.floats(1, 4)})
		w.value = w.op("Reshape", []string{x, w.ints(2, w.c, w.side, w.side)})
	},
	"residual": func(w *network) {
		x := w.conv(w.op("Relu", []string{w.conv(w.value, w.c, 8, 1, 1)}), 8, w.c, 1, 3)
		w.value = w.op("Add", []string{x, w.value})
	},
	"dense": func(w *network) {
		x := w.conv(w.value, w.c, 8, 1, 3)
		w.value = w.op("Concat", []string{w.value, x}, onnx.IntAttr("axis", 1))
		w.c += 8
	},
	"branches": func(w *network) {
		a, b := w.conv(w.value, w.c, 8, 1, 1), w.conv(w.value, w.c, 12, 1, 3)
		p := w.op("MaxPool", []string{w.value}, onnx.IntsAttr("kernel_shape", 3, 3), onnx.IntsAttr("pads", 1, 1, 1, 1))
		w.value = w.op("Concat", []string{a, p, b}, onnx.IntAttr("axis", -3))
		w.c += 20
	},
	"split": func(w *network) {
		a := w.c / 4
		outs := w.ops2("Split", []string{w.value, w.ints(a, w.c-a)}, 2, onnx.IntAttr("axis", 1))
		x := w.conv(outs[0], a, a, 1, 3)
		w.value = w.op("Concat", []string{outs[1], w.op("Mul", []string{x, outs[0]})}, onnx.IntAttr("axis", 1))
	},
	"gate": func(w *network) {
		outs := w.ops2("Split", []string{w.value}, 2, onnx.IntAttr("axis", 1))
		w.value = w.op("Mul", []string{outs[0], w.op("Sigmoid", outs[1:])})
		w.c /= 2
	},
	"slice": func(w *network) {
		w.value = w.op("Slice", []string{w.value, w.ints(2), w.ints(math.MaxInt64), w.ints(1)})
		w.c -= 2
	},
	"gather": func(w *network) {
		var perm []int64
		for _, i := range w.r.Perm(int(w.c)) {
			perm = append(perm, int64(i)-w.c*int64(i%2))
		}
		w.value = w.op("Gather", []string{w.value, w.ints(perm...)}, onnx.IntAttr("axis", 1))
	},
	"pad channels": func(w *network) {
		w.value = w.op("Pad", []string{w.value, w.ints(0, 1, 0, 0, 0, 3, 0, 0)})
		w.c += 4
	},
	"padded residual": func(w *network) {
		x := w.conv(w.value, w.c, w.c+4, 1, 3)
		w.value = w.op("Add", []string{x, w.op("Pad", []string{w.value, w.ints(0, 2, 0, 0, 0, 2, 0, 0)})})
		w.c += 4
	},
	"grouped": func(w *network) {
		out := w.c * 2
		w.value = w.conv(w.value, w.c, out, 2, 3)
		w.c = out
	},
	"many groups": func(w *network) {
		x := w.conv(w.value, w.c, 16, 1, 1)
		w.value = w.conv(x, 16, 32, 8, 3)
		w.c = 32
	},
	"depthwise": func(w *network) {
		w.value = w.conv(w.value, w.c, 2*w.c, w.c, 3)
		w.c *= 2
	},
	"shuffle": func(w *network) {
		x := w.conv(w.value, w.c, 16, 1, 1)
		x = w.conv(x, 16, 16, 2, 1)
		x = w.op("Reshape", []string{x, w.ints(2, 2, 8, w.side, w.side)})
		x = w.op("Transpose", []string{x}, onnx.IntsAttr("perm", 0, 2, 1, 3, 4))
		x = w.op("Reshape", []string{x, w.ints(2, -1, w.side, w.side)})
		w.value = w.conv(x, 16, 16, 2, 3)
		w.c = 16
	},
	"squeeze and excite": func(w *network) {
		x := w.op("ReduceMean", []string{w.value}, onnx.IntsAttr("axes", 2, 3))
		x = w.op("Relu", []string{w.conv(x, w.c, 4, 1, 1)})
		x = w.op("HardSigmoid", []string{w.conv(x, 4, w.c, 1, 1)})
		w.value = w.op("Mul", []string{w.value, x})
	},
	"excite with linear layers": func(w *network) {
		x := w.op("Flatten", []string{w.op("GlobalAveragePool", []string{w.value})})
		x = w.op("Relu", []string{w.op("Gemm", []string{x, w.floats(0.3, 6, w.c), w.floats(0.1, 6)}, onnx.IntAttr("transB", 1))})
		x = w.op("Sigmoid", []string{w.op("MatMul", []string{x, w.floats(0.3, 6, w.c)})})
		w.value = w.op("Mul", []string{w.op("Unsqueeze", []string{x, w.ints(2, 3)}), w.value})
	},
	"sum of squares": func(w *network) {
		x := w.op("Sqrt", []string{w.op("Add", []string{w.op("ReduceSum", []string{w.op("Mul", []string{w.value, w.value}), w.ints(1)}), w.scalar(1)})})
		w.value = w.op("Div", []string{w.conv(w.value, w.c, w.c, 1, 1), x})
	},
	"up and down": func(w *network) {
		x := w.op("ConvTranspose", []string{w.value, w.floats(0.2, w.c, 8, 2, 2), w.floats(0.1, 8)}, onnx.IntsAttr("strides", 2, 2))
		x = w.op("SpaceToDepth", []string{x}, onnx.IntAttr("blocksize", 2))
		w.value = x
		w.c = 32
	},
	"grouped transpose": func(w *network) {
		x := w.conv(w.value, w.c, 8, 1, 1)
		w.value = w.op("ConvTranspose", []string{x, w.floats(0.3, 8, 3, 1, 1)}, onnx.IntAttr("group", []int64{2, 4, 8}[w.r.IntN(3)]))
		w.c = w.channels()
	},
	"pixel shuffle": func(w *network) {
		x := w.conv(w.value, w.c, 32, 1, 1)
		x = w.op("DepthToSpace", []string{x}, onnx.IntAttr("blocksize", 2), onnx.StringAttr("mode", []string{"DCR", "CRD"}[w.r.IntN(2)]))
		w.value = w.op("AveragePool", []string{x}, onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("strides", 2, 2))
		w.c = 8
	},
	"resize": func(w *network) {
		x := w.op("Resize", []string{w.value, "", "", w.ints(2, w.c, 2*w.side, 2*w.side)}, onnx.StringAttr("mode", "nearest"))
		w.value = w.op("MaxPool", []string{x}, onnx.IntsAttr("kernel_shape", 2, 2), onnx.IntsAttr("strides", 2, 2))
	},
	"tokens": func(w *network) {
		x := w.op("Transpose", []string{w.op("Reshape", []string{w.value, w.ints(0, 0, -1)})}, onnx.IntsAttr("perm", 0, 2, 1))
		x = w.op("MatMul", []string{x, w.floats(0.3, w.c, 20)})
		x = w.op("Add", []string{x, w.floats(1, 20)})
		x = w.op("Transpose", []string{x}, onnx.IntsAttr("perm", 0, 2, 1))
		w.value = w.op("Reshape", []string{x, w.ints(2, 20, w.side, w.side)})
		w.c = 20
	},
	"einsum": func(w *network) {
		w.value = w.op("Einsum", []string{w.value, w.floats(0.3, w.c, 12)}, onnx.StringAttr("equation", "nchw,cd->ndhw"))
		w.c = 12
	},
	"expanded": func(w *network) {
		x := w.op("Expand", []string{w.floats(1, 1, 1, w.side, w.side), w.ints(2, w.c, w.side, w.side)})
		w.value = w.op("Add", []string{w.value, x})
	},
	"tiled": func(w *network) {
		w.value = w.op("Tile", []string{w.value, w.ints(1, 2, 1, 1)})
		w.c *= 2
	},
}

func (w *network) scalar(x float32) string {
	name := w.name("s")
	w.m.Graph.AddInitializer(onnx.NewFloats(name, []float32{x}))
	return name
}

// channels of the last value, where a piece does not tell.
func (w *network) channels() int64 {
	t := w.m.Graph.Producer(w.value)
	weight := w.m.Graph.Initializer(t.Input(1))
	return weight.Dims[1] * t.IntAttr("group", 1)
}

func grow(r *rand.Rand, want []string, n int) *network {
	w := &network{r: r, m: onnx.NewModel("random", 13), c: 3, side: 6, value: "x"}
	w.m.Graph.AddInput(onnx.NewValueInfo("x", onnx.Float, onnx.FixedDims(2, 3, 6, 6)))
	w.add("conv")
	for _, p := range want {
		w.add(p)
	}
	names := names()
	for range n {
		w.add(names[r.IntN(len(names))])
	}
	switch r.IntN(3) {
	case 0:
		w.value = w.op("Flatten", []string{w.value})
		w.value = w.op("Gemm", []string{w.value, w.floats(0.05, w.c*w.side*w.side, 5), w.floats(0.1, 5)})
		w.m.Graph.AddOutput(onnx.NewValueInfo(w.value, onnx.Float, onnx.FixedDims(2, 5)))
	case 1:
		w.value = w.op("ReduceSum", []string{w.value, w.ints(1)})
		w.m.Graph.AddOutput(onnx.NewValueInfo(w.value, onnx.Float, onnx.FixedDims(2, 1, 6, 6)))
	default:
		w.value = w.conv(w.value, w.c, 4, 1, 1)
		w.m.Graph.AddOutput(onnx.NewValueInfo(w.value, onnx.Float, onnx.FixedDims(2, 4, 6, 6)))
	}
	return w
}

func (w *network) add(piece string) {
	if w.c%8 != 0 && (piece == "group norm" || piece == "grouped" || piece == "gate" || piece == "split") || w.c > 64 {
		w.ops = append(w.ops, "conv")
		pieces["conv"](w)
		if w.c%8 != 0 {
			w.value = w.conv(w.value, w.c, 16, 1, 1)
			w.c = 16
		}
	}
	w.ops = append(w.ops, piece)
	pieces[piece](w)
}

func names() []string {
	var out []string
	for n := range pieces {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// TestEachPiece prunes a small network of each kind of piece: something of it must leave.
func TestEachPiece(t *testing.T) {
	needRuntime(t)
	for i, p := range names() {
		t.Run(p, func(t *testing.T) {
			w := grow(rand.New(rand.NewPCG(uint64(i), 7)), []string{p, "relu", "conv"}, 0)
			b, err := w.m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			a := analyzed(t, b)
			for _, l := range a.Left {
				if n := l.Node.OpType; l.Stay == l.Channels && len(w.m.Graph.Consumers(l.Node.Output(0))) > 0 && n != "Gemm" {
					t.Log(l)
				}
			}
			if n := agrees(t, b, uint64(i), 0.5, 1e-4); n < 6 {
				t.Errorf("%d units left only", n)
			}
		})
	}
}

// TestRandomNetworks is the proof that removal is right: what is pruned computes what the original does with the same
// channels masked by zero.
func TestRandomNetworks(t *testing.T) {
	needRuntime(t)
	n := 60
	if testing.Short() {
		n = 10
	}
	units := 0
	for seed := range uint64(n) { //nolint:gosec // a count
		r := rand.New(rand.NewPCG(seed, 3))
		w := grow(r, nil, 8)
		b, err := w.m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Log(w.ops)
				}
			}()
			units += agrees(t, b, seed, 0.2+0.6*r.Float64(), 1e-4)
		})
	}
	if units < 20*n {
		t.Errorf("%d units left in %d networks: the test shows little", units, n)
	}
}
