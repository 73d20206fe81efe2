package host

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	lastLines  = 20
	panicLines = 40
	// longestLine is where a line is cut in two.
	longestLine = 64 << 10
)

// longestLog bounds a plugin's log file: one that prints in a loop must not fill the disk that results go to.
var longestLog int64 = 64 << 20

// output takes what a plugin prints, line by line: into its log file, and the ends of it into memory for a crash
// report.
type output struct {
	path   string // empty: no file
	redact func(string) string

	mu     sync.Mutex
	file   *os.File
	opened bool
	size   int64
	last   []string
	panics []string
	inside bool // a panic's lines follow
}

func (o *output) line(s string) {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if o.redact != nil {
		s = o.redact(s)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.last) == lastLines {
		o.last = slices.Delete(o.last, 0, 1)
	}
	o.last = append(o.last, s)
	if fatal(s) && len(o.panics) == 0 {
		o.inside = true
	}
	if o.inside && len(o.panics) < panicLines {
		o.panics = append(o.panics, s)
	}
	if o.path != "" && !o.opened {
		o.opened = true
		// A log that cannot be written fails no run: the crash report still has the last lines.
		if os.MkdirAll(filepath.Dir(o.path), 0o755) == nil {
			o.file, _ = os.OpenFile(o.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		}
	}
	if o.file == nil || o.size >= longestLog {
		return
	}
	if o.size += int64(len(s)) + 1; o.size >= longestLog {
		s = "optimize: this plugin prints too much; the rest is left out"
	}
	_, _ = o.file.WriteString(s + "\n")
}

// fatal tells the first line of a death: Go's, and those of C++ and the C library.
func fatal(s string) bool {
	for _, p := range []string{"panic: ", "fatal error: ", "unexpected fault address", "SIGSEGV: ", "SIGBUS: ", "SIGILL: ", "SIGFPE: ", "SIGABRT: ", "terminate called", "libc++abi: "} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return strings.HasPrefix(s, "Traceback (most recent call last)")
}

// report gives the panic's lines, the last lines, and the log file's path when there is one.
func (o *output) report() (panics, last []string, path string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		path = o.path
	}
	return slices.Clone(o.panics), slices.Clone(o.last), path
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		_ = o.file.Close()
	}
	o.opened, o.file = true, nil
}

// copyLines hands the lines of r to f; long ones are cut, none is lost at the end.
func copyLines(r io.Reader, f func(string)) {
	br := bufio.NewReaderSize(r, longestLine)
	for {
		b, err := br.ReadSlice('\n')
		if len(b) > 0 {
			f(strings.TrimRight(string(b), "\r\n"))
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// lineWriter is an io.Writer for copyLines, for what go-plugin sends in pieces.
type lineWriter struct {
	mu   sync.Mutex
	out  *output
	rest []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, b...)
	for {
		i := slices.Index(w.rest, '\n')
		if i < 0 && len(w.rest) >= longestLine {
			i = longestLine - 1
		}
		if i < 0 {
			return len(b), nil
		}
		w.out.line(strings.TrimRight(string(w.rest[:i+1]), "\r\n"))
		w.rest = w.rest[i+1:]
	}
}

// handshake is go-plugin's first line: core protocol, our protocol, network, address, ...
var handshake = regexp.MustCompile(`^\d+\|(\d+)\|(?:unix|tcp)\|[^|]+\|`)

// protocolOf reads our protocol's version from a handshake.
func protocolOf(line string) (int, bool) {
	m := handshake.FindStringSubmatch(line)
	if m == nil {
		return 0, false
	}
	v, err := strconv.Atoi(m[1])
	return v, err == nil
}
