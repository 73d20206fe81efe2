//go:build unix

package telemetry

import (
	"os/exec"
	"syscall"
)

// detach gives a process a session of its own, so that the end of the terminal is not its end.
func detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
