package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// tool is a package installer of the user's.
type tool struct {
	// command is a program and its first arguments.
	command []string
	uv      bool
	// env is added to the environment.
	env []string
}

func (t tool) String() string { return strings.Join(t.command, " ") }

// defaultTools are in the order in which they are tried.
func defaultTools() []tool {
	pip := func(command ...string) tool { return tool{command: command} }
	tools := []tool{pip("python3", "-m", "pip"), pip("pip3"), pip("pip"), pip("python", "-m", "pip")}
	if runtime.GOOS == "windows" {
		// python3 is often a stub there that opens a shop.
		tools = []tool{pip("py", "-m", "pip"), pip("python", "-m", "pip"), pip("pip")}
	}
	return append(tools, tool{command: []string{"uv"}, uv: true})
}

// errAbsent means that a tool is not there, so that another one of its kind may be.
var errAbsent = errors.New("not installed")

// download fetches the package through the first tool that works. After a pip that failed, other spellings of pip are
// not tried: they are the same program with the same settings.
func (j job) download(ctx context.Context) (source, error) {
	tools := j.tools
	if tools == nil {
		tools = defaultTools()
	}
	var said []string
	failed := map[bool]bool{}
	for _, t := range tools {
		if failed[t.uv] {
			continue
		}
		src, err := j.fetch(ctx, t)
		if err == nil {
			return src, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var wrong *wrongPackage
		if errors.As(err, &wrong) {
			return nil, wrong.err
		}
		if !errors.Is(err, errAbsent) {
			failed[t.uv] = true
			said = append(said, fmt.Sprintf("%s: %s", t, err))
		}
	}
	if len(said) == 0 {
		return nil, fmt.Errorf("%s %s cannot be downloaded: neither pip nor uv was found. Install one of them, or: %s", j.spec.Title, j.spec.Version, lowerFirst(j.howToFetch()))
	}
	return nil, fmt.Errorf("%s %s cannot be downloaded (%s). Check the network%s and pip's settings, or: %s",
		j.spec.Title, j.spec.Version, strings.Join(said, "; "), proxyHint(os.Getenv), lowerFirst(j.howToFetch()))
}

// proxyHint names the variables that send the installers to a proxy: they say little themselves when it is away.
func proxyHint(getenv func(string) string) string {
	var set []string
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} {
		if getenv(name) != "" {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return ""
	}
	return ", the proxy (" + strings.Join(set, ", ") + ")"
}

// wrongPackage is a download that arrived and is not what was pinned: trying elsewhere would hide it.
type wrongPackage struct{ err error }

func (e *wrongPackage) Error() string { return e.err.Error() }

func (j job) fetch(ctx context.Context, t tool) (source, error) {
	program, err := exec.LookPath(t.command[0])
	if err != nil {
		return nil, errAbsent
	}
	dir, err := os.MkdirTemp(j.work, "download")
	if err != nil {
		return nil, inWords("create", j.work, err)
	}
	dest := filepath.Join(dir, "package")
	var args []string
	if t.uv {
		if args, err = j.uvArgs(dir, dest); err != nil {
			return nil, err
		}
	} else {
		args = j.spec.downloadArgs(j.wheel, dest)
	}
	if len(t.command) == 1 || t.command[1] != "-m" {
		j.progress("Downloading " + j.spec.Title + " " + j.spec.Version + " with " + t.command[0])
	} else {
		j.progress("Downloading " + j.spec.Title + " " + j.spec.Version + " with pip")
	}
	cmd := exec.CommandContext(ctx, program, append(append([]string{}, t.command[1:]...), args...)...)
	// An empty folder: python -m looks for modules in the current one first, and a recipe's folder may hold anything.
	cmd.Dir = dir
	// The user's settings stand; only what would stop or decorate a quiet download is turned off.
	cmd.Env = append(os.Environ(), "PIP_NO_INPUT=1", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_REQUIRE_VIRTUALENV=0", "PIP_NO_COLOR=1", "NO_COLOR=1", "MACOSX_DEPLOYMENT_TARGET=14.0")
	cmd.Env = append(cmd.Env, t.env...)
	cmd.WaitDelay = 3 * time.Second
	var output bytes.Buffer
	both := &limited{b: &output} // one writer, so that exec copies in one goroutine
	cmd.Stdout, cmd.Stderr = both, both
	if err := cmd.Run(); err != nil {
		text := output.String()
		if isAbsent(text) {
			return nil, errAbsent
		}
		return nil, errors.New(summary(text, err))
	}
	if t.uv {
		src := dirSource{dest}
		if _, ok := src.locate(j.wheel.Files[0].Path); !ok {
			return nil, fmt.Errorf("it reported success, but left no %s", j.wheel.Files[0].Base())
		}
		return src, nil
	}
	wheels, err := filepath.Glob(filepath.Join(dest, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return nil, fmt.Errorf("it reported success, but left %d wheels", len(wheels))
	}
	src, err := j.openWheel(wheels[0])
	if err != nil {
		return nil, &wrongPackage{err}
	}
	return src, nil
}

// uvArgs make uv unpack the wheel: it cannot download one. It checks the wheel's digest itself; the files are checked
// again when they are taken.
func (j job) uvArgs(dir, dest string) ([]string, error) {
	requirements := filepath.Join(dir, "requirements.txt")
	line := fmt.Sprintf("%s==%s --hash=sha256:%s\n", j.spec.Package, j.spec.Version, j.wheel.SHA256)
	if err := os.WriteFile(requirements, []byte(line), 0o644); err != nil {
		return nil, inWords("write", requirements, err)
	}
	return []string{
		"pip", "install", "--target", dest, "--no-deps", "--only-binary", ":all:", "--require-hashes", "--link-mode", "copy",
		"--python-version", j.spec.PythonVersion, "--python-platform", j.wheel.UVPlatform, "--requirement", requirements,
	}, nil
}

func isAbsent(output string) bool {
	for _, s := range []string{"No module named pip", "No module named 'pip'", "command not found", "Python was not found"} {
		if strings.Contains(output, s) {
			return true
		}
	}
	return false
}

// address is a web address: it may hold a password, and is the user's own setting anyway.
var address = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://\S+`)

// broken is the cause in pip's warning before it tries again.
var broken = regexp.MustCompile(`connection broken by ['"](\w+)\(['"]([^'"]{1,120})`)

// summary is what a tool said went wrong, in one line without addresses: its last error, and the deepest cause that it
// gives for that.
func summary(output string, err error) string {
	var last, failed, cause, retried string
	for line := range strings.Lines(output) {
		line = oneLine(line)
		lower := strings.ToLower(line)
		switch {
		case line == "" || strings.HasPrefix(lower, "warning: you are using pip") || strings.HasPrefix(line, "[notice]"):
			continue
		case strings.HasPrefix(line, "WARNING: Retrying"):
			// pip's errors do not repeat what its warnings said: a proxy that is away, a name that is not known.
			if m := broken.FindStringSubmatch(line); m != nil {
				retried = m[1] + ": " + strings.TrimSuffix(m[2], ".")
			}
			continue
		case strings.HasPrefix(lower, "error"):
			failed, cause = line, ""
		case strings.HasPrefix(lower, "cause: "):
			cause = line[len("cause: "):]
		case strings.HasPrefix(lower, "caused by: "):
			cause = line[len("caused by: "):]
		}
		last = line
	}
	text := failed
	if text == "" {
		text = last
	}
	if text == "" {
		return err.Error()
	}
	if cause == "" {
		cause = retried
	}
	if cause != "" {
		text += ": " + cause
	}
	text = address.ReplaceAllString(text, "(address)")
	if r := []rune(text); len(r) > 300 {
		text = string(r[:299]) + "…"
	}
	return text
}

// limited keeps the end of what a tool says.
type limited struct{ b *bytes.Buffer }

const maxOutput = 64 << 10

func (l *limited) Write(p []byte) (int, error) {
	l.b.Write(p)
	if over := l.b.Len() - maxOutput; over > 0 {
		l.b.Next(over)
	}
	return len(p), nil
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
