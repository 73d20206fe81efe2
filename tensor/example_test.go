package tensor_test

import (
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"

	"github.com/optimize-hcl/optimize/tensor"
)

// A view is a cast of the bytes, not a copy, and checks type and shape.
func ExampleView() {
	t := tensor.Of([]int64{2, 2}, []float32{1, 2, 3, 4})
	v, err := tensor.View[float32](t)
	fmt.Println(v, err)
	_, err = tensor.View[int64](t)
	fmt.Println(err != nil)
	// Output:
	// [1 2 3 4] <nil>
	// true
}

// A safetensors file is mapped, so that only what is looked at is read.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "weights.safetensors")
	w := tensor.Of([]int64{2, 1}, []float32{0.5, -1})
	if err := tensor.WriteFile(path, []tensor.Named{{Name: "w", Tensor: w}}, map[string]string{"made by": "example"}); err != nil {
		log.Fatal(err)
	}
	f, err := tensor.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for _, name := range f.Names() {
		t, err := f.Tensor(name)
		fmt.Println(name, t.DType, t.Shape, err)
	}
	// Output: w F32 [2 1] <nil>
}

// Halves are rounded to the nearest, as hardware does it.
func ExampleFromFloat32() {
	t, err := tensor.FromFloat32(tensor.BF16, []int64{2}, []float32{1, 1.0 / 3})
	if err != nil {
		log.Fatal(err)
	}
	back, err := tensor.ToFloat32(t)
	fmt.Println(len(t.Data), back, err)
	// Output: 4 [1 0.33398438] <nil>
}

// What is not a number is found and counted on all cores.
func ExampleScan() {
	n, err := tensor.Scan(tensor.Of(nil, []float32{1, float32(math.Inf(1)), float32(math.NaN())}))
	fmt.Println(n.NaN, n.Inf, n.First, err)
	// Output: 1 1 1 <nil>
}
