//go:build unix

package host

import (
	"os/exec"
	"syscall"
)

// ownGroup gives the process a group of its own: what it starts ends with it, and Ctrl-C in the terminal reaches the
// host alone, which decides.
func ownGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(c *exec.Cmd) {
	if c.Process != nil {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // mostly gone already
	}
}
