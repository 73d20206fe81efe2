package recipe

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/optimize-hcl/optimize/core/diag"
)

// codes are the codes of what HCL itself reports, by its summary; anything else of it is about syntax or a value.
var codes = map[string]string{
	"Unsupported argument":                  "recipe/unknown-argument",
	"Unsupported block type":                "recipe/unknown-block",
	"Missing required argument":             "recipe/missing-argument",
	"Extraneous JSON object property":       "recipe/unknown-argument",
	"Unsupported attribute":                 "recipe/unknown-reference",
	"Call to unknown function":              "recipe/unknown-function",
	"Attribute redefined":                   "recipe/duplicate",
	"Error in function call":                "recipe/function",
	"Invalid function argument":             "recipe/function",
	"Not enough function arguments":         "recipe/function",
	"Too many function arguments":           "recipe/function",
	"Invalid operand":                       "recipe/type",
	"Incorrect condition type":              "recipe/type",
	"Inconsistent conditional result types": "recipe/type",
	"Invalid template interpolation value":  "recipe/type",
	"Invalid index":                         "recipe/value",
	"Variables not allowed":                 "recipe/unknown-reference",
	"Invalid type specification":            "recipe/type",
	summaryDynamic:                          "recipe/for-each",
}

// typeNames are the words of a type.
var typeNames = []string{"string", "number", "bool", "any", "list", "set", "map", "object", "tuple", "optional"}

var (
	quoted       = regexp.MustCompile(`"([^"]*)"`)
	parameter    = regexp.MustCompile(`^Invalid value for "[^"]*" parameter: (.)`)
	oneLabels    = regexp.MustCompile(`\b1 labels \((.*?)\)( are)?`)
	hclPlace     = regexp.MustCompile(`(\S+):(\d+),\d+-(\d+,)?\d+`)
	oneOf        = regexp.MustCompile(`\b1 (argument|label)\(s\)`)
	some         = regexp.MustCompile(`\b(argument|label)\(s\)`)
	unwrapFailed = regexp.MustCompile(`^Call to function "[^"]*" failed: `)
)

// advise adds to HCL's own words what to do about the mistake.
func advise(x *hcl.Diagnostic, d *diag.Diagnostic) {
	name := ""
	if m := quoted.FindStringSubmatch(d.Detail); m != nil {
		name = m[1]
	}
	d.Detail = oneOf.ReplaceAllString(d.Detail, "1 $1")
	d.Detail = some.ReplaceAllString(d.Detail, "${1}s")
	d.Detail = hclPlace.ReplaceAllString(d.Detail, "$1 line $2")
	meant := strings.Contains(d.Detail, "Did you mean")
	switch {
	case d.Code == "recipe/function":
		d.Detail = parameter.ReplaceAllStringFunc(d.Detail, func(s string) string { return strings.ToUpper(s[len(s)-1:]) })
		d.Detail = strings.Replace(unwrapFailed.ReplaceAllString(d.Detail, "The reason: "), "reason: EOF", "reason: it ends too early", 1)
		if i := strings.Index(d.Detail, "panic in function"); i >= 0 {
			d.Detail = "It cannot be worked out for these values."
		}
		if sensitiveCall(x) {
			d.Detail = "Its reason is not shown, since an argument is sensitive."
		}
		if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](x); ok {
			if i := slices.IndexFunc(functionTable(), func(e functionEntry) bool { return e.Name == call.CalledFunctionName() }); i >= 0 {
				d.Detail += fmt.Sprintf(" It is called as %s.", functionTable()[i].Signature)
			}
		}
	case d.Code == "recipe/unknown-function" && !meant:
		var names []string
		for _, e := range functionTable() {
			names = append(names, e.Name)
		}
		if s := Suggest(name, names); s != "" {
			d.Detail += " " + strings.TrimSpace(s)
			break
		}
		d.Detail += " `optimize docs functions` lists those that there are."
	case d.Code == "recipe/missing-argument" && name != "":
		d.Detail = fmt.Sprintf("Write %s = ... in this block.", name)
		d.Summary = fmt.Sprintf("The argument %q is missing", name)
	case d.Summary == "Invalid type specification" && strings.Contains(d.Detail, "is not a valid type") && name != "":
		d.Detail += " " + didYouMean(name, typeNames, "The words of a type are")
	case d.Summary == "Invalid type specification" && strings.HasPrefix(d.Detail, "A type specification is"):
		d.Detail += " It is written without quotes."
	case strings.HasPrefix(d.Detail, "A single static variable reference is required"):
		d.Detail = "A plain name stands here, without quotes and dots: iterator = it."
	case d.Detail == "This value does not have any attributes.":
		d.Detail += " Of a list take one element with [0], or all of them with [*]."
	case strings.HasPrefix(d.Detail, "Can't access attributes on a primitive-typed value"):
		d.Detail += " Leave out what follows it."
	case d.Summary == "Variables not allowed":
		d.Detail = "This is needed before anything can be referred to, so a plain value stands here. A text is written in quotes."
	case d.Summary == "Function calls not allowed":
		d.Detail = "This is needed before anything is evaluated, so a plain value stands here."
	case d.Summary == "Invalid template interpolation value" && strings.Contains(d.Detail, "null"):
		d.Detail += " Write coalesce(..., \"none\") around it to have a text in its place."
	case d.Summary == "Invalid template interpolation value":
		d.Detail += " Write jsonencode(...) around it to have it as a text."
	case strings.HasPrefix(d.Summary, "Missing ") && strings.Contains(d.Detail, "labels ("):
		d.Detail = oneLabels.ReplaceAllString(d.Detail, "1 label ($1)") + " Write it in quotes behind the word that opens the block."
	case strings.HasPrefix(d.Summary, "Extraneous label"):
		d.Detail = oneLabels.ReplaceAllString(d.Detail, "1 label ($1) is") + " Remove the others."
	case (d.Code == "recipe/unknown-reference" || d.Summary == "Invalid index") && !meant:
		if s := membersOf(x); s != "" {
			d.Detail += " " + s
		} else if d.Summary == "Invalid index" {
			d.Detail += " Elements are counted from 0; length(...) tells how many there are."
		}
	}
}

// sensitiveCall tells whether an argument of the call that failed must not be shown: functions repeat what they were given.
func sensitiveCall(x *hcl.Diagnostic) bool {
	call, ok := hcl.UnwrapExpression(x.Expression).(*hclsyntax.FunctionCallExpr)
	if !ok || x.EvalContext == nil {
		return false
	}
	for _, arg := range call.Args {
		if v, _ := arg.Value(x.EvalContext); v != cty.NilVal && v.ContainsMarked() {
			return true
		}
	}
	return false
}

// membersOf suggests what could stand in place of a member that a value does not have.
func membersOf(x *hcl.Diagnostic) string {
	if x.Expression == nil || x.EvalContext == nil || x.Subject == nil {
		return ""
	}
	v, rest := cty.NilVal, hcl.Traversal(nil)
	switch e := hcl.UnwrapExpression(x.Expression).(type) {
	case *hclsyntax.ScopeTraversalExpr:
		rest = e.Traversal
	case *hclsyntax.RelativeTraversalExpr:
		v, _ = e.Source.Value(x.EvalContext)
		rest = e.Traversal
	case *hclsyntax.IndexExpr:
		v, _ = e.Collection.Value(x.EvalContext)
		key, _ := e.Key.Value(x.EvalContext)
		rest = hcl.Traversal{hcl.TraverseIndex{Key: key, SrcRange: *x.Subject}}
	}
	for i, t := range rest {
		if t.SourceRange() != *x.Subject {
			continue
		}
		if i > 0 {
			var hd hcl.Diagnostics
			if v == cty.NilVal {
				v, hd = rest[:i].TraverseAbs(x.EvalContext)
			} else {
				v, hd = rest[:i].TraverseRel(v)
			}
			if hd.HasErrors() {
				return ""
			}
		}
		name, ok := member(t)
		if !ok || v == cty.NilVal {
			return ""
		}
		return suggestMember(name, v)
	}
	return ""
}

func suggestMember(name string, v cty.Value) string {
	v, _ = v.Unmark()
	var names []string
	switch {
	case v.Type().IsObjectType():
		names = slices.Sorted(maps.Keys(v.Type().AttributeTypes()))
	case v.Type().IsMapType() && v.IsKnown() && !v.IsNull():
		names = slices.Sorted(maps.Keys(v.AsValueMap()))
	default:
		return ""
	}
	return didYouMean(name, names, "It has")
}
