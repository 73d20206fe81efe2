package onnx

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ruleNode is a line of a Rule.
type ruleNode struct {
	outputs []string
	domain  string
	op      string
	attrs   []*Attribute
	spread  string // the output of the node whose attributes are taken over
	inputs  []ruleArg
}

type argKind uint8

const (
	argValue argKind = iota
	argConstant
	argNumber
	argList
	argAny
	argNone
)

// ruleArg is an input of a ruleNode.
type ruleArg struct {
	kind   argKind
	name   string
	number float64
	list   []int64
}

// parseRuleNode reads "a, b = domain.Op<attr=1>(x, $w, 0.5)".
func parseRuleNode(line string) (ruleNode, error) {
	var n ruleNode
	left, right, ok := cutOutside(line)
	if !ok {
		return n, errors.New("it is not of the form \"output = Operator(input, ...)\"")
	}
	for _, out := range strings.Split(left, ",") {
		out = strings.TrimSpace(out)
		if !isName(out) {
			return n, fmt.Errorf("%q is no name of an output", out)
		}
		n.outputs = append(n.outputs, out)
	}
	right = strings.TrimSpace(right)
	end := strings.IndexAny(right, "<(")
	if end < 0 || !strings.HasSuffix(right, ")") {
		return n, errors.New("the inputs in brackets are missing")
	}
	op := strings.TrimSpace(right[:end])
	if at := strings.LastIndexByte(op, '.'); at >= 0 {
		n.domain, op = canonicalDomain(op[:at]), op[at+1:]
	}
	if !isName(op) {
		return n, fmt.Errorf("%q is no name of an operator", op)
	}
	n.op = op
	rest := right[end:]
	if rest[0] == '<' {
		closing := closingBracket(rest)
		if closing < 0 || !strings.HasPrefix(strings.TrimSpace(rest[closing+1:]), "(") {
			return n, errors.New("\"<\" is not closed before the inputs")
		}
		if err := n.parseAttrs(rest[1:closing]); err != nil {
			return n, err
		}
		rest = strings.TrimSpace(rest[closing+1:])
	}
	inside := strings.TrimSpace(rest[1 : len(rest)-1])
	if inside == "" {
		return n, nil
	}
	for _, part := range splitOutside(inside) {
		a, err := parseRuleArg(strings.TrimSpace(part))
		if err != nil {
			return n, err
		}
		n.inputs = append(n.inputs, a)
	}
	return n, nil
}

// cutOutside splits at the first "=" that is not inside of brackets.
func cutOutside(s string) (before, after string, ok bool) {
	at := strings.IndexByte(s, '=')
	if at < 0 || strings.ContainsAny(s[:at], "<(") {
		return "", "", false
	}
	return s[:at], s[at+1:], true
}

// closingBracket returns where the "<" at the start of s ends; quoted text is skipped.
func closingBracket(s string) int {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}

// splitOutside splits at commas that are in no list and no quotes.
func splitOutside(s string) []string {
	var out []string
	depth, quoted, start := 0, false, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ',' && depth == 0:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

func parseRuleArg(s string) (ruleArg, error) {
	switch {
	case s == "":
		return ruleArg{kind: argNone}, nil
	case s == "_":
		return ruleArg{kind: argAny}, nil
	case s[0] == '[':
		list, err := parseInts(s)
		return ruleArg{kind: argList, list: list}, err
	case s[0] == '$' && isName(s[1:]):
		return ruleArg{kind: argConstant, name: s[1:]}, nil
	case isName(s):
		return ruleArg{kind: argValue, name: s}, nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v != v {
		return ruleArg{}, fmt.Errorf("%q is no value, constant ($name), number, list or _", s)
	}
	return ruleArg{kind: argNumber, number: v}, nil
}

func parseInts(s string) ([]int64, error) {
	if !strings.HasPrefix(s, "[") || !strings.HasSuffix(s, "]") || len(s) < 2 {
		return nil, fmt.Errorf("the list %s is not closed", s)
	}
	out := []int64{}
	if s = strings.TrimSpace(s[1 : len(s)-1]); s == "" {
		return out, nil
	}
	for _, part := range strings.Split(s, ",") {
		v, err := strconv.ParseInt(strings.TrimSpace(part), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q in a list is no whole number", part)
		}
		out = append(out, v)
	}
	return out, nil
}

func (n *ruleNode) parseAttrs(s string) error {
	for _, part := range splitOutside(s) {
		part = strings.TrimSpace(part)
		if name, ok := strings.CutPrefix(part, "..."); ok && isName(name) {
			n.spread = name
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || !isName(name) || value == "" {
			return fmt.Errorf("the attribute %q is not of the form name=value", part)
		}
		a := &Attribute{Name: name}
		switch {
		case value[0] == '[':
			list, err := parseInts(value)
			if err != nil {
				return err
			}
			a.Type, a.Ints = AttrInts, list
		case value[0] == '"':
			text, err := strconv.Unquote(value)
			if err != nil {
				return fmt.Errorf("the attribute %s has bad quotes", name)
			}
			a.Type, a.S = AttrString, []byte(text)
		default:
			if i, err := strconv.ParseInt(value, 10, 64); err == nil {
				a.Type, a.I = AttrInt, i
			} else if f, err := strconv.ParseFloat(value, 32); err == nil {
				a.Type, a.F = AttrFloat, float32(f)
			} else {
				return fmt.Errorf("the attribute %s = %s is no number, list or quoted text", name, value)
			}
		}
		n.attrs = append(n.attrs, a)
	}
	return nil
}

// isName tells whether s is a letter or underscore and then those and digits; a single
// underscore is none.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && s != "_"
}
