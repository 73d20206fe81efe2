package cli

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/core/term"
)

// markdown writes our own documentation for a terminal. It knows what that uses: headings, paragraphs, lists, tables,
// code and quotes; anything else stands as it is.
type markdown struct {
	w     io.Writer
	style report.Style
	width int
}

var (
	heading  = regexp.MustCompile(`^(#{1,6})\s+(.*)$`)
	listItem = regexp.MustCompile(`^(\s*)([-*]|\d+\.)\s+(.*)$`)
	rule     = regexp.MustCompile(`^\|[\s|:-]+\|$`)
	link     = regexp.MustCompile(`\[([^\]]+)\]\([^)\s]+\)`)
	strong   = regexp.MustCompile(`\*\*([^*]+)\*\*`)
	code     = regexp.MustCompile("`([^`]+)`")
)

func (m *markdown) write(text string) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := 0; i < len(lines); {
		l := lines[i]
		switch {
		case strings.HasPrefix(strings.TrimSpace(l), "```"):
			i = m.code(lines, i)
		case heading.MatchString(l):
			fmt.Fprintln(m.w, m.style.Bold(plain(heading.FindStringSubmatch(l)[2])))
			i++
		case strings.HasPrefix(l, "|"):
			i = m.table(lines, i)
		case listItem.MatchString(l):
			x := listItem.FindStringSubmatch(l)
			indent := len(x[1]) + len(x[2]) + 1
			text, next := paragraph(lines, i+1, x[3])
			first := x[1] + x[2] + " "
			for n, w := range wrapped(plain(text), max(m.width-indent, 20)) {
				if n > 0 {
					first = strings.Repeat(" ", indent)
				}
				fmt.Fprintln(m.w, first+m.inline(w))
			}
			i = next
		case strings.TrimSpace(l) == "":
			fmt.Fprintln(m.w)
			i++
		default:
			text, next := paragraph(lines, i+1, l)
			for _, w := range wrapped(plain(text), m.width) {
				fmt.Fprintln(m.w, m.inline(w))
			}
			i = next
		}
	}
}

// code writes a fenced block, indented.
func (m *markdown) code(lines []string, i int) int {
	for i++; i < len(lines); i++ {
		if strings.HasPrefix(strings.TrimSpace(lines[i]), "```") {
			return i + 1
		}
		fmt.Fprintln(m.w, strings.TrimRight("    "+lines[i], " "))
	}
	return i
}

// paragraph joins the lines that belong together.
func paragraph(lines []string, i int, first string) (string, int) {
	text := strings.TrimSpace(first)
	for ; i < len(lines); i++ {
		l := strings.TrimSpace(lines[i])
		if l == "" || strings.HasPrefix(l, "```") || strings.HasPrefix(l, "|") || heading.MatchString(l) || listItem.MatchString(lines[i]) {
			break
		}
		text += " " + l
	}
	return text, i
}

// plain takes the marks of links and emphasis away; code keeps its quotes.
func plain(s string) string {
	return strong.ReplaceAllString(link.ReplaceAllString(s, "$1"), "$1")
}

func (m *markdown) inline(s string) string {
	return code.ReplaceAllStringFunc(s, func(c string) string {
		if m.style.Color {
			return m.style.Bold(strings.Trim(c, "`"))
		}
		return c
	})
}

// wrapped breaks a text at spaces.
func wrapped(s string, width int) []string {
	var out []string
	line := ""
	for _, w := range strings.Fields(s) {
		switch {
		case line == "":
			line = w
		case term.Width(line)+1+term.Width(w) > width:
			out = append(out, line)
			line = w
		default:
			line += " " + w
		}
	}
	return append(out, line)
}

// table writes a table whose columns fit into the width: the widest give way and are wrapped.
func (m *markdown) table(lines []string, i int) int {
	var rows [][]string
	for ; i < len(lines) && strings.HasPrefix(lines[i], "|"); i++ {
		if rule.MatchString(lines[i]) {
			continue
		}
		rows = append(rows, cells(lines[i]))
	}
	writeTable(m.w, rows, m.width, func(row int, s string) string {
		if row == 0 {
			return m.style.Faint(s)
		}
		return s
	})
	return i
}

// cells splits a row of a table; \| is a bar in a cell.
func cells(line string) []string {
	line = strings.ReplaceAll(strings.Trim(strings.TrimSpace(line), "|"), `\|`, "\x00")
	out := strings.Split(line, "|")
	for i, c := range out {
		// The columns set code apart well enough.
		out[i] = strings.ReplaceAll(plain(strings.ReplaceAll(strings.TrimSpace(c), "\x00", "|")), "`", "")
	}
	return out
}

// writeTable writes rows as columns of at most width characters in all.
func writeTable(w io.Writer, rows [][]string, width int, paint func(row int, s string) string) {
	var widths, least []int
	for _, r := range rows {
		for c, s := range r {
			if c == len(widths) {
				widths, least = append(widths, 0), append(least, 0)
			}
			widths[c] = max(widths[c], term.Width(s))
			for _, word := range strings.Fields(s) {
				least[c] = max(least[c], term.Width(word))
			}
		}
	}
	const gap = 2
	for {
		sum, widest := gap*max(len(widths)-1, 0), -1
		for c, n := range widths {
			sum += n
			if n > max(least[c], 8) && (widest < 0 || n > widths[widest]) {
				widest = c
			}
		}
		if sum <= width || widest < 0 {
			break
		}
		widths[widest] = max(widths[widest]-(sum-width), least[widest], 8, widths[widest]*3/4)
	}
	for n, r := range rows {
		var cols [][]string
		height := 1
		for c, s := range r {
			cols = append(cols, wrapped(s, widths[c]))
			height = max(height, len(cols[c]))
		}
		for h := range height {
			line := ""
			for c := range cols {
				s := ""
				if h < len(cols[c]) {
					s = cols[c][h]
				}
				pad := strings.Repeat(" ", max(widths[c]-term.Width(s), 0)+gap)
				if c == len(cols)-1 {
					pad = ""
				}
				if s != "" {
					s = paint(n, s)
				}
				line += s + pad
			}
			fmt.Fprintln(w, strings.TrimRight(line, " "))
		}
	}
}
