package graph

import (
	"strings"

	"github.com/optimize-hcl/optimize/core/term"
)

// Role says what a text of the picture is, for its colour.
type Role int

// The roles.
const (
	Line Role = iota
	Frame
	Name
	Note
	Cached
	Runs
)

// Options say how the picture is drawn.
type Options struct {
	// Width is how many columns there are.
	Width int
	ASCII bool
	// Paint colours a text; nil leaves it as it is.
	Paint func(Role, string) string
}

const (
	// many is from how many nodes on they are drawn without boxes.
	many = 24
	// tooMany is from how many nodes on nobody could read a picture.
	tooMany = 250
)

// Text draws the graph for a terminal. The layers go from left to right where there is room for that, else down; names are
// shortened before the picture is given up for a list.
func (g *Graph) Text(o Options) string {
	if o.Paint == nil {
		o.Paint = func(_ Role, s string) string { return s }
	}
	o.Width = max(o.Width, 10)
	var out []string
	var alone []*part
	for _, p := range g.parts() {
		if len(p.nodes) == 1 {
			alone = append(alone, p)
			continue
		}
		out = append(out, p.text(o))
	}
	if len(alone) > 0 {
		out = append(out, shelf(alone, o))
	}
	return strings.Join(out, "\n")
}

// text draws one connected part in the first way that fits.
func (p *part) text(o Options) string {
	if len(p.nodes) > tooMany {
		return p.list(o)
	}
	for _, name := range []int{1 << 20, 28, 20, 14} {
		for _, down := range []bool{false, true} {
			d := p.draw(name, down, o.ASCII)
			if d.width <= o.Width {
				return d.render(o.Paint)
			}
		}
	}
	return p.list(o)
}

func (p *part) metrics(down bool) *metrics {
	m := &metrics{down: down, compact: len(p.nodes) > many, gap: 1, stride: 1, lead: 1, step: 2, tail: 2, plain: 3}
	if len(p.nodes) > many/2 {
		m.gap = 0
	}
	if down {
		m = &metrics{down: true, gap: 2, stride: 2, lead: 0, step: 1, tail: 1, plain: 1}
	}
	return m
}

// label is the text of a node, no wider than most.
func label(n *Node, most int, ascii bool) (name, note string) {
	return shorten(term.Clean(n.ID), most, ascii), shorten(n.second(), most, ascii)
}

// shorten cuts the middle out of a text: both of its ends tell.
func shorten(s string, most int, ascii bool) string {
	if term.Width(s) <= most {
		return s
	}
	dots := "…"
	if ascii {
		dots = "~"
	}
	tail, room := "", most/3
	clusters := []string{}
	for g := range term.Graphemes(s) {
		clusters = append(clusters, g)
	}
	for i := len(clusters) - 1; i >= 0 && term.Width(tail+clusters[i]) <= room; i-- {
		tail = clusters[i] + tail
	}
	head := ""
	for _, g := range clusters {
		if term.Width(head+g+dots+tail) > most {
			break
		}
		head += g
	}
	return head + dots + tail
}

// draw lays the part out and draws it.
func (p *part) draw(most int, down, ascii bool) *canvas {
	m := p.metrics(down)
	layers := p.layers()
	names, notes := make([]string, len(p.nodes)), make([]string, len(p.nodes))
	for i, n := range p.nodes {
		names[i], notes[i] = label(n, most, ascii)
		if m.compact {
			notes[i] = ""
		}
	}
	arrange(layers)
	depth := make([]int, len(layers)) // of each layer, in the direction of the layers
	for k, l := range layers {
		for _, it := range l {
			it.size, it.along = 1, 0
			if it.node >= 0 {
				p.measure(it, m, names[it.node], notes[it.node])
			}
			depth[k] = max(depth[k], it.along)
		}
	}
	m.place(layers)
	// Where each layer begins, and what lies between.
	begin := make([]int, len(layers))
	between := make([][]*net, len(layers))
	at, across := 0, 0
	for k, l := range layers {
		begin[k] = at
		for _, it := range l {
			across = max(across, it.pos+it.size)
		}
		at += depth[k]
		if k+1 < len(layers) {
			nets, tracks := m.route(l)
			between[k] = nets
			if tracks == 0 {
				at += m.plain
			} else {
				at += m.lead + (tracks-1)*m.step + 1 + m.tail
			}
		}
	}
	width, height := at, across
	if down {
		width, height = across, at
	}
	pic := &picture{canvas: newCanvas(width, height, ascii), m: m}
	for k := range layers {
		for _, n := range between[k] {
			pic.net(n, begin[k], depth[k], begin[k+1])
		}
	}
	for k, l := range layers {
		for _, it := range l {
			if it.node >= 0 {
				pic.node(it, begin[k], depth[k], p.nodes[it.node], names[it.node], notes[it.node])
			} else {
				pic.line(it.source, begin[k]-1, it.pos, begin[k]+depth[k], it.pos)
			}
		}
	}
	return pic.canvas
}

// measure says how large a node is drawn.
func (p *part) measure(it *item, m *metrics, name, note string) {
	wide, lines := max(term.Width(name), term.Width(note)), 1
	if note != "" {
		lines = 2
	}
	ends := (len(it.in)-1)*m.stride + 1
	switch {
	case m.compact:
		it.size, it.along = max(1, len(it.in)), wide+2
	case m.down:
		it.size, it.along = max(wide+2, ends)+2, lines+2
	default:
		it.size, it.along = max(lines, ends)+2, wide+4
	}
}

// picture draws in the direction of the layers: along comes first, across second.
type picture struct {
	*canvas
	m *metrics
}

func (d *picture) line(net, along1, across1, along2, across2 int) {
	if d.m.down {
		d.canvas.line(net, across1, along1, across2, along2)
	} else {
		d.canvas.line(net, along1, across1, along2, across2)
	}
}

// net draws the lines from an item to the next layer.
func (d *picture) net(n *net, begin, depth, next int) {
	from := begin + n.from.along
	if n.from.node < 0 {
		from = begin + depth
	}
	// The cell before belongs to the item: the line begins in it.
	from--
	track := next - d.m.tail
	if n.track >= 0 {
		track = begin + depth + d.m.lead + n.track*d.m.step
		d.line(n.from.source, from, n.begin, track, n.begin)
		d.line(n.from.source, track, n.lo, track, n.hi)
	} else {
		d.line(n.from.source, from, n.begin, next-1, n.begin)
	}
	for i, e := range n.ends {
		if n.track >= 0 {
			d.line(n.from.source, track, e, next-1, e)
		}
		if n.to[i].node >= 0 {
			d.head(next-1, e)
		} else {
			d.line(n.from.source, next-1, e, next, e)
		}
	}
}

// head draws the head of an arrow.
func (d *picture) head(along, across int) {
	switch {
	case d.m.down && d.ascii:
		d.write(across, along, "v", Line)
	case d.m.down:
		d.write(across, along, "▾", Line)
	case d.ascii:
		d.write(along, across, ">", Line)
	default:
		d.write(along, across, "▸", Line)
	}
}

// node draws a node: in a box, or with many of them as a line of text.
func (d *picture) node(it *item, begin, depth int, n *Node, name, note string) {
	role := Name
	switch n.Status {
	case "cached":
		role = Cached
	case "run", "measure", "pending":
		role = Runs
	}
	if d.m.compact {
		for y := range it.size {
			bar := " "
			if len(it.in) > 1 {
				if bar = "│"; d.ascii {
					bar = "|"
				}
			}
			d.write(begin, it.pos+y, bar, Frame)
		}
		d.write(begin+1, d.m.port(it), name+" ", role)
		if len(it.out) == 0 {
			return
		}
		if rest := depth - 2 - term.Width(name); rest > 0 { // up to where the lines begin
			d.line(it.source, begin+2+term.Width(name), d.m.port(it), begin+depth-1, d.m.port(it))
		}
		return
	}
	x, y, w, h := begin, it.pos, it.along, it.size
	if d.m.down {
		x, y, w, h = it.pos, begin, it.size, it.along
	}
	d.box(x, y, w, h)
	lines := []string{name}
	if note != "" {
		lines = append(lines, note)
	}
	top := y + 1 + (h-2-len(lines))/2
	for i, text := range lines {
		r := role
		if i > 0 {
			r = Note
		}
		d.write(x+2+(w-4-term.Width(text))/2*d.centre(), top+i, text, r)
	}
	if len(it.out) > 0 {
		d.socket(it, begin)
	}
}

// centre is 1 where texts stand in the middle of their boxes.
func (d *picture) centre() int {
	if d.m.down {
		return 1
	}
	return 0
}

// socket draws where the lines leave a box.
func (d *picture) socket(it *item, begin int) {
	glyph := "├"
	switch {
	case d.ascii:
		glyph = "+"
	case d.m.down:
		glyph = "┬"
	}
	if d.m.down {
		d.write(d.m.port(it), begin+it.along-1, glyph, Frame)
	} else {
		d.write(begin+it.along-1, d.m.port(it), glyph, Frame)
	}
}
