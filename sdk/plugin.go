// Package sdk is what a plugin of Optimize imports. A plugin is a value of Plugin handed to Serve: steps are a
// configuration struct with tags and a function, no code is generated.
//
//	type Config struct {
//		Model  sdk.Model `opt:"model,required" doc:"Model to compress." accepts:"onnx"`
//		Target string    `opt:"target" doc:"What it will run on." default:"auto" oneof:"auto,cpu"`
//	}
//
//	func main() {
//		sdk.Serve(&sdk.Plugin{Name: "squeeze", Version: "1.0.0", Licence: "MIT", Steps: []sdk.StepType{
//			sdk.Step(sdk.StepSpec{Name: "squeeze", Revision: 1, Outputs: []sdk.Output{{Name: "model", Kind: "model", Format: "onnx"}}}, squeeze),
//		}})
//	}
//
//	func squeeze(ctx context.Context, run *sdk.Run, c Config) (*sdk.Result, error) { ... }
package sdk

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// Plugin is everything that one plugin process serves.
type Plugin struct {
	// Name is lower-case letters and digits: "quantize". Steps are called NAME or NAME_verb.
	Name string
	// Version is a semantic version without "v".
	Version string
	// Licence is an SPDX licence expression.
	Licence string
	// RequiresCore is a version constraint on Optimize, such as ">= 0.1"; empty accepts all.
	RequiresCore string
	Steps        []StepType
	// Formats are the artifact formats that Inspect understands and Runtime runs.
	Formats []Format
	// Runtime runs artifacts; nil when the plugin cannot.
	Runtime Runtime
	// Inspect tells what is in an artifact, as a value that encoding/json turns into an optimize.inspect/v1 document;
	// nil when the plugin cannot.
	Inspect func(ctx context.Context, a Artifact) (any, error)
	// Targets are what artifacts may run on, of which the plugin can tell what they would do with one.
	Targets []Target
	// Runtimes are the native libraries that the plugin loads, by the names under which `optimize init` brings them:
	// "onnxruntime".
	Runtimes []string
}

// Target is something that an artifact may run on: an engine, a device.
type Target struct {
	// Name is lower-case: "onnxruntime", "openvino-cpu".
	Name string
	// Formats are the artifact formats that can be asked about.
	Formats []string
	// Doc is Markdown.
	Doc string
	// Inspect tells what the target would do with an artifact, as a value that encoding/json turns into an
	// optimize.coverage/v1 document.
	Inspect func(ctx context.Context, a Artifact) (any, error)
}

// Format is an artifact format that a plugin knows.
type Format struct {
	// Name is "onnx", "openvino-ir", "coreml-package", ...
	Name string
	// Extensions are file name endings with the dot.
	Extensions []string
	// Native makes the plugin the default runtime of the format.
	Native bool
	// RunOnly says that the plugin's Inspect does not take the format, which its Runtime runs: another plugin inspects it.
	RunOnly bool
}

// Output is an artifact that a step writes.
type Output struct {
	Name string
	// Kind is "model", "dataset", "calibration", "report", ...
	Kind   string
	Format string
	// Doc is Markdown.
	Doc string
}

// StepSpec describes a step type beside its configuration.
type StepSpec struct {
	// Name is the plugin's name, or that and "_verb".
	Name string
	// Revision is raised whenever the same configuration would give other bytes: it enters the cache key.
	Revision uint32
	// Doc is Markdown.
	Doc string
	// Examples are HCL that works.
	Examples []string
	Outputs  []Output
	// ResultExample is a struct with `opt` tags, of the type that Result.Facts will have; nil when there are no facts.
	ResultExample any
}

// StepType is one kind of step; Step makes it.
type StepType struct {
	spec   StepSpec
	wire   *pluginv1.StepType
	schema *schema
	facts  cty.Type
	err    error

	validate func(context.Context, any) Diagnostics
	plan     func(context.Context, *PlanRun, any) (*PlanResult, error)
	apply    func(context.Context, *Run, any) (*Result, error)
}

// Validator may be implemented by a configuration type: checks that need more than a schema. It must be pure, and
// quick. Arguments whose values are not known yet hold their default or the zero value; Known tells, and diagnostics
// about them are dropped.
type Validator interface {
	Validate(ctx context.Context) Diagnostics
}

// Planner may be implemented by a configuration type: what the bytes will depend on beside the configuration, and what
// the machine lacks. It may probe the machine and writes nothing. Artifacts that do not exist yet have no path.
type Planner interface {
	Plan(ctx context.Context, run *PlanRun) (*PlanResult, error)
}

// PlanRun is what a Planner is given beside its configuration.
type PlanRun struct {
	// Threads the step may use.
	Threads int
}

// PlanResult is what a Planner answers; nil means nothing to say.
type PlanResult struct {
	// Fingerprint enters the cache key: the native library's digest, the target that "auto" resolved to, CPU features.
	Fingerprint map[string]string
	Missing     []Missing
	Diagnostics Diagnostics
	// Nondeterministic: the same inputs do not give the same bytes, as in a search that times candidates.
	Nondeterministic bool
	// Needs lets the host run steps side by side without running out of memory.
	Needs Needs
}

// Needs is what a step takes of the machine while it works.
type Needs struct {
	// Memory is the most that it will hold at once, in bytes; 0 when it cannot tell.
	Memory int64
	// Cores that it keeps busy; 0 counts as one.
	Cores int
}

// Missing is something that the machine lacks.
type Missing struct {
	// What is a noun: "ONNX Runtime 1.24 or newer".
	What string
	// Command brings it: "optimize init recipe.hcl".
	Command string
}

// Step makes a step type out of a configuration struct C and a function. C's exported fields carry tags:
//
//	opt:"name,required"   the argument's name; options: required, block, sensitive
//	doc:"..."             Markdown
//	default:"auto"        a literal; JSON for lists, maps and objects
//	oneof:"a,b"           the values accepted, for strings, and lists and maps of strings
//	accepts:"onnx"        artifact formats accepted, for Model, Dataset and Artifact
//	kind:"calibration"    the artifact's kind, for Artifact
//	deprecated:"use x"    what to use instead
//
// Fields are strings, booleans, numbers, slices, string-keyed maps and structs of them, pointers for what may be
// absent, and at the top level Model, Dataset and Artifact. With the option block a struct is a nested block, a slice
// of structs a repeated block, a map of structs a labelled block. Mistakes in tags are reported by Plugin.Check.
func Step[C any](s StepSpec, apply func(ctx context.Context, run *Run, c C) (*Result, error)) StepType {
	t := newStepType(s, *new(C))
	if t.err == nil && apply == nil {
		t.err = fmt.Errorf("step %q has no function", s.Name)
	}
	t.apply = func(ctx context.Context, run *Run, c any) (*Result, error) { return apply(ctx, run, *c.(*C)) }
	if _, ok := any(new(C)).(Validator); ok { // a pointer has the methods of its value too
		t.validate = func(ctx context.Context, c any) Diagnostics { return c.(Validator).Validate(ctx) }
	}
	if _, ok := any(new(C)).(Planner); ok {
		t.plan = func(ctx context.Context, run *PlanRun, c any) (*PlanResult, error) {
			return c.(Planner).Plan(ctx, run)
		}
	}
	return t
}

var (
	pluginName = regexp.MustCompile(`^[a-z][a-z0-9]{0,31}$`)
	targetName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)
	argName    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

// Check tells what is wrong with the plugin's own declaration: names, tags, outputs. Serve refuses what Check refuses.
func (p *Plugin) Check() error {
	if !pluginName.MatchString(p.Name) {
		return fmt.Errorf("plugin name %q: write lower-case letters and digits, a letter first", p.Name)
	}
	if p.Version == "" {
		return fmt.Errorf("plugin %q has no version", p.Name)
	}
	seen := map[string]bool{}
	for _, s := range p.Steps {
		n := s.spec.Name
		if s.wire == nil && s.err == nil {
			return fmt.Errorf("plugin %q has a step that sdk.Step did not make", p.Name)
		}
		if s.err != nil {
			return fmt.Errorf("plugin %q: %w", p.Name, s.err)
		}
		if n != p.Name && !strings.HasPrefix(n, p.Name+"_") {
			return fmt.Errorf("plugin %q: step %q must be called %q or begin with %q", p.Name, n, p.Name, p.Name+"_")
		}
		if seen[n] {
			return fmt.Errorf("plugin %q has two steps %q", p.Name, n)
		}
		seen[n] = true
	}
	seen = map[string]bool{}
	for _, t := range p.Targets {
		if !targetName.MatchString(t.Name) || seen[t.Name] {
			return fmt.Errorf("plugin %q: target %q is listed twice, or its name is not of lower-case letters, digits and dashes", p.Name, t.Name)
		}
		if t.Inspect == nil || len(t.Formats) == 0 {
			return fmt.Errorf("plugin %q: target %q has no formats or no function", p.Name, t.Name)
		}
		seen[t.Name] = true
	}
	seen = map[string]bool{}
	for _, f := range p.Formats {
		if f.Name == "" || seen[f.Name] {
			return fmt.Errorf("plugin %q: format %q is empty or listed twice", p.Name, f.Name)
		}
		seen[f.Name] = true
		for _, e := range f.Extensions {
			if !strings.HasPrefix(e, ".") {
				return fmt.Errorf("plugin %q: format %q: extension %q must begin with a dot", p.Name, f.Name, e)
			}
		}
	}
	return nil
}

// Describe is what the host is told about the plugin; it fails where Check fails.
func (p *Plugin) Describe() (*pluginv1.DescribeResponse, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	d := &pluginv1.DescribeResponse{Name: p.Name, Version: p.Version, RequiresCore: p.RequiresCore, Licence: p.Licence}
	for _, s := range p.Steps {
		d.Steps = append(d.Steps, s.wire)
	}
	for _, f := range p.Formats {
		d.Formats = append(d.Formats, &pluginv1.Format{Name: f.Name, Extensions: f.Extensions,
			Inspects: p.Inspect != nil && !f.RunOnly, Runs: p.Runtime != nil, Native: f.Native && p.Runtime != nil})
	}
	d.Runtimes = p.Runtimes
	for _, t := range p.Targets {
		d.Targets = append(d.Targets, &pluginv1.Target{Name: t.Name, Formats: t.Formats, Markdown: t.Doc})
	}
	if p.Runtime != nil {
		d.Capabilities = append(d.Capabilities, "runtime")
	}
	if p.Inspect != nil {
		d.Capabilities = append(d.Capabilities, "inspect")
	}
	return d, nil
}

func (p *Plugin) step(name string) *StepType {
	for i := range p.Steps {
		if p.Steps[i].spec.Name == name {
			return &p.Steps[i]
		}
	}
	return nil
}
