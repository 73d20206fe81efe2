package plugintest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	goversion "github.com/hashicorp/go-version"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

var (
	pluginName = regexp.MustCompile(`^[a-z][a-z0-9]{0,31}$`)
	argName    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	licence    = regexp.MustCompile(`^[A-Za-z0-9.+()-]+( (AND|OR|WITH) [A-Za-z0-9.+()-]+)*$`)
)

// reserved are the arguments that every step has in a recipe.
var reserved = []string{"for_each", "depends_on", "timeout", "seed", "env", "runs_on", "description"}

var describeChecks = []check{
	{"describe/answers", "Describe answers.", func(ctx context.Context, k *kit) error {
		_, err := k.describe(ctx)
		return err
	}},
	{"describe/stable", "Describe answers the same in every process.", func(ctx context.Context, k *kit) error {
		one, err := k.describe(ctx)
		if err != nil {
			return err
		}
		p, err := k.start(ctx, place{cookie: true, env: []string{"TZ=Asia/Tokyo", "LANG=tr_TR.UTF-8"}})
		if err != nil {
			return err
		}
		defer p.kill()
		two, err := p.plugin.Describe(ctx, &pluginv1.DescribeRequest{})
		if err != nil {
			return err
		}
		if !proto.Equal(one, two) {
			return errors.New("two processes describe themselves differently: the host remembers the first answer")
		}
		return nil
	}},
	declared("describe/name", "The plugin's name is of lower-case letters and digits.", func(d *pluginv1.DescribeResponse) error {
		if !pluginName.MatchString(d.GetName()) {
			return fmt.Errorf("it is %q", d.GetName())
		}
		return nil
	}),
	declared("describe/version", "The version is a semantic version without a v.", func(d *pluginv1.DescribeResponse) error {
		if _, err := goversion.NewSemver(d.GetVersion()); err != nil || strings.HasPrefix(d.GetVersion(), "v") {
			return fmt.Errorf("it is %q", d.GetVersion())
		}
		return nil
	}),
	declared("describe/licence", "The licence is an SPDX expression.", func(d *pluginv1.DescribeResponse) error {
		if !licence.MatchString(d.GetLicence()) {
			return fmt.Errorf("it is %q", d.GetLicence())
		}
		return nil
	}),
	declared("describe/requires-core", "requires_core is a version constraint, or empty.", func(d *pluginv1.DescribeResponse) error {
		if d.GetRequiresCore() == "" {
			return nil
		}
		if _, err := goversion.NewConstraint(d.GetRequiresCore()); err != nil {
			return fmt.Errorf("it is %q", d.GetRequiresCore())
		}
		return nil
	}),
	declared("describe/size", "The description is under a megabyte.", func(d *pluginv1.DescribeResponse) error {
		if n := proto.Size(d); n > pluginv1.MaxMessage {
			return fmt.Errorf("it has %d bytes", n)
		}
		return nil
	}),
	declared("describe/purpose", "It has steps, or formats that it runs or inspects, or targets.", func(d *pluginv1.DescribeResponse) error {
		if len(d.GetSteps())+len(d.GetFormats())+len(d.GetTargets()) == 0 {
			return errors.New("it has none of them")
		}
		return nil
	}),
	steps("describe/step-name", "A step is called by the plugin's name, or begins with it and an underscore.", func(d *pluginv1.DescribeResponse, s *pluginv1.StepType) error {
		if n := s.GetName(); n != d.GetName() && !strings.HasPrefix(n, d.GetName()+"_") || !argName.MatchString(n) {
			return fmt.Errorf("it is called %q", n)
		}
		return nil
	}),
	declared("describe/unique", "No step, format or target is listed twice.", func(d *pluginv1.DescribeResponse) error {
		seen := map[string]bool{}
		var names []string
		for _, s := range d.GetSteps() {
			names = append(names, "step "+s.GetName())
		}
		for _, f := range d.GetFormats() {
			names = append(names, "format "+f.GetName())
		}
		for _, t := range d.GetTargets() {
			names = append(names, "target "+t.GetName())
		}
		for _, n := range names {
			if seen[n] {
				return fmt.Errorf("%s is", n)
			}
			seen[n] = true
		}
		return nil
	}),
	steps("describe/revision", "A step has a revision of at least 1, to be raised when its bytes change.", func(_ *pluginv1.DescribeResponse, s *pluginv1.StepType) error {
		if s.GetRevision() < 1 {
			return errors.New("it has none")
		}
		return nil
	}),
	steps("describe/outputs", "Outputs have a name, a kind and a format, each name once, and none is called result.", func(_ *pluginv1.DescribeResponse, s *pluginv1.StepType) error {
		seen := map[string]bool{}
		for _, o := range s.GetOutputs() {
			if n := o.GetName(); !argName.MatchString(n) || n == "result" || seen[n] {
				return fmt.Errorf("an output is called %q", n)
			}
			if o.GetKind() == "" || o.GetFormat() == "" {
				return fmt.Errorf("output %s has no kind or no format", o.GetName())
			}
			seen[o.GetName()] = true
		}
		return nil
	}),
	attrs("describe/attribute-name", "Arguments and blocks have names of lower-case letters, digits and underscores, each once.", nil),
	attrs("describe/reserved", "No argument has the name of one that every step has: "+strings.Join(reserved, ", ")+".", func(a *pluginv1.Attribute) error {
		if slices.Contains(reserved, a.GetName()) {
			return errors.New("it has")
		}
		return nil
	}),
	attrs("describe/types", "The type of an argument can be read; an artifact has none.", func(a *pluginv1.Attribute) error {
		if a.GetArtifact() != "" {
			if len(a.GetType()) > 0 {
				return errors.New("it takes an artifact and has a type too")
			}
			return nil
		}
		_, err := ctyjson.UnmarshalType(a.GetType())
		return err
	}),
	attrs("describe/defaults", "A default is of the argument's type.", func(a *pluginv1.Attribute) error {
		_, _, err := defaultOf(a)
		return err
	}),
	attrs("describe/choices", "A default is among the choices.", func(a *pluginv1.Attribute) error {
		v, ok, err := defaultOf(a)
		if err != nil || !ok || len(a.GetOneOf()) == 0 || v.Type() != cty.String {
			return nil
		}
		if !slices.Contains(a.GetOneOf(), v.AsString()) {
			return fmt.Errorf("its default %q is not one of %v", v.AsString(), a.GetOneOf())
		}
		return nil
	}),
	attrs("describe/required", "What is required has no default.", func(a *pluginv1.Attribute) error {
		if a.GetRequired() && len(a.GetDefault()) > 0 {
			return errors.New("it has")
		}
		return nil
	}),
	attrs("describe/secrets", "What is sensitive has no default, which everybody could read.", func(a *pluginv1.Attribute) error {
		if a.GetSensitive() && len(a.GetDefault()) > 0 && string(a.GetDefault()) != "null" && string(a.GetDefault()) != `""` {
			return errors.New("it has")
		}
		return nil
	}),
	attrs("describe/documented", "Every argument is described.", func(a *pluginv1.Attribute) error {
		if strings.TrimSpace(a.GetMarkdown()) == "" {
			return errors.New("it is not")
		}
		return nil
	}),
	steps("describe/step-documented", "Every step is described.", func(_ *pluginv1.DescribeResponse, s *pluginv1.StepType) error {
		if strings.TrimSpace(s.GetMarkdown()) == "" {
			return errors.New("it is not")
		}
		return nil
	}),
	steps("describe/example", "Every step has an example: a step block in HCL, with arguments that it has.", func(_ *pluginv1.DescribeResponse, s *pluginv1.StepType) error {
		b, err := exampleBody(s)
		if err != nil {
			return err
		}
		if b == nil {
			return fmt.Errorf("none of its examples holds a block step %q \"NAME\"", s.GetName())
		}
		for name := range b.Attributes {
			if !slices.Contains(reserved, name) && !slices.ContainsFunc(s.GetSchema().GetAttributes(), func(a *pluginv1.Attribute) bool { return a.GetName() == name }) {
				return fmt.Errorf("the example uses %s, which it does not have", name)
			}
		}
		for _, a := range s.GetSchema().GetAttributes() {
			if _, ok := b.Attributes[a.GetName()]; a.GetRequired() && !ok {
				return fmt.Errorf("the example lacks %s, which is required", a.GetName())
			}
		}
		return nil
	}),
	steps("describe/result", "The type of a step's result is an object.", func(_ *pluginv1.DescribeResponse, s *pluginv1.StepType) error {
		if len(s.GetResultType()) == 0 {
			return nil
		}
		ty, err := ctyjson.UnmarshalType(s.GetResultType())
		if err == nil && !ty.IsObjectType() {
			err = fmt.Errorf("it is %s", ty.FriendlyName())
		}
		return err
	}),
	steps("describe/blocks", "A nested block says how it is nested, and its least is not more than its most.", func(_ *pluginv1.DescribeResponse, s *pluginv1.StepType) error {
		return walkBlocks(s.GetSchema(), func(n *pluginv1.NestedBlock) error {
			switch {
			case n.GetNesting() == pluginv1.NestedBlock_NESTING_UNSPECIFIED:
				return fmt.Errorf("block %s does not", n.GetName())
			case n.GetMax() > 0 && n.GetMin() > n.GetMax():
				return fmt.Errorf("block %s wants at least %d and at most %d", n.GetName(), n.GetMin(), n.GetMax())
			}
			return nil
		})
	}),
	declared("describe/extensions", "The extensions of a format begin with a dot.", func(d *pluginv1.DescribeResponse) error {
		for _, f := range d.GetFormats() {
			for _, e := range f.GetExtensions() {
				if !strings.HasPrefix(e, ".") || len(e) < 2 {
					return fmt.Errorf("format %s has %q", f.GetName(), e)
				}
			}
		}
		return nil
	}),
	declared("describe/capabilities", "The capabilities runtime and inspect are there if and only if a format runs, or is inspected; native formats run.", func(d *pluginv1.DescribeResponse) error {
		var runs, inspects bool
		for _, f := range d.GetFormats() {
			runs, inspects = runs || f.GetRuns(), inspects || f.GetInspects()
			if f.GetNative() && !f.GetRuns() {
				return fmt.Errorf("format %s is native and does not run", f.GetName())
			}
		}
		for name, want := range map[string]bool{"runtime": runs, "inspect": inspects} {
			if slices.Contains(d.GetCapabilities(), name) != want {
				return fmt.Errorf("%s: a format says %v, the capabilities say %v", name, want, !want)
			}
		}
		return nil
	}),
	declared("describe/targets", "A target has formats and a description.", func(d *pluginv1.DescribeResponse) error {
		for _, t := range d.GetTargets() {
			if len(t.GetFormats()) == 0 || t.GetMarkdown() == "" {
				return fmt.Errorf("target %s has not", t.GetName())
			}
		}
		return nil
	}),
	steps("describe/json", "Defaults and types are written as JSON without anything after it.", func(_ *pluginv1.DescribeResponse, s *pluginv1.StepType) error {
		return walkAttributes(s.GetSchema(), func(a *pluginv1.Attribute) error {
			for _, b := range [][]byte{a.GetType(), a.GetDefault()} {
				if len(b) > 0 && !json.Valid(bytes.TrimSpace(b)) {
					return fmt.Errorf("%s has %q", a.GetName(), clip(string(b)))
				}
			}
			return nil
		})
	}),
}

// defaultOf reads an argument's default; false without one.
func defaultOf(a *pluginv1.Attribute) (cty.Value, bool, error) {
	if len(a.GetDefault()) == 0 || a.GetArtifact() != "" {
		return cty.NilVal, false, nil
	}
	ty, err := ctyjson.UnmarshalType(a.GetType())
	if err != nil {
		return cty.NilVal, false, nil // describe/types tells
	}
	v, err := ctyjson.Unmarshal(a.GetDefault(), ty)
	if err == nil {
		v, err = convert.Convert(v, ty)
	}
	return v, err == nil && !v.IsNull(), err
}

func declared(id, rule string, f func(*pluginv1.DescribeResponse) error) check {
	return check{id, rule, func(ctx context.Context, k *kit) error {
		d, err := k.describe(ctx)
		if err != nil {
			return err
		}
		return f(d)
	}}
}

func steps(id, rule string, f func(*pluginv1.DescribeResponse, *pluginv1.StepType) error) check {
	return check{id, rule, func(ctx context.Context, k *kit) error {
		return k.eachStep(ctx, func(s *pluginv1.StepType) error { return f(k.described, s) })
	}}
}

// attrs checks every argument of every step, those of nested blocks too; with no f it checks the names.
func attrs(id, rule string, f func(*pluginv1.Attribute) error) check {
	return steps(id, rule, func(_ *pluginv1.DescribeResponse, s *pluginv1.StepType) error {
		if f == nil {
			return names(s.GetSchema())
		}
		return walkAttributes(s.GetSchema(), func(a *pluginv1.Attribute) error {
			if err := f(a); err != nil {
				return fmt.Errorf("argument %s: %w", a.GetName(), err)
			}
			return nil
		})
	})
}

func names(b *pluginv1.Block) error {
	seen := map[string]bool{}
	look := func(n string) error {
		if !argName.MatchString(n) || seen[n] {
			return fmt.Errorf("there is %q", n)
		}
		seen[n] = true
		return nil
	}
	for _, a := range b.GetAttributes() {
		if err := look(a.GetName()); err != nil {
			return err
		}
	}
	for _, n := range b.GetBlocks() {
		if err := look(n.GetName()); err != nil {
			return err
		}
		if err := names(n.GetBody()); err != nil {
			return err
		}
	}
	return nil
}

func walkAttributes(b *pluginv1.Block, f func(*pluginv1.Attribute) error) error {
	for _, a := range b.GetAttributes() {
		if err := f(a); err != nil {
			return err
		}
	}
	for _, n := range b.GetBlocks() {
		if err := walkAttributes(n.GetBody(), f); err != nil {
			return err
		}
	}
	return nil
}

func walkBlocks(b *pluginv1.Block, f func(*pluginv1.NestedBlock) error) error {
	for _, n := range b.GetBlocks() {
		if err := f(n); err != nil {
			return err
		}
		if err := walkBlocks(n.GetBody(), f); err != nil {
			return err
		}
	}
	return nil
}
