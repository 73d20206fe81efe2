package plugintest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"google.golang.org/grpc/codes"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
	"github.com/optimize-hcl/optimize/tensor"
)

var inspectChecks = []check{
	{"inspect/document", "Inspect answers with a JSON document that names its schema.", func(ctx context.Context, k *kit) error {
		return k.eachFormat(ctx, (*pluginv1.Format).GetInspects, func(p *process, a *pluginv1.Artifact) error {
			doc, err := inspect(ctx, p, a)
			if err != nil {
				return err
			}
			var d struct {
				Schema string `json:"schema"`
			}
			if err := json.Unmarshal(doc, &d); err != nil {
				return fmt.Errorf("it is no JSON object: %w", err)
			}
			if d.Schema == "" {
				return errors.New("it has no schema: \"optimize.inspect/v1\"")
			}
			return nil
		})
	}},
	{"inspect/stable", "Inspect answers the same twice.", func(ctx context.Context, k *kit) error {
		return k.eachFormat(ctx, (*pluginv1.Format).GetInspects, func(p *process, a *pluginv1.Artifact) error {
			one, err := inspect(ctx, p, a)
			if err != nil {
				return err
			}
			two, err := inspect(ctx, p, a)
			if err == nil && !bytes.Equal(one, two) {
				err = errors.New("it does not")
			}
			return err
		})
	}},
	{"inspect/broken", "A file that is cut short is a diagnostic; the process goes on.", func(ctx context.Context, k *kit) error {
		return k.eachBroken(ctx, (*pluginv1.Format).GetInspects, func(p *process, a *pluginv1.Artifact) ([]*pluginv1.Diagnostic, error) {
			r, err := p.plugin.Inspect(ctx, &pluginv1.InspectRequest{Artifact: a})
			return r.GetDiagnostics(), err
		})
	}},
	{"inspect/targets", "Inspect answers for every target that is declared.", func(ctx context.Context, k *kit) error {
		d, err := k.describe(ctx)
		if err != nil {
			return err
		}
		p, err := k.process(ctx)
		if err != nil {
			return err
		}
		asked := false
		for _, t := range d.GetTargets() {
			for _, f := range t.GetFormats() {
				path, ok := k.artifacts[f]
				if !ok {
					continue
				}
				asked = true
				r, err := p.plugin.Inspect(ctx, &pluginv1.InspectRequest{Artifact: &pluginv1.Artifact{Kind: "model", Format: f, Path: path}, Target: t.GetName()})
				if err != nil {
					return fmt.Errorf("target %s: %w", t.GetName(), err)
				}
				if firstError(r.GetDiagnostics()) == nil && !json.Valid(r.GetDocument()) {
					return fmt.Errorf("target %s: its document is no JSON", t.GetName())
				}
			}
		}
		if !asked {
			return skip("the plugin has no targets of which the suite has an artifact")
		}
		return nil
	}},
	{"inspect/unknown-target", "A target that the plugin does not have is a NotFound.", func(ctx context.Context, k *kit) error {
		return k.eachFormat(ctx, (*pluginv1.Format).GetInspects, func(p *process, a *pluginv1.Artifact) error {
			_, err := p.plugin.Inspect(ctx, &pluginv1.InspectRequest{Artifact: a, Target: "no-such-target"})
			return wantCode(p, err, codes.NotFound)
		})
	}},
}

func inspect(ctx context.Context, p *process, a *pluginv1.Artifact) ([]byte, error) {
	r, err := p.plugin.Inspect(ctx, &pluginv1.InspectRequest{Artifact: a})
	if err != nil {
		return nil, err
	}
	return r.GetDocument(), firstError(r.GetDiagnostics())
}

// eachFormat calls f for every format that ok accepts and of which the suite has an artifact.
func (k *kit) eachFormat(ctx context.Context, ok func(*pluginv1.Format) bool, f func(p *process, a *pluginv1.Artifact) error) error {
	d, err := k.describe(ctx)
	if err != nil {
		return err
	}
	declared, asked := "", false
	for _, format := range d.GetFormats() {
		if !ok(format) {
			continue
		}
		declared = format.GetName()
		path, have := k.artifacts[declared]
		if !have {
			continue
		}
		p, err := k.process(ctx)
		if err != nil {
			return err
		}
		asked = true
		size, err := sizeOf(path)
		if err != nil {
			return err
		}
		if err := f(p, &pluginv1.Artifact{Kind: "model", Format: declared, Path: path, Size: size}); err != nil {
			return fmt.Errorf("format %s: %w", declared, err)
		}
	}
	switch {
	case declared == "":
		return skip("the plugin declares no such format")
	case !asked:
		return skip("the suite has no %s: give one with --artifact %s=PATH", declared, declared)
	}
	return nil
}

// eachBroken has every format refused when half of the file is missing.
func (k *kit) eachBroken(ctx context.Context, ok func(*pluginv1.Format) bool, f func(*process, *pluginv1.Artifact) ([]*pluginv1.Diagnostic, error)) error {
	return k.eachFormat(ctx, ok, func(p *process, a *pluginv1.Artifact) error {
		st, err := os.Stat(a.GetPath())
		if err != nil {
			return err
		}
		if st.IsDir() {
			return skip("%s is a folder", a.GetFormat())
		}
		b, err := os.ReadFile(a.GetPath())
		if err != nil {
			return err
		}
		path := filepath.Join(k.tmp, "half"+filepath.Ext(a.GetPath()))
		if err := os.WriteFile(path, b[:len(b)/2], 0o644); err != nil {
			return err
		}
		ds, err := f(p, &pluginv1.Artifact{Kind: "model", Format: a.GetFormat(), Path: path, Size: int64(len(b) / 2)})
		switch {
		case !p.alive():
			return fmt.Errorf("the process ended%s", p.words())
		case err != nil:
			return fmt.Errorf("a gRPC error means a bug or a crash; say what is wrong in a diagnostic: %w", err)
		case firstError(ds) == nil:
			return errors.New("it found nothing wrong with it")
		}
		return nil
	})
}

// runs tells whether a format is run.
func runs(f *pluginv1.Format) bool { return f.GetRuns() }

var runtimeChecks = []check{
	{"runtime/probe", "Probe answers the same in every process, and what the machine lacks comes with a command.", func(ctx context.Context, k *kit) error {
		return k.eachFormat(ctx, runs, func(p *process, _ *pluginv1.Artifact) error {
			one, err := p.runtime.Probe(ctx, &pluginv1.ProbeRequest{Threads: threads})
			if err != nil {
				return err
			}
			for _, m := range one.GetMissing() {
				if m.GetWhat() == "" || m.GetCommand() == "" {
					return fmt.Errorf("%q comes with %q", m.GetWhat(), m.GetCommand())
				}
			}
			other, err := k.start(ctx, place{cookie: true, env: elsewhere})
			if err != nil {
				return err
			}
			defer other.kill()
			two, err := other.runtime.Probe(ctx, &pluginv1.ProbeRequest{Threads: threads})
			if err != nil {
				return err
			}
			for name, v := range one.GetFingerprint() {
				if two.GetFingerprint()[name] != v {
					return fmt.Errorf("%s is %q, and %q in another process", name, v, two.GetFingerprint()[name])
				}
			}
			return nil
		})
	}},
	{"runtime/open", "A session names the model's inputs and outputs, and says which runtime it is.", func(ctx context.Context, k *kit) error {
		return k.eachSession(ctx, func(_ *process, s *pluginv1.OpenResponse) error {
			switch {
			case s.GetSession() == "":
				return errors.New("the session has no name")
			case len(s.GetInputs()) == 0 || len(s.GetOutputs()) == 0:
				return errors.New("it names no inputs or no outputs")
			case s.GetFacts()["runtime"] == "":
				return errors.New("its facts have no \"runtime\"")
			}
			return nil
		})
	}},
	{"runtime/open-broken", "A model that is cut short is a diagnostic; the process goes on.", func(ctx context.Context, k *kit) error {
		return k.eachBroken(ctx, runs, func(p *process, a *pluginv1.Artifact) ([]*pluginv1.Diagnostic, error) {
			r, err := p.runtime.Open(ctx, &pluginv1.OpenRequest{Artifact: a, Threads: threads})
			return r.GetDiagnostics(), err
		})
	}},
	{"runtime/sessions", "Two sessions of one model are two.", func(ctx context.Context, k *kit) error {
		return k.eachSession(ctx, func(p *process, one *pluginv1.OpenResponse) error {
			return k.eachSession(ctx, func(_ *process, two *pluginv1.OpenResponse) error {
				if one.GetSession() == two.GetSession() {
					return errors.New("both have one name")
				}
				return nil
			})
		})
	}},
	{"runtime/predict", "Predict writes every output of every sample, as safetensors.", func(ctx context.Context, k *kit) error {
		return k.eachPrediction(ctx, 5, func(s *pluginv1.OpenResponse, f *tensor.File) error {
			for _, o := range s.GetOutputs() {
				info, ok := f.Info(o.GetName())
				if !ok {
					return fmt.Errorf("output %s is missing", o.GetName())
				}
				if len(info.Shape) == 0 || info.Shape[0] != samples {
					return fmt.Errorf("output %s has the shape %v: axis 0 counts the %d samples", o.GetName(), info.Shape, samples)
				}
			}
			return nil
		})
	}},
	{"runtime/batches", "Outputs do not depend on how many samples go in a run.", func(ctx context.Context, k *kit) error {
		return k.eachPrediction(ctx, 1, func(s *pluginv1.OpenResponse, one *tensor.File) error {
			return k.eachPrediction(ctx, samples, func(_ *pluginv1.OpenResponse, all *tensor.File) error {
				for _, o := range s.GetOutputs() {
					if d, err := farthest(one, all, o.GetName()); err != nil || d > 1e-3 {
						return fmt.Errorf("output %s differs by %g (%v)", o.GetName(), d, err)
					}
				}
				return nil
			})
		})
	}},
	{"runtime/stable", "Predict writes the same bytes twice.", func(ctx context.Context, k *kit) error {
		return k.eachPrediction(ctx, 5, func(s *pluginv1.OpenResponse, one *tensor.File) error {
			return k.eachPrediction(ctx, 5, func(_ *pluginv1.OpenResponse, two *tensor.File) error {
				for _, o := range s.GetOutputs() {
					x, err := one.Tensor(o.GetName())
					if err != nil {
						return nil // runtime/predict tells
					}
					if y, err := two.Tensor(o.GetName()); err != nil || !bytes.Equal(x.Data, y.Data) {
						return fmt.Errorf("output %s differs (%v)", o.GetName(), err)
					}
				}
				return nil
			})
		})
	}},
	{"runtime/finite", "Outputs are finite for finite inputs.", func(ctx context.Context, k *kit) error {
		return k.eachPrediction(ctx, 5, func(s *pluginv1.OpenResponse, f *tensor.File) error {
			for _, o := range s.GetOutputs() {
				t, err := f.Tensor(o.GetName())
				if err != nil || !t.DType.IsFloat() {
					continue
				}
				v, err := tensor.ToFloat32(t)
				if err != nil {
					return err
				}
				for _, x := range v {
					if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
						return fmt.Errorf("output %s holds %v", o.GetName(), x)
					}
				}
			}
			return nil
		})
	}},
	{"runtime/benchmark", "Benchmark gives the time of each run, in nanoseconds.", func(ctx context.Context, k *kit) error {
		return k.eachSession(ctx, func(p *process, s *pluginv1.OpenResponse) error {
			r, err := p.runtime.Benchmark(ctx, &pluginv1.BenchmarkRequest{Session: s.GetSession(), Dataset: k.dataset, Batch: 1, DurationNs: 20e6, WarmupRuns: 1})
			if err == nil {
				err = firstError(r.GetDiagnostics())
			}
			if err != nil {
				return err
			}
			var sum int64
			for _, ns := range r.GetLatencyNs() {
				if ns <= 0 {
					return fmt.Errorf("a run took %d ns", ns)
				}
				sum += ns
			}
			if len(r.GetLatencyNs()) == 0 || sum > 20e9 {
				return fmt.Errorf("%d runs took %d ns; 20 ms were asked for", len(r.GetLatencyNs()), sum)
			}
			return nil
		})
	}},
	{"runtime/coverage", "Coverage answers with a JSON document that names its schema.", func(ctx context.Context, k *kit) error {
		return k.eachSession(ctx, func(p *process, s *pluginv1.OpenResponse) error {
			r, err := p.runtime.Coverage(ctx, &pluginv1.CoverageRequest{Session: s.GetSession()})
			if err == nil {
				err = firstError(r.GetDiagnostics())
			}
			if err != nil {
				return err
			}
			var d struct {
				Schema string `json:"schema"`
			}
			if err := json.Unmarshal(r.GetDocument(), &d); err != nil || d.Schema == "" {
				return fmt.Errorf("it is %q (%v)", clip(string(r.GetDocument())), err)
			}
			return nil
		})
	}},
	{"runtime/close", "A session can be closed twice; afterwards it is unknown.", func(ctx context.Context, k *kit) error {
		return k.eachSession(ctx, func(p *process, s *pluginv1.OpenResponse) error {
			for range 2 {
				if _, err := p.runtime.Close(ctx, &pluginv1.CloseRequest{Session: s.GetSession()}); err != nil {
					return err
				}
			}
			_, err := p.runtime.Coverage(ctx, &pluginv1.CoverageRequest{Session: s.GetSession()})
			if err == nil {
				return errors.New("it still answers")
			}
			if !p.alive() {
				return fmt.Errorf("the process ended%s", p.words())
			}
			return nil
		})
	}},
	{"runtime/mismatch", "A dataset that does not fit the model is a diagnostic.", func(ctx context.Context, k *kit) error {
		return k.eachSession(ctx, func(p *process, s *pluginv1.OpenResponse) error {
			dir, err := wrongDataset(k.tmp)
			if err != nil {
				return err
			}
			r, err := p.runtime.Predict(ctx, &pluginv1.PredictRequest{Session: s.GetSession(), Dataset: dir, Output: filepath.Join(k.tmp, "wrong.safetensors"), Batch: 1})
			switch {
			case !p.alive():
				return fmt.Errorf("the process ended%s", p.words())
			case err != nil:
				return fmt.Errorf("a gRPC error means a bug or a crash; say what is wrong in a diagnostic: %w", err)
			case firstError(r.GetDiagnostics()) == nil:
				return errors.New("it found nothing wrong with it")
			}
			return nil
		})
	}},
}

// eachSession opens every artifact that the plugin runs.
func (k *kit) eachSession(ctx context.Context, f func(p *process, s *pluginv1.OpenResponse) error) error {
	return k.eachFormat(ctx, runs, func(p *process, a *pluginv1.Artifact) error {
		probe, err := p.runtime.Probe(ctx, &pluginv1.ProbeRequest{Threads: threads})
		if err != nil {
			return err
		}
		if m := probe.GetMissing(); len(m) > 0 {
			return skip("the machine lacks %s", m[0].GetWhat())
		}
		s, err := p.runtime.Open(ctx, &pluginv1.OpenRequest{Artifact: a, Threads: threads})
		if err == nil {
			err = firstError(s.GetDiagnostics())
		}
		if err != nil {
			return fmt.Errorf("it failed in Open: %w%s", err, p.words())
		}
		defer func() { _, _ = p.runtime.Close(ctx, &pluginv1.CloseRequest{Session: s.GetSession()}) }()
		return f(p, s)
	})
}

// eachPrediction has every artifact that the plugin runs predict the suite's dataset.
func (k *kit) eachPrediction(ctx context.Context, batch int64, f func(s *pluginv1.OpenResponse, out *tensor.File) error) error {
	return k.eachSession(ctx, func(p *process, s *pluginv1.OpenResponse) error {
		out, err := os.MkdirTemp(k.tmp, "o")
		if err != nil {
			return err
		}
		path := filepath.Join(out, "predictions.safetensors")
		r, err := p.runtime.Predict(ctx, &pluginv1.PredictRequest{Session: s.GetSession(), Dataset: k.dataset, Output: path, Batch: batch})
		if err == nil {
			err = firstError(r.GetDiagnostics())
		}
		if err != nil {
			return fmt.Errorf("it failed in Predict: %w%s", err, p.words())
		}
		if r.GetSamples() != samples {
			return fmt.Errorf("it says %d samples; there are %d", r.GetSamples(), samples)
		}
		file, err := tensor.Open(path)
		if err != nil {
			return fmt.Errorf("what it wrote cannot be read: %w", err)
		}
		defer file.Close()
		return f(s, file)
	})
}

// farthest is the largest difference between two files' tensors of a name.
func farthest(a, b *tensor.File, name string) (float64, error) {
	x, err := a.Tensor(name)
	if err != nil {
		return 0, err
	}
	y, err := b.Tensor(name)
	if err != nil {
		return 0, err
	}
	if !x.DType.IsFloat() {
		return 0, nil
	}
	u, err := tensor.ToFloat32(x)
	if err != nil {
		return 0, err
	}
	v, err := tensor.ToFloat32(y)
	if err != nil || len(u) != len(v) {
		return math.Inf(1), err
	}
	d := 0.0
	for i := range u {
		d = max(d, math.Abs(float64(u[i])-float64(v[i])))
	}
	return d, nil
}

// wrongDataset is a dataset whose field no model has.
func wrongDataset(tmp string) (string, error) {
	dir, err := os.MkdirTemp(tmp, "w")
	if err != nil {
		return "", err
	}
	x, err := tensor.FromFloat32(tensor.F32, []int64{2, 3}, make([]float32, 6))
	if err != nil {
		return "", err
	}
	if err := tensor.WriteFile(filepath.Join(dir, "0.safetensors"), []tensor.Named{{Name: "no such input", Tensor: x}}, nil); err != nil {
		return "", err
	}
	return dir, tensor.WriteIndex(dir, tensor.Index{Samples: 2, Shards: []tensor.Shard{{File: "0.safetensors", Samples: 2}},
		Fields: []tensor.Field{{Name: "no such input", DType: tensor.F32, Shape: []int64{3}}}})
}
