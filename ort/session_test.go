package ort

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

func TestDigitsBytesAndFileAgree(t *testing.T) {
	needLibrary(t)
	model, err := os.ReadFile(digits(t))
	if err != nil {
		t.Fatal(err)
	}
	fromBytes := open1(t, model, Options{Threads: 1})
	fromFile, err := NewSessionFile(digits(t), Options{Threads: 1, Optimize: true, Arena: true, Prepack: true})
	if err != nil {
		t.Fatal(err)
	}
	defer fromFile.Close()
	in := fromBytes.Inputs()
	if len(in) != 1 || in[0].DType != tensor.F32 || !reflect.DeepEqual(in[0].Shape[1:], []int64{1, 28, 28}) {
		t.Fatalf("inputs %v", in)
	}
	x := make([]float32, 2*28*28)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range x {
		x[i] = r.Float32()
	}
	feed := map[string]tensor.Tensor{in[0].Name: floats([]int64{2, 1, 28, 28}, x...)}
	name := fromBytes.Outputs()[0].Name
	a, err := fromBytes.Run(feed, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := fromFile.Run(feed, []string{name})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a[name].Shape, []int64{2, 10}) || !reflect.DeepEqual(b[name].Shape, []int64{2, 10}) {
		t.Fatalf("shapes %v %v", a[name].Shape, b[name].Shape)
	}
	va, _ := tensor.View[float32](a[name])
	vb, _ := tensor.View[float32](b[name])
	for i := range va {
		if d := va[i] - vb[i]; d > 1e-4 || d < -1e-4 {
			t.Fatalf("element %d: %g and %g", i, va[i], vb[i])
		}
	}
}

// TestOutputKinds covers what the binding alone cannot return: element types without
// a Go type, scalars, outputs whose type or rank the model does not state.
func TestOutputKinds(t *testing.T) {
	needLibrary(t)
	x := vi{"x", 1, []int64{-1, 2}}
	sum := func(opset uint64) []byte {
		if opset < 13 {
			return node("ReduceSum", []string{"x"}, "y", intAttr("keepdims", 0))
		}
		return node("ReduceSum", []string{"x"}, "y", intAttr("keepdims", 0))
	}
	cast := func(to uint64) []byte { return node("Cast", []string{"x"}, "y", intAttr("to", to)) }
	feed := map[string]tensor.Tensor{"x": floats([]int64{2, 2}, 1, -2, 0.5, 4)}
	for _, c := range []struct {
		name  string
		opset uint64
		out   vi
		nodes [][]byte
		dtype tensor.DType
		shape []int64
		want  []float32
	}{
		{"half", 13, vi{"y", 10, []int64{-1, 2}}, [][]byte{cast(10)}, tensor.F16, []int64{2, 2}, []float32{1, -2, 0.5, 4}},
		{"bfloat16", 13, vi{"y", 16, []int64{-1, 2}}, [][]byte{cast(16)}, tensor.BF16, []int64{2, 2}, []float32{1, -2, 0.5, 4}},
		{"half of unknown rank", 13, vi{"y", 10, nil}, [][]byte{cast(10)}, tensor.F16, []int64{2, 2}, []float32{1, -2, 0.5, 4}},
		{"half of unknown type", 13, vi{"y", 0, nil}, [][]byte{cast(10)}, tensor.F16, []int64{2, 2}, []float32{1, -2, 0.5, 4}},
		{"fp8", 19, vi{"y", 17, []int64{-1, 2}}, [][]byte{cast(17)}, tensor.F8E4M3, []int64{2, 2}, []float32{1, -2, 0.5, 4}},
		{"fp8 e5m2", 19, vi{"y", 19, []int64{-1, 2}}, [][]byte{cast(19)}, tensor.F8E5M2, []int64{2, 2}, []float32{1, -2, 0.5, 4}},
		{"int4", 21, vi{"y", 22, []int64{-1, 2}}, [][]byte{cast(22)}, tensor.I4, []int64{2, 2}, []float32{1, -2, 1, 4}},
		{"bool", 13, vi{"y", 9, []int64{-1, 2}}, [][]byte{cast(9)}, tensor.Bool, []int64{2, 2}, []float32{1, 1, 1, 1}},
		{"int64", 13, vi{"y", 7, []int64{-1, 2}}, [][]byte{cast(7)}, tensor.I64, []int64{2, 2}, []float32{1, -2, 0, 4}},
		{"double", 13, vi{"y", 11, []int64{-1, 2}}, [][]byte{cast(11)}, tensor.F64, []int64{2, 2}, []float32{1, -2, 0.5, 4}},
		{"scalar", 13, vi{"y", 1, []int64{}}, [][]byte{sum(13)}, tensor.F32, []int64{}, []float32{3.5}},
		{"scalar, old opset", 11, vi{"y", 1, []int64{}}, [][]byte{sum(11)}, tensor.F32, []int64{}, []float32{3.5}},
		{"scalar of unknown rank", 13, vi{"y", 1, nil}, [][]byte{sum(13)}, tensor.F32, []int64{}, []float32{3.5}},
		{"scalar of unknown type", 13, vi{"y", 0, nil}, [][]byte{sum(13)}, tensor.F32, []int64{}, []float32{3.5}},
		{"half scalar", 13, vi{"z", 10, []int64{}}, [][]byte{sum(13), node("Cast", []string{"y"}, "z", intAttr("to", 10))}, tensor.F16, []int64{}, []float32{3.5}},
		{"the input itself", 13, vi{"y", 1, []int64{-1, 2}}, [][]byte{node("Identity", []string{"x"}, "y", nil)}, tensor.F32, []int64{2, 2}, []float32{1, -2, 0.5, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			model := build(c.opset, []vi{x}, []vi{c.out}, c.nodes...)
			before := bytes.Clone(model)
			file := filepath.Join(t.TempDir(), "m.onnx")
			if err := os.WriteFile(file, model, 0o600); err != nil {
				t.Fatal(err)
			}
			s := open1(t, model, Options{Threads: 1})
			f, err := NewSessionFile(file, Options{Threads: 1, Optimize: true})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, s := range []*Session{s, f} {
				out, err := s.Run(feed, nil)
				if err != nil {
					t.Fatal(err)
				}
				check(t, out[c.out.name], c.dtype, c.shape, c.want)
				b, err := s.Bind(feed)
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					if err := b.Run(); err != nil {
						t.Fatal(err)
					}
				}
				if err := errors.Join(b.Close(), b.Close()); err != nil {
					t.Fatal(err)
				}
				if err := b.Run(); err == nil {
					t.Fatal("a closed binding ran")
				}
			}
			if !bytes.Equal(before, model) {
				t.Fatal("the caller's model was changed")
			}
		})
	}
}

func check(t *testing.T, got tensor.Tensor, d tensor.DType, shape []int64, want []float32) {
	t.Helper()
	if got.DType != d || fmt.Sprint(got.Shape) != fmt.Sprint(shape) {
		t.Fatalf("got %s %v, want %s %v", got.DType, got.Shape, d, shape)
	}
	v, err := tensor.ToFloat32(got)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(v, want) {
		t.Fatalf("got %v, want %v", v, want)
	}
}

func TestInputKinds(t *testing.T) {
	needLibrary(t)
	// The shape of x says nothing, so that scalars, empty and unaligned tensors reach the engine.
	model := func(element uint64) []byte {
		return build(13, []vi{{"x", element, nil}}, []vi{{"y", 1, nil}}, node("Cast", []string{"x"}, "y", intAttr("to", 1)))
	}
	raw := append([]byte{0}, floats(nil, 1, 2).Data...)
	for _, c := range []struct {
		name    string
		element uint64
		in      tensor.Tensor
		want    []float32
	}{
		{"scalar", 1, floats([]int64{}, 7), []float32{7}},
		{"scalar int64", 7, tensor.Of([]int64{}, []int64{-3}), []float32{-3}},
		{"empty", 1, floats([]int64{0, 3}), []float32{}},
		{"unaligned", 1, tensor.Tensor{DType: tensor.F32, Shape: []int64{2}, Data: raw[1:]}, []float32{1, 2}},
		{"bool", 9, tensor.Tensor{DType: tensor.Bool, Shape: []int64{2}, Data: []byte{1, 0}}, []float32{1, 0}},
		{"uint8", 2, tensor.Of([]int64{2}, []uint8{255, 3}), []float32{255, 3}},
		{"half", 10, tensor.Tensor{DType: tensor.F16, Shape: []int64{2}, Data: []byte{0x00, 0x3c, 0x00, 0xc0}}, []float32{1, -2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := open1(t, model(c.element), Options{Threads: 1}).Run(map[string]tensor.Tensor{"x": c.in}, nil)
			if err != nil {
				t.Fatal(err)
			}
			check(t, out["y"], tensor.F32, c.in.Shape, c.want)
		})
	}
}

func TestWrongInputs(t *testing.T) {
	needLibrary(t)
	s := open1(t, build(13, []vi{{"x", 1, []int64{-1, 2}}}, []vi{{"y", 1, []int64{-1, 2}}}, node("Relu", []string{"x"}, "y", nil)), Options{Threads: 1})
	good := floats([]int64{1, 2}, 1, 2)
	for _, c := range []struct {
		name string
		in   map[string]tensor.Tensor
		want string
	}{
		{"missing", map[string]tensor.Tensor{"z": good}, `input "x": it is missing; given are "z"`},
		{"nothing", nil, `input "x": it is missing; given are none`},
		{"surplus", map[string]tensor.Tensor{"x": good, "z": good}, `input "z": the model has no such input; it has "x"`},
		{"type", map[string]tensor.Tensor{"x": tensor.Of([]int64{1, 2}, []uint8{1, 2})}, "the model takes F32, but U8 was given"},
		{"shape", map[string]tensor.Tensor{"x": floats([]int64{1, 3}, 1, 2, 3)}, "the model takes shape [-1 2] (-1: any), but [1 3] was given"},
		{"rank", map[string]tensor.Tensor{"x": floats([]int64{2}, 1, 2)}, "but [2] was given"},
		{"bytes", map[string]tensor.Tensor{"x": {DType: tensor.F32, Shape: []int64{1, 2}, Data: []byte{1}}}, "takes 8 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Run(c.in, nil)
			var ie *InputError
			if !errors.As(err, &ie) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := s.Run(map[string]tensor.Tensor{"x": good}, []string{"q"}); err == nil || !strings.Contains(err.Error(), `no output "q"; it computes "y"`) {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(map[string]tensor.Tensor{"x": good}, nil); !errors.Is(err, errClosed) {
		t.Fatal(err)
	}
}

func TestBadModels(t *testing.T) {
	needLibrary(t)
	whole, err := os.ReadFile(digits(t))
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 4096)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	x, y := []vi{{"x", 1, []int64{2}}}, []vi{{"y", 1, []int64{2}}}
	two := []vi{{"x", 1, []int64{2, 3}}, {"b", 1, []int64{2, 4}}}
	custom := append(node("Mystery", []string{"x"}, "y", nil), field(nil, 7, []byte("acme"))...)
	for _, c := range []struct {
		name  string
		model []byte
		want  string
	}{
		{"empty", nil, "the model is empty"},
		{"truncated", whole[:len(whole)/2], "not a whole ONNX model"},
		{"random", random, "not a whole ONNX model"},
		{"text", []byte("<html>404 Not Found</html>"), "not a whole ONNX model"},
		{"no graph", []byte{8, 8}, "it holds no graph"},
		{"no inputs", build(13, nil, y, node("Relu", []string{"x"}, "y", nil)), "no inputs"},
		{"no outputs", build(13, x, nil, node("Relu", []string{"x"}, "y", nil)), "no outputs"},
		{"unknown operator", build(13, x, y, node("Mystery", []string{"x"}, "y", nil)), "Mystery"},
		{"custom domain", build(13, x, y, custom), "Mystery"},
		{"dangling input", build(13, x, y, node("Relu", []string{"nothing"}, "y", nil)), "nothing"},
		{"strings", build(13, []vi{{"x", 8, []int64{2}}}, []vi{{"y", 8, []int64{2}}}, node("Identity", []string{"x"}, "y", nil)), "holds strings"},
		{"type clash", build(13, x, y, node("MatMul", []string{"x", "x"}, "t", nil), node("And", []string{"t", "x"}, "y", nil)), "And"},
		{"operator of a later opset", build(13, two, y, node("DeformConv", []string{"x", "b", "b"}, "y", nil)), "DeformConv"},
		{"no kernel", build(13, []vi{{"x", 16, []int64{2}}}, []vi{{"y", 16, []int64{2}}}, node("Sin", []string{"x"}, "y", nil)), "Sin"},
		{"no kernel for the type", build(14, []vi{{"x", 16, []int64{2}}}, []vi{{"y", 16, []int64{2}}}, node("Add", []string{"x", "x"}, "y", nil)), `at node "y" (Add(14))`},
		{"future opset", build(999, x, y, node("Relu", []string{"x"}, "y", nil)), "opset"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewSession(c.model, Options{Threads: 1})
			oneLine(t, err, c.want)
			file := filepath.Join(t.TempDir(), "m.onnx")
			if err := os.WriteFile(file, c.model, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = NewSessionFile(file, Options{Threads: 1})
			oneLine(t, err, c.want)
		})
	}
	_, err = NewSessionFile(filepath.Join(t.TempDir(), "none.onnx"), Options{})
	oneLine(t, err, "none.onnx")
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	_, err = NewSessionFile(t.TempDir(), Options{})
	oneLine(t, err, "is not a file")
	_, err = NewSession(whole, Options{Threads: -1})
	oneLine(t, err, "threads")
	_, err = NewSession(whole, Options{Outputs: []string{"nope"}})
	oneLine(t, err, `no output "nope"; it has`)
}

func oneLine(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	t.Log(err)
	msg := err.Error()
	if !strings.Contains(msg, want) {
		t.Fatalf("%q does not say %q", msg, want)
	}
	for _, bad := range []string{"\n", "\x1b", "onnxruntime::", "/onnxruntime_src", ".cc:"} {
		if strings.Contains(msg, bad) {
			t.Fatalf("%q contains %q", msg, bad)
		}
	}
}

func TestRunError(t *testing.T) {
	needLibrary(t)
	model := build(13, []vi{{"x", 1, []int64{-1}}, {"z", 1, []int64{-1}}}, []vi{{"y", 1, []int64{-1}}}, node("Add", []string{"x", "z"}, "y", nil))
	s := open1(t, model, Options{Threads: 1})
	_, err := s.Run(map[string]tensor.Tensor{"x": floats([]int64{2}, 1, 2), "z": floats([]int64{3}, 1, 2, 3)}, nil)
	oneLine(t, err, `at node "y" (Add)`)
}

func TestOptimizedModel(t *testing.T) {
	needLibrary(t)
	to := filepath.Join(t.TempDir(), "optimized.onnx")
	s, err := NewSessionFile(digits(t), Options{Threads: 1, Optimize: true, OptimizedModelPath: to})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st, err := os.Stat(to); err != nil || st.Size() < 1000 {
		t.Fatal(st, err)
	}
}

func TestSelectedOutputs(t *testing.T) {
	needLibrary(t)
	model := build(13, []vi{{"x", 1, []int64{2}}}, []vi{{"a", 1, []int64{2}}, {"b", 1, []int64{2}}},
		node("Neg", []string{"x"}, "a", nil), node("Abs", []string{"a"}, "b", nil))
	feed := map[string]tensor.Tensor{"x": floats([]int64{2}, 1, 2)}
	s := open1(t, model, Options{Threads: 1, Outputs: []string{"b"}})
	out, err := s.Run(feed, nil)
	if err != nil || len(out) != 1 {
		t.Fatal(out, err)
	}
	check(t, out["b"], tensor.F32, []int64{2}, []float32{1, 2})
	out, err = open1(t, model, Options{Threads: 1}).Run(feed, []string{"a"})
	if err != nil || len(out) != 1 {
		t.Fatal(out, err)
	}
	check(t, out["a"], tensor.F32, []int64{2}, []float32{-1, -2})
}
