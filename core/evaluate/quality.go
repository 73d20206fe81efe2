package evaluate

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/optimize-hcl/optimize/core/cache"
	"github.com/optimize-hcl/optimize/dataset/tokenizer"
	"github.com/optimize-hcl/optimize/metrics"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
	"github.com/optimize-hcl/optimize/tensor"
)

// predictBatch is the number of samples of one run while quality is measured: enough to keep the cores busy, small
// enough that activations of a large network fit.
const predictBatch = 32

// grader holds what one evaluation shares between its subjects: probes, predictions and open sessions.
type grader struct {
	store    *cache.Store
	spec     Spec
	progress func(string)

	probes   []*pluginv1.ProbeResponse
	sessions map[sessionKey]*session
	txn      *cache.Txn           // scratch folder for predictions, made when first needed
	outputs  map[int]*tensor.File // predictions by subject
	opened   *tensor.Shards       // the dataset
	figures  map[string]figure    // by subject and metric
	checked  bool                 // whether the metrics fit the baseline and the dataset

	tokenizers map[string]*tokenizer.Tokenizer // by path
}

type sessionKey struct {
	subject int
	threads int64
}

type session struct {
	client  pluginv1.RuntimeClient
	id      string
	facts   map[string]string
	outputs []Output
}

// recorded is what the cache keeps of one subject's quality.
type recorded struct {
	Measurement Measurement `json:"measurement"`
	Samples     int64       `json:"samples"`
}

type measured struct {
	Measurement
	Samples int64
}

// probe asks each engine whether it can work here, before anything is run.
func (g *grader) probe(ctx context.Context) error {
	asked := map[string]*pluginv1.ProbeResponse{}
	for _, s := range g.spec.Subjects {
		r, ok := asked[s.EngineKey()]
		if !ok {
			var err error
			if r, err = s.Engine.Probe(ctx, &pluginv1.ProbeRequest{Threads: g.spec.Threads, Options: s.Options}); err != nil {
				return err
			}
			if err := problem(s.Name, r.GetDiagnostics()); err != nil {
				return err
			}
			if m := r.GetMissing(); len(m) > 0 {
				return problemf(s.Name, "Bring it with `"+m[0].GetCommand()+"`.", "%s is not installed", m[0].GetWhat())
			}
			asked[s.EngineKey()] = r
		}
		g.probes = append(g.probes, r)
	}
	return nil
}

// EngineKey tells engines apart: the plugin, and how it is set up.
func (s Subject) EngineKey() string {
	var b strings.Builder
	b.WriteString(s.Engine.Name())
	for _, k := range slices.Sorted(maps.Keys(s.Options)) {
		fmt.Fprintf(&b, " %q=%q", k, s.Options[k])
	}
	return b.String()
}

// dependsOn is what the figures of subject i depend on beside its bytes: what the engine says, and its options.
func (g *grader) dependsOn(i int) map[string]string {
	fp := maps.Clone(g.probes[i].GetFingerprint())
	if fp == nil {
		fp = map[string]string{}
	}
	for k, v := range g.spec.Subjects[i].Options {
		fp["option."+k] = v
	}
	return fp
}

// key is the cache key of a subject's quality: its bytes, the baseline's, the dataset's, and the engines that ran them.
func (g *grader) key(i int, kind string, config map[string]any) cache.Key {
	base, s := g.spec.Subjects[0], g.spec.Subjects[i]
	fp := g.dependsOn(i)
	for k, v := range g.dependsOn(0) {
		fp["baseline."+k] = v
	}
	inspector := ""
	if s.Inspector != nil {
		inspector = s.Inspector.Name() + " " + s.Inspector.Digest()
	}
	fp["inspector"] = inspector
	if g.spec.AskedBy != "" {
		config["asked_by"] = g.spec.AskedBy
	}
	c, err := json.Marshal(config)
	if err != nil { // a map of numbers and strings
		panic(err)
	}
	return cache.Key{
		Format: cache.FormatVersion, StepType: kind, Plugin: s.Engine.Name(), PluginVersion: s.Engine.Version(),
		PluginDigest: s.Engine.Digest(), Revision: Revision, Config: c,
		Inputs:      map[string]string{"baseline": base.Artifact.Digest, "candidate": s.Artifact.Digest, "dataset": g.spec.Dataset.Digest},
		Fingerprint: fp, Platform: g.spec.Platform,
	}
}

// qualityKey is the key under which subject i's quality is recorded.
func (g *grader) qualityKey(i int) cache.Key {
	config := map[string]any{"metrics": g.spec.Metrics, "threads": g.spec.Threads}
	base, s := g.spec.Subjects[0], g.spec.Subjects[i]
	if i > 0 && s.Artifact.Digest == base.Artifact.Digest && s.EngineKey() == base.EngineKey() {
		config["candidate"] = true // the record of the baseline compares with nothing
	}
	return g.key(i, "evaluate", config)
}

func (g *grader) recordName(i int) string {
	return g.spec.RecordName + "." + g.spec.Subjects[i].Name
}

// quality gives everything but latency of subject i, from the cache when it is there.
func (g *grader) quality(ctx context.Context, i int) (measured, error) {
	s := g.spec.Subjects[i]
	key := g.qualityKey(i)
	if rec, ok := g.lookup(key.Sum()); ok {
		var r recorded
		if json.Unmarshal(rec.Result, &r) == nil {
			g.store.Used(g.recordName(i), key.Sum())
			r.Measurement.Name, r.Measurement.Cached = s.Name, true
			return measured{r.Measurement, r.Samples}, nil
		}
	}
	g.progress("measuring " + s.Name)
	started := time.Now()
	m := Measurement{Name: s.Name, Format: s.Artifact.Format, Digest: s.Artifact.Digest, Engine: s.Engine.Name(), Metrics: map[string]metrics.Estimate{}}
	if err := g.inspect(ctx, i, &m); err != nil {
		return measured{}, err
	}
	if err := g.grade(ctx, i, &m); err != nil {
		return measured{}, err
	}
	if err := g.coverage(ctx, i, &m); err != nil {
		return measured{}, err
	}
	samples := g.opened.Samples()
	if err := g.record(ctx, key, g.recordName(i), recorded{m, samples}, started); err != nil {
		return measured{}, err
	}
	return measured{m, samples}, nil
}

func (g *grader) record(ctx context.Context, key cache.Key, name string, v any, started time.Time) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	txn, err := g.store.Begin()
	if err != nil {
		return err
	}
	defer txn.Discard()
	_, err = txn.Commit(ctx, key, name, nil, b, cache.Meta{Started: started.UTC(), Duration: time.Since(started), PluginVersion: key.PluginVersion})
	return err
}

// exact is a figure without uncertainty.
func exact(v float64) metrics.Estimate { return metrics.Estimate{Point: v, Low: v, High: v} }

// inspect adds size, parameters and macs.
func (g *grader) inspect(ctx context.Context, i int, m *Measurement) error {
	s := g.spec.Subjects[i]
	m.Metrics["size"] = exact(float64(s.Artifact.Size))
	if s.Inspector == nil {
		return nil
	}
	r, err := s.Inspector.Inspect(ctx, protoArtifact(s.Artifact))
	if err != nil {
		return err
	}
	if err := problem(s.Name, r.GetDiagnostics()); err != nil {
		return err
	}
	var doc struct {
		Parameters *float64 `json:"parameters"`
		MACs       *float64 `json:"macs"`
	}
	if err := json.Unmarshal(r.GetDocument(), &doc); err != nil {
		return fmt.Errorf("plugin %s answered Inspect with a document that is not JSON: %w", s.Inspector.Name(), err)
	}
	if doc.Parameters != nil {
		m.Metrics["parameters"] = exact(*doc.Parameters)
	}
	if doc.MACs != nil {
		m.Metrics["macs"] = exact(*doc.MACs)
	}
	return nil
}

func protoArtifact(a cache.Artifact) *pluginv1.Artifact {
	return &pluginv1.Artifact{Kind: a.Kind, Format: a.Format, Path: a.Path, Digest: a.Digest, Size: a.Size, Labels: a.Labels}
}

// open gives a session for subject i, opening it when there is none.
func (g *grader) open(ctx context.Context, i int, threads int64) (*session, error) {
	k := sessionKey{i, threads}
	if s, ok := g.sessions[k]; ok {
		return s, nil
	}
	sub := g.spec.Subjects[i]
	client, err := sub.Engine.Runtime(ctx)
	if err != nil {
		return nil, err
	}
	r, err := client.Open(ctx, &pluginv1.OpenRequest{Artifact: protoArtifact(sub.Artifact), Options: sub.Options, Threads: threads})
	if err != nil {
		return nil, err
	}
	if err := problem(sub.Name, r.GetDiagnostics()); err != nil {
		return nil, err
	}
	if g.sessions == nil {
		g.sessions = map[sessionKey]*session{}
	}
	s := &session{client: client, id: r.GetSession(), facts: r.GetFacts()}
	for _, o := range r.GetOutputs() {
		s.outputs = append(s.outputs, Output{o.GetName(), o.GetDtype(), o.GetShape()})
	}
	g.sessions[k] = s
	return s, nil
}

func (g *grader) coverage(ctx context.Context, i int, m *Measurement) error {
	s, err := g.open(ctx, i, g.spec.Threads)
	if err != nil {
		return err
	}
	m.Facts = maps.Clone(s.facts)
	r, err := s.client.Coverage(ctx, &pluginv1.CoverageRequest{Session: s.id})
	if err != nil {
		return err
	}
	if err := problem(m.Name, r.GetDiagnostics()); err != nil {
		return err
	}
	if len(r.GetDocument()) > 0 && !json.Valid(r.GetDocument()) {
		return fmt.Errorf("plugin %s answered Coverage with a document that is not JSON", m.Engine)
	}
	m.Coverage = r.GetDocument()
	return nil
}

// predict gives the outputs of subject i for the whole dataset.
func (g *grader) predict(ctx context.Context, i int) (*tensor.File, error) {
	if f, ok := g.outputs[i]; ok {
		return f, nil
	}
	sub := g.spec.Subjects[i]
	s, err := g.open(ctx, i, g.spec.Threads)
	if err != nil {
		return nil, err
	}
	if g.txn == nil {
		if g.txn, err = g.store.Begin(); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(g.txn.ScratchDir, fmt.Sprintf("outputs-%d.safetensors", i))
	r, err := s.client.Predict(ctx, &pluginv1.PredictRequest{Session: s.id, Dataset: g.spec.Dataset.Dir, Output: path, Batch: predictBatch, Names: g.needed(s)})
	if err != nil {
		return nil, err
	}
	if err := problem(sub.Name, r.GetDiagnostics()); err != nil {
		return nil, err
	}
	f, err := tensor.Open(path)
	if err != nil {
		return nil, fmt.Errorf("plugin %s wrote predictions that cannot be read: %w", sub.Engine.Name(), err)
	}
	if g.outputs == nil {
		g.outputs = map[int]*tensor.File{}
	}
	g.outputs[i] = f
	return f, nil
}

// needed names the outputs that the metrics read, where that is known and not all of them: an output that nobody reads may
// be large, or of a shape that changes. A candidate that lacks one is told of when it is graded.
func (g *grader) needed(s *session) []string {
	base := g.sessions[sessionKey{0, g.spec.Threads}]
	if len(g.spec.Metrics) == 0 || base == nil || len(base.outputs) < 2 {
		return nil
	}
	var names []string
	for _, m := range g.spec.Metrics {
		name, err := m.outputOf(base.outputs)
		if err != nil || !slices.ContainsFunc(s.outputs, func(o Output) bool { return o.Name == name }) {
			return nil
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (g *grader) dataset() (*tensor.Shards, error) {
	if g.opened == nil {
		s, err := tensor.OpenShards(g.spec.Dataset.Dir)
		if err != nil {
			return nil, err
		}
		g.opened = s
	}
	return g.opened, nil
}

// close ends the sessions and removes the predictions. It runs also after a stop, so ctx must not be cancelled with it.
func (g *grader) close(ctx context.Context) {
	for _, k := range slices.SortedFunc(maps.Keys(g.sessions), func(a, b sessionKey) int { return a.subject - b.subject }) {
		s := g.sessions[k]
		// An engine that has crashed cannot close anything; its process is gone with the sessions.
		_, _ = s.client.Close(ctx, &pluginv1.CloseRequest{Session: s.id})
	}
	for _, f := range g.outputs {
		f.Close()
	}
	if g.opened != nil {
		g.opened.Close()
	}
	if g.txn != nil {
		g.txn.Discard()
	}
}
