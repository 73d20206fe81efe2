//go:build unix

package plugintest

import (
	"os/exec"
	"syscall"
)

// ownGroup gives the plugin a process group, by which its children are found.
func ownGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(c *exec.Cmd) { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }

// groupAlive tells whether somebody of the plugin's process group is left.
func groupAlive(c *exec.Cmd) bool { return syscall.Kill(-c.Process.Pid, 0) == nil }
