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

// Program is a checked recipe: its graph, and the values known so far. It is not safe for concurrent use.
type Program struct {
	recipe    *Recipe
	types     map[string]*pluginv1.StepType
	schemas   schemaTypes
	plugins   []string
	functions map[string]function.Function
	nodes     []*Node
	byAddr    map[string]*Node
	// steps are the instances of each step block by its name: one, or one for each key of its for_each.
	steps map[string]*stepGroup
	// values are the roots of references that are known before any step runs; kinds holds the members of model, dataset,
	// step and evaluate, but for steps with for_each, whose groups hold them.
	values map[string]cty.Value
	kinds  map[string]map[string]cty.Value
	// artifacts are all artifact values in the scope by their address: a value that is not among them was made up.
	artifacts map[string]madeBy
	shapes    map[string]*shape
	// broken are the places of expressions whose references lead nowhere.
	broken map[hcl.Range]bool
	// declared are the names of the blocks by their kind.
	declared map[string]map[string]bool
	// localAttrs are the locals by name.
	localAttrs map[string]*hcl.Attribute
}

// madeBy is an artifact value and the address of the node that gives it.
type madeBy struct {
	value cty.Value
	node  string
}

// Check evaluates variables and locals, checks every block against types and every reference, and orders the graph.
// All mistakes are reported together. The program is nil when the graph cannot be ordered.
func (r *Recipe) Check(given Values, types map[string]*pluginv1.StepType, plugins []string) (*Program, diag.Diags) {
	p := &Program{
		recipe: r, types: types, schemas: newSchemaTypes(), plugins: plugins, functions: functions(r),
		byAddr: map[string]*Node{}, steps: map[string]*stepGroup{}, shapes: map[string]*shape{},
		values:    map[string]cty.Value{"path": cty.ObjectVal(map[string]cty.Value{"recipe": cty.StringVal(r.Dir)}), "local": cty.EmptyObjectVal},
		kinds:     map[string]map[string]cty.Value{KindModel: {}, KindDataset: {}, KindStep: {}, KindEvaluate: {}},
		artifacts: map[string]madeBy{}, broken: map[hcl.Range]bool{},
	}
	p.declare()
	ds := p.variables(given)
	ds = ds.Append(p.locals()...)
	ds = ds.Append(p.makeNodes()...)
	// What evaluations give follows from their candidates, which may be made from steps: those are in the scope now.
	for _, n := range p.nodes {
		if n.Kind == KindEvaluate {
			p.shapes[n.Name] = p.evaluateShape(n)
			p.set(KindEvaluate, n.Name, p.shapes[n.Name].unknown())
		}
	}
	for _, n := range p.nodes {
		ds = ds.Append(p.check(n)...)
	}
	ds = ds.Append(p.outputPaths()...)
	p.outputsWaitForEvaluations()
	ordered, more := order(p.nodes, p.byAddr)
	ds = p.hide(ds.Append(more...))
	ds = slices.DeleteFunc(ds, func(d diag.Diagnostic) bool { return d.Code == followUp })
	if more.HasErrors() {
		return nil, ds
	}
	p.nodes = ordered
	if r.partial {
		return nil, ds // Load told what is wrong
	}
	return p, ds
}

// makeNodes makes a node of each block, of a step with for_each one for each key, and puts what they will give into the
// scope as unknown values.
func (p *Program) makeNodes() (ds diag.Diags) {
	seen := map[string]bool{}
	for _, b := range p.recipe.blocks {
		addr := b.kind + "." + b.name
		if b.kind == "variable" || b.kind == "locals" || seen[addr] {
			continue // Load reported a duplicate
		}
		seen[addr] = true
		n := &Node{Addr: addr, Kind: b.kind, Type: b.typeName, Name: b.name, Body: b.body, Range: b.rng, block: b}
		nodes := []*Node{n}
		switch n.Kind {
		case KindDataset, KindEvaluate:
			var more diag.Diags
			n.Body, _, more = p.unfold(n, n.Body, nil)
			ds = ds.Append(more...)
		case KindStep:
			var more diag.Diags
			nodes, more = p.stepNodes(n)
			ds = ds.Append(more...)
		}
		for _, n := range nodes {
			p.nodes = append(p.nodes, n)
			p.byAddr[n.Addr] = n
			p.unknown(n)
		}
	}
	return ds
}

// stepNodes gives the nodes of a step block, matched with its schema: once for all instances, unless dynamic blocks may
// differ between them.
func (p *Program) stepNodes(n *Node) ([]*Node, diag.Diags) {
	ds := p.stepType(n)
	differ := n.Schema != nil && hasDynamic(n.block.body)
	if n.Schema != nil && !differ {
		ds = ds.Append(p.match(n)...)
	}
	nodes, more := p.expand(n)
	ds = ds.Append(more...)
	if !differ {
		return nodes, ds
	}
	for _, m := range nodes {
		ds = ds.Append(p.match(m)...)
	}
	if len(nodes) == 0 { // no instance, but its mistakes are told
		n.each = cty.ObjectVal(map[string]cty.Value{"key": cty.UnknownVal(cty.String), "value": cty.DynamicVal})
		ds = ds.Append(p.match(n)...)
	}
	return nodes, ds
}

// Nodes gives the nodes, each after what it depends on.
func (p *Program) Nodes() []*Node { return p.nodes }

// Node gives the node of an address, nil when there is none.
func (p *Program) Node(addr string) *Node { return p.byAddr[addr] }

// Env gives the variables of the environment that steps name for their plugins, sorted.
func (p *Program) Env() []string {
	names := map[string]bool{}
	for _, n := range p.nodes {
		if n.spec == nil || n.spec.core["env"] == nil {
			continue
		}
		if c, ds := p.DecodeStep(n); !ds.HasErrors() && c != nil {
			for _, e := range c.Env {
				names[e] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

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
	refs := []ref{}
	ctx := p.static()
	if n.each != cty.NilVal {
		ctx.Variables["each"] = n.each
	}
	see := func(e hcl.Expression, at place) {
		if more := p.checkRefs(e, at); more.HasErrors() {
			ds = ds.Append(more...)
			p.broken[e.Range()] = true // its value would be a follow-up
		}
		for _, r := range p.refsOf(e, ctx) {
			refs = append(refs, r)
			if r.node != nil && (r.node.Addr != n.Addr || n.Kind != KindEvaluate) { // an evaluation's ensures may name it in full
				deps[r.node.Addr] = true
			}
		}
	}
	for _, e := range p.expressions(n) {
		see(e.Expression, e.place)
	}
	// The ensures of an evaluation may refer to anything; what they refer to must exist before they are checked.
	if n.Kind == KindEvaluate {
		_, conds, more := p.ensureExprs(n)
		ds = ds.Append(more...)
		for _, e := range conds {
			see(e, ensurePlace(p.shapes[n.Name]))
		}
	}
	n.Deps = slices.Sorted(maps.Keys(deps))
	n.refs = refs
	var more diag.Diags
	switch n.Kind {
	case KindModel:
		_, more = p.DecodeModel(n)
	case KindDataset:
		_, more = p.DecodeDataset(n)
	case KindStep:
		_, more = p.DecodeStep(n)
	case KindEvaluate:
		_, more = p.DecodeEvaluate(n)
		more = more.Append(p.checkEnsures(n)...)
	case KindOutput:
		_, more = p.DecodeOutput(n)
	}
	return ds.Append(more...)
}

// outputsWaitForEvaluations makes each output depend on the evaluations that measure its value: what is measured is
// published after it was measured.
func (p *Program) outputsWaitForEvaluations() {
	measuring := map[string][]string{} // the evaluations that depend on a step
	for _, ev := range p.nodes {
		if ev.Kind == KindEvaluate {
			for _, d := range ev.Deps {
				measuring[d] = append(measuring[d], ev.Addr)
			}
		}
	}
	for _, out := range p.nodes {
		if out.Kind != KindOutput {
			continue
		}
		for _, d := range slices.Clone(out.Deps) {
			if p.byAddr[d].Kind == KindStep {
				out.Deps = append(out.Deps, measuring[d]...)
			}
		}
		slices.Sort(out.Deps)
		out.Deps = slices.Compact(out.Deps)
	}
}

// unknown puts a node into the scope as something that does not exist yet.
func (p *Program) unknown(n *Node) {
	switch n.Kind {
	case KindModel:
		p.set(n.Kind, n.Name, p.artifact(n, n.Addr, cty.NilVal, "model", p.writtenFormat(n)))
	case KindDataset:
		p.set(n.Kind, n.Name, p.artifact(n, n.Addr, cty.NilVal, "dataset", "safetensors"))
	case KindStep:
		if n.Schema == nil {
			p.setStep(n, cty.DynamicVal)
			return
		}
		fields := map[string]cty.Value{"result": cty.DynamicVal}
		if t, err := p.schemas.result(n.Schema); err == nil {
			fields["result"] = cty.UnknownVal(t)
		}
		for _, o := range n.Schema.GetOutputs() {
			fields[o.GetName()] = p.artifact(n, n.Addr+"."+o.GetName(), cty.NilVal, o.GetKind(), o.GetFormat())
		}
		p.setStep(n, cty.ObjectVal(fields))
	}
}

// SetOutputs puts what a node gave into the scope: the artifact "" of a model or dataset, the outputs and the result
// of a step.
func (p *Program) SetOutputs(n *Node, outputs map[string]Artifact, result json.RawMessage) {
	if n.Kind != KindStep {
		a := outputs[""]
		p.set(n.Kind, n.Name, p.artifact(n, n.Addr, a.value(n.Addr), a.Kind, a.Format))
		return
	}
	fields := map[string]cty.Value{"result": cty.EmptyObjectVal}
	if t, err := p.schemas.result(n.Schema); err == nil {
		fields["result"] = cty.NullVal(t)
		if len(result) > 0 {
			if v, err := ctyjson.Unmarshal(result, t); err == nil {
				fields["result"] = v
			}
		}
	}
	for name, a := range outputs {
		addr := n.Addr + "." + name
		fields[name] = p.artifact(n, addr, a.value(addr), a.Kind, a.Format)
	}
	p.setStep(n, cty.ObjectVal(fields))
}

func parseDuration(s string) (time.Duration, bool) {
	d, err := time.ParseDuration(s)
	return d, err == nil && d > 0
}
