package plugintest

import "os/exec"

func ownGroup(*exec.Cmd) {}

func killGroup(c *exec.Cmd) { _ = c.Process.Kill() }

// groupAlive cannot tell on Windows: a job object has no process group.
func groupAlive(*exec.Cmd) bool { return false }
