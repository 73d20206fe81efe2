package graph

import (
	"strings"

	"github.com/optimize-hcl/optimize/core/term"
)

// list writes a node a line with what it needs: for what is too wide to be drawn.
func (p *part) list(o Options) string {
	arrow := "← "
	if o.ASCII {
		arrow = "<- "
	}
	var b strings.Builder
	for i, n := range p.nodes {
		name := shorten(term.Clean(n.ID), o.Width, o.ASCII)
		b.WriteString(o.Paint(Name, name))
		if s := n.second(); s != "" && term.Width(name)+2+term.Width(s) <= o.Width {
			b.WriteString("  " + o.Paint(Note, s))
		}
		b.WriteString("\n")
		line := "  " + arrow
		for k, d := range p.deps[i] {
			text := shorten(term.Clean(p.nodes[d].ID), max(o.Width-6, 1), o.ASCII)
			if k+1 < len(p.deps[i]) {
				text += ","
			}
			if term.Width(line)+1+term.Width(text) > o.Width && strings.TrimSpace(line) != strings.TrimSpace(arrow) {
				b.WriteString(o.Paint(Line, strings.TrimRight(line, " ")) + "\n")
				line = strings.Repeat(" ", 2+term.Width(arrow))
			}
			line += text + " "
		}
		if len(p.deps[i]) > 0 {
			b.WriteString(o.Paint(Line, strings.TrimRight(line, " ")) + "\n")
		}
	}
	return b.String()
}

// shelf draws nodes that nothing is connected with, side by side.
func shelf(parts []*part, o Options) string {
	var out []string
	var rows [3]strings.Builder
	used := 0
	flush := func() {
		if used > 0 {
			for i := range rows {
				out = append(out, strings.TrimRight(rows[i].String(), " "))
				rows[i].Reset()
			}
			used = 0
		}
	}
	g := []string{"┌", "─", "┐", "│", "└", "┘"}
	if o.ASCII {
		g = []string{"+", "-", "+", "|", "+", "+"}
	}
	for _, p := range parts {
		n := p.nodes[0]
		text := shorten(term.Clean(n.ID), max(o.Width-4, 1), o.ASCII)
		w := term.Width(text) + 4
		if used > 0 && used+1+w > o.Width {
			flush()
		}
		if used > 0 {
			for i := range rows {
				rows[i].WriteString(" ")
			}
			used++
		}
		bar := strings.Repeat(g[1], w-2)
		rows[0].WriteString(o.Paint(Frame, g[0]+bar+g[2]))
		rows[1].WriteString(o.Paint(Frame, g[3]) + " " + o.Paint(Name, text) + " " + o.Paint(Frame, g[3]))
		rows[2].WriteString(o.Paint(Frame, g[4]+bar+g[5]))
		used += w
	}
	flush()
	return strings.Join(out, "\n") + "\n"
}
