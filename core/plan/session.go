package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/zclconf/go-cty/cty"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"
	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Session evaluates one recipe against plugins and store. Plan and apply share it: apply resolves each node again when
// what it depends on is known. It is safe for concurrent use.
type Session struct {
	Recipe   *recipe.Recipe
	Program  *recipe.Program
	Registry *Registry
	Store    *cache.Store
	Version  string
	Platform string
	// Threads are the cores that one step may use.
	Threads         int64
	ReuseBenchmarks bool

	mu      sync.Mutex // guards Program's scope
	origins sync.Map   // path of a blob → the user's file, for messages
	planned sync.Map   // digest of a PlanRequest → *pluginv1.PlanResponse: a plugin is asked once
}

// datasetRevision is raised when package dataset would write other bytes for the same source and arguments.
const datasetRevision = 1

// Build resolves every node with what the store holds: what apply would do.
func (s *Session) Build(ctx context.Context) (*Plan, diag.Diags) {
	p := &Plan{Schema: Schema, Version: s.Version, Recipe: s.Recipe.Path}
	var all diag.Diags
	broken := map[string]bool{}
	for _, n := range s.Program.Nodes() {
		if slices.ContainsFunc(n.Deps, func(d string) bool { return broken[d] }) {
			broken[n.Addr] = true // a follow-up of a mistake that is reported already
			continue
		}
		a, ds := s.Resolve(ctx, n)
		all = all.Append(ds...)
		if ds.HasErrors() || a == nil {
			broken[n.Addr] = true
			continue
		}
		p.Actions = append(p.Actions, a)
	}
	return p, all
}

// Resolve works out the action of one node. When its result is known, it is put into the scope.
func (s *Session) Resolve(ctx context.Context, n *recipe.Node) (*Action, diag.Diags) {
	a := &Action{Addr: n.Addr, Kind: n.Kind, Deps: n.Deps}
	var ds diag.Diags
	switch n.Kind {
	case recipe.KindModel:
		ds = s.model(ctx, n, a)
	case recipe.KindDataset:
		ds = s.dataset(n, a)
	case recipe.KindStep:
		ds = s.step(ctx, n, a)
	case recipe.KindEvaluate:
		ds = s.evaluate(ctx, n, a)
	case recipe.KindOutput:
		ds = s.output(n, a)
	}
	return a, ds
}

// fail makes a diagnostic at a node's block of an error that has no better place.
func fail(n *recipe.Node, summary string, err error) diag.Diags {
	return diag.Diags{diag.At(n.Range, "", summary, "%s", err)}
}

func (s *Session) model(ctx context.Context, n *recipe.Node, a *Action) diag.Diags {
	s.mu.Lock()
	c, ds := s.Program.DecodeModel(n)
	s.mu.Unlock()
	if ds.HasErrors() {
		return ds
	}
	a.Status, a.Path = Read, c.Source
	format := c.Format
	if format == "" {
		var err error
		if format, err = s.Registry.FormatOf(ctx, c.Source); err != nil {
			return diag.Diags{diag.At(c.SourceRange, "recipe/model-format", "The format of this model is not known",
				"%s; or say it: format = \"onnx\".", err)}
		}
	}
	art, err := s.Store.Import(ctx, c.Source)
	if err != nil {
		return diag.Diags{diag.At(c.SourceRange, "recipe/model-source", "The model cannot be read", "%s", err)}
	}
	if c.SHA256 != "" && c.SHA256 != art.Digest {
		return diag.Diags{diag.At(c.SourceRange, "recipe/model-digest", "The model is not the one that the recipe names",
			"Its SHA-256 is %s; sha256 says %s.", art.Digest, c.SHA256)}
	}
	if art.Size == 0 {
		return diag.Diags{diag.At(c.SourceRange, "recipe/model-source", "The model file is empty", "%s has 0 bytes.", c.Source)}
	}
	s.origins.Store(art.Path, c.Source)
	art.Kind, art.Format = "model", format
	s.SetOutputs(n, map[string]cache.Artifact{"": art}, nil)
	return ds
}

func (s *Session) dataset(n *recipe.Node, a *Action) diag.Diags {
	c, ds := s.Dataset(n)
	if ds.HasErrors() {
		return ds
	}
	digest, _, err := s.Store.HashFile(c.Source)
	if err != nil {
		return diag.Diags{diag.At(c.SourceRange, "recipe/dataset-source", "The dataset cannot be read", "%s", err)}
	}
	if c.SHA256 != "" && c.SHA256 != digest {
		return diag.Diags{diag.At(c.SourceRange, "recipe/dataset-digest", "The dataset is not the one that the recipe names",
			"Its SHA-256 is %s; sha256 says %s.", digest, c.SHA256)}
	}
	config, err := json.Marshal(datasetArguments(c))
	if err != nil {
		return fail(n, "The dataset cannot be planned", err)
	}
	a.Key = cache.Key{
		Format: cache.FormatVersion, StepType: "dataset", Plugin: "core", PluginVersion: s.Version, Revision: datasetRevision,
		Config: config, Inputs: map[string]string{"source": digest}, Platform: s.Platform,
	}
	s.lookup(n, a)
	return ds
}

// datasetArguments are the arguments of a dataset that its bytes depend on, under the recipe's names.
func datasetArguments(c *recipe.DatasetConfig) map[string]any {
	inputs := map[string]any{}
	for _, in := range c.Inputs {
		inputs[in.Name] = map[string]any{"field": in.Field, "scale": in.Scale, "mean": in.Mean, "std": in.Std, "dtype": in.DType}
	}
	return map[string]any{"label": c.Label, "limit": c.Limit, "shuffle": c.Shuffle, "seed": c.Seed, "input": inputs}
}

// RecordName is the name under which a node's runs are compared: its address in this recipe.
func (s *Session) RecordName(n *recipe.Node) string { return s.Recipe.Dir + ":" + n.Addr }

// lookup fills in key and status, and the scope when the store holds the result.
func (s *Session) lookup(n *recipe.Node, a *Action) {
	a.Sum = a.Key.Sum()
	if rec, ok := s.Store.Lookup(a.Sum); ok {
		s.Store.Used(s.RecordName(n), a.Sum)
		a.Status = Cached
		s.Complete(n, a, rec)
		return
	}
	a.Status = Run
	a.Reasons = s.Store.Explain(s.RecordName(n), a.Key)
	a.FirstRun = a.Reasons == nil
}

// Complete puts the result of an action into the scope.
func (s *Session) Complete(n *recipe.Node, a *Action, rec *cache.Record) {
	a.Record, a.LastDuration = rec, rec.Duration
	a.Size = 0
	for _, o := range rec.Outputs {
		a.Size += o.Size
	}
	s.SetOutputs(n, rec.Outputs, rec.Result)
}

// SetOutputs puts artifacts and facts of a node into the scope.
func (s *Session) SetOutputs(n *recipe.Node, outputs map[string]cache.Artifact, result json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	arts := map[string]recipe.Artifact{}
	for name, o := range outputs {
		arts[name] = recipe.Artifact{Kind: o.Kind, Format: o.Format, Path: o.Path, Digest: o.Digest, Size: o.Size}
	}
	s.Program.SetOutputs(n, arts, result)
}

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
	resp, pds := s.ask(ctx, n, name, req, plain, c.ConfigType)
	ds = ds.Append(pds...)
	if ds.HasErrors() {
		return ds
	}
	for _, m := range resp.GetMissing() {
		a.Missing = append(a.Missing, Missing{m.GetWhat(), m.GetCommand()})
	}
	a.Fingerprint = resp.GetFingerprint()
	a.Request = &pluginv1.ApplyRequest{StepType: c.Type, Config: req.Config, Inputs: req.Inputs, Seed: c.Seed, Threads: s.Threads}
	if len(a.After) > 0 || len(a.Missing) > 0 || !plain.IsWhollyKnown() {
		a.Status = Pending
		if len(a.After) == 0 {
			a.Status = Run
		}
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

// ask has a plugin plan a step, once for each request.
func (s *Session) ask(ctx context.Context, n *recipe.Node, plugin string, req *pluginv1.PlanRequest, config cty.Value, ty cty.Type) (*pluginv1.PlanResponse, diag.Diags) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return nil, fail(n, "The step cannot be planned", err)
	}
	sum := sha256.Sum256(b)
	key := hex.EncodeToString(sum[:])
	if r, ok := s.planned.Load(key); ok {
		return r.(*pluginv1.PlanResponse), nil
	}
	p, err := s.Registry.Plugin(ctx, plugin)
	if err != nil {
		return nil, fail(n, fmt.Sprintf("Plugin %s does not start", plugin), err)
	}
	// The schema was checked without a process; what only the plugin knows is asked now that it runs anyway.
	checked, err := p.Validate(ctx, req.GetStepType(), config, ty)
	if err != nil {
		return nil, fail(n, fmt.Sprintf("Plugin %s could not check %s", plugin, n.Addr), err)
	}
	said := s.Diagnostics(n, plugin, checked)
	if said.HasErrors() {
		return nil, said
	}
	resp, err := p.Plan(ctx, req)
	if err != nil {
		return nil, fail(n, fmt.Sprintf("Plugin %s could not plan %s", plugin, n.Addr), err)
	}
	s.planned.Store(key, resp)
	return resp, said.Append(s.Diagnostics(n, plugin, resp.GetDiagnostics())...)
}

// Diagnostics turns what a plugin said about a node into diagnostics in the user's words: where a plugin names the copy
// of a file in the store, the user's own file stands instead.
func (s *Session) Diagnostics(n *recipe.Node, plugin string, in []*pluginv1.Diagnostic) diag.Diags {
	ds := diag.FromPlugin(in, n.Body, plugin, n.Addr)
	for i := range ds {
		ds[i].Summary, ds[i].Detail = s.Readable(ds[i].Summary), s.Readable(ds[i].Detail)
	}
	return ds
}

// Readable replaces the paths of blobs by the user's files.
func (s *Session) Readable(text string) string {
	s.origins.Range(func(blob, file any) bool {
		text = strings.ReplaceAll(text, blob.(string), file.(string))
		return true
	})
	return text
}

func (s *Session) output(n *recipe.Node, a *Action) diag.Diags {
	c, ds := s.Output(n)
	a.Status, a.Path = Publish, c.Path
	if c.Artifact != nil {
		a.Inputs = map[string]cache.Artifact{"value": {Kind: c.Artifact.Kind, Format: c.Artifact.Format, Path: c.Artifact.Path, Digest: c.Artifact.Digest, Size: c.Artifact.Size}}
	}
	return ds
}
