package host

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// kept is how many of a plugin's last lines go into a report.
const kept = 20

// CrashError says that a plugin's process ended during a call.
type CrashError struct {
	Plugin, Version string
	// Step is the step type or the call.
	Step string
	// ExitStatus is "exit status 2", "signal: killed" and the like; it may be empty.
	ExitStatus string
	LastLines  []string
	LogPath    string
}

func (e *CrashError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plugin %s %s ended during %s", e.Plugin, e.Version, e.Step)
	if e.ExitStatus != "" {
		fmt.Fprintf(&b, " (%s)", e.ExitStatus)
	}
	b.WriteString(".")
	if strings.Contains(e.ExitStatus, "killed") {
		b.WriteString(" Somebody killed it; if it was the system, memory ran out: lower the batch, or give the machine more.")
	}
	writeTail(&b, e.LastLines, e.LogPath)
	return b.String()
}

// HangError says that a plugin sent nothing, not even its heartbeat, and was ended.
type HangError struct {
	Plugin, Version, Step string
	Silence               time.Duration
	LastLines             []string
	LogPath               string
}

func (e *HangError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plugin %s %s hung during %s: it sent nothing for %s and was ended.", e.Plugin, e.Version, e.Step, e.Silence)
	writeTail(&b, e.LastLines, e.LogPath)
	return b.String()
}

func writeTail(b *strings.Builder, lines []string, path string) {
	if len(lines) > 0 {
		b.WriteString(" Its last lines:")
		for _, l := range lines {
			b.WriteString("\n    " + l)
		}
	}
	if path != "" {
		b.WriteString("\nIts log: " + path)
	}
}

// crash reports the end of the process; it has ended.
func (p *Plugin) crash(doing string) error {
	e := &CrashError{Plugin: p.ref.Name, Version: p.ref.Version, Step: doing, LastLines: p.log.tail(), LogPath: p.log.path}
	p.mu.Lock()
	stopped := p.stopped
	p.mu.Unlock()
	if s := p.cmd.ProcessState; s != nil && !stopped {
		e.ExitStatus = s.String()
	}
	return e
}

// logFile takes a plugin's standard error: into a file when there is one, and its last lines into memory. From a Go
// panic on, the first lines are the ones that tell, so they are kept instead.
type logFile struct {
	path string
	mu   sync.Mutex
	file *os.File
	part []byte
	last []string
	head bool
}

func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	if path == "" {
		return l, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("the plugin's log cannot be written: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the plugin's log cannot be written: %w", err)
	}
	l.file = f
	return l, nil
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_, _ = l.file.Write(b) // a full disk must not stop the plugin
	}
	l.part = append(l.part, b...)
	for {
		i := bytes.IndexByte(l.part, '\n')
		if i < 0 {
			break
		}
		l.line(strings.TrimRight(string(l.part[:i]), "\r"))
		l.part = l.part[i+1:]
	}
	if len(l.part) > 4096 { // a line without an end
		l.line(string(l.part))
		l.part = nil
	}
	return len(b), nil
}

func (l *logFile) line(s string) {
	if !l.head && (strings.HasPrefix(s, "panic:") || strings.HasPrefix(s, "fatal error:")) {
		l.head, l.last = true, nil
	}
	if len(l.last) == kept {
		if l.head {
			return
		}
		l.last = l.last[1:]
	}
	l.last = append(l.last, s)
}

func (l *logFile) tail() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.last...)
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}
