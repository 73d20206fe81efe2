//go:build cgo

package ov

import (
	"os"
	"strings"
	"syscall"
)

// Steady starts this process anew, as the same process with the same arguments, without the signals by which Go's
// scheduler interrupts loops (GODEBUG=asyncpreemptoff=1, which is read at a process's start alone). It returns when that is
// so already, or cannot be; it is to be called first of all, before anything is opened.
//
// On processors with AMX, a thread on which OpenVINO has computed could not always take such a signal: the kernel did
// not get the larger state of its registers onto the signal's stack and killed the process, without a word, in about one
// run of ten (Linux 6.18, OpenVINO 2026.4.1).
func Steady() {
	const off = "asyncpreemptoff=1"
	settings := os.Getenv("GODEBUG")
	if strings.Contains(settings, off) {
		return
	}
	if settings != "" {
		settings += ","
	}
	if err := os.Setenv("GODEBUG", settings+off); err != nil {
		return
	}
	_ = syscall.Exec("/proc/self/exe", os.Args, os.Environ()) // where it fails, all goes on as it was
}
