//go:build unix

package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// rig is a manager with a short patience, and a fake plugin.
type rig struct {
	*testing.T
	m   *Manager
	p   *Plugin
	dir string
	ty  cty.Type
	// services are what its steps may ask; nil for nothing.
	services Services
}

func newRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	r := &rig{T: t, dir: t.TempDir()}
	o := Options{RunDir: r.dir, StopGrace: 5 * time.Second, HangTimeout: 20 * time.Second, Version: "0.1.0"}
	if change != nil {
		change(&o)
	}
	r.m = NewManager(o)
	t.Cleanup(func() { r.m.Close(context.Background()) })
	r.start()
	return r
}

func (r *rig) start() {
	r.Helper()
	d, err := r.m.Describe(r.Context(), fakeRef(asPlugin))
	if err != nil {
		r.Fatal(err)
	}
	if r.ty, err = pluginv1.ImpliedType(d.GetSteps()[0].GetSchema()); err != nil {
		r.Fatal(err)
	}
	if r.p, err = r.m.Plugin(r.Context(), fakeRef(asPlugin)); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) config(text cty.Value, secs float64) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{"text": text, "secs": cty.NumberFloatVal(secs),
		"deep": cty.ListValEmpty(r.ty.AttributeType("deep").ElementType())})
}

type outcome struct {
	done   *pluginv1.Done
	diags  []*pluginv1.Diagnostic
	err    error
	events []*pluginv1.ApplyEvent
	out    string
}

func (r *rig) apply(ctx context.Context, step, text string, on func(*pluginv1.ApplyEvent)) outcome {
	var o outcome
	o.out = r.TempDir()
	b, err := ctymsgpack.Marshal(r.config(cty.StringVal(text), 60), r.ty)
	if err != nil {
		r.Error(err)
	}
	o.done, o.diags, o.err = r.p.Apply(ctx, &pluginv1.ApplyRequest{StepType: "fake_" + step, Config: &pluginv1.Value{Msgpack: b},
		OutDir: o.out, ScratchDir: r.TempDir(), Threads: 2}, r.services, func(e *pluginv1.ApplyEvent) {
		o.events = append(o.events, e)
		if on != nil {
			on(e)
		}
	})
	return o
}

func (r *rig) log() string {
	b, _ := os.ReadFile(filepath.Join(r.dir, "logs", "fake.log"))
	return string(b)
}

func TestDescribeIsRemembered(t *testing.T) {
	memo := t.TempDir()
	r := newRig(t, func(o *Options) { o.MemoDir = memo })
	want, err := r.m.Describe(t.Context(), fakeRef(asPlugin))
	if err != nil || want.GetVersion() != "1.2.3" || !slices.Contains(want.GetCapabilities(), "inspect") {
		t.Fatalf("%v, %v", want, err)
	}
	file := must(filepath.Glob(filepath.Join(memo, "*")))
	if len(file) != 1 {
		t.Fatalf("memo files: %v", file)
	}
	// Remembered: a command that cannot be started is not started.
	ref := fakeRef(asPlugin)
	ref.Command = []string{"/nonexistent"}
	m := NewManager(Options{MemoDir: memo})
	if d, err := m.Describe(t.Context(), ref); err != nil || len(d.GetSteps()) != len(want.GetSteps()) {
		t.Fatalf("%v, %v", d, err)
	}
	good := must(os.ReadFile(file[0]))
	for name, b := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-1], "random": []byte("\x0a\x04fake"), "flipped": append(slices.Clone(good[:len(good)-1]), good[len(good)-1]^1),
	} {
		if err := os.WriteFile(file[0], b, 0o644); err != nil {
			t.Fatal(err)
		}
		var se *StartError
		if _, err := NewManager(Options{MemoDir: memo}).Describe(t.Context(), ref); !errors.As(err, &se) {
			t.Errorf("%s memo: %v", name, err)
		}
	}
	if _, err := r.m.Describe(t.Context(), fakeRef(asPlugin)); err != nil { // asked anew, and written again
		t.Fatal(err)
	}
	if b := must(os.ReadFile(file[0])); string(b) != string(good) {
		t.Error("the damaged memo was not replaced")
	}
}

func TestOneProcessForManyCallers(t *testing.T) {
	m := NewManager(Options{})
	defer m.Close(context.Background())
	var wg sync.WaitGroup
	ps := make([]*Plugin, 8)
	for i := range ps {
		wg.Go(func() { ps[i], _ = m.Plugin(t.Context(), fakeRef(asPlugin)) })
	}
	wg.Wait()
	for _, p := range ps {
		if p == nil || p != ps[0] {
			t.Fatal("not the same plugin for all")
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Plugin(gone, Ref{Name: "other", Command: []string{os.Args[0], asSilent}}); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gave up: %v", err)
	}
}

func TestValidateAndPlan(t *testing.T) {
	r := newRig(t, nil)
	ds, err := r.p.Validate(t.Context(), "fake_echo", r.config(cty.StringVal("bad"), 0), r.ty)
	if err != nil || len(ds) != 1 || ds[0].GetCode() != "fake/bad" || ds[0].GetPath()[0].GetAttribute() != "text" {
		t.Errorf("%v, %v", ds, err)
	}
	ds, err = r.p.Validate(t.Context(), "fake_echo", r.config(cty.UnknownVal(cty.String), 0), r.ty)
	if err != nil || len(ds) != 0 {
		t.Errorf("unknown: %v, %v", ds, err)
	}
	b := must(ctymsgpack.Marshal(r.config(cty.NullVal(cty.String), 0), r.ty))
	pr, err := r.p.Plan(t.Context(), &pluginv1.PlanRequest{StepType: "fake_echo", Config: &pluginv1.Value{Msgpack: b}, Threads: 3})
	if err != nil || pr.GetFingerprint()["threads"] != "3" || !pr.GetNondeterministic() || pr.GetMissing()[0].GetCommand() != "sleep 1" {
		t.Errorf("%v, %v", pr, err)
	}
	ir, err := r.p.Inspect(t.Context(), &pluginv1.InspectRequest{Artifact: &pluginv1.Artifact{Path: "/x", Format: "onnx"}})
	if err != nil || !strings.Contains(string(ir.GetDocument()), `"format":"onnx"`) {
		t.Errorf("%v, %v", ir, err)
	}
	var ce *CallError
	if _, err := r.p.Plan(t.Context(), &pluginv1.PlanRequest{StepType: "fake_nothing"}); !errors.As(err, &ce) || !strings.Contains(ce.Reason, "no step") {
		t.Errorf("unknown step: %v", err)
	}
	if _, err := r.p.Runtime().Coverage(t.Context(), &pluginv1.CoverageRequest{Session: "none"}); !errors.As(err, &ce) || ce.Call != "Coverage" {
		t.Errorf("no session: %v", err)
	}
	b = must(ctymsgpack.Marshal(r.config(cty.StringVal("exit"), 0), r.ty))
	var crash *CrashError
	if _, err := r.p.Plan(t.Context(), &pluginv1.PlanRequest{StepType: "fake_echo", Config: &pluginv1.Value{Msgpack: b}}); !errors.As(err, &crash) || crash.Step != "fake_echo" || crash.ExitStatus != "exit status 5" {
		t.Errorf("exit in Plan: %v", err)
	}
}

func TestApply(t *testing.T) {
	r := newRig(t, nil)
	o := r.apply(t.Context(), "echo", "hi", nil)
	if o.err != nil {
		t.Fatal(o.err)
	}
	a := o.done.GetOutputs()["model"]
	if a.GetPath() != "m.onnx" || a.GetKind() != "model" || a.GetFormat() != "onnx" || a.GetSize() != 2 {
		t.Errorf("output: %v", a)
	}
	if len(o.diags) != 1 || o.diags[0].GetSeverity() != pluginv1.Diagnostic_SEVERITY_WARNING {
		t.Errorf("diagnostics: %v", o.diags)
	}
	var kinds []string
	for _, e := range o.events {
		switch {
		case e.GetProgress() != nil:
			kinds = append(kinds, "progress")
		case e.GetLog() != nil:
			kinds = append(kinds, "log "+e.GetLog().GetFields()["text"])
		case e.GetDiagnostic() != nil:
			kinds = append(kinds, "diagnostic")
		default:
			t.Errorf("event %v", e)
		}
	}
	if got := strings.Join(kinds, ","); got != "log hi,progress,progress,diagnostic" {
		t.Errorf("events: %s", got)
	}
	if o := r.apply(t.Context(), "fail", "", nil); o.err != nil || len(o.diags) != 2 || o.diags[0].GetPath()[0].GetAttribute() != "text" || o.diags[1].GetSummary() != "and it rains" {
		t.Errorf("fail: %v, %v", o.diags, o.err)
	}
	if o := r.apply(t.Context(), "escape", "", nil); o.err != nil || len(o.diags) != 1 || o.diags[0].GetCode() != "plugin/output" {
		t.Errorf("escape: %v, %v", o.diags, o.err)
	}
}

func TestPanicIsADiagnostic(t *testing.T) {
	r := newRig(t, nil)
	o := r.apply(t.Context(), "panic", "", nil)
	if o.err != nil || len(o.diags) != 1 || o.diags[0].GetCode() != "plugin/panic" {
		t.Fatalf("%v, %v", o.diags, o.err)
	}
	eventually(t, "the stack is not in the log", func() bool { return strings.Contains(r.log(), "main_test.go") })
	if o := r.apply(t.Context(), "echo", "still here", nil); o.err != nil {
		t.Error(o.err)
	}
}

func TestCrashReport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ step, text, status, firstPanic, lastLine string }{
		{"crash", "", "exit status 2", "panic: boom in the plugin", ""},
		{"exit", "", "exit status 7", "", "good bye"},
		{"killed", "", "killed (SIGKILL): most often because the system ran out of memory", "", ""},
		{"grandchild", "crash", "exit status 3", "", ""},
	} {
		t.Run(c.step, func(t *testing.T) {
			r := newRig(t, nil)
			o := r.apply(t.Context(), c.step, c.text, nil)
			var e *CrashError
			if !errors.As(o.err, &e) {
				t.Fatalf("%v", o.err)
			}
			if e.Plugin != "fake" || e.Version != "1.2.3" || e.Step != "fake_"+c.step || e.ExitStatus != c.status {
				t.Errorf("%+v", e)
			}
			if c.firstPanic != "" && (len(e.Panic) < 3 || e.Panic[0] != c.firstPanic) {
				t.Errorf("panic: %q", e.Panic)
			}
			if c.lastLine != "" && !slices.Contains(e.LastLines, c.lastLine) {
				t.Errorf("last lines: %q", e.LastLines)
			}
			if c.step == "crash" && (e.LogPath == "" || !strings.Contains(r.log(), "about to crash\npanic: boom")) {
				t.Errorf("log: %s", r.log())
			}
			if strings.Contains(e.Error(), "EOF") || !strings.Contains(e.Error(), "fake 1.2.3") {
				t.Error(e)
			}
			// The next one who needs the plugin gets a new process.
			r.start()
			if o := r.apply(t.Context(), "echo", "again", nil); o.err != nil {
				t.Error(o.err)
			}
		})
	}
}

func TestHang(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.HangTimeout = 3 * time.Second })
	o := r.apply(t.Context(), "hang", "", nil)
	var e *HangError
	if !errors.As(o.err, &e) || e.Step != "fake_hang" || e.Silence != 3*time.Second {
		t.Fatalf("%v", o.err)
	}
	<-r.p.proc.exited
}

// A process that is stopped while it checks a configuration must not cost the whole time that the call may take.
func TestHangInValidate(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.HangTimeout, o.CallTimeout = 2*time.Second, time.Hour })
	_, err := r.p.Validate(t.Context(), "fake_echo", r.config(cty.StringVal("stopped"), 0), r.ty)
	var e *HangError
	if !errors.As(err, &e) || e.Step != "Validate" {
		t.Fatalf("%v", err)
	}
	<-r.p.proc.exited
}

func TestHeartbeatIsLife(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.HangTimeout = 3 * time.Second })
	ctx, cancel := context.WithTimeout(t.Context(), 4500*time.Millisecond)
	defer cancel()
	if o := r.apply(ctx, "slow", "", nil); !errors.Is(o.err, context.DeadlineExceeded) || !o.done.GetStopped() {
		t.Errorf("%v, %v", o.done, o.err)
	}
}

func TestStop(t *testing.T) {
	r := newRig(t, nil)
	why := errors.New("the user said so")
	ctx, cancel := context.WithCancelCause(t.Context())
	o := r.apply(ctx, "slow", "", func(e *pluginv1.ApplyEvent) {
		if e.GetProgress() != nil {
			cancel(why)
		}
	})
	if !errors.Is(o.err, why) || !o.done.GetStopped() || len(o.diags) != 0 {
		t.Errorf("%v, %v, %v", o.done, o.diags, o.err)
	}
	if n := len(o.events); n == 0 || o.events[n-1].GetLog().GetMessage() != "cleaned up" {
		t.Errorf("the step was not left to clean up: %v", o.events)
	}
	if o := r.apply(t.Context(), "echo", "next", nil); o.err != nil {
		t.Error(o.err)
	}
}

func TestStopGrace(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.StopGrace = 300 * time.Millisecond })
	other := make(chan outcome, 1)
	begun := make(chan struct{})
	go func() { other <- r.apply(t.Context(), "slow", "", func(*pluginv1.ApplyEvent) { close(begun) }) }()
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	start := time.Now()
	o := r.apply(ctx, "stubborn", "", func(*pluginv1.ApplyEvent) { cancel(); start = time.Now() })
	var e *StopError
	if !errors.As(o.err, &e) || !errors.Is(o.err, context.Canceled) || time.Since(start) > 3*time.Second {
		t.Errorf("%v after %s", o.err, time.Since(start))
	}
	var c *CrashError
	if o := <-other; !errors.As(o.err, &c) || !strings.Contains(c.ExitStatus, "fake_stubborn did not stop") {
		t.Errorf("the other step: %v", o.err)
	}
}

func TestStdoutIsNoDanger(t *testing.T) {
	r := newRig(t, nil)
	if o := r.apply(t.Context(), "garbage", "", nil); o.err != nil || len(o.diags) != 0 {
		t.Fatalf("%v, %v", o.diags, o.err)
	}
	eventually(t, "printed lines are not in the log", func() bool {
		l := r.log()
		return strings.Contains(l, "a C library prints\n") && strings.Contains(l, "a child prints\n") && strings.Contains(l, "1|1|unix")
	})
	dir := t.TempDir()
	m := NewManager(Options{RunDir: dir})
	defer m.Close(context.Background())
	if _, err := m.Describe(t.Context(), fakeRef(asNoisy)); err != nil {
		t.Fatal(err)
	}
	if b := must(os.ReadFile(filepath.Join(dir, "logs", "fake.log"))); !strings.Contains(string(b), "a library says hello\nand leaves a line open\n") {
		t.Errorf("log: %q", b)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("LC_NUMERIC", "C")
	t.Setenv("OPTIMIZE_VAR_x", "secret")
	t.Setenv("EXTRA", "wanted")
	t.Setenv("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	r := newRig(t, func(o *Options) { o.Env = []string{"EXTRA", "SET=here"} })
	o := r.apply(t.Context(), "echo", "", nil)
	if o.err != nil {
		t.Fatal(o.err)
	}
	b := o.done.GetResult().GetMsgpack()
	v := must(ctymsgpack.Unmarshal(b, must(ctymsgpack.ImpliedType(b))))
	var names []string
	for _, e := range v.GetAttr("env").AsValueSlice() {
		k, val, _ := strings.Cut(e.AsString(), "=")
		if val == "secret" {
			t.Errorf("%s reached the plugin", k)
		}
		names = append(names, k)
	}
	for _, want := range []string{"PATH", "LC_NUMERIC", "EXTRA", "SET", "TMPDIR"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if slices.Contains(names, "TRACEPARENT") {
		t.Error("TRACEPARENT passed without telemetry")
	}
}

func TestFilterEnv(t *testing.T) {
	env := []string{"PATH=/bin", "Path=/bin", "SYSTEMROOT=C", "DYLD_X=1", "SECRET=1", "=C:=C:", "odd", "MINE_A=1"}
	got := strings.Join(filterEnv(env, []string{"MINE_*"}, false), " ")
	if got != "PATH=/bin DYLD_X=1 MINE_A=1" {
		t.Error(got)
	}
	// A plugin works in another folder: relative ones would lead elsewhere.
	here := must(os.Getwd())
	got = strings.Join(filterEnv([]string{"TMPDIR=t", "OPTIMIZE_DATA=/d", "OPTIMIZE_ONNXRUNTIME="}, nil, false), " ")
	if got != "TMPDIR="+filepath.Join(here, "t")+" OPTIMIZE_DATA=/d OPTIMIZE_ONNXRUNTIME=" {
		t.Error(got)
	}
	got = strings.Join(filterEnv(env, nil, true), " ")
	if got != "PATH=/bin Path=/bin SYSTEMROOT=C DYLD_X=1" {
		t.Error(got)
	}
}

func TestChildrenEndWithThePlugin(t *testing.T) {
	r := newRig(t, nil)
	o := r.apply(t.Context(), "grandchild", "", nil)
	if o.err != nil {
		t.Fatal(o.err)
	}
	child, own := pids(t, o.events)
	if !alive(child) || !alive(own) {
		t.Fatal("not running")
	}
	dir := r.p.dir
	r.m.Close(t.Context())
	eventually(t, "plugin or child survived Close", func() bool { return !alive(child) && !alive(own) })
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", dir, err)
	}
	if _, err := r.m.Plugin(t.Context(), fakeRef(asPlugin)); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// What a plugin started in a session of its own has left its process group, and ends with it all the same.
func TestDaemonsEndWithThePlugin(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells whose they are")
	}
	r := newRig(t, nil)
	o := r.apply(t.Context(), "grandchild", "daemon", nil)
	if o.err != nil {
		t.Fatal(o.err)
	}
	child, _ := pids(t, o.events)
	if !alive(child) {
		t.Fatal("not running")
	}
	r.m.Close(t.Context())
	eventually(t, "the child survived Close", func() bool { return !alive(child) })
}

func pids(t *testing.T, events []*pluginv1.ApplyEvent) (child, own int) {
	t.Helper()
	for _, e := range events {
		if f := e.GetLog().GetFields(); f["pid"] != "" {
			return must(strconv.Atoi(f["pid"])), must(strconv.Atoi(f["own"]))
		}
	}
	t.Fatal("the step told no pids")
	return 0, 0
}

func TestCloseWhileApplying(t *testing.T) {
	r := newRig(t, nil)
	got := make(chan outcome, 1)
	begun := make(chan struct{})
	go func() { got <- r.apply(t.Context(), "stubborn", "", func(*pluginv1.ApplyEvent) { close(begun) }) }()
	<-begun
	start := time.Now()
	r.m.Close(t.Context())
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("Close took %s", d)
	}
	if o := <-got; o.err == nil {
		t.Error("the step ended well")
	}
}

func TestRedact(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Redact = func(s string) string { return strings.ReplaceAll(s, "boom", "***") } })
	o := r.apply(t.Context(), "crash", "", nil)
	if o.err == nil || strings.Contains(o.err.Error(), "boom") || strings.Contains(r.log(), "boom") {
		t.Errorf("%v\n%s", o.err, r.log())
	}
}
