package dataset

import (
	"context"
	"os"
	"testing"
)

// BenchmarkImages prepares a folder of images; OPTIMIZE_BENCH_IMAGES names it.
func BenchmarkImages(b *testing.B) {
	dir := os.Getenv("OPTIMIZE_BENCH_IMAGES")
	if dir == "" {
		b.Skip("OPTIMIZE_BENCH_IMAGES is not set")
	}
	in := Input{Name: "x", Field: "image", Resize: []int64{256}, Crop: []int64{224}, Mean: []float64{0.485, 0.456, 0.406}, Std: []float64{0.229, 0.224, 0.225}, Scale: ptr(1.0 / 255)}
	for b.Loop() {
		if _, err := Materialise(context.Background(), Spec{Source: dir, Label: "label", Inputs: []Input{in}}, b.TempDir(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLines prepares a table of JSON lines; OPTIMIZE_BENCH_LINES names it.
func BenchmarkLines(b *testing.B) {
	path := os.Getenv("OPTIMIZE_BENCH_LINES")
	if path == "" {
		b.Skip("OPTIMIZE_BENCH_LINES is not set")
	}
	for b.Loop() {
		if _, err := Materialise(context.Background(), Spec{Source: path, Label: "label"}, b.TempDir(), nil); err != nil {
			b.Fatal(err)
		}
	}
}
