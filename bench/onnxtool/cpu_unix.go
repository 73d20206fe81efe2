//go:build unix

package main

import (
	"syscall"
	"time"
)

// spent is the processor time of this process: unlike the clock, it does not run
// while others have the processor.
func spent() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
