package plugintest

import (
	"context"
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
	"github.com/optimize-hcl/optimize/tensor"
)

//go:embed fixtures/model.onnx
var fixtures embed.FS

// kit is what the checks of one suite share.
type kit struct {
	o         Options
	command   []string
	tmp       string
	artifacts map[string]string // by format
	dataset   string

	main      *process // started when first needed
	lost      bool     // one of them ended by itself
	described *pluginv1.DescribeResponse
	desk      *desk
}

func newKit(o Options) (*kit, error) {
	if o.Patience <= 0 {
		o.Patience = time.Minute
	}
	k := &kit{o: o, command: append([]string(nil), o.Command...), artifacts: map[string]string{}}
	var err error
	if k.command[0], err = filepath.Abs(k.command[0]); err != nil {
		return nil, err
	}
	// Short, since sockets lie in it.
	if k.tmp, err = os.MkdirTemp("/tmp", "plugintest-"); err != nil {
		if k.tmp, err = os.MkdirTemp("", "plugintest-"); err != nil {
			return nil, err
		}
	}
	if err := k.makeFixtures(); err != nil {
		k.close()
		return nil, err
	}
	for format, path := range o.Artifacts {
		if k.artifacts[format], err = filepath.Abs(path); err != nil {
			k.close()
			return nil, err
		}
	}
	return k, nil
}

func (k *kit) close() {
	if k.main != nil {
		k.main.kill()
	}
	if k.desk != nil {
		k.desk.server.Stop()
	}
	_ = filepath.WalkDir(k.tmp, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(p, 0o755)
		}
		return nil
	})
	_ = os.RemoveAll(k.tmp)
}

// samples is how many the suite's dataset has.
const samples = 24

// makeFixtures writes the suite's model, a classifier of 16×16 images, and a dataset with labels that fits it.
func (k *kit) makeFixtures() error {
	model, err := fixtures.ReadFile("fixtures/model.onnx")
	if err != nil {
		return err
	}
	k.artifacts["onnx"] = filepath.Join(k.tmp, "model.onnx")
	if err := os.WriteFile(k.artifacts["onnx"], model, 0o444); err != nil {
		return err
	}
	k.dataset = filepath.Join(k.tmp, "dataset")
	if err := os.Mkdir(k.dataset, 0o755); err != nil {
		return err
	}
	pixels := make([]float32, samples*256)
	state := uint32(1)
	for i := range pixels {
		state = state*1664525 + 1013904223 // Numerical Recipes' generator: enough for pixels
		pixels[i] = float32(state>>8) / (1 << 24)
	}
	x, err := tensor.FromFloat32(tensor.F32, []int64{samples, 1, 16, 16}, pixels)
	if err != nil {
		return err
	}
	labels := make([]byte, samples*8)
	for i := range samples {
		labels[i*8] = byte(i % 10)
	}
	y := tensor.Tensor{DType: tensor.I64, Shape: []int64{samples}, Data: labels}
	if err := tensor.WriteFile(filepath.Join(k.dataset, "0.safetensors"),
		[]tensor.Named{{Name: "input", Tensor: x}, {Name: tensor.LabelName, Tensor: y}}, nil); err != nil {
		return err
	}
	return tensor.WriteIndex(k.dataset, tensor.Index{Samples: samples, Label: true, Shards: []tensor.Shard{{File: "0.safetensors", Samples: samples}},
		Fields: []tensor.Field{{Name: "input", DType: tensor.F32, Shape: []int64{1, 16, 16}}}})
}

// process gives the plugin that most checks share.
func (k *kit) process(ctx context.Context) (*process, error) {
	if k.main == nil {
		p, err := k.start(ctx, place{cookie: true})
		if err != nil {
			return nil, err
		}
		k.main = p
	}
	return k.main, nil
}

// discardBroken lets the next check begin with a new process when this one is gone.
func (k *kit) discardBroken() {
	if k.main != nil && !k.main.alive() {
		k.main.kill()
		k.main, k.lost = nil, true
	}
}

// describe is the plugin's declaration.
func (k *kit) describe(ctx context.Context) (*pluginv1.DescribeResponse, error) {
	if k.described != nil {
		return k.described, nil
	}
	p, err := k.process(ctx)
	if err != nil {
		return nil, err
	}
	c, cancel := context.WithTimeout(ctx, k.o.Patience)
	defer cancel()
	d, err := p.plugin.Describe(c, &pluginv1.DescribeRequest{})
	if err != nil {
		return nil, fmt.Errorf("it failed in Describe: %w%s", err, p.words())
	}
	k.described = d
	return d, nil
}

// eachStep calls f for each step type and names the step in its error.
func (k *kit) eachStep(ctx context.Context, f func(s *pluginv1.StepType) error) error {
	d, err := k.describe(ctx)
	if err != nil {
		return err
	}
	if len(d.GetSteps()) == 0 {
		return skip("the plugin has no steps")
	}
	for _, s := range d.GetSteps() {
		if err := f(s); err != nil {
			return fmt.Errorf("step %s: %w", s.GetName(), err)
		}
	}
	return nil
}

// desk is the suite's own side of the protocol: the service Host, which has something to say on every candidate, and a
// receiver of spans.
type desk struct {
	pluginv1.UnimplementedHostServer
	coltrace.UnimplementedTraceServiceServer
	server  *grpc.Server
	address string

	mu    sync.Mutex
	spans []span
}

type span struct{ name, trace, parent string }

func (k *kit) openDesk() (*desk, error) {
	if k.desk != nil {
		return k.desk, nil
	}
	network, addr := "unix", filepath.Join(k.tmp, "h")
	if isWindows {
		network, addr = "tcp", "127.0.0.1:0"
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	d := &desk{server: grpc.NewServer(), address: "unix://" + addr}
	if isWindows {
		d.address = l.Addr().String()
	}
	pluginv1.RegisterHostServer(d.server, d)
	coltrace.RegisterTraceServiceServer(d.server, d)
	go func() { _ = d.server.Serve(l) }()
	k.desk = d
	return d, nil
}

func (d *desk) Evaluate(context.Context, *pluginv1.EvaluateRequest) (*pluginv1.EvaluateResponse, error) {
	out := &pluginv1.EvaluateResponse{Samples: samples}
	for name, v := range map[string]float64{"top1": 0.9, "top1_drop": 0, "agreement": 1, "sqnr": 40, "cosine": 1, "size": 1000} {
		out.Metrics = append(out.Metrics, &pluginv1.Metric{Name: name, Value: v, Low: v, High: v})
	}
	return out, nil
}

func (d *desk) Race(_ context.Context, r *pluginv1.RaceRequest) (*pluginv1.RaceResponse, error) {
	out := &pluginv1.RaceResponse{}
	for range r.GetCandidates() {
		lap := &pluginv1.Lap{}
		for name, v := range map[string]float64{"latency_p50": 1, "latency_p90": 1.1, "latency_p99": 1.2, "speedup": 1} {
			lap.Metrics = append(lap.Metrics, &pluginv1.Metric{Name: name, Value: v, Low: v, High: v})
		}
		out.Laps = append(out.Laps, lap)
	}
	return out, nil
}

func (d *desk) ReadCoverage(context.Context, *pluginv1.ReadCoverageRequest) (*pluginv1.ReadCoverageResponse, error) {
	return &pluginv1.ReadCoverageResponse{Document: []byte(`{"schema":"optimize.coverage/v1","engine":"plugintest","ops":[],"nodes":[]}`)}, nil
}

func (d *desk) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, rs := range r.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				d.spans = append(d.spans, span{s.GetName(), fmt.Sprintf("%x", s.GetTraceId()), fmt.Sprintf("%x", s.GetParentSpanId())})
			}
		}
	}
	return &coltrace.ExportTraceServiceResponse{}, nil
}
