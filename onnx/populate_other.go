//go:build !linux

package onnx

// populate is a hint that only Linux takes.
func populate([]byte) {}
