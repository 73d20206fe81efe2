package ov

import "fmt"

// Resize is how an image is brought to another size.
type Resize int32

// The ways of OpenVINO's C API; 0 leaves the size as it is.
const (
	NoResize Resize = iota
	Linear
	Cubic
	Nearest
)

// ParseResize reads "linear", "cubic", "nearest" or "".
func ParseResize(s string) (Resize, error) {
	for r, name := range []string{"", "linear", "cubic", "nearest"} {
		if s == name {
			return Resize(r), nil
		}
	}
	return 0, fmt.Errorf("OpenVINO has no resizing %q: it has linear, cubic and nearest", s)
}

// Preparation is what becomes of one input before the model sees it, in this order: conversion to f32, resizing, reversal
// of the channels, minus Mean, divided by Scale, conversion to the model's layout and type.
type Preparation struct {
	// Input is its name.
	Input string
	// Type of what is given; Dynamic: as the model's.
	Type Type
	// Layout is that of what is given, ModelLayout that of the model: "NHWC", "NCHW". Empty: nothing is said about it.
	Layout, ModelLayout string
	// Height and Width of what is given, in pixels; both 0: as the model's.
	Height, Width int
	Resize        Resize
	// ReverseChannels makes BGR of RGB, and RGB of BGR.
	ReverseChannels bool
	// Mean and Scale have one number for all channels, or one for each.
	Mean, Scale []float32
}
