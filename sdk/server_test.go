package sdk

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
	"github.com/optimize-hcl/optimize/tensor"
)

// dial serves a plugin over real gRPC in memory.
func dial(t *testing.T, p *Plugin) (pluginv1.PluginClient, pluginv1.RuntimeClient) {
	t.Helper()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	l := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	Register(s, p)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return pluginv1.NewPluginClient(conn), pluginv1.NewRuntimeClient(conn)
}

type small struct {
	Text string `opt:"text"`
}

func (s *small) Validate(ctx context.Context) Diagnostics {
	if s.Text == "panic" {
		panic("at the disco")
	}
	if !Known(ctx, "text") {
		return Diagnostics{{Summary: "said of what nobody knows", Path: []any{"text"}}, AttrWarning("", "seen", "")}
	}
	return nil
}

func smallPlugin(outputs []Output, f func(context.Context, *Run, small) (*Result, error)) *Plugin {
	return &Plugin{Name: "try", Version: "1.0.0", Steps: []StepType{Step(StepSpec{Name: "try", Outputs: outputs}, f)}}
}

func smallConfig(t *testing.T, v cty.Value) *pluginv1.Value {
	t.Helper()
	b, err := ctymsgpack.Marshal(cty.ObjectVal(map[string]cty.Value{"text": v}), cty.Object(map[string]cty.Type{"text": cty.String}))
	if err != nil {
		t.Fatal(err)
	}
	return &pluginv1.Value{Msgpack: b}
}

func applyAll(t *testing.T, c pluginv1.PluginClient, id, out string, on func(*pluginv1.ApplyEvent)) []*pluginv1.ApplyEvent {
	t.Helper()
	s, err := c.Apply(t.Context(), &pluginv1.ApplyRequest{RunId: id, StepType: "try", Config: smallConfig(t, cty.StringVal("x")), OutDir: out})
	if err != nil {
		t.Fatal(err)
	}
	var all []*pluginv1.ApplyEvent
	for {
		e, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
		if on != nil {
			on(e)
		}
	}
	for i, e := range all {
		if (e.GetDone() != nil) != (i == len(all)-1) {
			t.Fatalf("Done is not exactly the last of %v", all)
		}
	}
	return all
}

func TestServerValidate(t *testing.T) {
	c, _ := dial(t, smallPlugin(nil, func(context.Context, *Run, small) (*Result, error) { return nil, nil }))
	ask := func(v cty.Value) []*pluginv1.Diagnostic {
		r, err := c.Validate(t.Context(), &pluginv1.ValidateRequest{StepType: "try", Config: smallConfig(t, v)})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetDiagnostics()
	}
	if ds := ask(cty.StringVal("panic")); len(ds) != 1 || ds[0].GetCode() != "plugin/panic" || !strings.Contains(ds[0].GetSummary(), "at the disco") {
		t.Errorf("%v", ds)
	}
	if ds := ask(cty.UnknownVal(cty.String)); len(ds) != 1 || ds[0].GetSummary() != "seen" {
		t.Errorf("%v", ds)
	}
	for _, q := range []*pluginv1.ValidateRequest{{StepType: "none"}, {StepType: "try"}, {StepType: "try", Config: &pluginv1.Value{Msgpack: []byte("junk")}}} {
		if _, err := c.Validate(t.Context(), q); status.Code(err) == codes.OK {
			t.Errorf("%v is accepted", q)
		}
	}
}

func TestServerOutputs(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		want string
	}{
		"file":     {"f", ""},
		"folder":   {"d/e", ""},
		"missing":  {"nope", "did not write"},
		"up":       {"../f", "not relative"},
		"absolute": {"/etc/passwd", "not relative"},
		"itself":   {".", "not relative"},
		"link":     {"link", "leads out"},
		"through":  {"linkdir/f", "leads out"},
	} {
		t.Run(name, func(t *testing.T) {
			p := smallPlugin([]Output{{Name: "model", Kind: "model", Format: "onnx"}}, func(_ context.Context, run *Run, _ small) (*Result, error) {
				err := errors.Join(os.MkdirAll(run.Path("d/e"), 0o755), os.WriteFile(run.Path("f"), []byte("abc"), 0o644), os.WriteFile(run.Path("d/e/x"), []byte("ab"), 0o644),
					os.Symlink(filepath.Join(outside, "f"), run.Path("link")), os.Symlink(outside, run.Path("linkdir")))
				return &Result{Outputs: map[string]Artifact{"model": {Path: c.path, Digest: "lie"}}}, err
			})
			client, _ := dial(t, p)
			all := applyAll(t, client, "1", t.TempDir(), nil)
			if c.want != "" {
				if d := all[0].GetDiagnostic(); d.GetCode() != "plugin/output" || !strings.Contains(d.GetDetail(), c.want) {
					t.Errorf("%v", all)
				}
				return
			}
			a := all[len(all)-1].GetDone().GetOutputs()["model"]
			if a.GetPath() != c.path || a.GetFormat() != "onnx" || a.GetDigest() != "" || a.GetSize() != map[string]int64{"f": 3, "d/e": 2}[c.path] {
				t.Errorf("%v", a)
			}
		})
	}
	for want, res := range map[string]*Result{"did not return": nil, "does not declare": {Outputs: map[string]Artifact{"model": {Path: "f"}, "more": {}}}} {
		p := smallPlugin([]Output{{Name: "model", Kind: "model"}}, func(_ context.Context, run *Run, _ small) (*Result, error) {
			return res, os.WriteFile(run.Path("f"), nil, 0o644)
		})
		client, _ := dial(t, p)
		if d := applyAll(t, client, "1", t.TempDir(), nil)[0].GetDiagnostic(); !strings.Contains(d.GetDetail(), want) {
			t.Errorf("%s: %v", want, d)
		}
	}
}

func TestServerStop(t *testing.T) {
	c, _ := dial(t, smallPlugin(nil, func(ctx context.Context, run *Run, _ small) (*Result, error) {
		run.Log.Info("begun")
		<-ctx.Done()
		run.Log.With(slog.String("how", "cleanly")).WithGroup("g").Warn("ending", "a", 1)
		return nil, ctx.Err()
	}))
	all := applyAll(t, c, "r", t.TempDir(), func(e *pluginv1.ApplyEvent) {
		if e.GetLog().GetMessage() == "begun" {
			if _, err := c.Stop(t.Context(), &pluginv1.StopRequest{RunId: "r"}); err != nil {
				t.Error(err)
			}
		}
	})
	if n := len(all); n != 3 || !all[2].GetDone().GetStopped() || all[1].GetLog().GetFields()["how"] != "cleanly" || all[1].GetLog().GetFields()["g.a"] != "1" {
		t.Errorf("%v", all)
	}
	if _, err := c.Stop(t.Context(), &pluginv1.StopRequest{RunId: "gone"}); err != nil {
		t.Error(err)
	}
}

func TestServerRunIDs(t *testing.T) {
	hold := make(chan struct{})
	c, _ := dial(t, smallPlugin(nil, func(_ context.Context, run *Run, _ small) (*Result, error) {
		run.Log.Info("begun")
		<-hold
		return nil, nil
	}))
	first, err := c.Apply(t.Context(), &pluginv1.ApplyRequest{RunId: "r", StepType: "try", Config: smallConfig(t, cty.StringVal("")), OutDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Recv(); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"r", ""} {
		s, err := c.Apply(t.Context(), &pluginv1.ApplyRequest{RunId: id, StepType: "try", Config: smallConfig(t, cty.StringVal("")), OutDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("run id %q: %v", id, err)
		}
	}
	close(hold)
}

// Progress comes in bursts; the first, the last and the last of a phase are shown, and never one after Done.
func TestProgressIsThinned(t *testing.T) {
	var late sync.WaitGroup
	var leak *Run
	c, _ := dial(t, smallPlugin(nil, func(_ context.Context, run *Run, _ small) (*Result, error) {
		leak = run
		for i := range 10001 {
			run.Progress("a", int64(i), 10000, "samples")
		}
		for i := range 1000 {
			run.Progress("b", int64(i), 0, "")
		}
		return nil, nil
	}))
	all := applyAll(t, c, "r", t.TempDir(), nil)
	late.Go(func() { leak.Progress("c", 1, 1, ""); leak.Log.Info("late"); leak.Warn(Diagnostic{}) })
	late.Wait()
	if len(all) > 60 {
		t.Errorf("%d events", len(all))
	}
	last := map[string]int64{}
	for _, e := range all[:len(all)-1] {
		last[e.GetProgress().GetPhase()] = e.GetProgress().GetCurrent()
	}
	if last["a"] != 10000 || last["b"] != 999 {
		t.Errorf("%v", last)
	}
}

func TestWarnedErrorFailsTheStep(t *testing.T) {
	c, _ := dial(t, smallPlugin([]Output{{Name: "model", Kind: "model"}}, func(_ context.Context, run *Run, _ small) (*Result, error) {
		run.Warn(Diagnostic{Summary: "wrong"})
		return nil, nil
	}))
	all := applyAll(t, c, "r", t.TempDir(), nil)
	if len(all) != 2 || all[0].GetDiagnostic().GetSummary() != "wrong" || len(all[1].GetDone().GetOutputs()) != 0 {
		t.Errorf("%v", all)
	}
}

// testRuntime counts samples.
type testRuntime struct{ open int }

func (r *testRuntime) Probe(context.Context, ProbeRequest) (ProbeResult, error) {
	return ProbeResult{Fingerprint: map[string]string{"engine": "1"}}, CodeError("try/missing", "no engine", "optimize init")
}

func (r *testRuntime) Open(_ context.Context, q OpenRequest) (RuntimeSession, error) {
	if q.Artifact.Path == "" {
		return nil, errors.New("no model")
	}
	r.open++
	return &testSession{r}, nil
}

type testSession struct{ r *testRuntime }

func (s *testSession) Info() SessionInfo {
	return SessionInfo{Inputs: []TensorInfo{{"x", tensor.F32, []int64{-1, 2}}}, Facts: map[string]string{"runtime": "test"}}
}
func (s *testSession) Predict(_ context.Context, q PredictRequest) (int64, error) {
	return q.Dataset.Samples(), nil
}
func (s *testSession) Benchmark(_ context.Context, q BenchmarkRequest) ([]int64, error) {
	if q.WarmupRuns != 3 || q.Duration != time.Second {
		panic("wrong request")
	}
	return []int64{1, 2}, nil
}
func (s *testSession) Coverage(context.Context) (any, error) {
	return map[string]string{"schema": "optimize.coverage/v1"}, nil
}
func (s *testSession) Close() error { s.r.open--; return nil }

func TestRuntimeServer(t *testing.T) {
	dir := t.TempDir()
	x := tensor.Of([]int64{2, 2}, []float32{1, 2, 3, 4})
	if err := errors.Join(tensor.WriteFile(filepath.Join(dir, "shard-00000.safetensors"), []tensor.Named{{Name: "x", Tensor: x}}, nil),
		tensor.WriteIndex(dir, tensor.Index{Version: tensor.ShardsVersion, Samples: 2, Fields: []tensor.Field{{Name: "x", DType: tensor.F32, Shape: []int64{2}}},
			Shards: []tensor.Shard{{File: "shard-00000.safetensors", Samples: 2}}})); err != nil {
		t.Fatal(err)
	}
	rt := &testRuntime{}
	p := &Plugin{Name: "try", Version: "1.0.0", Runtime: rt, Formats: []Format{{Name: "onnx", Extensions: []string{".onnx"}, Native: true}}}
	pc, c := dial(t, p)
	d, err := pc.Describe(t.Context(), &pluginv1.DescribeRequest{})
	if err != nil || !d.GetFormats()[0].GetRuns() || d.GetFormats()[0].GetInspects() || !d.GetFormats()[0].GetNative() {
		t.Fatalf("%v, %v", d, err)
	}
	ctx := t.Context()
	if r, err := c.Probe(ctx, &pluginv1.ProbeRequest{}); err != nil || r.GetFingerprint()["engine"] != "1" || r.GetDiagnostics()[0].GetCode() != "try/missing" {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := c.Open(ctx, &pluginv1.OpenRequest{}); err != nil || r.GetSession() != "" || r.GetDiagnostics()[0].GetSummary() != "no model" {
		t.Errorf("%v, %v", r, err)
	}
	o, err := c.Open(ctx, &pluginv1.OpenRequest{Artifact: &pluginv1.Artifact{Path: "/m"}})
	if err != nil || o.GetInputs()[0].GetDtype() != "F32" || o.GetFacts()["runtime"] != "test" {
		t.Fatalf("%v, %v", o, err)
	}
	id := o.GetSession()
	if r, err := c.Predict(ctx, &pluginv1.PredictRequest{Session: id, Dataset: dir, Output: "/o", Batch: 1}); err != nil || r.GetSamples() != 2 || len(r.GetDiagnostics()) > 0 {
		t.Errorf("%v, %v", r, err)
	}
	for want, q := range map[string]*pluginv1.PredictRequest{
		"not absolute":            {Session: id, Dataset: dir, Output: "o", Batch: 1},
		"at least 1":              {Session: id, Dataset: dir, Output: "/o"},
		"cannot read the dataset": {Session: id, Dataset: "/nonexistent", Output: "/o", Batch: 1},
	} {
		if r, err := c.Predict(ctx, q); err != nil || len(r.GetDiagnostics()) != 1 || !strings.Contains(r.GetDiagnostics()[0].GetSummary(), want) {
			t.Errorf("%s: %v, %v", want, r, err)
		}
	}
	if r, err := c.Benchmark(ctx, &pluginv1.BenchmarkRequest{Session: id, Dataset: dir, Batch: 1, DurationNs: 1e9, WarmupRuns: 3}); err != nil || len(r.GetLatencyNs()) != 2 {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := c.Benchmark(ctx, &pluginv1.BenchmarkRequest{Session: id, Dataset: dir, Batch: 1}); err != nil || r.GetDiagnostics()[0].GetCode() != "plugin/panic" {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := c.Coverage(ctx, &pluginv1.CoverageRequest{Session: id}); err != nil || string(r.GetDocument()) != `{"schema":"optimize.coverage/v1"}` {
		t.Errorf("%v, %v", r, err)
	}
	for range 2 {
		if _, err := c.Close(ctx, &pluginv1.CloseRequest{Session: id}); err != nil || rt.open != 0 {
			t.Errorf("%v, %d open", err, rt.open)
		}
	}
	if _, err := c.Coverage(ctx, &pluginv1.CoverageRequest{Session: id}); status.Code(err) != codes.NotFound {
		t.Errorf("closed session: %v", err)
	}
	if _, err := pc.Inspect(ctx, &pluginv1.InspectRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("Inspect: %v", err)
	}
}
