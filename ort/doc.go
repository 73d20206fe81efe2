// Package ort finds ONNX Runtime's shared library, loads it and runs models on its
// CPU execution provider, or on another that the library has. It is the only package
// here that uses cgo; nothing of the engine is linked at build time, so a program that never
// loads the library starts without it.
//
// [Find] locates a library, among several versions by a constraint, and [Load] loads
// it. A [Session] runs a model; a [Bound] runs it without copies, for timing. [Taps]
// read values inside a model within a memory limit. [ProfileFile] tells where the
// time goes, [Optimize] what the engine made of the graph.
//
// Tensors go in and come out as [tensor.Tensor]. Inputs are not copied; outputs are
// copied once, from the engine's memory to Go's. Half, bfloat16, 8-bit float and
// 4-bit outputs, scalars, empty tensors and outputs whose shape only the run tells
// come out as they are. Strings, sequences, maps and optional values do not: a model
// that has them as inputs, or among the outputs asked for, is refused with their names.
//
// The CPU and OpenVINO providers are tested. The others (CUDA, TensorRT, Core ML,
// DirectML, QNN, XNNPACK) are tested only as far as settings and refusals go, since
// no machine of the tests has their hardware.
package ort
