package plan

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"github.com/zclconf/go-cty/cty"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"
	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

func (s *Session) step(ctx context.Context, n *recipe.Node, a *Action) diag.Diags {
	s.mu.Lock()
	c, ds := s.Program.DecodeStep(n)
	s.mu.Unlock()
	if ds.HasErrors() {
		return ds
	}
	name := PluginOf(c.Type)
	ref, _ := s.Registry.Ref(name)
	a.Type, a.Plugin, a.PluginVersion = c.Type, name, ref.Version
	plain, _ := c.Config.UnmarkDeep()
	packed, err := ctymsgpack.Marshal(plain, c.ConfigType)
	if err != nil {
		return fail(n, "The configuration cannot be sent to the plugin", err)
	}
	req := &pluginv1.PlanRequest{StepType: c.Type, Config: &pluginv1.Value{Msgpack: packed}, Inputs: map[string]*pluginv1.Artifact{}, Threads: s.Threads}
	digests := map[string]string{}
	a.Inputs = map[string]cache.Artifact{}
	for attr, in := range c.Inputs {
		if in.Artifact == nil {
			req.Inputs[attr] = &pluginv1.Artifact{Kind: in.Kind}
			a.After = append(a.After, in.Addr)
			continue
		}
		art := in.Artifact
		req.Inputs[attr] = &pluginv1.Artifact{Kind: art.Kind, Format: art.Format, Path: art.Path, Digest: art.Digest, Size: art.Size}
		digests[attr] = art.Digest
		a.Inputs[attr] = cache.Artifact{Kind: art.Kind, Format: art.Format, Path: art.Path, Digest: art.Digest, Size: art.Size}
	}
	slices.Sort(a.After)
	a.After = slices.Compact(a.After)
	a.Digests = digests
	resp, pds := s.ask(ctx, n, name, req, plain, c.ConfigType)
	ds = ds.Append(pds...)
	if ds.HasErrors() {
		return ds
	}
	for _, m := range resp.GetMissing() {
		a.Missing = append(a.Missing, Missing{m.GetWhat(), m.GetCommand()})
	}
	a.Fingerprint, a.Nondeterministic = resp.GetFingerprint(), resp.GetNondeterministic()
	ds = ds.Append(s.needs(n, a, resp.GetNeeds())...)
	a.Request = &pluginv1.ApplyRequest{StepType: c.Type, Config: req.Config, Inputs: req.Inputs, Seed: c.Seed, Threads: s.Threads}
	if len(a.After) > 0 || len(a.Missing) > 0 || !plain.IsWhollyKnown() {
		a.Status = Pending
		if len(a.After) == 0 {
			a.Status = Run
		}
		s.earlier(n, a)
		return ds
	}
	config, err := s.Store.CanonicalConfig(c.Config)
	if err != nil {
		return fail(n, "The configuration has no cache key", err)
	}
	a.Key = cache.Key{
		Format: cache.FormatVersion, StepType: c.Type, Plugin: name, PluginVersion: ref.Version, PluginDigest: ref.Digest,
		Revision: c.Revision, Config: config, Inputs: digests, Fingerprint: resp.GetFingerprint(), Platform: s.Platform, Seed: c.Seed,
	}
	s.lookup(n, a)
	return ds
}

// needs notes what a step takes of the machine, and warns when it is more than there is.
func (s *Session) needs(n *recipe.Node, a *Action, needs *pluginv1.Needs) diag.Diags {
	if needs.GetMemoryBytes() <= 0 && needs.GetCores() <= 0 {
		return nil
	}
	a.Needs = &Needs{Memory: max(0, needs.GetMemoryBytes()), Cores: max(0, needs.GetCores())}
	if s.Memory <= 0 || a.Needs.Memory <= s.Memory {
		return nil
	}
	d := diag.At(n.Range, "plan/memory", n.Addr+" needs more memory than there is",
		"Plugin %s says %s; %s may be used. It will run alone, and may be very slow or be ended by the system. Close other programs, or raise the bound with --memory or OPTIMIZE_MEMORY.",
		a.Plugin, report.Bytes(a.Needs.Memory), report.Bytes(s.Memory))
	d.Severity, d.Step = diag.Warning, n.Addr
	return diag.Diags{d}
}

// answer is what a plugin said to a request; said holds its words without a place, since many steps may ask the same.
type answer struct {
	once sync.Once
	resp *pluginv1.PlanResponse
	said []*pluginv1.Diagnostic
	err  error
}

// answered gives the answer to a request, made by make when it is the first of its kind.
func answered(known *sync.Map, request proto.Message, make func(*answer)) (*answer, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return nil, err
	}
	v, _ := known.LoadOrStore(sha256.Sum256(b), &answer{})
	a := v.(*answer)
	a.once.Do(func() { make(a) })
	return a, nil
}

// ask has a plugin check and plan a step, once for each request.
func (s *Session) ask(ctx context.Context, n *recipe.Node, plugin string, req *pluginv1.PlanRequest, config cty.Value, ty cty.Type) (*pluginv1.PlanResponse, diag.Diags) {
	p, err := s.Registry.Plugin(ctx, plugin)
	if err != nil {
		return nil, fail(n, fmt.Sprintf("Plugin %s does not start", plugin), err)
	}
	// The schema was checked without a process; what only the plugin knows is asked now that it runs anyway.
	checked, err := answered(&s.checked, &pluginv1.ValidateRequest{StepType: req.GetStepType(), Config: req.GetConfig()}, func(a *answer) {
		a.said, a.err = p.Validate(ctx, req.GetStepType(), config, ty)
	})
	if err != nil {
		return nil, fail(n, "The step cannot be planned", err)
	}
	if checked.err != nil {
		return nil, fail(n, fmt.Sprintf("Plugin %s could not check %s", plugin, n.Addr), checked.err)
	}
	said := s.Diagnostics(n, plugin, checked.said)
	if said.HasErrors() {
		return nil, said
	}
	planned, err := answered(&s.planned, req, func(a *answer) {
		if a.resp, a.err = p.Plan(ctx, req); a.err == nil {
			a.said = a.resp.GetDiagnostics()
		}
	})
	if err != nil {
		return nil, fail(n, "The step cannot be planned", err)
	}
	if planned.err != nil {
		return nil, fail(n, fmt.Sprintf("Plugin %s could not plan %s", plugin, n.Addr), planned.err)
	}
	return planned.resp, said.Append(s.Diagnostics(n, plugin, planned.said)...)
}
