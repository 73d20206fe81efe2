package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/optimize-hcl/optimize/core/term"
)

// Markdown writes a run for a comment on a pull request: GitHub's and GitLab's dialect. Texts of the recipe and of plugins
// are escaped: they make no links, no mentions and no HTML.
func Markdown(w io.Writer, r *Run) error {
	var b bytes.Buffer
	mark := map[string]string{"ok": "✅", "stopped": "⏹️"}[r.Status]
	if mark == "" {
		mark = "❌"
	}
	fmt.Fprintf(&b, "### %s %s: %s\n\n", mark, mdText(r.title()), r.verdict())
	fmt.Fprintf(&b, "Run %s of %s with optimize %s, %s.\n", mdCode(r.ID), mdCode(r.Recipe), mdText(r.Version), took(r.Duration))
	for i := range r.Evaluations {
		mdEvaluation(&b, &r.Evaluations[i])
	}
	mdDiagnostics(&b, r)
	mdOutputs(&b, r)
	mdSteps(&b, r)
	_, err := w.Write(b.Bytes())
	return err
}

func mdEvaluation(b *bytes.Buffer, e *Evaluation) {
	fmt.Fprintf(b, "\n#### %s\n\n", mdText(heading(e)))
	rows := grid(e)
	for i, r := range rows {
		cells := make([]string, len(r))
		for k, c := range r {
			if k == 0 && i > 0 {
				cells[k] = mdCode(c)
			} else {
				cells[k] = mdText(c)
			}
		}
		mdRow(b, cells...)
		if i == 0 {
			fmt.Fprintf(b, "|---|%s\n", strings.Repeat("---:|", len(r)-1))
		}
	}
	first := true
	for _, m := range e.Measurements {
		line := runsAs(e, m)
		if line == "" {
			continue
		}
		if first {
			b.WriteString("\n")
		}
		first = false
		fmt.Fprintf(b, "- %s runs %s\n", mdCode(m.Name), mdText(line))
	}
	if len(e.Ensures) == 0 {
		return
	}
	b.WriteString("\n")
	mdRow(b, "ensure", "", "")
	b.WriteString("|---|---|---|\n")
	for _, c := range e.Ensures {
		if c.OK {
			mdRow(b, mdCode(c.Name), "✅ held", mdCode(c.Condition))
		} else {
			mdRow(b, mdCode(c.Name), "❌ missed", mdText(c.Message))
		}
	}
}

func mdDiagnostics(b *bytes.Buffer, r *Run) {
	for _, d := range r.Diagnostics {
		word := "❌ Error"
		if d.Severity == "warning" {
			word = "⚠️ Warning"
		}
		fmt.Fprintf(b, "\n**%s: %s**\n", word, mdText(d.Summary))
		where := d.Step
		if d.Range != nil {
			where = fmt.Sprintf("%s line %d", d.Range.Filename, d.Range.Start.Line)
		}
		if where != "" {
			fmt.Fprintf(b, "%s\n", mdCode(where))
		}
		if d.Detail != "" {
			text := term.CleanLines(d.Detail)
			fence := strings.Repeat("`", max(3, longestRun(text, '`')+1))
			fmt.Fprintf(b, "\n%stext\n%s\n%s\n", fence, text, fence)
		}
	}
}

func mdOutputs(b *bytes.Buffer, r *Run) {
	if len(r.Outputs) == 0 {
		return
	}
	b.WriteString("\n")
	mdRow(b, "output", "", "size", "SHA-256")
	b.WriteString("|---|---|---:|---|\n")
	for _, o := range r.Outputs {
		what, size, digest := "", "", ""
		switch {
		case o.Path != "":
			what, size, digest = mdCode(o.Path), Bytes(o.Size), mdCode(short(o.Digest))
		case o.Value != nil:
			what = mdCode(string(o.Value))
		}
		if !o.Published {
			what += " (not written)"
		}
		mdRow(b, mdCode(o.Name), what, size, digest)
	}
}

func mdSteps(b *bytes.Buffer, r *Run) {
	steps := r.steps()
	if len(steps) == 0 {
		return
	}
	counts := map[string]int{}
	for _, a := range steps {
		counts[a.Status]++
	}
	var sum []string
	for _, s := range []string{"done", "cached", "failed", "skipped", "stopped"} {
		if counts[s] > 0 {
			sum = append(sum, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	fmt.Fprintf(b, "\n<details><summary>What was done: %s</summary>\n\n", strings.Join(sum, ", "))
	mdRow(b, "", "type", "status", "time", "")
	b.WriteString("|---|---|---|---:|---|\n")
	var tables bytes.Buffer
	for i := range steps {
		a := &steps[i]
		f := FactsOf(a.Result)
		var notes []string
		if len(f.Did) > 0 && a.Kind == "step" {
			notes = append(notes, mdText(strings.Join(f.Did, " · ")))
		}
		if a.Kind == "step" {
			for _, l := range f.Left {
				notes = append(notes, mdText(l))
			}
			for k := range f.Tables {
				mdFacts(&tables, a.Addr, &f.Tables[k])
			}
		}
		if why := a.reasons(); why != "" {
			notes = append(notes, mdText(why))
		}
		kind := ""
		if a.Type != "" {
			kind = mdCode(a.Type)
		}
		mdRow(b, mdCode(a.Addr), kind, mdText(a.Status), took(a.Duration), strings.Join(notes, "<br>"))
	}
	b.Write(tables.Bytes())
	b.WriteString("\n</details>\n")
}

// mdFacts writes a table of what a step says about its work.
func mdFacts(b *bytes.Buffer, addr string, t *FactTable) {
	fmt.Fprintf(b, "\n%s %s\n\n", mdCode(addr), mdText(t.Title))
	row := func(cells []string) {
		escaped := make([]string, len(cells))
		for i, c := range cells {
			escaped[i] = mdText(c)
		}
		mdRow(b, escaped...)
	}
	columns := len(t.Head)
	if t.Head == nil {
		columns = 2
		row(make([]string, columns))
	} else {
		row(t.Head)
	}
	b.WriteString("|" + strings.Repeat("---|", columns) + "\n")
	for _, r := range t.Rows {
		row(r)
	}
	if t.More > 0 {
		fmt.Fprintf(b, "\nand %d more\n", t.More)
	}
}

func mdRow(b *bytes.Buffer, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// mdText escapes a text. A comment in the middle keeps @name and #12 from calling people and linking issues: what
// renders comments does that after it has undone every other escape.
func mdText(s string) string {
	var b strings.Builder
	for _, c := range term.Clean(s) {
		switch c {
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '&':
			b.WriteString("&amp;")
		case '@', '#':
			b.WriteString("\\" + string(c) + "<!-- -->")
		case ':':
			b.WriteString(":")
		case '\\', '`', '*', '_', '[', ']', '|', '~', '!', '$':
			b.WriteString("\\" + string(c))
		default:
			b.WriteRune(c)
		}
	}
	return strings.NewReplacer("://", ":<!-- -->//", "www.", "www<!-- -->.").Replace(b.String())
}

// mdCode makes a span of code that may stand in a table.
func mdCode(s string) string {
	s = term.Clean(s)
	if strings.TrimSpace(s) == "" {
		return ""
	}
	fence := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + strings.ReplaceAll(s, "|", "\\|") + fence
}

func longestRun(s string, c byte) int {
	most, run := 0, 0
	for i := range len(s) {
		if s[i] != c {
			run = 0
			continue
		}
		run++
		most = max(most, run)
	}
	return most
}
