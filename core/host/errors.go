package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// CrashError says that a plugin's process ended while it was needed.
type CrashError struct {
	Plugin, Version string
	// Step is the step type at work; empty when none was.
	Step string
	// ExitStatus is "exit status 2", "killed (SIGKILL): ...", or why this program ended it.
	ExitStatus string
	// Panic are the lines from "panic:" or the like on; empty when there are none.
	Panic []string
	// LastLines are the last lines that the plugin wrote.
	LastLines []string
	// LogPath is the file with all of them; empty when there is none.
	LogPath string
}

// Error is a sentence, then the lines that tell most, indented, then the log's path.
func (e *CrashError) Error() string {
	s := fmt.Sprintf("plugin %s ended unexpectedly", label(e.Plugin, e.Version))
	if e.Step != "" {
		s += " in " + e.Step
	}
	lines, what := e.LastLines, "its last lines"
	if len(e.Panic) > 0 {
		lines, what = e.Panic, "it wrote"
	}
	return s + ": " + e.ExitStatus + quoted(what, lines) + logged(e.LogPath)
}

// quoted lists the first lines of a death, or the last ones of a life.
func quoted(what string, lines []string) string {
	const shown = 8
	if len(lines) == 0 {
		return ""
	}
	if what == "it wrote" {
		lines = lines[:min(len(lines), shown)]
	} else {
		lines = lines[max(0, len(lines)-shown):]
	}
	return "; " + what + ":\n    " + strings.Join(lines, "\n    ")
}

// HangError says that a plugin was silent for too long. Its process has been ended.
type HangError struct {
	Plugin, Version string
	// Step is the step type at work, or the call: "Validate".
	Step      string
	Silence   time.Duration
	LastLines []string
	LogPath   string
}

func (e *HangError) Error() string {
	return fmt.Sprintf("plugin %s hung in %s: it gave no sign of life for %s and was ended", label(e.Plugin, e.Version), e.Step, e.Silence) +
		quoted("its last lines", e.LastLines) + logged(e.LogPath)
}

// StopError says that a step did not wind down in time when it was asked to. Its process has been ended.
type StopError struct {
	Plugin, Version, Step string
	Grace                 time.Duration
	// Cause is why it was asked to stop.
	Cause error
}

func (e *StopError) Error() string {
	return fmt.Sprintf("step %s of plugin %s did not stop within %s and was ended", e.Step, label(e.Plugin, e.Version), e.Grace)
}

// Unwrap makes errors.Is(err, context.Canceled) true for a stop by the user.
func (e *StopError) Unwrap() error { return e.Cause }

// StartError says that a plugin's process could not be started, or said nothing that a plugin would say.
type StartError struct {
	Plugin, Version string
	// Command is the executable.
	Command string
	// Reason says what is wrong and what to do.
	Reason    string
	LastLines []string
	LogPath   string
	Err       error
}

func (e *StartError) Error() string {
	return fmt.Sprintf("plugin %s cannot be started: %s", label(e.Plugin, e.Version), e.Reason) + quoted("its last lines", e.LastLines) + logged(e.LogPath)
}

func (e *StartError) Unwrap() error { return e.Err }

// ProtocolError says that plugin and host have no protocol version in common.
type ProtocolError struct {
	Plugin, Version, HostVersion string
	// PluginProtocol is what the plugin offers, HostProtocol what we speak.
	PluginProtocol, HostProtocol int
}

func (e *ProtocolError) Error() string {
	host := "this optimize"
	if e.HostVersion != "" {
		host = "optimize " + e.HostVersion
	}
	do := "install a newer version of the plugin, and raise its version in required_plugins"
	if e.PluginProtocol > e.HostProtocol {
		do = "use a newer optimize, or an older version of the plugin in required_plugins"
	}
	return fmt.Sprintf("plugin %s speaks plugin protocol %d, but %s speaks %d: %s",
		label(e.Plugin, e.Version), e.PluginProtocol, host, e.HostProtocol, do)
}

// CallError is an answer by which a plugin breaks the protocol, or says that the host did.
type CallError struct {
	Plugin, Version string
	// Call is the method: "Apply".
	Call   string
	Reason string
}

func (e *CallError) Error() string {
	return fmt.Sprintf("plugin %s, %s: %s", label(e.Plugin, e.Version), e.Call, e.Reason)
}

func label(name, version string) string {
	if version == "" {
		return name
	}
	return name + " " + version
}

func logged(path string) string {
	if path == "" {
		return ""
	}
	return "\nIts log: " + path
}

// startReason puts the system's refusal to start a program into words.
func startReason(command string, err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Sprintf("%s. Allow more with `ulimit -n`: 64 are enough for most recipes", reasonOf(err))
	case errors.Is(err, fs.ErrNotExist):
		if _, serr := os.Stat(command); serr == nil { // the interpreter or the loader is what is missing
			return fmt.Sprintf("%s needs a loader or interpreter that this system lacks: it was built for another one", command)
		}
		return fmt.Sprintf("%s does not exist: run `optimize init`", command)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s may not be executed: its mode, or the mount option noexec of its file system, forbids it", command)
	case strings.Contains(err.Error(), "exec format error"), strings.Contains(err.Error(), "not a valid Win32"):
		return fmt.Sprintf("%s is no program for this kind of machine: install the plugin's build for it", command)
	}
	return err.Error()
}

// reasonOf is an error without the operation and the path.
func reasonOf(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

func (m *Manager) protocolError(r Ref, offered int) error {
	return &ProtocolError{Plugin: r.Name, Version: r.Version, HostVersion: m.opts.Version,
		PluginProtocol: offered, HostProtocol: pluginv1.ProtocolVersion}
}
