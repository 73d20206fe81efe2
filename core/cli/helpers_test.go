package cli_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func asExit(err error, target **exec.ExitError) bool { return errors.As(err, target) }

func edit(ts *testscript.TestScript, path, old, text string) {
	b, err := os.ReadFile(path)
	ts.Check(err)
	if !bytes.Contains(b, []byte(old)) {
		ts.Fatalf("%s has no %q", path, old)
	}
	ts.Check(os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(text), 1), 0o644))
}

// unsearched is the digit recipe without a search, whose outcome depends on the machine's weather.
func unsearched(recipe []byte) []byte {
	return bytes.Replace(recipe, []byte("target      = \"auto\"\n"), []byte("target      = \"auto\"\n  search      = \"off\"\n"), 1)
}

// place is a folder with the digit recipe and a cache of its own.
type place struct {
	dir string
	env []string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	data := needRuntime(t)
	p := &place{dir: t.TempDir()}
	for _, f := range []string{"recipe.hcl", "digits.onnx", "mnist-train.npz", "mnist-test.npz"} {
		b, err := os.ReadFile(filepath.Join("../../recipes/digits", f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p.dir, f), unsearched(b), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "OTEL_") && !strings.HasPrefix(kv, "TRACEPARENT=") && !strings.HasPrefix(kv, "OPTIMIZE_CACHE=") {
			p.env = append(p.env, kv)
		}
	}
	p.env = append(p.env, "OPTIMIZE_CACHE="+filepath.Join(p.dir, "cache"), "OPTIMIZE_DATA="+data)
	return p
}

func (p *place) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	c := exec.Command(binary, args...)
	c.Dir, c.Env = p.dir, p.env
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	return c, &out
}

func (p *place) run(t *testing.T, want int, args ...string) string {
	t.Helper()
	c, out := p.command(args...)
	err := c.Run()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	if got := c.ProcessState.ExitCode(); got != want {
		t.Fatalf("optimize %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, want, out)
	}
	return out.String()
}
