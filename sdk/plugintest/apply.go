package plugintest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	ctyjson "github.com/zclconf/go-cty/cty/json"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

var applyChecks = []check{
	{"apply/works", "A step does its own example.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(*process, *stepInput, *applied) error { return nil })
	}},
	{"apply/done", "The stream ends with exactly one Done, and nothing comes after it.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(_ *process, _ *stepInput, a *applied) error {
			if a.after > 0 {
				return fmt.Errorf("%d events come after it", a.after)
			}
			return nil
		})
	}},
	{"apply/outputs", "Every declared output is there and not empty, and no other is named.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(_ *process, in *stepInput, a *applied) error {
			for _, o := range in.step.GetOutputs() {
				got, ok := a.done.GetOutputs()[o.GetName()]
				if !ok {
					return fmt.Errorf("output %s is missing", o.GetName())
				}
				if n, err := sizeOf(filepath.Join(a.out, filepath.FromSlash(got.GetPath()))); err != nil || n == 0 {
					return fmt.Errorf("output %s is %s, which has %d bytes (%v)", o.GetName(), got.GetPath(), n, err)
				}
			}
			for name := range a.done.GetOutputs() {
				if !slices.ContainsFunc(in.step.GetOutputs(), func(o *pluginv1.Output) bool { return o.GetName() == name }) {
					return fmt.Errorf("output %s is not declared", name)
				}
			}
			return nil
		})
	}},
	{"apply/inside", "Outputs are relative to the output folder and lie in it.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(_ *process, _ *stepInput, a *applied) error {
			for name, o := range a.done.GetOutputs() {
				if !filepath.IsLocal(filepath.FromSlash(o.GetPath())) {
					return fmt.Errorf("output %s is %q", name, o.GetPath())
				}
			}
			return nil
		})
	}},
	{"apply/links", "There are no links in outputs: the file that they lead to may be gone tomorrow.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(_ *process, _ *stepInput, a *applied) error {
			return filepath.WalkDir(a.out, func(p string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() && !e.Type().IsRegular() {
					err = fmt.Errorf("%s is a %s", filepath.Base(p), e.Type())
				}
				return err
			})
		})
	}},
	{"apply/inputs", "Inputs are as they were.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			before, err := inputDigests(in)
			if err != nil {
				return err
			}
			if _, err := k.apply(ctx, p, in, "", nil); err != nil {
				return err
			}
			after, err := inputDigests(in)
			if err == nil && !maps.Equal(before, after) {
				err = errors.New("the step changed an input: the cache would hold something else than its digest says")
			}
			return err
		})
	}},
	{"apply/deterministic", "The same step gives the same bytes in another process, folder, language and time zone, or Plan says nondeterministic.", deterministic},
	{"apply/date", "Outputs hold neither today's date nor the path that they were written to.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(_ *process, _ *stepInput, a *applied) error {
			return filepath.WalkDir(a.out, func(p string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				b, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				for _, s := range []string{time.Now().Format("2006-01-02"), time.Now().UTC().Format("2006-01-02"), time.Now().Format("20060102"), k.tmp} {
					if bytes.Contains(b, []byte(s)) {
						return fmt.Errorf("%s holds %q", filepath.Base(p), s)
					}
				}
				return nil
			})
		})
	}},
	{"apply/stateless", "It gives the same bytes again in the same process.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(p *process, in *stepInput, a *applied) error {
			return k.sameAgain(ctx, p, p, in, a, func() (*applied, error) { return k.apply(ctx, p, in, "", nil) })
		})
	}},
	{"apply/parallel", "Two steps work at once in one process.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(p *process, in *stepInput, a *applied) error {
			type end struct {
				a   *applied
				err error
			}
			ends := make(chan end, 2)
			for range 2 {
				go func() {
					a, err := k.apply(ctx, p, in, "", nil)
					ends <- end{a, err}
				}()
			}
			one, two := <-ends, <-ends
			if err := errors.Join(one.err, two.err); err != nil {
				return err
			}
			if err := k.sameAgain(ctx, p, p, in, a, func() (*applied, error) { return one.a, one.a.failed() }); err != nil {
				return err
			}
			return k.sameAgain(ctx, p, p, in, a, func() (*applied, error) { return two.a, two.a.failed() })
		})
	}},
	{"apply/run-id", "An Apply without a run id, by which it could be stopped, is refused.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			v, err := in.value()
			if err != nil {
				return err
			}
			s, err := p.plugin.Apply(ctx, &pluginv1.ApplyRequest{StepType: in.step.GetName(), Config: v, Inputs: in.inputs, OutDir: k.tmp, ScratchDir: k.tmp})
			if err == nil {
				_, err = s.Recv()
			}
			return wantCode(p, err, codes.InvalidArgument)
		})
	}},
	{"apply/unknown-step", "A step that the plugin does not have is a NotFound.", func(ctx context.Context, k *kit) error {
		p, err := k.withSteps(ctx)
		if err != nil {
			return err
		}
		s, err := p.plugin.Apply(ctx, &pluginv1.ApplyRequest{RunId: "x", StepType: "no_such_step", Config: &pluginv1.Value{Msgpack: []byte{0x80}}})
		if err == nil {
			_, err = s.Recv()
		}
		return wantCode(p, err, codes.NotFound)
	}},
	{"apply/result", "The result is of the type that is declared.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(_ *process, in *stepInput, a *applied) error {
			if len(in.step.GetResultType()) == 0 {
				if len(a.done.GetResult().GetMsgpack()) > 0 {
					return errors.New("there is a result, and none is declared")
				}
				return nil
			}
			ty, err := ctyjson.UnmarshalType(in.step.GetResultType())
			if err != nil {
				return nil // describe/result tells
			}
			v, err := pluginv1.DecodeValue(a.done.GetResult(), ty)
			if err == nil && !v.IsWhollyKnown() {
				err = errors.New("a part of it is unknown")
			}
			return err
		})
	}},
	{"apply/heartbeat", "There is a sign of life at least every five seconds.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(_ *process, _ *stepInput, a *applied) error {
			if a.silence > 5*time.Second {
				return fmt.Errorf("it was silent for %s: the host ends what is silent for 30 s", a.silence.Round(time.Second))
			}
			return nil
		})
	}},
	{"apply/progress", "Progress has a phase, and does not go beyond its total.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(_ *process, _ *stepInput, a *applied) error {
			for _, e := range a.events {
				if p := e.GetProgress(); p != nil && (p.GetPhase() == "" || p.GetCurrent() < 0 || p.GetTotal() > 0 && p.GetCurrent() > p.GetTotal()) {
					return fmt.Errorf("it says %q: %d of %d", p.GetPhase(), p.GetCurrent(), p.GetTotal())
				}
			}
			return nil
		})
	}},
	{"apply/messages", "Messages are under a megabyte.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(_ *process, _ *stepInput, a *applied) error {
			if a.largest > pluginv1.MaxMessage {
				return fmt.Errorf("one has %d bytes: what is large travels as a file", a.largest)
			}
			return nil
		})
	}},
	{"apply/clean", "It writes nothing but in its output and scratch folders.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(p *process, _ *stepInput, _ *applied) error { return nothingIn(p.dir) })
	}},
	{"apply/read-only", "It works with inputs that it cannot write to.", readOnly},
	{"apply/broken-model", "A model that is cut short is a diagnostic that says so; the process goes on.", brokenModel},
	{"apply/no-model", "A model that is gone is a diagnostic; the process goes on.", func(ctx context.Context, k *kit) error {
		return k.eachBadModel(ctx, func(string) (string, error) { return filepath.Join(k.tmp, "gone.onnx"), nil })
	}},
	{"apply/empty-model", "An empty model is a diagnostic; the process goes on.", func(ctx context.Context, k *kit) error {
		return k.eachBadModel(ctx, func(string) (string, error) {
			path := filepath.Join(k.tmp, "empty.onnx")
			return path, os.WriteFile(path, nil, 0o644)
		})
	}},
	{"apply/after-failure", "A step works after another one has failed.", func(ctx context.Context, k *kit) error {
		return k.eachApplied(ctx, func(p *process, in *stepInput, _ *applied) error {
			bad := *in
			bad.inputs = map[string]*pluginv1.Artifact{}
			for name, a := range in.inputs {
				b := proto.CloneOf(a)
				b.Path = filepath.Join(k.tmp, "gone")
				bad.inputs[name] = b
			}
			_, _ = k.apply(ctx, p, &bad, "", nil)
			if !p.alive() {
				return fmt.Errorf("the process ended%s", p.words())
			}
			a, err := k.apply(ctx, p, in, "", nil)
			if err == nil {
				err = a.failed()
			}
			return err
		})
	}},
	{"apply/stop", "A step that is asked to stop ends with Done within ten seconds, and says stopped or is done.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			now := make(chan struct{})
			close(now)
			began := time.Now()
			a, err := k.apply(ctx, p, in, "", now)
			if err != nil {
				return err
			}
			if took := time.Since(began); took > 10*time.Second {
				return fmt.Errorf("it took %s", took.Round(time.Millisecond))
			}
			if a.done.GetStopped() && len(a.done.GetOutputs()) > 0 {
				return errors.New("it was stopped and names outputs, which cannot be whole")
			}
			return nil
		})
	}},
	{"apply/stop-nothing", "To stop what does not run is no error.", func(ctx context.Context, k *kit) error {
		p, err := k.withSteps(ctx)
		if err != nil {
			return err
		}
		_, err = p.plugin.Stop(ctx, &pluginv1.StopRequest{RunId: "nothing"})
		return err
	}},
	{"apply/diagnostics", "Diagnostics of a failed step have a severity, a summary of one line, and a path that leads somewhere.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			bad := *in
			bad.inputs = map[string]*pluginv1.Artifact{}
			for name, a := range in.inputs {
				b := proto.CloneOf(a)
				b.Path = filepath.Join(k.tmp, "gone")
				bad.inputs[name] = b
			}
			a, err := k.apply(ctx, p, &bad, "", nil)
			if err != nil {
				return nil // apply/no-model tells
			}
			for _, d := range a.diags {
				if err := wellSaid(in.step.GetSchema(), d); err != nil {
					return err
				}
			}
			return nil
		})
	}},
}
