package plugintest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

var validateChecks = []check{
	{"validate/answers", "Validate has nothing against a step's own example.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			ds, err := k.validate(ctx, p, in, in.config)
			if err == nil {
				err = firstError(ds)
			}
			return err
		})
	}},
	{"validate/unknown-values", "Validate says nothing about what is not known yet.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			ds, err := k.validate(ctx, p, in, allUnknown(in.ty))
			if err == nil {
				err = firstError(ds)
			}
			return err
		})
	}},
	{"validate/pure", "Validate answers the same twice.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			one, err := k.validate(ctx, p, in, in.config)
			if err != nil {
				return err
			}
			two, err := k.validate(ctx, p, in, in.config)
			if err == nil && !proto.Equal(&pluginv1.ValidateResponse{Diagnostics: one}, &pluginv1.ValidateResponse{Diagnostics: two}) {
				err = errors.New("it changed its mind")
			}
			return err
		})
	}},
	{"validate/damaged", "A configuration that is no MessagePack is an InvalidArgument, and the process goes on.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			_, err := p.plugin.Validate(ctx, &pluginv1.ValidateRequest{StepType: in.step.GetName(), Config: &pluginv1.Value{Msgpack: []byte{0xc1, 0xff}}})
			return wantCode(p, err, codes.InvalidArgument)
		})
	}},
	{"validate/wrong-type", "A configuration of another type is an InvalidArgument, and the process goes on.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			_, err := p.plugin.Validate(ctx, &pluginv1.ValidateRequest{StepType: in.step.GetName(), Config: &pluginv1.Value{Msgpack: []byte{0x07}}})
			return wantCode(p, err, codes.InvalidArgument)
		})
	}},
	{"validate/unknown-step", "A step that the plugin does not have is a NotFound.", func(ctx context.Context, k *kit) error {
		p, err := k.withSteps(ctx)
		if err != nil {
			return err
		}
		_, err = p.plugin.Validate(ctx, &pluginv1.ValidateRequest{StepType: "no_such_step", Config: &pluginv1.Value{Msgpack: []byte{0x80}}})
		return wantCode(p, err, codes.NotFound)
	}},
	{"validate/places", "Diagnostics say where: their paths lead to arguments that the step has.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			for _, odd := range oddConfigs(in) {
				ds, err := k.validate(ctx, p, in, odd)
				if err != nil {
					return err
				}
				for _, d := range ds {
					if err := wellSaid(in.step.GetSchema(), d); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}},
	{"validate/clean", "Validate writes nothing.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			if _, err := k.validate(ctx, p, in, in.config); err != nil {
				return err
			}
			return nothingIn(p.dir)
		})
	}},
}

// eachInput calls f for each step with an input that the suite can make. A step that it has no artifact for is left out;
// when it is so for all, the check is skipped.
func (k *kit) eachInput(ctx context.Context, f func(p *process, in *stepInput) error) error {
	var left *skipped
	done := 0
	err := k.eachStep(ctx, func(s *pluginv1.StepType) error {
		in, err := k.input(s)
		if errors.As(err, &left) {
			return nil
		}
		if err != nil {
			return err
		}
		p, err := k.process(ctx)
		if err != nil {
			return err
		}
		done++
		return f(p, in)
	})
	if err == nil && done == 0 && left != nil {
		return left
	}
	return err
}

// withSteps gives the process of a plugin that has steps.
func (k *kit) withSteps(ctx context.Context) (*process, error) {
	if err := k.eachStep(ctx, func(*pluginv1.StepType) error { return nil }); err != nil {
		return nil, err
	}
	return k.process(ctx)
}

func (k *kit) validate(ctx context.Context, p *process, in *stepInput, config cty.Value) ([]*pluginv1.Diagnostic, error) {
	other := *in
	other.config = config
	v, err := other.value()
	if err != nil {
		return nil, err
	}
	c, cancel := context.WithTimeout(ctx, k.o.Patience)
	defer cancel()
	r, err := p.plugin.Validate(c, &pluginv1.ValidateRequest{StepType: in.step.GetName(), Config: v})
	if err != nil {
		return nil, fmt.Errorf("it failed: %w%s", err, p.words())
	}
	return r.GetDiagnostics(), nil
}

func firstError(ds []*pluginv1.Diagnostic) error {
	for _, d := range ds {
		if d.GetSeverity() != pluginv1.Diagnostic_SEVERITY_WARNING {
			return fmt.Errorf("it says: %s: %s", d.GetSummary(), d.GetDetail())
		}
	}
	return nil
}

// wantCode checks that a call was refused with a code, and that the process survived it.
func wantCode(p *process, err error, want codes.Code) error {
	if !p.alive() {
		return fmt.Errorf("the process ended%s", p.words())
	}
	if got := status.Code(err); got != want {
		return fmt.Errorf("it answered with %s instead of %s (%v)", got, want, err)
	}
	return nil
}

// wellSaid checks a diagnostic's form: a severity, a summary of one line, and a path that leads somewhere.
func wellSaid(schema *pluginv1.Block, d *pluginv1.Diagnostic) error {
	switch {
	case d.GetSeverity() == pluginv1.Diagnostic_SEVERITY_UNSPECIFIED:
		return fmt.Errorf("the diagnostic %q has no severity", d.GetSummary())
	case d.GetSummary() == "" || strings.Contains(d.GetSummary(), "\n"):
		return fmt.Errorf("a diagnostic's summary is %q; it is one line", d.GetSummary())
	case !findPath(schema, d.GetPath()):
		return fmt.Errorf("the diagnostic %q has a path that leads to nothing: %v", d.GetSummary(), d.GetPath())
	}
	return nil
}

// oddConfigs are configurations with values at the edges of their types, one argument at a time.
func oddConfigs(in *stepInput) []cty.Value {
	out := []cty.Value{in.config}
	for name, ty := range in.ty.AttributeTypes() {
		var odd []cty.Value
		switch ty {
		case cty.String:
			odd = []cty.Value{cty.StringVal(""), cty.StringVal(strings.Repeat("é", 500)), cty.StringVal("../../x\x00")}
		case cty.Number:
			odd = []cty.Value{cty.NumberIntVal(-1), cty.NumberFloatVal(1e18), cty.NumberFloatVal(0.5)}
		}
		for _, v := range odd {
			fields := maps.Clone(in.config.AsValueMap())
			fields[name] = v
			out = append(out, cty.ObjectVal(fields))
		}
	}
	return out
}
