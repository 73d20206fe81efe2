package cli

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// pluginDoc is what a plugin declares, for people and as JSON.
type pluginDoc struct {
	Schema       string      `json:"schema"`
	Name         string      `json:"name"`
	Version      string      `json:"version"`
	Licence      string      `json:"licence"`
	RequiresCore string      `json:"requires_core"`
	Capabilities []string    `json:"capabilities"`
	Formats      []formatDoc `json:"formats"`
	Steps        []stepDoc   `json:"steps"`
}

type formatDoc struct {
	Name       string   `json:"name"`
	Extensions []string `json:"extensions"`
	Inspects   bool     `json:"inspects"`
	Runs       bool     `json:"runs"`
	Native     bool     `json:"native"`
}

type stepDoc struct {
	Name        string      `json:"name"`
	Revision    uint32      `json:"revision"`
	Description string      `json:"description"`
	Arguments   []argDoc    `json:"arguments"`
	Blocks      []blockDoc  `json:"blocks"`
	Outputs     []outputDoc `json:"outputs"`
	Results     []resultDoc `json:"results"`
	Examples    []string    `json:"examples"`
}

type argDoc struct {
	Name string `json:"name"`
	// Type is in the words of a variable's type; of an artifact it is its kind.
	Type     string `json:"type"`
	Required bool   `json:"required"`
	// Default is HCL; empty when there is none.
	Default     string   `json:"default,omitempty"`
	OneOf       []string `json:"one_of,omitempty"`
	Formats     []string `json:"formats,omitempty"`
	Sensitive   bool     `json:"sensitive,omitempty"`
	Deprecated  string   `json:"deprecated,omitempty"`
	Description string   `json:"description"`
}

type blockDoc struct {
	Name string `json:"name"`
	// Nesting is single, list, or map when the block has a label.
	Nesting string `json:"nesting"`
	Min     int64  `json:"min"`
	// Max is 0 when there is no limit.
	Max         int64      `json:"max"`
	Description string     `json:"description"`
	Arguments   []argDoc   `json:"arguments"`
	Blocks      []blockDoc `json:"blocks"`
}

type outputDoc struct {
	Name        string `json:"name"`
	Kind        string `json:"kind"`
	Format      string `json:"format,omitempty"`
	Description string `json:"description"`
}

type resultDoc struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Description string `json:"description"`
}

func docOf(d *pluginv1.DescribeResponse) pluginDoc {
	doc := pluginDoc{
		Schema: "optimize.plugin.docs/v1", Name: d.GetName(), Version: d.GetVersion(), Licence: d.GetLicence(), RequiresCore: d.GetRequiresCore(),
		Capabilities: orEmpty(d.GetCapabilities()), Formats: []formatDoc{}, Steps: []stepDoc{},
	}
	for _, f := range d.GetFormats() {
		doc.Formats = append(doc.Formats, formatDoc{f.GetName(), orEmpty(f.GetExtensions()), f.GetInspects(), f.GetRuns(), f.GetNative()})
	}
	for _, s := range d.GetSteps() {
		doc.Steps = append(doc.Steps, stepDocOf(s))
	}
	return doc
}

func stepDocOf(s *pluginv1.StepType) stepDoc {
	doc := stepDoc{Name: s.GetName(), Revision: s.GetRevision(), Description: s.GetMarkdown(), Outputs: []outputDoc{}, Results: []resultDoc{}, Examples: orEmpty(s.GetExamples())}
	doc.Arguments, doc.Blocks = bodyDoc(s.GetSchema())
	for _, o := range s.GetOutputs() {
		doc.Outputs = append(doc.Outputs, outputDoc{o.GetName(), o.GetKind(), o.GetFormat(), o.GetMarkdown()})
	}
	told := map[string]string{}
	for _, f := range s.GetFacts() {
		told[f.GetName()] = f.GetMarkdown()
	}
	if t, err := ctyjson.UnmarshalType(s.GetResultType()); err == nil && t.IsObjectType() {
		for _, name := range sortedKeys(t.AttributeTypes()) {
			doc.Results = append(doc.Results, resultDoc{name, typeexpr.TypeString(t.AttributeType(name)), told[name]})
		}
	}
	return doc
}

func bodyDoc(b *pluginv1.Block) ([]argDoc, []blockDoc) {
	args, blocks := []argDoc{}, []blockDoc{}
	for _, a := range b.GetAttributes() {
		args = append(args, argDocOf(a))
	}
	for _, n := range b.GetBlocks() {
		d := blockDoc{Name: n.GetName(), Min: n.GetMin(), Max: n.GetMax(), Description: n.GetBody().GetMarkdown()}
		switch n.GetNesting() {
		case pluginv1.NestedBlock_NESTING_LIST:
			d.Nesting = "list"
		case pluginv1.NestedBlock_NESTING_MAP:
			d.Nesting = "map"
		default:
			d.Nesting, d.Max = "single", 1
		}
		d.Arguments, d.Blocks = bodyDoc(n.GetBody())
		blocks = append(blocks, d)
	}
	return args, blocks
}

func argDocOf(a *pluginv1.Attribute) argDoc {
	d := argDoc{
		Name: a.GetName(), Type: a.GetArtifact(), Required: a.GetRequired(), OneOf: a.GetOneOf(), Formats: a.GetFormats(),
		Sensitive: a.GetSensitive(), Deprecated: a.GetDeprecated(), Description: a.GetMarkdown(),
	}
	if d.Type != "" {
		return d
	}
	ty, err := ctyjson.UnmarshalType(a.GetType())
	if err != nil {
		d.Type = "unknown"
		return d
	}
	d.Type = typeexpr.TypeString(ty)
	if len(a.GetDefault()) > 0 && !a.GetSensitive() {
		if v, err := ctyjson.Unmarshal(a.GetDefault(), ty); err == nil && !v.IsNull() {
			d.Default = hclText(v)
		}
	}
	return d
}

// hclText writes a value as a recipe would.
func hclText(v cty.Value) string {
	return string(hclwrite.Format(hclwrite.TokensForValue(v).Bytes()))
}

// markdown is the plugin's page.
func (d pluginDoc) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Plugin %s %s\n", d.Name, d.Version)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "- %s: %s\n", name, text)
		}
	}
	b.WriteString("\n")
	line("licence", d.Licence)
	line("needs Optimize", d.RequiresCore)
	line("can", strings.Join(d.Capabilities, ", "))
	for _, f := range d.Formats {
		line("format", f.words())
	}
	if len(d.Steps) == 0 {
		b.WriteString("\nIt has no step types.\n")
	}
	for _, s := range d.Steps {
		b.WriteString("\n")
		s.write(&b, "##")
	}
	return b.String()
}

// words says what a plugin can do with a format.
func (f formatDoc) words() string {
	var can []string
	if f.Native {
		can = append(can, "runs it by default")
	} else if f.Runs {
		can = append(can, "runs it when an evaluation names the plugin")
	}
	if f.Inspects {
		can = append(can, "inspects it")
	}
	s := "`" + f.Name + "`"
	if len(f.Extensions) > 0 {
		s += " (" + strings.Join(f.Extensions, ", ") + ")"
	}
	if len(can) > 0 {
		s += ": " + strings.Join(can, ", ")
	}
	return s
}

// markdown is the step type's page.
func (s stepDoc) markdown() string {
	var b strings.Builder
	s.write(&b, "#")
	return b.String()
}

// write writes the step type with headings of a level.
func (s stepDoc) write(b *strings.Builder, level string) {
	fmt.Fprintf(b, "%s %s\n\n%s\n", level, s.Name, orDash(s.Description))
	for _, e := range s.Examples {
		fmt.Fprintf(b, "\n```hcl\n%s\n```\n", strings.TrimRight(e, "\n"))
	}
	fmt.Fprintf(b, "\n%s# Arguments\n\n", level)
	writeArguments(b, s.Arguments)
	b.WriteString("\nBesides, every step takes `for_each`, `depends_on`, `timeout`, `seed`, `env` and `description`.\n")
	writeBlocks(b, s.Blocks, "", level)
	if len(s.Outputs) > 0 {
		fmt.Fprintf(b, "\n%s# Outputs\n\n| output | what | format | |\n|---|---|---|---|\n", level)
		for _, o := range s.Outputs {
			fmt.Fprintf(b, "| `step.NAME.%s` | %s | %s | %s |\n", o.Name, o.Kind, o.Format, cell(o.Description))
		}
	}
	if len(s.Results) > 0 {
		fmt.Fprintf(b, "\n%s# Results\n\nFacts about the work, not grades: those come from an `evaluate` block.\n\n| fact | type | |\n|---|---|---|\n", level)
		for _, r := range s.Results {
			fmt.Fprintf(b, "| `step.NAME.result.%s` | %s | %s |\n", r.Name, cell(r.Type), cell(r.Description))
		}
	}
}

func writeArguments(b *strings.Builder, args []argDoc) {
	if len(args) == 0 {
		b.WriteString("It has none of its own.\n")
		return
	}
	b.WriteString("| argument | type | default | |\n|---|---|---|---|\n")
	for _, a := range args {
		def := ""
		switch {
		case a.Required:
			def = "required"
		case a.Default != "":
			def = "`" + a.Default + "`"
		}
		text := []string{}
		if a.Deprecated != "" {
			text = append(text, "Deprecated: "+a.Deprecated)
		}
		if a.Description != "" {
			text = append(text, a.Description)
		}
		if len(a.OneOf) > 0 {
			var choices []string
			for _, o := range a.OneOf {
				choices = append(choices, fmt.Sprintf("`%q`", o))
			}
			text = append(text, "One of "+strings.Join(choices, ", ")+".")
		}
		if len(a.Formats) > 0 {
			text = append(text, "Takes "+strings.Join(a.Formats, ", ")+".")
		}
		if a.Sensitive {
			text = append(text, "It is shown nowhere.")
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", a.Name, cell(a.Type), cell(def), cell(strings.Join(text, " ")))
	}
}

func writeBlocks(b *strings.Builder, blocks []blockDoc, outer, level string) {
	for _, n := range blocks {
		name := strings.TrimSpace(outer + " " + n.Name)
		fmt.Fprintf(b, "\n%s# Block `%s`\n\n", level, name)
		if n.Description != "" {
			b.WriteString(n.Description + "\n\n")
		}
		head := n.Name + " { … }"
		if n.Nesting == "map" {
			head = n.Name + " \"KEY\" { … }"
		}
		fmt.Fprintf(b, "`%s`, %s.\n\n", head, n.count())
		writeArguments(b, n.Arguments)
		writeBlocks(b, n.Blocks, name, level)
	}
}

// count says how many such blocks there may be.
func (n blockDoc) count() string {
	switch {
	case n.Min > 0 && n.Max == n.Min:
		return fmt.Sprintf("exactly %d", n.Min)
	case n.Min > 0 && n.Max > 0:
		return fmt.Sprintf("%d to %d", n.Min, n.Max)
	case n.Min > 0:
		return fmt.Sprintf("at least %d", n.Min)
	case n.Max > 0:
		return fmt.Sprintf("at most %d", n.Max)
	}
	return "any number"
}

// cell keeps a text in one cell of a table.
func cell(s string) string { return bars(strings.Join(strings.Fields(s), " ")) }

// bars keeps the bars of a text from ending its cell.
func bars(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func orDash(s string) string {
	if s == "" {
		return "(Its author says nothing about it.)"
	}
	return s
}
