//go:build unix

package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
	"github.com/optimize-hcl/optimize/tensor"
)

// The test binary plays three parts: the tests, the plugin that they start, and a host that they kill.
const (
	asPlugin = "serve-test-plugin"
	asNoisy  = "serve-noisy-plugin" // prints before Serve
	asFuture = "serve-future-plugin"
	asSilent = "be-no-plugin"
	asHost   = "run-test-host"
)

func TestMain(m *testing.M) {
	part := ""
	if len(os.Args) > 1 {
		part = os.Args[1]
	}
	switch part {
	case asPlugin:
		sdk.Serve(fake())
		return
	case asNoisy:
		fmt.Println("a library says hello")
		fmt.Print("and leaves a line open")
		fmt.Println()
		sdk.Serve(fake())
		return
	case asFuture:
		goplugin.Serve(&goplugin.ServeConfig{
			HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: pluginv1.MagicCookieKey, MagicCookieValue: pluginv1.MagicCookieVal},
			VersionedPlugins: map[int]goplugin.PluginSet{7: {pluginv1.SetName: future{}}},
			GRPCServer:       func(o []grpc.ServerOption) *grpc.Server { return grpc.NewServer(o...) },
		})
		return
	case asSilent:
		fmt.Fprintln(os.Stderr, "who are you?")
		time.Sleep(time.Minute)
		return
	case asHost:
		testHost()
		return
	}
	// A short temporary folder of our own: what is left in it at the end was forgotten.
	tmp, err := os.MkdirTemp("/tmp", "opt-host-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = os.Setenv("TMPDIR", tmp)
	code := m.Run()
	if left := leftovers(tmp); code == 0 && len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left behind:", strings.Join(left, ", "))
		code = 1
	}
	_ = os.RemoveAll(tmp)
	os.Exit(code)
}

// future serves a protocol of days to come.
type future struct{ grpcPlugin }

func (future) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error { return nil }

// leftovers lists processes of ours and sockets and folders of plugins that are still there.
func leftovers(tmp string) []string {
	var out []string
	for range 50 {
		out = nil
		for _, e := range must(os.ReadDir(tmp)) {
			out = append(out, e.Name())
		}
		procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, p := range procs {
			b, _ := os.ReadFile(p)
			args := strings.Split(string(b), "\x00")
			if len(args) > 1 && (args[0] == os.Args[0] && args[1] == asPlugin || args[1] == grandchildSleep) {
				out = append(out, p+": "+strings.Join(args, " "))
			}
		}
		if len(out) == 0 {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return out
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// grandchildSleep is an argument of sleep that no one else uses.
const grandchildSleep = "4711.25"

type config struct {
	Text string `opt:"text" default:"hello"`
	// Secs is how long the slow ones take.
	Secs float64 `opt:"secs"`
	Deep []struct {
		Level int `opt:"level"`
	} `opt:"deep,block"`
}

func (c config) Validate(context.Context) sdk.Diagnostics {
	if c.Text == "stopped" {
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {} // the signal stops the threads one by one
	}
	if c.Text == "bad" {
		return sdk.Diagnostics{{Summary: "text is bad", Detail: "Write a good one.", Code: "fake/bad", Path: []any{"text"}}}
	}
	return nil
}

func (c config) Plan(_ context.Context, run *sdk.PlanRun) (*sdk.PlanResult, error) {
	if c.Text == "exit" {
		os.Exit(5)
	}
	return &sdk.PlanResult{Fingerprint: map[string]string{"threads": strconv.Itoa(run.Threads)},
		Missing: []sdk.Missing{{What: "patience", Command: "sleep 1"}}, Nondeterministic: true}, nil
}

type facts struct {
	Text string   `opt:"text"`
	Env  []string `opt:"env"`
}

func fake() *sdk.Plugin {
	p := &sdk.Plugin{Name: "fake", Version: "1.2.3", Licence: "MIT", RequiresCore: ">= 0.1"}
	step := func(name string, f func(context.Context, *sdk.Run, config) (*sdk.Result, error)) {
		p.Steps = append(p.Steps, sdk.Step(sdk.StepSpec{Name: "fake_" + name, Revision: 1,
			Outputs: []sdk.Output{{Name: "model", Kind: "model", Format: "onnx"}}, ResultExample: facts{}}, f))
	}
	write := func(run *sdk.Run, c config) (*sdk.Result, error) {
		if err := os.WriteFile(run.Path("m.onnx"), []byte(c.Text), 0o644); err != nil {
			return nil, err
		}
		return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Path: "m.onnx"}}, Facts: facts{Text: c.Text, Env: os.Environ()}}, nil
	}
	step("echo", func(ctx context.Context, run *sdk.Run, c config) (*sdk.Result, error) {
		_, span := sdk.StartSpan(ctx, "echoing")
		defer span.End()
		run.Log.Info("working", "text", c.Text)
		run.Progress("echo", 1, 2, "words")
		run.Progress("echo", 2, 2, "words")
		run.Warn(sdk.AttrWarning("text", "nothing is done", ""))
		return write(run, c)
	})
	step("fail", func(context.Context, *sdk.Run, config) (*sdk.Result, error) {
		return nil, errors.Join(sdk.AttrError("text", "no such text", "Write another."), errors.New("and it rains"))
	})
	step("panic", func(_ context.Context, _ *sdk.Run, c config) (*sdk.Result, error) {
		_ = c.Deep[3]
		return nil, nil
	})
	step("crash", func(context.Context, *sdk.Run, config) (*sdk.Result, error) {
		fmt.Fprintln(os.Stderr, "about to crash")
		go func() { panic("boom in the plugin") }()
		select {}
	})
	step("exit", func(context.Context, *sdk.Run, config) (*sdk.Result, error) {
		fmt.Println("good bye")
		os.Exit(7)
		return nil, nil
	})
	step("killed", func(context.Context, *sdk.Run, config) (*sdk.Result, error) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	})
	step("hang", func(context.Context, *sdk.Run, config) (*sdk.Result, error) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {}
	})
	step("slow", func(ctx context.Context, run *sdk.Run, c config) (*sdk.Result, error) {
		run.Progress("begun", 0, 0, "")
		select {
		case <-run.Stopped():
			time.Sleep(300 * time.Millisecond) // cleaning up
			run.Log.Info("cleaned up")
			return nil, ctx.Err()
		case <-time.After(time.Duration(c.Secs * float64(time.Second))):
			return write(run, c)
		}
	})
	step("stubborn", func(_ context.Context, run *sdk.Run, _ config) (*sdk.Result, error) {
		run.Progress("begun", 0, 0, "")
		select {}
	})
	step("garbage", func(_ context.Context, run *sdk.Run, c config) (*sdk.Result, error) {
		fmt.Println("1|1|unix|/tmp/nowhere|grpc|")
		_, _ = syscall.Write(1, []byte("a C library prints\n"))
		cmd := exec.Command("sh", "-c", "echo a child prints; cat")
		cmd.Stdout, cmd.Stdin = os.Stdout, os.Stdin
		if err := cmd.Run(); err != nil {
			return nil, err
		}
		return write(run, c)
	})
	step("grandchild", func(_ context.Context, run *sdk.Run, c config) (*sdk.Result, error) {
		cmd := exec.Command("sleep", grandchildSleep)
		cmd.Stderr = os.Stderr // holds our pipe
		if strings.Contains(c.Text, "daemon") {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		run.Log.Info("child", "pid", cmd.Process.Pid, "own", os.Getpid())
		if c.Text == "crash" {
			os.Exit(3)
		}
		if strings.HasPrefix(c.Text, "wait") {
			select {}
		}
		return write(run, c)
	})
	step("escape", func(context.Context, *sdk.Run, config) (*sdk.Result, error) {
		return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Path: "../m.onnx"}}}, nil
	})
	step("ask", func(ctx context.Context, run *sdk.Run, c config) (*sdk.Result, error) {
		candidate := sdk.Artifact{Path: run.Path("m.onnx"), Format: "onnx"}
		switch c.Text {
		case "evaluate":
			m, n, err := run.Evaluate(ctx, sdk.Evaluation{Candidate: candidate})
			if err == nil && (m["top1"].Value != 0.5 || n != 7) {
				err = fmt.Errorf("got %v over %d", m, n)
			}
			if err != nil {
				return nil, err
			}
		case "race":
			if _, err := run.Race(ctx, sdk.Race{Candidates: []sdk.Artifact{candidate}}); err != nil {
				return nil, err
			}
		case "coverage":
			if _, err := run.Coverage(ctx, candidate, ""); err != nil {
				return nil, err
			}
		}
		return write(run, c)
	})
	p.Formats, p.Runtime = []sdk.Format{{Name: "fake", Extensions: []string{".fake"}}}, hanging{}
	p.Inspect = func(_ context.Context, a sdk.Artifact) (any, error) {
		if a.Path == "" {
			return nil, errors.New("there is nothing to see")
		}
		return map[string]any{"schema": "optimize.inspect/v1", "format": a.Format}, nil
	}
	return p
}

// hanging is a runtime whose benchmark never ends, and whose Predict stops the process.
type hanging struct{}

func (hanging) Probe(context.Context, sdk.ProbeRequest) (sdk.ProbeResult, error) {
	return sdk.ProbeResult{}, nil
}
func (hanging) Open(context.Context, sdk.OpenRequest) (sdk.RuntimeSession, error) {
	return hanging{}, nil
}
func (hanging) Info() sdk.SessionInfo { return sdk.SessionInfo{} }
func (hanging) Predict(context.Context, sdk.PredictRequest) (int64, error) {
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	select {}
}
func (hanging) Benchmark(context.Context, sdk.BenchmarkRequest) ([]int64, error) { select {} }
func (hanging) Coverage(context.Context) (any, error)                            { return nil, nil }
func (hanging) Close() error                                                     { return nil }

// writeShard makes dir a dataset of two samples.
func writeShard(t *testing.T, dir string) {
	t.Helper()
	x, err := tensor.FromFloat32(tensor.F32, []int64{2, 1}, []float32{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := tensor.WriteFile(filepath.Join(dir, "0.safetensors"), []tensor.Named{{Name: "x", Tensor: x}}, nil); err != nil {
		t.Fatal(err)
	}
	err = tensor.WriteIndex(dir, tensor.Index{Samples: 2, Fields: []tensor.Field{{Name: "x", DType: tensor.F32, Shape: []int64{1}}},
		Shards: []tensor.Shard{{File: "0.safetensors", Samples: 2}}})
	if err != nil {
		t.Fatal(err)
	}
}

func fakeRef(part string) Ref {
	return Ref{Name: "fake", Command: []string{os.Args[0], part}, Version: "1.2.3", Digest: strings.Repeat("ab", 32)}
}

// alive tells whether a process is there and no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !slices.Contains([]string{"Z", "X"}, rest[:1])
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal(what)
}
