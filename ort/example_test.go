package ort_test

import (
	"context"
	"fmt"
	"log"

	"github.com/optimize-hcl/optimize/ort"
	"github.com/optimize-hcl/optimize/tensor"
)

// A model is loaded and run; Find says where it looked when there is no library.
func Example() {
	lib, err := ort.Find()
	if err != nil {
		log.Fatal(err)
	}
	if err := ort.Load(lib); err != nil {
		log.Fatal(err)
	}
	s, err := ort.NewSessionFile("model.onnx", ort.Options{Optimize: true, Arena: true, Prepack: true})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(map[string]tensor.Tensor{"x": tensor.Of([]int64{1, 2}, []float32{1, 2})}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out["y"].Shape)
}

// The values inside a model are read with 64 MiB held for them at most.
func ExampleNewTaps() {
	var model []byte // an ONNX model
	taps, err := ort.NewTaps(model, []string{"conv1", "conv2"}, ort.TapOptions{Memory: 64 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer taps.Close()
	batch := func(i int) (map[string]tensor.Tensor, error) {
		return map[string]tensor.Tensor{"x": tensor.Of([]int64{1, 2}, []float32{float32(i), 2})}, nil
	}
	err = taps.Run(context.Background(), 10, batch, func(i int, value string, x tensor.Tensor) error {
		fmt.Println(i, value, x.Shape)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
}

// What the engine spends its time on, by operator.
func ExampleProfileFile() {
	in := map[string]tensor.Tensor{"x": tensor.Of([]int64{1, 2}, []float32{1, 2})}
	p, err := ort.ProfileFile("model.onnx", ort.Options{Optimize: true}, in, 5, 50)
	if err != nil {
		log.Fatal(err)
	}
	for _, o := range p.ByOp() {
		fmt.Printf("%s on %s: %.0f %%\n", o.Op, o.Provider, 100*o.Share)
	}
}

// A model runs on an Intel GPU, and not partly on the CPU in silence.
func ExampleOpenVINO() {
	s, err := ort.NewSessionFile("model.onnx", ort.Options{Providers: []ort.Provider{ort.OpenVINO{Device: "GPU"}}, NoFallback: true})
	if err != nil {
		log.Fatal(err) // names the providers that the library has
	}
	defer s.Close()
}
