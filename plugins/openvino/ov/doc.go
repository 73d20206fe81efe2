// Package ov drives OpenVINO 2025.4 and newer: it finds the library, loads it while the program runs, reads ONNX and IR
// models, changes their shapes and inputs, writes IR, compiles for a device and runs. Nothing of OpenVINO is needed to
// build it. It works on Linux; elsewhere every call says that it cannot.
//
// The library's C++ exceptions come back as errors with OpenVINO's own text.
package ov
