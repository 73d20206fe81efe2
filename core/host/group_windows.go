package host

import (
	"os/exec"
	"syscall"
)

// ownGroup gives the process a group of its own, so that Ctrl-C reaches the host alone.
func ownGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

func killGroup(c *exec.Cmd) {
	if c.Process != nil {
		_ = c.Process.Kill()
	}
}
