// Command openvinotool reads an ONNX model and writes it as OpenVINO's IR with the bare calls of OpenVINO's library, read_model
// and save_model, and nothing else:
//
//	openvinotool MODEL.onnx OUT.xml
package main

import (
	"fmt"
	"os"

	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
)

func main() {
	if err := convert(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "openvinotool:", err)
		os.Exit(1)
	}
}

func convert(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: openvinotool MODEL.onnx OUT.xml")
	}
	l, err := ov.Find()
	if err != nil {
		return err
	}
	if err := ov.Load(l); err != nil {
		return err
	}
	m, err := ov.Read(args[0])
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Save(args[1], false)
}
