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
	// A place in the engine's source and the signature that follows it:
	// "/onnxruntime_src/onnxruntime/core/graph/model.cc:182 onnxruntime::Model::Model(onnx::ModelProto&&, ...) "
	sourcePlace = regexp.MustCompile(`(?:[A-Za-z]:)?[\w./\\+-]*\.(?:cc|h|cpp|hpp|cu|mm):\d+(?: (?:[\w:<>&*~,]+ )*[\w:<>&*~,]*\([^()]*(?:\([^()]*\)[^()]*)*\)(?: const)?(?: \[with [^\]]*\])?)?\s*`)
	errorPrefix = regexp.MustCompile(`^(?:Error (?:creating C session(?: from file)?|running network|loading temporary session|creating temporary session)|Exception(?: during (?:initialization|loading))?|Load model from .*? failed|This is an invalid model|Fail|FAIL|INVALID_ARGUMENT|NOT_IMPLEMENTED|Non-zero status code returned while running \S+ node\. Name:'[^']*' Status Message)\s*[:.]\s*`)
	ansi        = regexp.MustCompile("\x1b\\[[0-9;]*m")

	runningNode  = regexp.MustCompile(`while running (\S+) node\. Name:'([^']*)'`)
	kernelFor    = regexp.MustCompile(`Could not find an implementation for ([\w.]+(?:\(\d+\))?) node with name '([^']*)'`)
	inNode       = regexp.MustCompile(`In Node, \("([^"]*)", ([^,]+), "([^"]*)", -?\d+\).*?, Error:? (.*)`)
	operatorNode = regexp.MustCompile(`of operator \(([^)]*)\) in node \(([^)]*)\)`)
	nodeOp       = regexp.MustCompile(`(?i)\bnode \((.*?)\) Op \(([\w.]+)\)`)
	notFunction  = regexp.MustCompile(`Fatal error: (\S+?)(?:\(-?\d+\))? is not a registered function/op`)
	newerOpset   = regexp.MustCompile(`Opset (\d+) is under development.*domain (\S+) is till opset (\d+)`)
)

func newError(action string, err error) error {
	if err == nil {
		return nil
	}
	raw := err.Error()
	e := &Error{Action: action, Message: clean(raw)}
	var domain, newest string
	switch {
	case match(inNode, e.Message, &e.Node, &e.Op, &domain, &e.Message):
		if domain != "" {
			e.Op = domain + "." + e.Op
		}
	case match(runningNode, raw, &e.Op, &e.Node):
	case match(kernelFor, raw, &e.Op, &e.Node):
	case match(operatorNode, raw, &e.Op, &e.Node):
	case match(nodeOp, raw, &e.Node, &e.Op):
	case match(notFunction, raw, &e.Op):
	}
	var opset string
	if match(newerOpset, e.Message, &opset, &domain, &newest) {
		e.Message = fmt.Sprintf("it uses opset %s of domain %s, and this library knows up to %s. Install a newer library, or export the model with an older opset", opset, domain, newest)
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
	s = sourcePlace.ReplaceAllString(s, "")
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
