package cli_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// unsteady is what differs from run to run, and what stands for it in a golden file.
var unsteady = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "DIGEST"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "TRACE"},
	{regexp.MustCompile(`\b[0-9a-f]{12}…`), "DIGEST…"},
	{regexp.MustCompile(`"(\w+_ns)": ?\d+`), `"$1": 0`},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "DATE"},
	{regexp.MustCompile(`\d{8}T\d{6}\.\d{3}(-\d+)?`), "RUN"},
	{regexp.MustCompile(`\b(\d+m)?\d+(\.\d+)?(ns|µs|ms|s)\b`), "TIME"},
}

// steady FILE CODE COMMAND... runs a command that must end with that code, and writes what it printed to FILE, with
// times, digests and places replaced, so that it may be compared.
func steady(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[2], args[3:]...); err != nil {
		var ee *exec.ExitError
		if !errors.As(err, &ee) {
			ts.Fatalf("%v", err)
		}
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	text := ts.ReadFile("stdout")
	if errs := ts.ReadFile("stderr"); errs != "" {
		text += "[stderr]\n" + errs
	}
	text = strings.ReplaceAll(text, ts.Getenv("WORK"), "WORK")
	for _, u := range unsteady {
		text = u.re.ReplaceAllString(text, u.by)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// demo DIR VERSION [REQUIRES] builds the demo plugin into a folder, as another version, with what it asks of the core.
func demo(ts *testscript.TestScript, _ bool, args []string) {
	flags := "-X main.version=" + args[1]
	if len(args) > 2 {
		flags += " -X main.requires=" + strings.ReplaceAll(args[2], " ", "")
	}
	build := exec.Command("go", "build", "-ldflags", flags, "-o", filepath.Join(ts.MkAbs(args[0]), "optimize-plugin-demo"), "./testdata/demoplugin")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("the demo plugin does not build: %v\n%s", err, out)
	}
}
