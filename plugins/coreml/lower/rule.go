// Package lower turns an ONNX graph into a program of MIL.
//
// A table of rules says how: one rule for an operator, in one file for each family of operators. No weight becomes bytes
// here: constants are made when the package is written, so that a whole model is lowered in the time that planning has,
// and everything that cannot be is known before any work starts.
package lower

import (
	"slices"

	"github.com/optimize-hcl/optimize/onnx"
)

// Rule says how an operator becomes operations of MIL.
type Rule struct {
	// Domain is "" for ONNX's own operators, else such as "com.microsoft".
	Domain string
	Op     string
	// Since is the version of the domain's operator set from which on the rule holds; 0 stands for the first.
	Since int64
	// Opset is the least operator set of Core ML that the rule takes (5 for CoreML5, that is iOS 15); 0 stands for the first.
	// A rule whose forms differ asks Context.Opset itself.
	Opset int
	// Covers says in a sentence what is covered of the operator, and what is not. The documents have it.
	Covers string
	// Lower emits the operations and sets the node's outputs. An error says why the node cannot be lowered, in words that
	// follow "because": the rest of a sentence, without a full stop.
	Lower func(c *Context, n *onnx.Node) error
}

// Rules are all rules, in the order of their domains and operators.
func Rules() []Rule {
	all := slices.Concat(table...)
	slices.SortStableFunc(all, func(a, b Rule) int {
		if a.Domain != b.Domain {
			if a.Domain < b.Domain {
				return -1
			}
			return 1
		}
		if a.Op != b.Op {
			if a.Op < b.Op {
				return -1
			}
			return 1
		}
		return int(a.Since - b.Since)
	})
	return all
}

type ruleKey struct{ domain, op string }

// index finds rules by operator: the latest versions first.
var index map[ruleKey][]Rule

func init() { index = buildIndex() } // rules of control flow look into it, so that it is no initial value

func buildIndex() map[ruleKey][]Rule {
	m := map[ruleKey][]Rule{}
	for _, r := range Rules() {
		k := ruleKey{r.Domain, r.Op}
		m[k] = append([]Rule{r}, m[k]...)
	}
	return m
}

// ruleFor is the rule of a node, nil where there is none.
func ruleFor(domain, op string, opset int64) *Rule {
	if domain == "ai.onnx" {
		domain = ""
	}
	rules := index[ruleKey{domain, op}]
	for i := range rules {
		if rules[i].Since <= opset {
			return &rules[i]
		}
	}
	return nil
}
