// Package graph shows what depends on what: as a picture in the terminal, as DOT, as Mermaid and as data.
package graph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/optimize-hcl/optimize/core/term"
)

// Schema names the version of the graph's JSON.
const Schema = "optimize.graph/v1"

// Graph is what depends on what. Nodes are in an order in which each comes after what it depends on.
type Graph struct {
	Schema string `json:"schema"`
	Recipe string `json:"recipe,omitempty"`
	Nodes  []Node `json:"nodes"`
	Edges  []Edge `json:"edges"`

	known map[string]bool
}

// Node is one block of a recipe, of a step with for_each one instance.
type Node struct {
	// ID is the address: step.int8["small"].
	ID   string `json:"id"`
	Kind string `json:"kind"`
	// Type is that of a step.
	Type string `json:"type,omitempty"`
	// Status is what apply would do, when a plan was asked for.
	Status string `json:"status,omitempty"`
}

// Edge leads from what is needed to what needs it: the way that data goes.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// New begins a graph.
func New(recipe string) *Graph {
	return &Graph{Schema: Schema, Recipe: recipe, Nodes: []Node{}, Edges: []Edge{}, known: map[string]bool{}}
}

// Add adds a node and an edge from each of its deps that was added before it.
func (g *Graph) Add(n Node, deps []string) {
	for i, d := range deps {
		if g.known[d] && !slices.Contains(deps[:i], d) {
			g.Edges = append(g.Edges, Edge{d, n.ID})
		}
	}
	g.known[n.ID] = true
	g.Nodes = append(g.Nodes, n)
}

// second is what stands below a node's name.
func (n *Node) second() string {
	parts := []string{}
	if n.Type != "" {
		parts = append(parts, term.Clean(n.Type))
	}
	if n.Status != "" {
		parts = append(parts, term.Clean(n.Status))
	}
	return strings.Join(parts, ", ")
}

// DOT is the graph in the language of Graphviz.
func (g *Graph) DOT() string {
	var b strings.Builder
	b.WriteString("digraph recipe {\n  rankdir = LR\n  node [fontname = \"sans-serif\", shape = box]\n")
	for i := range g.Nodes {
		n := &g.Nodes[i]
		label := dotQuote(n.ID)
		if s := n.second(); s != "" {
			label = strings.TrimSuffix(label, `"`) + `\n` + strings.TrimPrefix(dotQuote(s), `"`)
		}
		attrs := "label = " + label
		if s := dotShapes[n.Kind]; s != "" {
			attrs += ", shape = " + s
		}
		if s := dotStyles[n.Status]; s != "" {
			attrs += ", " + s
		}
		fmt.Fprintf(&b, "  %s [%s]\n", dotQuote(n.ID), attrs)
	}
	for _, e := range g.Edges {
		fmt.Fprintf(&b, "  %s -> %s\n", dotQuote(e.From), dotQuote(e.To))
	}
	b.WriteString("}\n")
	return b.String()
}

var dotShapes = map[string]string{"model": "cylinder", "dataset": "cylinder", "evaluate": "hexagon", "output": "note"}

var dotStyles = map[string]string{
	"cached": `style = filled, fillcolor = "#d9f2e0"`, "run": `style = filled, fillcolor = "#fdf0c8"`,
	"measure": `style = filled, fillcolor = "#fdf0c8"`, "pending": "style = dashed",
}

// dotQuote makes a quoted string of DOT: only the quote must be escaped, but a backslash begins an escape in labels.
func dotQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(term.Clean(s)) + `"`
}

// Mermaid is the graph in the language that GitHub and GitLab draw in Markdown.
func (g *Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	ids := map[string]string{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		ids[n.ID] = fmt.Sprintf("n%d", i)
		label := mermaidText(n.ID)
		if s := n.second(); s != "" {
			label += "<br/>" + mermaidText(s)
		}
		open, end := "[", "]"
		if s, ok := mermaidShapes[n.Kind]; ok {
			open, end = s[0], s[1]
		}
		fmt.Fprintf(&b, "  n%d%s\"%s\"%s\n", i, open, label, end)
	}
	for _, e := range g.Edges {
		fmt.Fprintf(&b, "  %s --> %s\n", ids[e.From], ids[e.To])
	}
	classes := map[string]string{
		"cached": "fill:#d9f2e0,stroke:#1a7f37,color:#000", "run": "fill:#fdf0c8,stroke:#8a5a00,color:#000", "measure": "fill:#fdf0c8,stroke:#8a5a00,color:#000",
		"pending": "stroke-dasharray:4",
	}
	for _, status := range []string{"cached", "run", "measure", "pending"} {
		var members []string
		for _, n := range g.Nodes {
			if n.Status == status {
				members = append(members, ids[n.ID])
			}
		}
		if len(members) > 0 {
			fmt.Fprintf(&b, "  classDef %s %s\n  class %s %s\n", status, classes[status], strings.Join(members, ","), status)
		}
	}
	return b.String()
}

var mermaidShapes = map[string][2]string{"model": {"[(", ")]"}, "dataset": {"[(", ")]"}, "evaluate": {"{{", "}}"}, "output": {">", "]"}}

// mermaidText writes a text for a quoted label: entities stand for what would end it, be HTML, or be Markdown.
func mermaidText(s string) string {
	var b strings.Builder
	for _, c := range term.Clean(s) {
		switch c {
		case '"':
			b.WriteString("#quot;")
		case '&', '<', '>', '#', '`', '\\', ';', '[', ']', '{', '}', '(', ')', '|', '@':
			fmt.Fprintf(&b, "#%d;", c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}
