// Package metrics grades a model's outputs: top-1 accuracy, the drop against a
// baseline, agreement, SQNR and cosine similarity, each with a 95% interval.
//
// It is pure: tensors go in, numbers come out, and the same input gives the same
// numbers on every run. Axis 0 counts samples everywhere. Shares are
// fractions from 0 to 1.
package metrics
