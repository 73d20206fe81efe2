package graph

import (
	"strings"

	"github.com/optimize-hcl/optimize/core/term"
)

// The directions in which a line leaves a cell.
const (
	up = 1 << iota
	right
	below
	left
)

// cell is one place of a drawing: a character of a text, or pieces of lines.
type cell struct {
	text  string
	taken bool // the second half of a wide character
	role  Role
	lines []piece
}

// piece is a part of a line of a net.
type piece struct{ net, directions int }

// canvas is a drawing.
type canvas struct {
	width, height int
	cells         []cell
	ascii         bool
}

func newCanvas(width, height int, ascii bool) *canvas {
	return &canvas{width: width, height: height, cells: make([]cell, width*height), ascii: ascii}
}

func (c *canvas) at(x, y int) *cell { return &c.cells[y*c.width+x] }

// write puts a text at a place; what it covers is gone.
func (c *canvas) write(x, y int, s string, r Role) {
	for g, w := range term.Graphemes(s) {
		if x+w > c.width {
			return
		}
		if w == 0 {
			continue
		}
		*c.at(x, y) = cell{text: g, role: r}
		for i := 1; i < w; i++ {
			*c.at(x+i, y) = cell{taken: true}
		}
		x += w
	}
}

// line draws a straight line of a net, both ends included.
func (c *canvas) line(net, x1, y1, x2, y2 int) {
	if x1 > x2 || y1 > y2 {
		x1, y1, x2, y2 = x2, y2, x1, y1
	}
	for x := x1; x <= x2 && y1 == y2; x++ {
		d := 0
		if x > x1 {
			d |= left
		}
		if x < x2 {
			d |= right
		}
		c.at(x, y1).add(net, d)
	}
	for y := y1; y <= y2 && x1 == x2; y++ {
		d := 0
		if y > y1 {
			d |= up
		}
		if y < y2 {
			d |= below
		}
		c.at(x1, y).add(net, d)
	}
}

func (c *cell) add(net, directions int) {
	for i := range c.lines {
		if c.lines[i].net == net {
			c.lines[i].directions |= directions
			return
		}
	}
	c.lines = append(c.lines, piece{net, directions})
}

var glyphs = map[int]string{
	left | right: "─", left: "─", right: "─", up | below: "│", up: "│", below: "│",
	right | below: "╭", left | below: "╮", up | right: "╰", up | left: "╯",
	up | right | below: "├", up | left | below: "┤", left | right | below: "┬", left | right | up: "┴", up | right | below | left: "┼",
}

func (c *canvas) glyph(x *cell) string {
	if x.text != "" || len(x.lines) == 0 {
		if x.text == "" {
			return " "
		}
		return x.text
	}
	d := x.lines[0].directions
	if len(x.lines) > 1 {
		d = up | below // two lines cross: the one that goes up and down is on top, and they do not touch
	}
	if !c.ascii {
		return glyphs[d]
	}
	switch d {
	case left | right, left, right:
		return "-"
	case up | below, up, below:
		return "|"
	}
	return "+"
}

// box draws a frame.
func (c *canvas) box(x, y, width, height int) {
	g := []string{"┌", "─", "┐", "│", "└", "┘"}
	if c.ascii {
		g = []string{"+", "-", "+", "|", "+", "+"}
	}
	bar := strings.Repeat(g[1], width-2)
	c.write(x, y, g[0]+bar+g[2], Frame)
	for i := 1; i < height-1; i++ {
		c.write(x, y+i, g[3]+strings.Repeat(" ", width-2)+g[3], Frame)
	}
	c.write(x, y+height-1, g[4]+bar+g[5], Frame)
}

// String gives the rows, without the spaces at their ends.
func (c *canvas) render(paint func(Role, string) string) string {
	var out strings.Builder
	for y := range c.height {
		var row, run strings.Builder
		role := Line
		flush := func() {
			if run.Len() > 0 {
				row.WriteString(paint(role, run.String()))
				run.Reset()
			}
		}
		end := c.width
		for end > 0 && c.glyph(c.at(end-1, y)) == " " && !c.at(end-1, y).taken {
			end--
		}
		for x := range end {
			cl := c.at(x, y)
			if cl.taken {
				continue
			}
			r := cl.role
			if cl.text == "" {
				r = Line
			}
			if r != role {
				flush()
				role = r
			}
			run.WriteString(c.glyph(cl))
		}
		flush()
		out.WriteString(row.String() + "\n")
	}
	return out.String()
}
