package recipe

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Artifact is a model, a dataset or a step's output that exists.
type Artifact struct {
	Kind, Format, Path, Digest string
	Size                       int64 // bytes
}

// ArtifactType is the type of an artifact in expressions.
var ArtifactType = cty.Object(map[string]cty.Type{
	"kind": cty.String, "format": cty.String, "path": cty.String, "digest": cty.String, "size": cty.Number,
})

func (a Artifact) value() cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		"kind": cty.StringVal(a.Kind), "format": cty.StringVal(a.Format), "path": cty.StringVal(a.Path),
		"digest": cty.StringVal(a.Digest), "size": cty.NumberIntVal(a.Size),
	})
}

// artifactOf reads an artifact back; nil when it does not exist yet.
func artifactOf(v cty.Value) *Artifact {
	v, _ = v.UnmarkDeep()
	if v.IsNull() || !v.IsWhollyKnown() {
		return nil
	}
	size, _ := v.GetAttr("size").AsBigFloat().Int64()
	return &Artifact{
		Kind: v.GetAttr("kind").AsString(), Format: v.GetAttr("format").AsString(), Path: v.GetAttr("path").AsString(),
		Digest: v.GetAttr("digest").AsString(), Size: size,
	}
}

// shape is what an evaluation will give: its subjects, and the metrics of each.
type shape struct{ subjects, metrics []string }

// Program is a checked recipe: its graph, and the values known so far. It is not safe for concurrent use.
type Program struct {
	recipe    *Recipe
	types     map[string]*pluginv1.StepType
	plugins   []string
	functions map[string]function.Function
	nodes     []*Node
	byAddr    map[string]*Node
	// values are the roots of references; kinds holds the members of model, dataset, step and evaluate.
	values map[string]cty.Value
	kinds  map[string]map[string]cty.Value
	shapes map[string]*shape
	// While an ensure is checked, shape and subjectNames are its evaluation's.
	shape        *shape
	subjectNames []string
}

// Check evaluates variables and locals, checks every block against types and every reference, and orders the graph.
// All mistakes are reported together. The program is nil when the graph cannot be ordered.
func (r *Recipe) Check(given Values, types map[string]*pluginv1.StepType, plugins []string) (*Program, diag.Diags) {
	p := &Program{
		recipe: r, types: types, plugins: plugins, functions: functions(r.Dir), byAddr: map[string]*Node{}, shapes: map[string]*shape{},
		values: map[string]cty.Value{"path": cty.ObjectVal(map[string]cty.Value{"recipe": cty.StringVal(r.Dir)}), "local": cty.EmptyObjectVal},
		kinds:  map[string]map[string]cty.Value{KindModel: {}, KindDataset: {}, KindStep: {}, KindEvaluate: {}},
	}
	ds := p.variables(given)
	ds = ds.Append(p.locals()...)
	for _, b := range r.blocks {
		if b.kind == "variable" || b.kind == "locals" {
			continue
		}
		n := &Node{Addr: b.kind + "." + b.name, Kind: b.kind, Type: b.typeName, Name: b.name, Body: b.body, Range: b.rng, block: b}
		if p.byAddr[n.Addr] != nil {
			continue // a duplicate, reported by Load
		}
		p.nodes = append(p.nodes, n)
		p.byAddr[n.Addr] = n
		if n.Kind == KindStep {
			ds = ds.Append(p.stepType(n)...)
		}
		if n.Kind == KindEvaluate {
			p.shapes[n.Name] = p.evaluateShape(n)
		}
		p.unknown(n)
	}
	for _, n := range p.nodes {
		ds = ds.Append(p.check(n)...)
	}
	p.outputsWaitForEvaluations()
	ordered, more := order(p.nodes, p.byAddr)
	ds = ds.Append(more...)
	if more.HasErrors() {
		return nil, ds
	}
	p.nodes = ordered
	return p, ds
}

// Nodes gives the nodes, each after what it depends on.
func (p *Program) Nodes() []*Node { return p.nodes }

// Plugins gives the plugins that the steps need, and those that evaluations name as runtimes, sorted.
func (p *Program) Plugins() []string {
	names := map[string]bool{}
	for _, n := range p.nodes {
		if n.Kind == KindStep {
			names[pluginOf(n.Type)] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// check decodes a node with what is known statically, and finds its dependencies.
func (p *Program) check(n *Node) diag.Diags {
	var ds diag.Diags
	deps := map[string]bool{}
	exprs, more := p.expressions(n)
	ds = ds.Append(more...)
	for _, e := range exprs {
		ds = ds.Append(p.checkRefs(e, allRoots, nil)...)
	}
	for _, a := range refsOf(exprs...) {
		if p.byAddr[a] != nil {
			deps[a] = true
		}
	}
	// The ensures of an evaluation may refer to anything; what they refer to must exist before they are checked. When
	// the evaluation itself is wrong, complaints about what it does not give would be follow-ups.
	if n.Kind == KindEvaluate && !ds.HasErrors() {
		if _, more := p.DecodeEvaluate(n); more.HasErrors() {
			return more
		}
		_, conds, more := p.ensureExprs(n)
		ds = ds.Append(more...)
		p.shape, p.subjectNames = p.shapes[n.Name], p.shapes[n.Name].subjects
		for _, e := range conds {
			ds = ds.Append(p.checkRefs(e, append(slices.Clone(allRoots), "self"), nil)...)
			for _, a := range refsOf(e) {
				if p.byAddr[a] != nil && a != n.Addr {
					deps[a] = true
				}
			}
		}
		p.shape, p.subjectNames = nil, nil
	}
	n.Deps = slices.Sorted(maps.Keys(deps))
	if ds.HasErrors() {
		return ds // decoding would say the same again in the evaluator's words
	}
	switch n.Kind {
	case KindModel:
		_, more = p.DecodeModel(n)
	case KindDataset:
		_, more = p.DecodeDataset(n)
	case KindStep:
		_, more = p.DecodeStep(n)
	case KindEvaluate:
		_, more = p.DecodeEvaluate(n)
		if !more.HasErrors() {
			more = more.Append(p.checkEnsures(n)...)
		}
	case KindOutput:
		_, more = p.DecodeOutput(n)
	}
	return ds.Append(more...)
}

// outputsWaitForEvaluations makes each output depend on the evaluations that measure its value: what is measured is
// published after it was measured.
func (p *Program) outputsWaitForEvaluations() {
	for _, out := range p.nodes {
		if out.Kind != KindOutput {
			continue
		}
		for _, ev := range p.nodes {
			if ev.Kind != KindEvaluate || slices.Contains(out.Deps, ev.Addr) {
				continue
			}
			if slices.ContainsFunc(out.Deps, func(d string) bool { return slices.Contains(ev.Deps, d) && p.byAddr[d].Kind == KindStep }) {
				out.Deps = append(out.Deps, ev.Addr)
			}
		}
		slices.Sort(out.Deps)
	}
}

// context is the scope of an expression; self is nil outside of an evaluation.
func (p *Program) context(self *cty.Value) *hcl.EvalContext {
	vars := maps.Clone(p.values)
	for kind, members := range p.kinds {
		vars[kind] = cty.ObjectVal(members)
	}
	if self != nil {
		vars["self"] = *self
	}
	return &hcl.EvalContext{Variables: vars, Functions: p.functions}
}

// unknown puts a node into the scope as something that does not exist yet.
func (p *Program) unknown(n *Node) {
	switch n.Kind {
	case KindModel, KindDataset:
		p.kinds[n.Kind][n.Name] = cty.UnknownVal(ArtifactType)
	case KindStep:
		fields := map[string]cty.Value{"result": cty.DynamicVal}
		if n.Schema == nil {
			p.kinds[n.Kind][n.Name] = cty.DynamicVal
			return
		}
		if t, err := resultType(n.Schema); err == nil {
			fields["result"] = cty.UnknownVal(t)
		}
		for _, o := range n.Schema.GetOutputs() {
			fields[o.GetName()] = cty.UnknownVal(ArtifactType)
		}
		p.kinds[n.Kind][n.Name] = cty.ObjectVal(fields)
	case KindEvaluate:
		p.kinds[n.Kind][n.Name] = p.shapes[n.Name].unknown()
	}
}

func resultType(s *pluginv1.StepType) (cty.Type, error) {
	if len(s.GetResultType()) == 0 {
		return cty.EmptyObject, nil
	}
	return ctyjson.UnmarshalType(s.GetResultType())
}

// SetOutputs puts what a node gave into the scope: the artifact "" of a model or dataset, the outputs and the result
// of a step.
func (p *Program) SetOutputs(n *Node, outputs map[string]Artifact, result json.RawMessage) {
	if n.Kind != KindStep {
		p.kinds[n.Kind][n.Name] = outputs[""].value()
		return
	}
	fields := map[string]cty.Value{"result": cty.EmptyObjectVal}
	if t, err := resultType(n.Schema); err == nil && len(result) > 0 {
		if v, err := ctyjson.Unmarshal(result, t); err == nil {
			fields["result"] = v
		}
	}
	for name, a := range outputs {
		fields[name] = a.value()
	}
	p.kinds[n.Kind][n.Name] = cty.ObjectVal(fields)
}

func parseDuration(s string) (time.Duration, bool) {
	d, err := time.ParseDuration(s)
	return d, err == nil && d > 0
}
