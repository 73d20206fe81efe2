package ov

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

var errNotLoaded = errors.New("OpenVINO is not loaded: call ov.Load first")

// Place is a folder that was looked at, and why it did not serve.
type Place struct{ Path, Reason string }

// NotFoundError says that no OpenVINO serves.
type NotFoundError struct {
	// Named tells that the variable chose the place.
	Named bool
	Tried []Place
}

// Command is what brings one.
func (e *NotFoundError) Command() string {
	if e.Named {
		return "unset " + EnvLibrary + "; optimize init"
	}
	return "optimize init"
}

func (e *NotFoundError) Error() string {
	var b strings.Builder
	if e.Named {
		fmt.Fprintf(&b, "%s does not lead to OpenVINO %s or newer. Set it to the folder with libopenvino.so, or unset it and run `optimize init`.", EnvLibrary, MinVersion)
	} else {
		fmt.Fprintf(&b, "OpenVINO %s or newer is not installed here. Run `optimize init`, or set %s to the folder with libopenvino.so.", MinVersion, EnvLibrary)
	}
	for i, p := range e.Tried {
		sep := "; "
		if i == 0 {
			sep = " Looked in: "
		}
		fmt.Fprintf(&b, "%s%s (%s)", sep, p.Path, p.Reason)
	}
	return b.String()
}

// wayOut is what helps against a library that is none. What the variable names would win over what is installed.
func wayOut() string {
	if os.Getenv(EnvLibrary) != "" {
		return EnvLibrary + " names it: set it to the folder with libopenvino.so, or unset it and run `optimize init`"
	}
	return "Run `optimize init` to install a current one, or set " + EnvLibrary + " to a folder with one"
}

// Error is what OpenVINO said.
type Error struct {
	// Doing is what was asked of it: "read the model m.onnx".
	Doing string
	// Text is OpenVINO's own.
	Text string
}

// Error puts both into one sentence, without the places in OpenVINO's sources.
func (e *Error) Error() string { return "OpenVINO cannot " + e.Doing + ": " + Clean(e.Text) }

// checkedAt is how OpenVINO begins what a check of its own found.
var checkedAt = regexp.MustCompile(`Check '(.*?)' failed at [^\s:]+:\d+:\s*`)

// Clean takes out of a text of OpenVINO's what tells its authors alone: "Exception from src/inference/src/core.cpp:117:",
// "Check 'x' failed at src/...:42:" and line ends.
func Clean(s string) string {
	var out []string
	checked := ""
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Exception from ") && strings.HasSuffix(line, ":") {
			continue
		}
		if m := checkedAt.FindStringSubmatch(line + " "); m != nil {
			checked = "its check " + m[1] + " failed"
			line = strings.TrimSpace(checkedAt.ReplaceAllString(line+" ", ""))
		}
		if line != "" {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		return checked
	}
	return strings.TrimSuffix(strings.Join(out, " "), ":")
}
