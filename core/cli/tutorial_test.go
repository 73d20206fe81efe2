package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// TestTutorial does what docs/tutorial.md says, line by line, in one folder: it writes the files, applies the changes,
// runs the commands, and compares what they print with what the page shows. There "…" stands for anything on a line,
// and alone on a line for any lines.
func TestTutorial(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the tutorial's commands are those of a Unix shell")
	}
	data := needRuntime(t)
	s := &session{t: t, dir: t.TempDir()}
	recipes, err := filepath.Abs("../../recipes")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(recipes, filepath.Join(s.dir, "recipes")); err != nil {
		t.Fatal(err)
	}
	s.state = filepath.Join(t.TempDir(), "state")
	s.env = append(without(os.Environ(), "OPTIMIZE_", "OTEL_", "NO_COLOR="), "OPTIMIZE_CACHE="+filepath.Join(s.dir, ".cache"), "OPTIMIZE_DATA="+data,
		"OPTIMIZE_ONNXRUNTIME="+os.Getenv("OPTIMIZE_ONNXRUNTIME"), "PATH="+filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH"))
	ran := 0
	for _, f := range fences(t, "../../docs/tutorial.md") {
		kind, rest, _ := strings.Cut(f.info, " ")
		title := regexp.MustCompile(`title="([^"]+)"`).FindStringSubmatch(rest)
		switch {
		case kind == "console":
			ran += s.console(f)
		case title == nil:
			t.Errorf("%s:%d: a block of %q has no title: it is neither run nor written", f.file, f.line, kind)
		case kind == "diff":
			s.patch(f, title[1])
		default:
			path := filepath.Join(s.dir, title[1])
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(f.text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if t.Failed() {
			t.FailNow() // the rest builds on it
		}
	}
	if ran < 15 {
		t.Errorf("only %d commands were run", ran)
	}
}

// session is a shell as a reader has it: its folder and last exit code stay from one command to the next.
type session struct {
	t          *testing.T
	dir, state string
	env        []string
	code       int
}

// console runs the commands of a block and compares.
func (s *session) console(f fence) (ran int) {
	s.t.Helper()
	type call struct {
		line      int
		text, out string
	}
	var calls []call
	for i, line := range strings.SplitAfter(f.text, "\n") {
		if text, ok := strings.CutPrefix(line, "$ "); ok {
			calls = append(calls, call{line: f.line + i, text: strings.TrimSuffix(text, "\n")})
		} else if len(calls) > 0 {
			calls[len(calls)-1].out += line
		} else if strings.TrimSpace(line) != "" {
			s.t.Errorf("%s:%d: a block of commands begins with one", f.file, f.line)
		}
	}
	for i, c := range calls {
		got := s.run(c.text)
		if !matches(c.out, got) {
			s.t.Errorf("%s:%d: $ %s\nprints\n%s\nand the page shows\n%s", f.file, c.line, c.text, got, c.out)
		}
		if s.code != 0 && (i+1 == len(calls) || calls[i+1].text != "echo $?") {
			s.t.Errorf("%s:%d: $ %s\nends with %d, and the page does not say so:\n%s", f.file, c.line, c.text, s.code, got)
		}
	}
	return len(calls)
}

func (s *session) run(text string) string {
	s.t.Helper()
	script := fmt.Sprintf("(exit %d)\n%s\ncode=$?\npwd >%q\nexit $code\n", s.code, text, s.state)
	c := exec.Command("sh", "-c", script)
	c.Dir, c.Env = s.dir, s.env
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if c.ProcessState == nil {
		s.t.Fatal(err)
	}
	s.code = c.ProcessState.ExitCode()
	if b, err := os.ReadFile(s.state); err == nil {
		s.dir = strings.TrimSuffix(string(b), "\n")
	}
	return out.String()
}

// patch applies a change that is written as a diff without line numbers.
func (s *session) patch(f fence, name string) {
	s.t.Helper()
	var old, fresh strings.Builder
	for _, line := range strings.SplitAfter(f.text, "\n") {
		switch {
		case strings.HasPrefix(line, "-"):
			old.WriteString(line[1:])
		case strings.HasPrefix(line, "+"):
			fresh.WriteString(line[1:])
		case line != "":
			line = strings.TrimPrefix(line, " ")
			old.WriteString(line)
			fresh.WriteString(line)
		}
	}
	path := filepath.Join(s.dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if n := strings.Count(string(b), old.String()); n != 1 {
		s.t.Fatalf("%s:%d: what changes is %d times in %s:\n%s", f.file, f.line, n, name, old.String())
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), old.String(), fresh.String(), 1)), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

var spaces = regexp.MustCompile(`[ \t]+(\n|$)`)

// matches compares what a page shows with what was printed; empty lines at either end do not count.
func matches(shown, got string) bool {
	trim := func(s string) string { return strings.Trim(spaces.ReplaceAllString(s, "$1"), "\n") }
	shown, got = trim(shown), trim(got)+"\n"
	var re strings.Builder
	re.WriteString(`\A`)
	for _, line := range strings.Split(shown, "\n") {
		if line == "…" {
			re.WriteString(`(?:.*\n)*?`)
			continue
		}
		parts := strings.Split(line, "…")
		for i, p := range parts {
			parts[i] = regexp.QuoteMeta(p)
		}
		re.WriteString(strings.Join(parts, `.*`) + `\n`)
	}
	re.WriteString(`\z`)
	return regexp.MustCompile(re.String()).MatchString(got)
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		shown, got string
		want       bool
	}{
		{"a\n", "a\n", true}, {"a\n", "b\n", false}, {"", "", true}, {"", "x\n", false}, {"a …\n", "a 12 b\n", true}, {"a …c\n", "a b\nc\n", false},
		{"…\nb\n", "a\na\nb\n", true}, {"…\nb\n", "b\nc\n", false}, {"…\nb\n…\n", "b\n", true}, {"a  \n\n", "a\n", true}, {"a.c\n", "abc\n", false},
	} {
		if got := matches(c.shown, c.got); got != c.want {
			t.Errorf("matches(%q, %q) = %v", c.shown, c.got, got)
		}
	}
}
