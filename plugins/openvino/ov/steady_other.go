//go:build !linux || !cgo

package ov

// Steady does nothing where OpenVINO is not in the build.
func Steady() {}
