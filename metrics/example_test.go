package metrics_test

import (
	"fmt"
	"log"

	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/tensor"
)

// Top-1 accuracy with its 95% interval.
func ExampleTop1() {
	logits := tensor.Of([]int64{4, 3}, []float32{
		2, 1, 0,
		0, 3, 1,
		1, 0, 2,
		5, 4, 0,
	})
	hits, err := metrics.Top1(logits, []int64{0, 1, 2, 1})
	if err != nil {
		log.Fatal(err)
	}
	e, err := metrics.Proportion(hits)
	fmt.Printf("%.2f, from %.2f to %.2f (%v)\n", e.Point, e.Low, e.High, err)
	// Output: 0.75, from 0.25 to 1.00 (<nil>)
}

// Precision and recall of each class, and their mean.
func ExampleNewConfusion() {
	c, err := metrics.NewConfusion([]int64{0, 0, 1, 1, 1}, []int64{0, 1, 1, 1, 0}, 2)
	if err != nil {
		log.Fatal(err)
	}
	f1, err := c.F1(metrics.Macro).Point()
	fmt.Printf("%.3f %v\n", f1, err)
	// Output: 0.583 <nil>
}

// Errors of a recogniser of speech or text, in words and in characters.
func ExampleWER() {
	heard, said := []string{"the cat sat", "a dog"}, []string{"the cat sat", "the dog"}
	wer, err := metrics.WER(heard, said)
	if err != nil {
		log.Fatal(err)
	}
	cer, err := metrics.CER(heard, said)
	if err != nil {
		log.Fatal(err)
	}
	w, _ := wer.Point()
	c, _ := cer.Point()
	fmt.Printf("%.2f of the words, %.3f of the characters\n", w, c)
	// Output: 0.20 of the words, 0.167 of the characters
}

// How much of the signal is left of a tensor that was rounded, in decibels.
func ExampleSQNR() {
	ref := tensor.Of([]int64{1, 4}, []float32{1, 2, 3, 4})
	x := tensor.Of([]int64{1, 4}, []float32{1.1, 2, 3, 3.9})
	e, err := metrics.SQNR(ref, x)
	fmt.Printf("%.1f dB %v\n", e.Point, err)
	// Output: 31.8 dB <nil>
}
