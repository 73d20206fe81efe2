package cli_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/optimize-hcl/optimize/core/install"
)

// nobody is the user that root's tests become where a user without rights is meant.
const nobody = "65534"

// condition tells scripts what this machine allows: plain, that a user without rights can be had; root; mounts, that a
// script may mount file systems which only it sees; netns, that it may have a network of its own.
func condition(name string) (bool, error) {
	switch name {
	case "plain":
		_, err := exec.LookPath("setpriv")
		return runtime.GOOS != "windows" && (os.Getuid() > 0 || err == nil), nil
	case "root":
		return os.Getuid() == 0, nil
	case "mounts":
		return mounts(), nil
	case "netns":
		return netns(), nil
	case "openvino":
		return openvino(), nil
	}
	return false, fmt.Errorf("there is no condition %q", name)
}

var mounts = sync.OnceValue(func() bool {
	return os.Getuid() == 0 && exec.Command("unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt").Run() == nil
})

var netns = sync.OnceValue(func() bool { return exec.Command("unshare", "-rn", "true").Run() == nil })

// plain CODE COMMAND... is exits as a user without rights: root becomes nobody, who reaches the script's folder, the
// command and a copy of the runtime, and writes where `give` lets it.
func plain(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	if os.Getuid() == 0 {
		data, err := readableData()
		ts.Check(err)
		for dir := ts.MkAbs("."); len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
			ts.Check(reachable(dir))
		}
		args = append([]string{"setpriv", "--reuid=" + nobody, "--regid=" + nobody, "--clear-groups", "--inh-caps=-all", "env", "OPTIMIZE_DATA=" + data}, args...)
	}
	got := 0
	if err := ts.Exec(args[0], args[1:]...); err != nil {
		var ee *exec.ExitError
		if !asExit(err, &ee) {
			ts.Fatalf("%v", err)
		}
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// give PATH... makes files and what is below them the plain user's.
func give(ts *testscript.TestScript, _ bool, args []string) {
	if os.Getuid() != 0 {
		return
	}
	id, err := strconv.Atoi(nobody)
	ts.Check(err)
	for _, a := range args {
		ts.Check(filepath.WalkDir(ts.MkAbs(a), func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, id, id))
		}))
	}
}

func reachable(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return os.Chmod(dir, st.Mode().Perm()|0o111)
}

// readableData is a copy of the installed runtime that everybody may read: root's own lies where nobody may look.
var readableData = sync.OnceValues(func() (string, error) {
	dir := filepath.Dir(binary)
	if err := reachable(dir); err != nil {
		return "", err
	}
	to := filepath.Join(dir, "data")
	from := dataDir()
	if _, err := os.Stat(from); err != nil {
		return to, nil // OPTIMIZE_ONNXRUNTIME is used
	}
	out, err := exec.Command("cp", "-a", from, to).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	out, err = exec.Command("chmod", "-R", "a+rX", to).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return to, nil
})

// TestVariablesAreDocumented finds every variable of the environment that the code reads, and wants each in
// docs/environment.md; and every OPTIMIZE_ one of the document in the code.
func TestVariablesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/environment.md")
	if err != nil {
		t.Fatal(err)
	}
	own := regexp.MustCompile(`\bOPTIMIZE_[A-Z][A-Z_]*[A-Z]\b`)
	read := regexp.MustCompile(`(?:[gG]etenv|LookupEnv|first)\(("[A-Za-z_]+"(?:, "[A-Za-z_]+")*)\)`)
	found := map[string]string{}
	root := "../.."
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if n := e.Name(); n == ".git" || n == "tools" || n == "testdata" || strings.HasPrefix(n, ".venv") || n == "docs" {
				return filepath.SkipDir
			}
			return nil
		}
		if ext := filepath.Ext(path); ext != ".go" && ext != ".sh" && ext != ".py" && e.Name() != "Makefile" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, name := range own.FindAllString(string(b), -1) {
			if !strings.HasPrefix(name, "OPTIMIZE_TEST_") && !strings.HasPrefix(name, "OPTIMIZE_FAKE") { // tests tell themselves
				found[name] = path
			}
		}
		if !strings.HasSuffix(path, "_test.go") {
			for _, m := range read.FindAllStringSubmatch(string(b), -1) {
				for _, name := range strings.Split(m[1], ", ") {
					found[strings.Trim(name, `"`)] = path
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range found {
		if strings.HasPrefix(name, "PLUGIN_") {
			continue // between host and plugin: docs/protocol.md
		}
		if !regexp.MustCompile("`[$%]?" + name + `\b`).Match(doc) {
			t.Errorf("docs/environment.md does not tell of %s (%s)", name, path)
		}
	}
	for _, name := range own.FindAllString(string(doc), -1) {
		if _, ok := found[name]; !ok {
			t.Errorf("docs/environment.md tells of %s, which nothing reads", name)
		}
	}
	if len(found) < 15 {
		t.Errorf("only %d variables were found: does the search still work?", len(found))
	}
}

// TestExitCodesAreDocumented compares the table of docs/exit-codes.md with the constants.
func TestExitCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile("cli.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`(?m)^\tExit\w+ += (\d+)`).FindAllStringSubmatch(string(src), -1)
	if len(codes) < 5 {
		t.Fatalf("found %d exit codes in cli.go", len(codes))
	}
	for _, m := range codes {
		if !strings.Contains(string(doc), "\n| "+m[1]+" |") {
			t.Errorf("docs/exit-codes.md does not tell of %s", m[1])
		}
	}
}

func dataDir() string {
	data, _ := install.DataDir(os.Getenv)
	return data
}
