package plan

import (
	"context"
	"encoding/json"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"

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
	// Refresh are addresses of what runs although the store holds its result; NoCache is all of them.
	Refresh map[string]bool
	NoCache bool
	// Memory is the most that a step may take before a warning says that it is too much; 0 is no bound.
	Memory int64

	mu      sync.Mutex // guards Program's scope
	origins sync.Map   // path of a blob → the user's file, for messages
	planned sync.Map   // digest of a PlanRequest → *answer: a plugin is asked once
	checked sync.Map   // digest of a configuration → *answer: the same for what it says of it without inputs
}

// forced says why an action runs although the store may hold its result; "" when it does not.
func (s *Session) forced(n *recipe.Node) string {
	switch {
	case s.Refresh[n.Addr]:
		return "refresh asked"
	case s.NoCache:
		return "nothing is taken from the cache"
	}
	return ""
}

// Resolve works out the action of one node. When its result is known, it is put into the scope.
func (s *Session) Resolve(ctx context.Context, n *recipe.Node) (*Action, diag.Diags) {
	a := &Action{Addr: n.Addr, Kind: n.Kind, Deps: n.Deps}
	if n.Kind == recipe.KindDataset || n.Kind == recipe.KindStep || n.Kind == recipe.KindEvaluate {
		a.Why = s.forced(n)
		a.Forced = a.Why != ""
	}
	var ds diag.Diags
	switch n.Kind {
	case recipe.KindModel:
		ds = s.model(ctx, n, a)
	case recipe.KindDataset:
		ds = s.dataset(ctx, n, a)
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
	art, err := s.importModel(ctx, c.Source)
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
	a.Digest, a.Size = art.Digest, art.Size
	s.SetOutputs(n, map[string]cache.Artifact{"": art}, nil)
	return ds
}

func (s *Session) dataset(ctx context.Context, n *recipe.Node, a *Action) diag.Diags {
	c, ds := s.Dataset(n)
	if ds.HasErrors() {
		return ds
	}
	inputs, ds := s.datasetInputs(ctx, n, c)
	if ds.HasErrors() {
		return ds
	}
	digest := inputs["source"]
	if c.SHA256 != "" && c.SHA256 != digest {
		return diag.Diags{diag.At(c.SourceRange, "recipe/dataset-digest", "The dataset is not the one that the recipe names",
			"Its SHA-256 is %s; sha256 says %s.", digest, c.SHA256)}
	}
	config, err := json.Marshal(datasetArguments(c))
	if err != nil {
		return fail(n, "The dataset cannot be planned", err)
	}
	a.Path, a.Digest = c.Source, digest
	a.Key = cache.Key{
		Format: cache.FormatVersion, StepType: "dataset", Plugin: "core", PluginVersion: s.Version, Revision: datasetRevision,
		Config: config, Inputs: inputs, Platform: s.Platform,
	}
	s.lookup(n, a)
	return ds
}

// RecordName is the name under which a node's runs are compared: its address in this recipe.
func (s *Session) RecordName(n *recipe.Node) string { return cache.Name(s.Recipe.Dir, n.Addr) }

// lookup fills in key and status, and the scope when the store holds the result.
func (s *Session) lookup(n *recipe.Node, a *Action) {
	a.Sum = a.Key.Sum()
	if rec, ok := s.Store.Lookup(a.Sum); ok && !a.Forced {
		s.Store.Used(s.RecordName(n), a.Sum)
		a.Status = Cached
		s.Complete(n, a, rec)
		return
	}
	a.Status = Run
	s.earlier(n, a)
	if a.Forced {
		return
	}
	a.Reasons = s.Store.Explain(s.RecordName(n), a.Key)
	a.FirstRun = a.Reasons == nil
	a.Why = "changed"
	if a.FirstRun {
		a.Why = "no earlier run"
	}
}

// earlier tells size and time of the last run of the same node.
func (s *Session) earlier(n *recipe.Node, a *Action) {
	if rec, ok := s.Store.Latest(s.RecordName(n)); ok {
		a.Size, a.LastDuration = sizeOf(rec), rec.Duration
	}
}

// sizeOf adds up the outputs of a record.
func sizeOf(rec *cache.Record) (n int64) {
	for _, o := range rec.Outputs {
		n += o.Size
	}
	return n
}

// Complete puts the result of an action into the scope.
func (s *Session) Complete(n *recipe.Node, a *Action, rec *cache.Record) {
	a.Record, a.Size, a.LastDuration = rec, sizeOf(rec), rec.Duration
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

// Diagnostics turns what a plugin said about a node into diagnostics in the user's words: where a plugin names the copy
// of a file in the store, the user's own file stands instead.
func (s *Session) Diagnostics(n *recipe.Node, plugin string, in []*pluginv1.Diagnostic) diag.Diags {
	return s.diagnosticsIn(n.Body, n, plugin, in)
}

// diagnosticsIn is Diagnostics about a block within the node's.
func (s *Session) diagnosticsIn(body hcl.Body, n *recipe.Node, plugin string, in []*pluginv1.Diagnostic) diag.Diags {
	ds := diag.FromPlugin(in, body, plugin, n.Addr)
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
