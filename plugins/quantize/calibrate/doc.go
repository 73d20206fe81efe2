// Package calibrate learns the range of each tensor of a model from data, once, for every backend: a Collect runs the
// model over a dataset and returns Ranges, which Write keeps as an artifact and lowering reads back.
//
// Activations are never kept. Each batch is folded into exact bounds, an exact sum of the bounds of each run, and a
// histogram on a grid of powers of two (Histogram); then its memory is used again. All three are independent of the
// order of the samples and of the number of threads, so the same data gives the same bytes.
package calibrate
