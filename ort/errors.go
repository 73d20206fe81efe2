package ort

import (
	"fmt"
	"regexp"
	"strings"
)

// Error is the engine's refusal of a model or its failure in a run.
type Error struct {
	Action  string // "load the model", "run the model", ...
	Node    string // the node it is about, when the engine named one
	Op      string // that node's operator
	Message string // the engine's words on one line, without its source paths
}

func (e *Error) Error() string {
	var at string
	switch {
	case e.Node != "" && e.Op != "":
		at = fmt.Sprintf(" at node %q (%s)", e.Node, e.Op)
	case e.Node != "":
		at = fmt.Sprintf(" at node %q", e.Node)
	case e.Op != "":
		at = fmt.Sprintf(" at a node of operator %s", e.Op)
	}
	return fmt.Sprintf("ONNX Runtime cannot %s%s: %s", e.Action, at, e.Message)
}

var (
	// "/onnxruntime_src/onnxruntime/core/graph/model.cc:182 onnxruntime::Model::Model(onnx::ModelProto&&, ...) "
	sourcePlace = regexp.MustCompile(`(?:[A-Za-z]:)?[\w./\\+-]*\.(?:cc|h|cpp|hpp|cu|mm):\d+\s*`)
	// The signature that follows it, up to the message; the engine writes namespaces out.
	signature   = regexp.MustCompile(`(?:[\w:<>&*~,]+ )*(?:onnxruntime|std|onnx|google)::[^()]*\([^()]*(?:\([^()]*\)[^()]*)*\)(?: const)?(?: \[with [^\]]*\])?\s*`)
	errorPrefix = regexp.MustCompile(`^(?:Error (?:creating C session(?: from file)?|running network|loading temporary session|creating temporary session)|Exception(?: during (?:initialization|loading))?|Load model from .*? failed|This is an invalid model\. Error|Fail|FAIL|INVALID_ARGUMENT|Non-zero status code returned while running [^\s]+ node\. Name:'[^']*' Status Message)\s*:\s*`)

	runningNode = regexp.MustCompile(`while running (\S+) node\. Name:'([^']*)'`)
	nodeOp      = regexp.MustCompile(`(?i)\bnode\s*\((.*?)\)\s*(?:Op|with operator|of type)\s*:?\s*\(?([\w.]+)\)?`)
	kernelFor   = regexp.MustCompile(`Could not find an implementation for ([\w.]+(?:\(\d+\))?) node with name '([^']*)'`)
	schemaFor   = regexp.MustCompile(`No Op registered for (\S+)`)
	notRegister = regexp.MustCompile(`Fatal error: (\S+?)(?:\(-?\d+\))? is not a registered function/op`)
	nodeNamed   = regexp.MustCompile(`(?i)\bnode(?: name)?\s*[:=]?\s*['"(]([^'")]+)['")]`)
)

func newError(action string, err error) error {
	if err == nil {
		return nil
	}
	raw := err.Error()
	e := &Error{Action: action, Message: clean(raw)}
	switch {
	case match(runningNode, raw, &e.Op, &e.Node):
	case match(kernelFor, raw, &e.Op, &e.Node):
	case match(nodeOp, raw, &e.Node, &e.Op):
	case match(schemaFor, raw, &e.Op):
	case match(notRegister, raw, &e.Op):
	default:
		match(nodeNamed, raw, &e.Node)
	}
	return e
}

func match(re *regexp.Regexp, s string, to ...*string) bool {
	m := re.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	for i, p := range to {
		*p = m[i+1]
	}
	return true
}

// clean makes one line of the engine's text: without colours, source paths, C++
// signatures and the prefixes that its layers stack up.
func clean(s string) string {
	s = ansi.ReplaceAllString(s, "")
	if at := sourcePlace.FindStringIndex(s); at != nil {
		s = sourcePlace.ReplaceAllString(s, "")
		s = signature.ReplaceAllString(s, "")
	}
	s = strings.Join(strings.Fields(s), " ")
	for {
		t := strings.TrimSpace(errorPrefix.ReplaceAllString(s, ""))
		t = strings.TrimPrefix(t, ":")
		if t == s || t == "" {
			break
		}
		s = t
	}
	const most = 600
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.ToValidUTF8(strings.TrimRight(s, " ."), "?")
}

var ansi = regexp.MustCompile("\x1b\\[[0-9;]*m")
