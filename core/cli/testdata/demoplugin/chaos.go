package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/optimize-hcl/optimize/sdk"
)

// startChaos breaks something of this process as DEMO_CHAOS asks: KIND MILLISECONDS.
func startChaos() {
	kind, after, _ := strings.Cut(os.Getenv("DEMO_CHAOS"), " ")
	ms, err := strconv.Atoi(after)
	if err != nil {
		return
	}
	breaking := map[string]func(){
		"exit": func() { os.Exit(3) },
		"garbage": func() {
			for range 100 {
				fmt.Println("1|1|unix|/nowhere|grpc|\x00\xff garbage")
				_, _ = syscall.Write(1, []byte{0, 1, 2, 0xff, '\n'})
			}
		},
		"socket": func() {
			// Every descriptor that is a socket: the listener and the host's connection among them.
			entries, _ := filepath.Glob("/proc/self/fd/*")
			for _, e := range entries {
				if to, err := os.Readlink(e); err == nil && strings.HasPrefix(to, "socket:") {
					if fd, err := strconv.Atoi(filepath.Base(e)); err == nil {
						_ = syscall.Shutdown(fd, syscall.SHUT_RDWR)
					}
				}
			}
		},
	}[kind]
	if breaking != nil {
		time.AfterFunc(time.Duration(ms)*time.Millisecond, breaking)
	}
}

// chaosOutput spoils what a step writes: a file that is cut short and a process that dies over it, or a write that the
// disk does not take.
func chaosOutput(run *sdk.Run, model []byte) error {
	kind, _, _ := strings.Cut(os.Getenv("DEMO_CHAOS"), " ")
	switch kind {
	case "truncate":
		_ = os.WriteFile(run.Path("model.onnx"), model[:len(model)/2], 0o644)
		os.Exit(4)
	case "fill":
		return &os.PathError{Op: "write", Path: run.Path("model.onnx"), Err: syscall.ENOSPC}
	}
	return nil
}
