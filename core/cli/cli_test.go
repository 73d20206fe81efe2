package cli_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/optimize-hcl/optimize/core/install"
)

// binary is the real command, built once; the tests run it as a user would.
var binary string

// plugins is a folder with a third-party plugin, optimize-plugin-demo.
var plugins string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "optimize-cli-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "optimize")
		build := exec.Command("go", "build", "-o", binary, "../..")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "the command does not build:", err)
			return 1
		}
		plugins = filepath.Join(dir, "plugins")
		demo := exec.Command("go", "build", "-o", filepath.Join(plugins, "optimize-plugin-demo"), "./testdata/demoplugin")
		demo.Stdout, demo.Stderr = os.Stderr, os.Stderr
		if err := demo.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "the demo plugin does not build:", err)
			return 1
		}
		return m.Run()
	}())
}

// needRuntime skips a test when ONNX Runtime is not installed, unless CI requires it.
func needRuntime(t *testing.T) string {
	t.Helper()
	data, err := install.DataDir(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := install.Installed(data, "onnxruntime"); !ok && os.Getenv("OPTIMIZE_ONNXRUNTIME") == "" {
		if os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1" {
			t.Fatal("ONNX Runtime is not installed: run `make runtime`")
		}
		t.Skip("ONNX Runtime is not installed: run `make runtime`")
	}
	return data
}

// openvino tells whether OpenVINO is here. Where CI requires it, scripts take it for granted, and fail.
func openvino() bool {
	data, err := install.DataDir(os.Getenv)
	if err != nil {
		return false
	}
	_, ok := install.Installed(data, "openvino")
	return ok || os.Getenv("OPTIMIZE_OPENVINO") != "" || runtime.GOOS == "linux" && os.Getenv("OPTIMIZE_REQUIRE_RUNTIME") == "1"
}

func TestScripts(t *testing.T) {
	data := needRuntime(t)
	digits, err := filepath.Abs("../../recipes/digits")
	if err != nil {
		t.Fatal(err)
	}
	models, err := filepath.Abs("testdata/models")
	if err != nil {
		t.Fatal(err)
	}
	// One folder an area: go test -run TestScripts/cache
	areas, err := os.ReadDir("testdata/script")
	if err != nil {
		t.Fatal(err)
	}
	for _, area := range areas {
		t.Run(area.Name(), func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Dir:           filepath.Join("testdata/script", area.Name()),
				UpdateScripts: os.Getenv("OPTIMIZE_UPDATE_GOLDEN") != "",
				Condition:     condition,
				Setup: func(e *testscript.Env) error {
					e.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH"))
					e.Setenv("HOME", e.WorkDir)
					e.Setenv("OPTIMIZE_CACHE", filepath.Join(e.WorkDir, ".cache"))
					e.Setenv("OPTIMIZE_DATA", data)
					e.Setenv("OPTIMIZE_PLUGINS", plugins)
					e.Setenv("OPTIMIZE_ONNXRUNTIME", os.Getenv("OPTIMIZE_ONNXRUNTIME"))
					e.Setenv("OPTIMIZE_OPENVINO", os.Getenv("OPTIMIZE_OPENVINO"))
					return nil
				},
				Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
					"plain": plain, "give": give, "steady": steady, "demo": demo,
					// debugplugin FILE starts the demo plugin for a debugger and writes what it says to export.
					"debugplugin": func(ts *testscript.TestScript, _ bool, args []string) {
						c := exec.Command(filepath.Join(plugins, "optimize-plugin-demo"), "debug")
						out, err := c.StdoutPipe()
						ts.Check(err)
						ts.Check(c.Start())
						ts.Defer(func() {
							_ = c.Process.Signal(os.Interrupt)
							_ = c.Wait()
						})
						lines := bufio.NewScanner(out)
						for lines.Scan() {
							if kv, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "export "); ok {
								ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(kv, "'", "")+"\n"), 0o644))
								return
							}
						}
						ts.Fatalf("the plugin says nothing to export")
					},
					// source FILE sets the variables of NAME=VALUE lines.
					"source": func(ts *testscript.TestScript, _ bool, args []string) {
						for _, kv := range strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n") {
							k, v, _ := strings.Cut(kv, "=")
							ts.Setenv(k, v)
						}
					},
					// model NAME... puts models of testdata/models into the script's folder.
					"model": func(ts *testscript.TestScript, _ bool, args []string) {
						for _, name := range args {
							b, err := os.ReadFile(filepath.Join(models, name))
							ts.Check(err)
							ts.Check(os.WriteFile(ts.MkAbs(name), b, 0o644))
						}
					},
					// fixture DIR puts the digit recipe's files there; layouts are not searched for.
					"fixture": func(ts *testscript.TestScript, _ bool, args []string) {
						dir := ts.MkAbs(args[0])
						ts.Check(os.MkdirAll(dir, 0o755))
						for _, f := range []string{"recipe.hcl", "digits.onnx", "mnist-train.npz", "mnist-test.npz"} {
							to := filepath.Join(dir, f)
							if _, err := os.Stat(to); err == nil {
								continue // the script brings its own
							}
							b, err := os.ReadFile(filepath.Join(digits, f))
							ts.Check(err)
							ts.Check(os.WriteFile(to, unsearched(b), 0o644))
						}
					},
					// exits CODE COMMAND... runs a command that must end with that code, and without a stack trace.
					"exits": func(ts *testscript.TestScript, _ bool, args []string) {
						want, err := strconv.Atoi(args[0])
						ts.Check(err)
						got := 0
						if err := ts.Exec(args[1], args[2:]...); err != nil {
							var ee *exec.ExitError
							if !asExit(err, &ee) {
								ts.Fatalf("%v", err)
							}
							got = ee.ExitCode()
						}
						if got != want {
							ts.Fatalf("exit code %d, want %d", got, want)
						}
					},
					// edit FILE OLD NEW replaces text that must be there.
					"edit": func(ts *testscript.TestScript, _ bool, args []string) {
						edit(ts, ts.MkAbs(args[0]), args[1], args[2])
					},
					// cut FILE N keeps the first N bytes.
					"cut": func(ts *testscript.TestScript, _ bool, args []string) {
						n, err := strconv.ParseInt(args[1], 10, 64)
						ts.Check(err)
						ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
					},
				},
			})
		})
	}
}
