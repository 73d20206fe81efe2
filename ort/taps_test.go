package ort

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/optimize-hcl/optimize/tensor"
)

// tapped is a model with values of every awkward kind inside, none of whose types it states.
func tapped() []byte {
	return build(13, []vi{{"x", 1, []int64{-1, 4}}}, []vi{{"y", 1, []int64{-1, 4}}},
		node("Neg", []string{"x"}, "neg", nil),
		node("Cast", []string{"neg"}, "half", intAttr("to", 10)),
		node("ReduceSum", []string{"neg"}, "scalar", intAttr("keepdims", 0)),
		node("Shape", []string{"x"}, "ints", nil),
		node("NonZero", []string{"neg"}, "found", nil),
		node("Abs", []string{"neg"}, "y", nil))
}

func batches(n int) func(int) (map[string]tensor.Tensor, error) {
	return func(i int) (map[string]tensor.Tensor, error) {
		x := make([]float32, 4*n)
		for j := range x {
			x[j] = float32((i + 1) * (j % 3))
		}
		return map[string]tensor.Tensor{"x": floats([]int64{int64(n), 4}, x...)}, nil
	}
}

func TestTaps(t *testing.T) {
	needLibrary(t)
	all := []string{"y", "half", "x", "scalar", "ints", "found", "neg"}
	run := func(memory int64) (groups [][]string, got map[string][]float32, order []string) {
		t.Helper()
		taps, err := NewTaps(tapped(), all, TapOptions{Memory: memory, Session: Options{Threads: 1, Optimize: true}})
		if err != nil {
			t.Fatal(err)
		}
		defer taps.Close()
		got = map[string][]float32{}
		for range 2 { // a second pass gives the same
			order = nil
			err = taps.Run(t.Context(), 2, batches(2), func(i int, v string, x tensor.Tensor) error {
				order = append(order, fmt.Sprint(v, i))
				if x.DType == tensor.I64 {
					ints, err := tensor.View[int64](x)
					for _, n := range ints {
						got[v] = append(got[v], float32(n))
					}
					return err
				}
				f, err := tensor.ToFloat32(x)
				got[v] = append(got[v], f...)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		groups, err = taps.Groups()
		if err != nil {
			t.Fatal(err)
		}
		return groups, got, order
	}
	one, got, order := run(0)
	if len(one) != 1 || !slices.Equal(order, []string{"y0", "half0", "x0", "scalar0", "ints0", "found0", "neg0", "y1", "half1", "x1", "scalar1", "ints1", "found1", "neg1"}) {
		t.Fatal(one, order)
	}
	if want := []float32{0, -1, -2, 0, -1, -2, 0, -1}; !slices.Equal(got["neg"][:8], want) || !slices.Equal(got["half"][:8], want) {
		t.Fatal(got)
	}
	if !slices.Equal(got["scalar"][:2], []float32{-7, -14}) || !slices.Equal(got["ints"][:2], []float32{2, 4}) || !slices.Equal(got["y"][8:11], []float32{0, 2, 4}) {
		t.Fatal(got)
	}
	// "found" takes 5 pairs of int64 in a batch: 80 bytes, so 160 at least.
	many, again, _ := run(160)
	if len(many) < 3 || !reflect.DeepEqual(got, again) {
		t.Fatal(many, again)
	}
	same, _, _ := run(160)
	if !reflect.DeepEqual(many, same) {
		t.Fatal("the groups change from run to run")
	}
}

func TestTapsRefuse(t *testing.T) {
	needLibrary(t)
	weights := field(tapped(), 7, field(nil, 5, field(nil, 8, []byte("w"))))
	for _, c := range []struct {
		values []string
		o      TapOptions
		want   string
	}{
		{[]string{"nothing"}, TapOptions{}, `no node of the model's graph makes a value "nothing"`},
		{[]string{"w"}, TapOptions{}, "is a weight"},
		{[]string{"y", "y"}, TapOptions{}, "twice"},
		{[]string{""}, TapOptions{}, "without a name"},
		{[]string{"y"}, TapOptions{Memory: -1}, "0 or more"},
		{[]string{"y"}, TapOptions{Session: Options{ProfilePath: "p"}}, "in parts"},
	} {
		_, err := NewTaps(weights, c.values, c.o)
		oneLine(t, err, c.want)
	}
	_, err := NewTaps(tapped()[:20], []string{"y"}, TapOptions{})
	oneLine(t, err, "not a whole ONNX model")

	taps, err := NewTaps(tapped(), []string{"y"}, TapOptions{Memory: 63})
	if err != nil {
		t.Fatal(err)
	}
	defer taps.Close()
	none := func(int, string, tensor.Tensor) error { return nil }
	err = taps.Run(t.Context(), 1, batches(2), none)
	var limit *TapLimitError
	if !errors.As(err, &limit) || limit.Value != "y" || limit.Bytes != 32 {
		t.Fatal(err)
	}

	taps, err = NewTaps(tapped(), []string{"y"}, TapOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := taps.Run(t.Context(), 1, batches(2), func(int, string, tensor.Tensor) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if err := taps.Run(t.Context(), 1, func(int) (map[string]tensor.Tensor, error) { return nil, stop }, none); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := taps.Run(ctx, 1, batches(2), none); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := errors.Join(taps.Close(), taps.Close()); err != nil {
		t.Fatal(err)
	}
	if err := taps.Run(t.Context(), 1, batches(2), none); !errors.Is(err, errClosed) {
		t.Fatal(err)
	}
}

// TestTapsOfKinds: what is no tensor, and a value that a branch reads from the outer graph.
func TestTapsOfKinds(t *testing.T) {
	needLibrary(t)
	model := build(13, []vi{{"x", 1, []int64{-1}}}, []vi{{"y", 1, nil}},
		node("SequenceConstruct", []string{"x", "x"}, "seq", nil), node("ConcatFromSequence", []string{"seq"}, "y", intAttr("axis", 0)))
	taps, err := NewTaps(model, []string{"seq"}, TapOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer taps.Close()
	one := func(int) (map[string]tensor.Tensor, error) {
		return map[string]tensor.Tensor{"x": floats([]int64{2}, 1, 2)}, nil
	}
	err = taps.Run(t.Context(), 1, one, nil)
	oneLine(t, err, `"seq"`)

	branch := func(op string) []byte {
		g := field(nil, 1, node(op, []string{"outer"}, "b", nil))
		g = field(g, 2, []byte("branch"))
		return field(g, 12, vi{"b", 1, []int64{-1}}.encode())
	}
	graphAttr := func(name string, g []byte) []byte { return field(attribute(name, 5), 6, g) }
	choice := node("If", []string{"cond"}, "y", graphAttr("then_branch", branch("Neg")))
	choice = field(choice, 5, graphAttr("else_branch", branch("Abs")))
	model = build(13, []vi{{"x", 1, []int64{-1}}}, []vi{{"y", 1, []int64{-1}}},
		node("Exp", []string{"x"}, "unused", nil),
		node("Neg", []string{"x"}, "outer", nil), node("ReduceMax", []string{"x"}, "max", intAttr("keepdims", 0)), node("Cast", []string{"max"}, "cond", intAttr("to", 9)), choice)
	p, err := cut(model)
	if err != nil {
		t.Fatal(err)
	}
	part := p.with([]string{"y"}, nil, [][]byte{valueProto("y", p.types["y"])})
	if strings.Contains(string(part), "unused") || !strings.Contains(string(part), "outer") {
		t.Fatal("the part is not what it needs")
	}
	out, err := open1(t, part, Options{Threads: 1}).Run(map[string]tensor.Tensor{"x": floats([]int64{2}, 1, 2)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	check(t, out["y"], tensor.F32, []int64{2}, []float32{1, 2})
}

// TestTapsEqualOutputs reads each value of a real model in groups and one by one.
func TestTapsEqualOutputs(t *testing.T) {
	needLibrary(t)
	model, err := os.ReadFile(digits(t))
	if err != nil {
		t.Fatal(err)
	}
	p, err := cut(model)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for _, n := range p.nodes {
		values = append(values, n.out...)
	}
	in := map[string]tensor.Tensor{"input": floats([]int64{4, 1, 28, 28}, make([]float32, 4*784)...)}
	x, _ := tensor.View[float32](in["input"])
	for i := range x {
		x[i] = float32(i%255) / 255
	}
	feed := func(int) (map[string]tensor.Tensor, error) { return in, nil }
	collect := func(memory int64) (map[string]tensor.Tensor, int) {
		taps, err := NewTaps(model, values, TapOptions{Memory: memory, Session: Options{Threads: 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer taps.Close()
		got := map[string]tensor.Tensor{}
		if err := taps.Run(t.Context(), 1, feed, func(_ int, v string, x tensor.Tensor) error { got[v] = x; return nil }); err != nil {
			t.Fatal(err)
		}
		g, err := taps.Groups()
		if err != nil {
			t.Fatal(err)
		}
		return got, len(g)
	}
	whole, one := collect(0)
	parts, many := collect(1 << 20)
	if one != 1 || many < 3 || len(whole) != len(values) || !reflect.DeepEqual(whole, parts) {
		t.Fatal(one, many, len(whole))
	}
	out, err := open1(t, model, Options{Threads: 1}).Run(in, nil)
	if err != nil || !reflect.DeepEqual(out["logits"], whole["logits"]) {
		t.Fatal("the tapped output is another", err)
	}
}

func FuzzCut(f *testing.F) {
	f.Add(tapped())
	f.Add([]byte{0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add(protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), []byte{0x0a, 2, 0x2a, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := cut(b)
		if err != nil {
			return
		}
		for v := range p.producer {
			// What is put together can be cut again, and still makes the value.
			q, err := cut(p.with([]string{v}, nil, [][]byte{valueProto(v, p.types[v])}))
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := q.producer[v]; !ok {
				t.Fatalf("value %q is lost", v)
			}
			break
		}
	})
}
