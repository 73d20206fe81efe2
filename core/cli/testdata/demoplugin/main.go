// Command optimize-plugin-demo is a third-party plugin for the command's tests: steps that copy, wait, fail, warn, crash
// and need memory, with arguments of every kind.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/optimize-hcl/optimize/sdk"
)

// version is set by the linker in tests that compare versions.
var version = "1.2.0"

// requires is what it asks of the core; it is set by the linker too.
var requires = ">=0.1"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		child()
		return
	}
	p := &sdk.Plugin{Name: "demo", Version: version, Licence: "Apache-2.0", RequiresCore: requires}
	p.Steps = []sdk.StepType{
		sdk.Step(spec("demo_copy", "Copy a model after a while."), apply),
		sdk.Step(spec("demo_fail", "Fail after a while."), func(ctx context.Context, run *sdk.Run, c config) (*sdk.Result, error) {
			if err := wait(ctx, run, c); err != nil {
				return nil, err
			}
			return nil, sdk.AttrError("text", "the demonstration fails", "It always does: use demo_copy.")
		}),
		sdk.Step(spec("demo_crash", "End the process in the middle."), func(_ context.Context, _ *sdk.Run, c config) (*sdk.Result, error) {
			fmt.Fprintln(os.Stderr, "the demonstration crashes:", c.Text)
			os.Exit(7)
			return nil, nil
		}),
		sdk.Step(sdk.StepSpec{Name: "demo_noop", Revision: 1, Doc: "Do nothing.", Examples: []string{"step \"demo_noop\" \"a\" {\n}\n"}, ResultExample: facts{}},
			func(context.Context, *sdk.Run, noop) (*sdk.Result, error) { return &sdk.Result{}, nil }),
		sdk.Step(spec("demo_stubborn", "Ignore every request to stop."), func(_ context.Context, run *sdk.Run, _ config) (*sdk.Result, error) {
			run.Progress("refusing", 0, 0, "")
			select {}
		}),
	}
	p.Steps = append(p.Steps,
		sdk.Step(sdk.StepSpec{Name: "demo_search", Revision: 1, Doc: "Take the fastest of several candidates.", ResultExample: searchFacts{},
			Outputs: []sdk.Output{{Name: "model", Kind: "model", Format: "demo"}}}, search),
		sdk.Step(sdk.StepSpec{Name: "demo_control", Revision: 1, Doc: "Have a candidate graded.", ResultExample: controlFacts{},
			Outputs: []sdk.Output{{Name: "model", Kind: "model", Format: "onnx"}}}, control))
	p.Formats = []sdk.Format{{Name: "demo", Extensions: []string{".demo"}, Native: true}}
	p.Runtime = engine{}
	startChaos()
	sdk.Serve(p)
}

func spec(name, doc string) sdk.StepSpec {
	return sdk.StepSpec{Name: name, Revision: 1, Doc: doc, ResultExample: facts{},
		Examples: []string{"step \"" + name + "\" \"a\" {\n  model = model.digits\n}\n"},
		Outputs:  []sdk.Output{{Name: "model", Kind: "model", Format: "onnx", Doc: "The same model."}}}
}

type config struct {
	Model sdk.Model    `opt:"model,required" doc:"The model that is copied." accepts:"onnx"`
	Data  *sdk.Dataset `opt:"data" doc:"Samples that nobody looks at."`

	Seconds float64            `opt:"seconds" doc:"How long it takes."`
	Text    string             `opt:"text" default:"hello" doc:"A text."`
	Secret  string             `opt:"secret,sensitive" doc:"A text that shows nowhere."`
	Mode    string             `opt:"mode" default:"plain" oneof:"plain,fancy" doc:"How it is done."`
	Count   int                `opt:"count" default:"1" doc:"A whole number."`
	Exact   bool               `opt:"exact" doc:"Whether it is exact."`
	Keep    []string           `opt:"keep" doc:"Names."`
	Weights map[string]float64 `opt:"weights" doc:"Numbers by name."`
	Old     string             `opt:"old" deprecated:"Use text." doc:"A text of old days."`
	Warning string             `opt:"warning" doc:"What the plan warns of."`
	Missing string             `opt:"missing" doc:"What the machine is said to lack."`
	Tamper  bool               `opt:"tamper" doc:"Write into the input, as nobody should."`
	Hollow  bool               `opt:"hollow" doc:"Write an output without a byte, as nobody should."`
	Child   bool               `opt:"child" doc:"Have a process of its own do some of the work."`
	Memory  int64              `opt:"memory" doc:"How many bytes it says that it needs."`
	Cores   int                `opt:"cores" doc:"How many cores it says that it needs."`

	Search *struct {
		Trials int    `opt:"trials,required" doc:"How many."`
		By     string `opt:"by" default:"size" oneof:"size,time" doc:"What is searched for."`
	} `opt:"search,block" doc:"How to search."`
	Rules []struct {
		Match string `opt:"match,required" doc:"Names of nodes."`
		Bits  int    `opt:"bits" default:"8" doc:"How many bits they get."`
	} `opt:"rule,block" doc:"One for each group of nodes." max:"3"`
	Layers map[string]struct {
		Ratio float64 `opt:"ratio,required" doc:"Share that is kept."`
	} `opt:"layer,block" doc:"One for each layer, by its name."`
}

type noop struct {
	Text string `opt:"text" default:"" doc:"Something that parts one from another."`
}

type facts struct {
	Text  string `opt:"text" doc:"The text."`
	Rules int    `opt:"rules" doc:"How many rules there were."`
}

func (c *config) Validate(context.Context) sdk.Diagnostics {
	if c.Count < 0 {
		return sdk.Diagnostics{{Summary: "count is negative", Detail: "Write 0 or more.", Code: "demo/count", Path: []any{"count"}}}
	}
	return nil
}

func (c *config) Plan(context.Context, *sdk.PlanRun) (*sdk.PlanResult, error) {
	r := &sdk.PlanResult{Fingerprint: map[string]string{"demo": "1"}, Needs: sdk.Needs{Memory: c.Memory, Cores: c.Cores}}
	if c.Warning != "" {
		r.Diagnostics = sdk.Diagnostics{sdk.AttrWarning("warning", c.Warning, "Leave it out to be told nothing.")}
	}
	if c.Missing != "" {
		r.Missing = []sdk.Missing{{What: c.Missing, Command: "install " + c.Missing}}
	}
	return r, nil
}

func apply(ctx context.Context, run *sdk.Run, c config) (*sdk.Result, error) {
	if err := wait(ctx, run, c); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(c.Model.Path)
	if err != nil {
		return nil, err
	}
	if c.Tamper {
		_ = os.Chmod(c.Model.Path, 0o644)
		if err := os.WriteFile(c.Model.Path, append(b, 0), 0o644); err != nil {
			return nil, err
		}
	}
	if err := chaosOutput(run, b); err != nil {
		return nil, err
	}
	if c.Hollow {
		b = nil
	}
	if err := os.WriteFile(run.Path("model.onnx"), b, 0o644); err != nil {
		return nil, err
	}
	run.Log.Info("copied", "bytes", len(b))
	if c.Child {
		if err := startChild(ctx); err != nil {
			return nil, err
		}
	}
	if n, err := sdk.Meter().Int64Counter("demo.copies"); err == nil {
		n.Add(ctx, 1)
	}
	return &sdk.Result{Outputs: map[string]sdk.Artifact{"model": {Path: "model.onnx"}}, Facts: facts{Text: c.Text, Rules: len(c.Rules)}}, nil
}

// wait shows progress for as long as the step takes, and cleans up for a moment when it is stopped.
func wait(ctx context.Context, run *sdk.Run, c config) error {
	const steps = 20
	for i := range int64(steps) {
		run.Progress("working", i, steps, "parts")
		select {
		case <-ctx.Done():
			run.Log.Warn("stopped in the middle")
			return errors.Join(ctx.Err())
		case <-time.After(time.Duration(c.Seconds * float64(time.Second) / steps)):
		}
	}
	return nil
}
