// Command onnxtool does with package onnx, as a whole process, what bench/onnx.sh has
// its peers do.
//
//	onnxtool simplify IN OUT   writes a simplified model
//	onnxtool copy IN OUT       reads a model and writes it again, with another producer
//	onnxtool sync IN OUT       is copy that waits until OUT is on the disk
//	onnxtool growth PART FULL  compares passes on two graphs, one four times as long
//	onnxtool infer IN OUT      writes the model with the types of its values
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/optimize-hcl/optimize/onnx"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "onnxtool:", err)
		os.Exit(1)
	}
}

func run(args []string) (err error) {
	if len(args) != 3 {
		return errors.New("usage: onnxtool simplify|copy|sync|infer IN OUT, or growth PART FULL")
	}
	if args[0] == "growth" {
		return growth(args[1], args[2])
	}
	m, unmap, err := onnx.MapFile(args[1])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmap()) }()
	switch args[0] {
	case "simplify":
		stats, err := onnx.Simplify(m, onnx.SimplifyOptions{MaxGrowth: 1 << 40})
		if err != nil {
			return err
		}
		fmt.Printf("%+v\n", stats)
	case "infer":
		s, err := onnx.InferShapes(m)
		if err != nil {
			return err
		}
		s.WriteTo(m.Graph)
	case "copy", "sync":
		m.ProducerName = "onnxtool" // else the very bytes that were read would be written
		if args[0] == "sync" {
			return m.WriteFileSync(args[2])
		}
	default:
		return fmt.Errorf("there is no command %q", args[0])
	}
	return m.WriteFile(args[2])
}
