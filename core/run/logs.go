package run

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// logs are the log files of a run's steps, one each: what a step says of itself. What its plugin prints beside is in the
// plugin's own file.
type logs struct {
	dir    string
	redact func(string) string

	mu  sync.Mutex
	all []*stepLog
}

// stepLog is the log of one step. Its file is made with the first line; failing to write is no reason to fail a run.
type stepLog struct {
	path   string
	redact func(string) string

	mu    sync.Mutex
	file  *os.File
	size  int64
	err   error
	shown string
}

// longestLog bounds a step's log file: one that logs in a loop must not fill the disk that results go to.
var longestLog int64 = 64 << 20

// maxLogName bounds the name of a log file; file systems take 255 bytes.
const maxLogName = 120

// LogName is the name of a step's log file: its address, with what may not stand in a name as an underscore. Two keys
// may differ just in that, so such a name, or a long one, ends with the beginning of the address's SHA-256.
func LogName(addr string) string {
	lost := false
	name := strings.Map(func(r rune) rune {
		if r == '.' || r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		lost = lost || r != '[' && r != ']' && r != '"'
		return '_'
	}, addr)
	if lost || len(name) > maxLogName {
		sum := sha256.Sum256([]byte(addr))
		name = fmt.Sprintf("%s-%x", name[:min(len(name), maxLogName)], sum[:4])
	}
	return name + ".log"
}

func (l *logs) open(addr string) *stepLog {
	s := &stepLog{redact: l.redact}
	if l.dir != "" {
		s.path = filepath.Join(l.dir, LogName(addr))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, s)
	return s
}

func (l *logs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		s.mu.Lock()
		if s.file != nil {
			_ = s.file.Close()
		}
		s.mu.Unlock()
	}
}

func (s *stepLog) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path == "" || s.err != nil {
		return
	}
	if s.file == nil {
		if s.err = os.MkdirAll(filepath.Dir(s.path), 0o755); s.err != nil {
			return
		}
		// A step named s__a__ would share the file of step.s["a"]: both write here.
		if s.file, s.err = os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); s.err != nil {
			return
		}
	}
	text := fmt.Sprintf(format, args...)
	if s.redact != nil {
		text = s.redact(text)
	}
	if s.size >= longestLog {
		return
	}
	if s.size += int64(len(text)); s.size >= longestLog {
		text = "optimize: this step logs too much; the rest is left out"
	}
	_, s.err = fmt.Fprintf(s.file, "%s %s\n", time.Now().UTC().Format("15:04:05.000"), strings.ReplaceAll(text, "\n", "\n             "))
}

// phase notes a new phase of the work, not each of its figures.
func (s *stepLog) phase(name string) {
	s.mu.Lock()
	same := s.shown == name
	s.shown = name
	s.mu.Unlock()
	if !same {
		s.line("%s", name)
	}
}

func (s *stepLog) said(level, message string, fields map[string]string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-5s %s", level, message)
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, " %s=%q", k, fields[k])
	}
	s.line("%s", b.String())
}
