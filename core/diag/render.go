package diag

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/apparentlymart/go-textseg/v15/textseg"
	"github.com/hashicorp/hcl/v2"
)

// Renderer writes diagnostics with the source lines that they are about.
type Renderer struct {
	// Files are the sources that snippets come from, by the file name in the ranges.
	Files map[string]*hcl.File
	// Width is the column at which detail is wrapped; 0 means no wrapping.
	Width int
	// Color adds terminal escape sequences.
	Color bool
	// Hide are texts that must not show: asterisks of the same length stand in their place, in snippets too.
	Hide []string
}

// veil replaces the texts to hide by as many bytes, so that what is marked stays where it is.
func (r *Renderer) veil(s string) string {
	for _, h := range r.Hide {
		if h != "" {
			s = strings.ReplaceAll(s, h, strings.Repeat("*", len(h)))
		}
	}
	return s
}

const (
	red       = "\x1b[31m"
	yellow    = "\x1b[33m"
	bold      = "\x1b[1m"
	dim       = "\x1b[2m"
	underline = "\x1b[1;4m"
	reset     = "\x1b[0m"

	// maxSnippetLines bounds a snippet: a subject that spans a whole block shows its first lines.
	maxSnippetLines = 8
	// maxMarkedLines bounds the marks: of a longer subject, such as a block, only the first line is marked.
	maxMarkedLines = 3
	// tabWidth is how a tab is drawn, so that marks stay under what they mark.
	tabWidth = 4
)

// Text writes the diagnostics for people, in the order given, a blank line after each.
func (r *Renderer) Text(w io.Writer, diags Diags) error {
	var b bytes.Buffer
	for i := range diags {
		r.text(&b, &diags[i])
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (r *Renderer) paint(code, s string) string {
	if !r.Color || s == "" {
		return s
	}
	return code + s + reset
}

func (r *Renderer) text(b *bytes.Buffer, d *Diagnostic) {
	head, hue := "Error", red
	if d.Severity == Warning {
		head, hue = "Warning", yellow
	}
	fmt.Fprintf(b, "%s %s\n", r.paint(hue, head+":"), r.paint(bold, r.veil(oneLine(d.Summary))))
	switch {
	case d.Subject != nil:
		r.snippet(b, d)
	case d.Step != "":
		fmt.Fprintf(b, "\n  in %s\n", d.Step)
	}
	if d.Detail != "" {
		b.WriteString("\n")
		b.WriteString(wrap(sanitize(r.veil(d.Detail)), r.Width))
		b.WriteString("\n")
	}
	if d.Plugin != "" {
		fmt.Fprintf(b, "\n%s\n", r.paint(dim, "(reported by plugin "+d.Plugin+")"))
	}
	b.WriteString("\n")
}

func (r *Renderer) snippet(b *bytes.Buffer, d *Diagnostic) {
	where := fmt.Sprintf("\n  on %s line %d", d.Subject.Filename, d.Subject.Start.Line)
	if in := r.enclosing(d); in != "" {
		where += ", in " + in
	}
	fmt.Fprintf(b, "%s:\n", where)

	lines, more := r.lines(d)
	if lines == nil {
		fmt.Fprintf(b, "  (the source is not at hand)\n")
		return
	}
	marked := 0
	for _, l := range lines {
		if l.from < l.to {
			marked++
		}
	}
	first := true
	for _, l := range lines {
		l = l.cropped(r.Width)
		if l.from < l.to && !first && marked > maxMarkedLines {
			l.from, l.to = 0, 0
		}
		first = first && l.from == l.to
		number := fmt.Sprintf("%5d │ ", l.number)
		if l.from == l.to {
			fmt.Fprintf(b, "%s%s\n", r.paint(dim, number), l.draw(0, len(l.text)))
			continue
		}
		before, part, after := l.draw(0, l.from), l.draw(l.from, l.to), l.draw(l.to, len(l.text))
		if r.Color {
			fmt.Fprintf(b, "%s%s%s%s\n", r.paint(dim, number), before, r.paint(underline, part), after)
			continue
		}
		fmt.Fprintf(b, "%s\n", strings.TrimRight(number+before+part+after, " "))
		fmt.Fprintf(b, "%s%s\n", "      │ ", strings.Repeat(" ", columns(before))+strings.Repeat("^", max(1, columns(part))))
	}
	if more > 0 {
		fmt.Fprintf(b, "%s\n", r.paint(dim, fmt.Sprintf("      │ … %d more lines", more)))
	}
}

// enclosing names the block around the subject as the recipe writes it; in JSON, where HCL has no such name, the step.
func (r *Renderer) enclosing(d *Diagnostic) string {
	if f := r.Files[d.Subject.Filename]; f != nil {
		if nav, ok := f.Nav.(interface{ ContextString(offset int) string }); ok {
			if s := nav.ContextString(d.Subject.Start.Byte); s != "" {
				return s
			}
		}
	}
	return d.Step
}

// line is one source line; from and to are the bytes of it that are marked.
type line struct {
	number   int
	text     string
	from, to int
}

// cropped keeps the part of a very long line that is marked, such as of JSON without line ends.
func (l line) cropped(width int) line {
	if width <= 0 || len(l.text) <= 2*width {
		return l
	}
	boundary := func(i int) int {
		for i > 0 && i < len(l.text) && !utf8.RuneStart(l.text[i]) {
			i--
		}
		return min(max(i, 0), len(l.text))
	}
	begin := boundary(l.from - width/3)
	end := boundary(begin + width)
	before, after := "", ""
	if begin > 0 {
		before = "…"
	}
	if end < len(l.text) {
		after = "…"
	}
	move := func(i int) int { return min(max(i, begin), end) - begin + len(before) }
	out := line{number: l.number, text: before + l.text[begin:end] + after}
	if l.from < l.to {
		out.from, out.to = move(l.from), move(l.to)
	}
	return out
}

func (l line) draw(from, to int) string {
	return strings.ReplaceAll(sanitize(l.text[from:to]), "\t", strings.Repeat(" ", tabWidth))
}

// lines cuts the source lines that subject and context cover. Lines past the bound are counted, not given.
func (r *Renderer) lines(d *Diagnostic) (out []line, more int) {
	f := r.Files[d.Subject.Filename]
	if f == nil || f.Bytes == nil {
		return nil, 0
	}
	mark := *d.Subject
	if mark.End.Byte <= mark.Start.Byte {
		mark.End.Byte = mark.Start.Byte + 1 // an empty range points at the place before a character
	}
	first, last := mark.Start.Byte, mark.End.Byte
	if d.Context != nil && d.Context.Filename == mark.Filename {
		first, last = min(first, d.Context.Start.Byte), max(last, d.Context.End.Byte)
	}
	start, number := 0, 1
	for start <= len(f.Bytes) {
		end, next := len(f.Bytes), len(f.Bytes)+1
		if i := bytes.IndexByte(f.Bytes[start:], '\n'); i >= 0 {
			end, next = start+i, start+i+1
		}
		if start >= last && len(out) > 0 {
			break
		}
		if next > first && (start < last || len(out) == 0) {
			text := r.veil(strings.TrimSuffix(string(f.Bytes[start:end]), "\r"))
			if len(out) == maxSnippetLines {
				more++
			} else {
				out = append(out, clip(line{number: number, text: text}, mark, start))
			}
		}
		start, number = next, number+1
	}
	return out, more
}

// clip marks the part of a line that the range covers, without the white space around it.
func clip(l line, mark hcl.Range, start int) line {
	l.from = min(max(mark.Start.Byte-start, 0), len(l.text))
	l.to = min(max(mark.End.Byte-start, 0), len(l.text))
	if l.from >= l.to {
		if mark.Start.Byte-start >= len(l.text) && mark.Start.Byte >= start && mark.Start.Byte-start <= len(l.text)+1 {
			l.text += " " // the place is the end of the line
			l.from, l.to = len(l.text)-1, len(l.text)
			return l
		}
		l.from, l.to = 0, 0
		return l
	}
	for l.from < l.to && (l.text[l.from] == ' ' || l.text[l.from] == '\t') {
		l.from++
	}
	for l.to > l.from && (l.text[l.to-1] == ' ' || l.text[l.to-1] == '\t') {
		l.to--
	}
	return l
}

// columns counts grapheme clusters: what a reader sees as characters.
func columns(s string) int {
	n, err := textseg.TokenCount([]byte(s), textseg.ScanGraphemeClusters)
	if err != nil {
		return utf8.RuneCountInString(s)
	}
	return n
}

// sanitize keeps control characters of a recipe or a plugin away from the terminal.
func sanitize(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' {
			return c
		}
		if c < ' ' || c == 0x7f || (c >= 0x80 && c < 0xa0) {
			return '\uFFFD'
		}
		return c
	}, s)
}

func oneLine(s string) string { return strings.Join(strings.Fields(sanitize(s)), " ") }

// wrap breaks lines at spaces. Lines that start with a space are kept as they are: lists and quoted source.
func wrap(s string, width int) string {
	var out []string
	for _, l := range strings.Split(strings.TrimRight(s, "\n"), "\n") {
		if width <= 0 || strings.HasPrefix(l, " ") || columns(l) <= width {
			out = append(out, strings.TrimRight(l, " "))
			continue
		}
		var cur string
		for _, word := range strings.Fields(l) {
			switch {
			case cur == "":
				cur = word
			case columns(cur)+1+columns(word) > width:
				out = append(out, cur)
				cur = word
			default:
				cur += " " + word
			}
		}
		out = append(out, cur)
	}
	return strings.Join(out, "\n")
}
