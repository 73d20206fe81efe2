// Package ov drives OpenVINO 2025.4 and newer: it finds the library, loads it while the program runs, reads ONNX and IR
// models, changes their shapes and inputs, writes IR, compiles for a device and runs. Nothing of OpenVINO is needed to
// build it. It works on Linux and is built with cgo; in other builds every call answers [ErrNotBuilt].
//
// OpenVINO's C++ exceptions come back as an [*Error] with OpenVINO's own text. A process takes one library, which is
// never unloaded.
package ov

import "errors"

// ErrNotBuilt is what every call answers in a program without the shim: one built without cgo, or for another system
// than Linux.
var ErrNotBuilt = errors.New("OpenVINO is not in this build of optimize: it takes one for Linux that was built with cgo (CGO_ENABLED=1 and a C++ compiler)")
