package graph

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/optimize-hcl/optimize/core/term"
)

// exits are the directions in which one may leave a character.
var exits = map[rune]int{
	'─': left | right, '│': up | below, '╭': right | below, '╮': left | below, '╰': up | right, '╯': up | left,
	'├': up | right | below, '┤': up | left | below, '┬': left | right | below, '┴': left | right | up, '┼': up | right | below | left,
}

// reader reads a picture as a person does: it finds the names and follows the lines.
type reader struct {
	t    *testing.T
	rows [][]rune
}

func (r *reader) at(x, y int) rune {
	if y < 0 || y >= len(r.rows) || x < 0 || x >= len(r.rows[y]) {
		return ' '
	}
	return r.rows[y][x]
}

// frame is where a node stands.
type frame struct{ x0, y0, x1, y1 int }

func (r *reader) find(name string, compact bool) frame {
	for y, row := range r.rows {
		for x := range row {
			if !strings.HasPrefix(string(row[x:]), name) || r.at(x+len(name), y) != ' ' {
				continue
			}
			if compact {
				f := frame{x - 1, y, x + len(name), y}
				for r.at(f.x0, f.y0-1) == '│' && r.at(f.x0, y) == '│' {
					f.y0--
				}
				for r.at(f.x0, f.y1+1) == '│' && r.at(f.x0, y) == '│' {
					f.y1++
				}
				return f
			}
			f := frame{x, y, x, y}
			for r.at(f.x0, y) != '│' {
				f.x0--
			}
			for r.at(f.x1, y) != '│' && r.at(f.x1, y) != '├' {
				f.x1++
			}
			for r.at(f.x0, f.y0) != '┌' {
				f.y0--
			}
			for r.at(f.x0, f.y1) != '└' {
				f.y1++
			}
			return f
		}
	}
	r.t.Fatalf("%s is not in the picture", name)
	return frame{}
}

// follow gives the heads of arrows that the line from a place leads to.
func (r *reader) follow(x, y, direction int, seen map[[3]int]bool, heads map[[2]int]bool) {
	if seen[[3]int{x, y, direction}] {
		return
	}
	seen[[3]int{x, y, direction}] = true
	c := r.at(x, y)
	if c == '▸' || c == '▾' {
		heads[[2]int{x, y}] = true
		return
	}
	back := map[int]int{up: below, below: up, left: right, right: left}[direction]
	next := exits[c] &^ back
	switch {
	case exits[c] == 0:
		r.t.Fatalf("a line ends in the middle, at %d,%d: %q", x, y, c)
	case exits[c]&back == 0 && c == '│' && (direction == left || direction == right):
		next = direction // one line passes below another
	case exits[c]&back == 0:
		r.t.Fatalf("a line runs into %q at %d,%d", c, x, y)
	}
	for d, move := range map[int][2]int{up: {0, -1}, below: {0, 1}, left: {-1, 0}, right: {1, 0}} {
		if next&d != 0 {
			r.follow(x+move[0], y+move[1], d, seen, heads)
		}
	}
}

func TestPicturesCanBeRead(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for round := range 120 {
		n := 2 + r.IntN(13)
		if round%4 == 3 {
			n = many + 1 + r.IntN(20)
		}
		g := New("")
		for i := range n {
			var deps []string
			for range min(i, 1+r.IntN(3)) {
				if d := fmt.Sprintf("n%02d", r.IntN(i)); !slices.Contains(deps, d) {
					deps = append(deps, d)
				}
			}
			typ := ""
			if r.IntN(3) == 0 {
				typ = strings.Repeat("t", 1+r.IntN(9))
			}
			g.Add(Node{ID: fmt.Sprintf("n%02d", i), Type: typ}, deps)
		}
		for _, p := range g.parts() {
			for _, down := range []bool{false, true} {
				if len(p.nodes) > 1 {
					readBack(t, p, down)
				}
			}
		}
	}
}

// readBack draws a part and finds all of its edges, and no others, in the picture.
func readBack(t *testing.T, p *part, down bool) {
	t.Helper()
	text := p.draw(1<<20, down, false).render(func(_ Role, s string) string { return s })
	if other := p.draw(1<<20, down, false).render(func(_ Role, s string) string { return s }); other != text {
		t.Fatalf("two pictures of one graph:\n%s\n%s", text, other)
	}
	r := &reader{t: t}
	for row := range strings.Lines(text) {
		r.rows = append(r.rows, []rune(strings.TrimSuffix(row, "\n")))
	}
	compact := p.metrics(down).compact
	frames := map[string]frame{}
	owner := map[[2]int]string{} // of the heads of arrows
	for _, n := range p.nodes {
		f := r.find(n.ID, compact)
		frames[n.ID] = f
		if down {
			for x := f.x0; x <= f.x1; x++ {
				owner[[2]int{x, f.y0 - 1}] = n.ID
			}
		} else {
			for y := f.y0; y <= f.y1; y++ {
				owner[[2]int{f.x0 - 1, y}] = n.ID
			}
		}
	}
	got, want := map[string]bool{}, map[string]bool{}
	users := map[int]bool{}
	for i, deps := range p.deps {
		for _, d := range deps {
			want[p.nodes[d].ID+" "+p.nodes[i].ID] = true
			users[d] = true
		}
	}
	for i, n := range p.nodes {
		if !users[i] {
			continue
		}
		f := frames[n.ID]
		heads, seen := map[[2]int]bool{}, map[[3]int]bool{}
		switch {
		case compact && !down:
			for y := f.y0; y <= f.y1; y++ {
				if strings.HasPrefix(string(r.rows[y][min(f.x0+1, len(r.rows[y])):]), n.ID) {
					r.follow(f.x1+1, y, right, seen, heads)
				}
			}
		case down:
			for x := f.x0; x <= f.x1; x++ {
				if r.at(x, f.y1) == '┬' {
					r.follow(x, f.y1+1, below, seen, heads)
				}
			}
		default:
			for y := f.y0; y <= f.y1; y++ {
				if r.at(f.x1, y) == '├' {
					r.follow(f.x1+1, y, right, seen, heads)
				}
			}
		}
		for h := range heads {
			got[n.ID+" "+owner[h]] = true
		}
	}
	if !maps.Equal(got, want) {
		t.Fatalf("the picture shows %v\nthe graph is %v\n%s", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)), text)
	}
}

func TestPicturesFit(t *testing.T) {
	for name, p := range pictures {
		for width := 1; width < 130; width++ {
			for _, ascii := range []bool{false, true} {
				text := build(p.graph).Text(Options{Width: width, ASCII: ascii})
				for row := range strings.Lines(text) {
					row = strings.TrimSuffix(row, "\n")
					if w := term.Width(row); w > max(width, 10) {
						t.Fatalf("%s: %d columns where %d fit: %q", name, w, width, row)
					}
					if ascii && name != "wide" && strings.ContainsFunc(row, func(c rune) bool { return c > 126 }) {
						t.Fatalf("%s is not ASCII: %q", name, row)
					}
				}
			}
		}
	}
}
