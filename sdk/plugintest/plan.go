package plugintest

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

var planChecks = []check{
	{"plan/answers", "Plan answers for a step's own example.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			r, err := k.plan(ctx, p, in)
			if err == nil {
				err = firstError(r.GetDiagnostics())
			}
			return err
		})
	}},
	{"plan/nothing-yet", "Plan answers while no artifact exists and no value is known.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			early := &stepInput{step: in.step, ty: in.ty, config: allUnknown(in.ty), inputs: map[string]*pluginv1.Artifact{}}
			for name, a := range in.inputs {
				early.inputs[name] = &pluginv1.Artifact{Kind: a.GetKind()}
			}
			r, err := k.plan(ctx, p, early)
			if err == nil {
				err = firstError(r.GetDiagnostics())
			}
			return err
		})
	}},
	{"plan/stable", "The fingerprint is the same in another process, folder, language and time zone: it holds nothing of them.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			one, err := k.plan(ctx, p, in)
			if err != nil {
				return err
			}
			other, err := k.start(ctx, place{cookie: true, env: elsewhere})
			if err != nil {
				return err
			}
			defer other.kill()
			two, err := k.plan(ctx, other, in)
			if err != nil {
				return err
			}
			if !maps.Equal(one.GetFingerprint(), two.GetFingerprint()) {
				return fmt.Errorf("it is %v, and %v in another process: every run would miss the cache", one.GetFingerprint(), two.GetFingerprint())
			}
			return nil
		})
	}},
	{"plan/pure", "Plan answers the same twice.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			one, err := k.plan(ctx, p, in)
			if err != nil {
				return err
			}
			two, err := k.plan(ctx, p, in)
			if err == nil && !proto.Equal(one, two) {
				err = errors.New("it changed its mind")
			}
			return err
		})
	}},
	{"plan/missing", "What the machine lacks comes with a name and the command that brings it.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			r, err := k.plan(ctx, p, in)
			if err != nil {
				return err
			}
			for _, m := range r.GetMissing() {
				if m.GetWhat() == "" || m.GetCommand() == "" {
					return fmt.Errorf("%q comes with %q", m.GetWhat(), m.GetCommand())
				}
			}
			return nil
		})
	}},
	{"plan/needs", "What it says of memory and cores is not negative.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			r, err := k.plan(ctx, p, in)
			if err == nil && (r.GetNeeds().GetMemoryBytes() < 0 || r.GetNeeds().GetCores() < 0) {
				err = fmt.Errorf("it needs %v", r.GetNeeds())
			}
			return err
		})
	}},
	{"plan/unknown-step", "A step that the plugin does not have is a NotFound.", func(ctx context.Context, k *kit) error {
		p, err := k.withSteps(ctx)
		if err != nil {
			return err
		}
		_, err = p.plugin.Plan(ctx, &pluginv1.PlanRequest{StepType: "no_such_step", Config: &pluginv1.Value{Msgpack: []byte{0x80}}})
		return wantCode(p, err, codes.NotFound)
	}},
	{"plan/clean", "Plan writes nothing.", func(ctx context.Context, k *kit) error {
		return k.eachInput(ctx, func(p *process, in *stepInput) error {
			if _, err := k.plan(ctx, p, in); err != nil {
				return err
			}
			return nothingIn(p.dir)
		})
	}},
}

// elsewhere is another user's environment.
var elsewhere = []string{"TZ=Pacific/Auckland", "LANG=de_DE.UTF-8", "LC_ALL=de_DE.UTF-8", "USER=somebody", "HOSTNAME=elsewhere"}

func (k *kit) plan(ctx context.Context, p *process, in *stepInput) (*pluginv1.PlanResponse, error) {
	v, err := in.value()
	if err != nil {
		return nil, err
	}
	c, cancel := context.WithTimeout(ctx, k.o.Patience)
	defer cancel()
	r, err := p.plugin.Plan(c, &pluginv1.PlanRequest{StepType: in.step.GetName(), Config: v, Inputs: in.inputs, Threads: threads})
	if err != nil {
		return nil, fmt.Errorf("it failed: %w%s", err, p.words())
	}
	return r, nil
}

// threads is what every step of the suite may use.
const threads = 2
