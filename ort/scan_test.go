package ort

import (
	"bytes"
	"encoding/binary"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/tensor"
)

func TestScanDigits(t *testing.T) {
	b, err := os.ReadFile(digits(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := scanSignature(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.inputs) != 1 || len(s.outputs) != 1 || s.opset < 7 || len(s.initialized) < 9 {
		t.Fatalf("%+v", s)
	}
	if got := s.outputs[0].Info; !reflect.DeepEqual(got, Info{"logits", tensor.F32, []int64{-1, 10}, []string{"N", ""}}) {
		t.Fatalf("%+v", got)
	}
	for n := range b {
		// Whatever the cut, nothing panics; only the graph's own end can pass unseen.
		if n < len(b)-64 && n%997 != 0 {
			continue
		}
		_, _ = scanSignature(bytes.NewReader(b[:n]), int64(n))
	}
}

func TestScanMergesAndSkips(t *testing.T) {
	m := build(13, []vi{{"x", 1, []int64{-1, 0, 3}}, {"w", 1, nil}}, []vi{{"y", 10, []int64{}}})
	// A later graph field adds to the first, as protobuf defines it.
	m = field(m, 7, field(field(nil, 5, field(nil, 8, []byte("w"))), 12, vi{"z", 0, nil}.encode()))
	s, err := scanSignature(bytes.NewReader(m), int64(len(m)))
	if err != nil {
		t.Fatal(err)
	}
	if !s.initialized["w"] || len(s.outputs) != 2 || s.outputs[1].element != 0 || s.outputs[1].ranked {
		t.Fatalf("%+v", s)
	}
	if !s.outputs[0].ranked || s.outputs[0].DType != tensor.F16 || !reflect.DeepEqual(s.inputs[0].Shape, []int64{-1, -1, 3}) {
		t.Fatalf("%+v", s)
	}
}

// A file of nothing but empty values, or empty axes, must not take a hundred times its size.
func TestScanBounds(t *testing.T) {
	field := func(num byte, b []byte) []byte {
		return append(binary.AppendUvarint([]byte{num<<3 | 2}, uint64(len(b))), b...)
	}
	axes := field(2, field(1, field(2, bytes.Repeat([]byte{1<<3 | 2, 0}, 300_000))))
	for name, graph := range map[string][]byte{
		"inputs and outputs": bytes.Repeat([]byte{11<<3 | 2, 0, 12<<3 | 2, 0}, 300_000),
		"axes":               field(11, axes),
	} {
		b := field(7, graph)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := scanSignature(bytes.NewReader(b), int64(len(b)))
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
			t.Errorf("%s: %d bytes took %d", name, len(b), got)
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add(build(13, []vi{{"x", 1, []int64{-1, 2}}}, []vi{{"y", 10, nil}}, node("Relu", []string{"x"}, "y", nil)))
	f.Add([]byte{0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add([]byte{8, 8, 0x3a, 0})
	f.Add(bytes.Repeat([]byte{0x3a, 0x7f}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := scanSignature(bytes.NewReader(b), int64(len(b)))
		if (s == nil) == (err == nil) {
			t.Fatal(s, err)
		}
	})
}

func FuzzClean(f *testing.F) {
	f.Add("Error creating C session: Load model from /tmp/m.onnx failed:/onnxruntime_src/onnxruntime/core/graph/model_load_utils.h:56 void onnxruntime::model_load_utils::ValidateOpsetForDomain(const std::unordered_map<std::__cxx11::basic_string<char>, int>&, bool) ONNX Runtime only *guarantees*")
	f.Add("\x1b[1;31mred\x1b[m\nline")
	f.Fuzz(func(t *testing.T, s string) {
		if got := clean(s); bytes.ContainsAny([]byte(got), "\n\r") || len(got) > 700 {
			t.Fatalf("%q", got)
		}
	})
}
