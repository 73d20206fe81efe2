package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"golang.org/x/term"

	"github.com/optimize-hcl/optimize/core/recipe"
)

// interactive reads expressions at a prompt. The terminal is raw only while a line is edited, so that what is printed
// in between needs no care, and a signal finds it as it was.
func (s *console) interactive(ctx context.Context) error {
	keys := &keyboard{in: os.Stdin}
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keys, os.Stdout}, "> ")
	t.AutoCompleteCallback = s.complete
	fmt.Fprintf(s.app.stdout, "Expressions of %s. Tab completes; Ctrl-D or exit leaves.\n", s.work.recipe.Path)
	var pending []byte
	for {
		t.SetPrompt("> ")
		if len(pending) > 0 {
			t.SetPrompt("… ")
		}
		line, err := readLine(ctx, t)
		if keys.interrupted {
			keys.interrupted = false
			pending = nil
			continue
		}
		switch {
		case errors.Is(err, io.EOF):
			fmt.Fprintln(s.app.stdout)
			return nil
		case errors.Is(err, term.ErrPasteIndicator): // the line is whole
		case err != nil:
			return err
		}
		if len(pending) == 0 && leaves([]byte(line)) {
			return nil
		}
		if pending = append(pending, line+"\n"...); !recipe.Complete(pending) {
			continue
		}
		s.source = pending
		s.evalAt(ctx, "<console>", pending, hcl.InitialPos)
		pending = nil
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// readLine edits one line; the context's end leaves the terminal as it was.
func readLine(ctx context.Context, t *term.Terminal) (string, error) {
	fd := int(os.Stdin.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return "", err
	}
	defer func() { _ = term.Restore(fd, old) }()
	if w, h, err := term.GetSize(fd); err == nil && w > 0 {
		_ = t.SetSize(w, h)
	}
	type result struct {
		line string
		err  error
	}
	c := make(chan result, 1)
	go func() {
		line, err := t.ReadLine()
		c <- result{line, err}
	}()
	select {
	case x := <-c:
		return x.line, x.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// keyboard turns Ctrl-C, which ends the session for the line editor, into: empty the line and take it.
type keyboard struct {
	in          io.Reader
	interrupted bool
	rest        []byte
}

const (
	ctrlC   = 0x03
	ctrlE   = 0x05 // to the end of the line
	ctrlU   = 0x15 // delete what is before
	newLine = '\r'
)

func (k *keyboard) Read(p []byte) (int, error) {
	if len(k.rest) == 0 {
		buf := make([]byte, 256)
		n, err := k.in.Read(buf)
		if err != nil {
			return 0, err
		}
		for _, c := range buf[:n] {
			if c == ctrlC {
				k.interrupted = true
				k.rest = append(k.rest, ctrlE, ctrlU, newLine)
				continue
			}
			k.rest = append(k.rest, c)
		}
	}
	n := copy(p, k.rest)
	k.rest = k.rest[n:]
	return n, nil
}

// complete is called for each key: Tab goes on with the name before the cursor as far as it is certain.
func (s *console) complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' {
		return "", 0, false
	}
	start := pos
	for start > 0 && (line[start-1] == '.' || line[start-1] == '_' || line[start-1] == '-' ||
		'0' <= line[start-1] && line[start-1] <= '9' || 'a' <= line[start-1] && line[start-1] <= 'z' || 'A' <= line[start-1] && line[start-1] <= 'Z') {
		start--
	}
	names := s.program.Names(line[start:pos])
	if len(names) == 0 || start == pos {
		return line, pos, true
	}
	common := names[0]
	for _, n := range names[1:] {
		for !strings.HasPrefix(n, common) {
			common = common[:len(common)-1]
		}
	}
	return line[:start] + common + line[pos:], start + len(common), true
}
