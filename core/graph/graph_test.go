package graph

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// hostile has names that try to end what they stand in.
func hostile() *Graph {
	g := New(`a"b`)
	g.Add(Node{ID: `step.x["a\"]; b -> c \n <script>"]`, Kind: "step", Type: "t`y|p[e]"}, nil)
	g.Add(Node{ID: "step.\x1b[31m\nred", Kind: "step"}, []string{`step.x["a\"]; b -> c \n <script>"]`})
	g.Add(Node{ID: `back\`, Kind: "output", Status: "cached"}, []string{"step.\x1b[31m\nred", "step.nobody"})
	return g
}

func TestFormats(t *testing.T) {
	planned := build(digits)
	for i, s := range []string{"", "cached", "cached", "run", "pending", ""} {
		planned.Nodes[i].Status = s
	}
	for name, g := range map[string]*Graph{"digits": planned, "hostile": hostile(), "empty": New("x.hcl")} {
		golden(t, name+".dot", []byte(g.DOT()))
		golden(t, name+".mmd", []byte(g.Mermaid()))
		b, err := json.MarshalIndent(g, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", append(b, '\n'))
		golden(t, name+".picture.txt", []byte(g.Text(Options{Width: 100})))
	}
}

// dotStatement is what DOT writes for one node or edge: quoted strings with escaped quotes, nothing else.
var (
	quoted       = `"(?:[^"\\\n]|\\.)*"`
	dotStatement = regexp.MustCompile(`^  (?:` + quoted + ` \[label = ` + quoted + `(?:, [a-z]+ = (?:[a-z]+|` + quoted + `))*\]|` + quoted + ` -> ` + quoted + `)$`)
	mermaidNode  = regexp.MustCompile(`^  n\d+(?:\[|\[\(|\{\{|>)"[^"\[\]{}()|\x60]*"(?:\]|\)\]|\}\})$`)
	mermaidEdge  = regexp.MustCompile(`^  n\d+ --> n\d+$`)
)

func TestSyntax(t *testing.T) {
	for name, g := range map[string]*Graph{"digits": build(digits), "hostile": hostile(), "sixty": build(sixty()), "foreach": build(forEach(3))} {
		lines := strings.Split(strings.TrimSuffix(g.DOT(), "\n"), "\n")
		if lines[0] != "digraph recipe {" || lines[len(lines)-1] != "}" {
			t.Errorf("%s: %s", name, g.DOT())
		}
		for _, l := range lines[3 : len(lines)-1] {
			if !dotStatement.MatchString(l) {
				t.Errorf("%s: no statement of DOT: %s", name, l)
			}
		}
		lines = strings.Split(strings.TrimSuffix(g.Mermaid(), "\n"), "\n")
		for _, l := range lines[1:] {
			if !mermaidNode.MatchString(l) && !mermaidEdge.MatchString(l) && !strings.HasPrefix(l, "  class") {
				t.Errorf("%s: no statement of Mermaid: %s", name, l)
			}
		}
	}
}

func TestEdgesOfNothing(t *testing.T) {
	// A dep that is no node, one given twice, and one on itself are left out of the picture.
	g := New("")
	g.Add(Node{ID: "a"}, []string{"a", "nobody"})
	g.Add(Node{ID: "b"}, []string{"a", "a"})
	if got, want := g.Text(Options{Width: 40}), build("a\nb: a\n").Text(Options{Width: 40}); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func BenchmarkText(b *testing.B) {
	g := build(forEach(tooMany - 3))
	for b.Loop() {
		g.Text(Options{Width: 120})
	}
}
