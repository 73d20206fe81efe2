// Package ort finds ONNX Runtime's shared library, loads it and runs models on its
// CPU execution provider. It is the only package here that uses cgo; nothing is
// linked at build time, so a program that never loads the library starts without it.
//
// Tensors go in and come out as [tensor.Tensor]. Inputs are not copied; outputs are
// copied once, from the engine's memory to Go's.
package ort
