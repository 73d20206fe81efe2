package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/spf13/cobra"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/recipe"
	"github.com/optimize-hcl/optimize/core/term"
)

func (a *app) consoleCommand() *cobra.Command {
	var f recipeFlags
	var evals []string
	c := &cobra.Command{
		Use:   "console [RECIPE]",
		Short: "Try out expressions of a recipe",
		Long: `Evaluate expressions with the variables, locals, models, datasets and steps of a
recipe. What a cached step gave is filled in from the store, as plan does; of another
it is said what must run first. Nothing is run. Without a recipe there are functions
only.

On a terminal there are a prompt, a history (arrows) and completion (Tab); an open
bracket goes on in the next line. Ctrl-C drops the line, Ctrl-D or exit leaves.
Otherwise expressions are read from standard input, one a line; the exit code is 1
when one of them is wrong.`,
		Example:           "  optimize console recipe.hcl\n  optimize console recipe.hcl --eval 'var.max_drop * 2'\n  echo 'upper(\"a\")' | optimize console --json",
		Args:              between(0, 1),
		ValidArgsFunction: completeRecipe,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := a.openConsole(ctx, args, &f)
			if err != nil {
				return err
			}
			defer s.work.close(ctx)
			switch {
			case len(evals) > 0:
				for _, e := range evals {
					s.eval(ctx, "<eval>", []byte(e))
				}
			case term.Is(os.Stdin) && term.Is(os.Stdout) && os.Getenv("TERM") != "dumb":
				return s.interactive(ctx)
			default:
				if err := s.lines(ctx, cmd.InOrStdin()); err != nil {
					return err
				}
			}
			if s.failed {
				a.exit = ExitFailed
			}
			return nil
		},
	}
	f.register(c)
	c.Flags().StringArrayVar(&evals, "eval", nil, "evaluate this and end (may be repeated)")
	return c
}

// console is a session of expressions.
type console struct {
	app     *app
	work    *work
	program *recipe.Program
	// filled is set once values of cached results are in the scope.
	filled bool
	failed bool
	// source is everything that was read from standard input, for snippets.
	source []byte
}

// consoleResult is one line of console --json.
type consoleResult struct {
	Schema     string `json:"schema"`
	Expression string `json:"expression"`
	// Value is absent when it is wrong; unknown and sensitive parts are null.
	Value json.RawMessage `json:"value,omitempty"`
	Type  string          `json:"type,omitempty"`
	// Known tells that every part is known; After names what must run before it is.
	Known       bool           `json:"known"`
	After       []string       `json:"after,omitempty"`
	Sensitive   bool           `json:"sensitive"`
	Diagnostics *diag.Document `json:"diagnostics,omitempty"`
}

// openConsole opens the recipe that is named or that lies here; without one there is an empty program.
func (a *app) openConsole(ctx context.Context, args []string, f *recipeFlags) (*console, error) {
	a.looks = true
	path, err := recipePath(args)
	if err == nil {
		w, err := a.open(ctx, path, f, false)
		if err != nil {
			return nil, err
		}
		return &console{app: a, work: w, program: w.session.Program}, nil
	}
	dir, derr := os.Getwd()
	if derr != nil {
		return nil, derr
	}
	if len(f.vars) > 0 {
		return nil, err // variables are a recipe's
	}
	w := &work{app: a, recipe: recipe.Empty(dir)}
	p, ds := w.recipe.Check(nil, nil, nil)
	if p == nil || ds.HasErrors() {
		return nil, ds.Err()
	}
	return &console{app: a, work: w, program: p, filled: true}, nil
}

// maxInput bounds what is read from standard input.
const maxInput = 16 << 20

// lines evaluates what is read, each expression as soon as it is whole: one a line, more lines while brackets are open.
func (s *console) lines(ctx context.Context, r io.Reader) error {
	type line struct {
		text []byte
		err  error
	}
	c := make(chan line)
	go func() {
		in := bufio.NewReader(io.LimitReader(r, maxInput))
		for {
			text, err := in.ReadBytes('\n')
			select {
			case c <- line{text, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	at := hcl.InitialPos
	for {
		var l line
		select {
		case l = <-c:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s.source = append(s.source, l.text...)
		src := s.source[at.Byte:]
		switch {
		case l.err == nil && !recipe.Complete(src):
			continue
		case leaves(src):
			return nil
		}
		s.evalAt(ctx, "<stdin>", src, at)
		at = hcl.Pos{Line: at.Line + bytes.Count(src, []byte("\n")), Column: 1, Byte: len(s.source)}
		if errors.Is(l.err, io.EOF) {
			return nil
		} else if l.err != nil {
			return l.err
		}
	}
}

// leaves tells whether a line ends the session.
func leaves(src []byte) bool {
	s := strings.TrimSpace(string(src))
	return s == "exit" || s == "quit"
}

func (s *console) eval(ctx context.Context, name string, src []byte) {
	s.source = src
	s.evalAt(ctx, name, src, hcl.InitialPos)
}

// evalAt evaluates one expression and prints its value, or what is wrong with it.
func (s *console) evalAt(ctx context.Context, name string, src []byte, at hcl.Pos) {
	text := strings.TrimSpace(string(src))
	if text == "" || strings.HasPrefix(text, "#") || strings.HasPrefix(text, "//") {
		return
	}
	// What is missing is missed at the end of the line; only a heredoc needs that.
	if t := bytes.TrimRight(src, " \t\r\n"); recipe.Complete(t) {
		src = t
	}
	e, ds := s.program.ParseExpression(src, name, at)
	v := cty.DynamicVal
	if !ds.HasErrors() {
		s.fill(ctx, e)
		var more diag.Diags
		v, more = s.program.Evaluate(e)
		ds = ds.Append(more...)
	}
	s.app.hide(s.work.recipe.Secrets())
	if ds.HasErrors() {
		s.failed = true
		s.wrong(name, text, ds)
		return
	}
	if s.app.json {
		s.printJSON(text, v, e)
		return
	}
	_, _ = fmt.Fprintln(s.app.stdout, s.program.Show(v, s.waits(e)))
}

// wrong prints what is wrong with an expression.
func (s *console) wrong(name, text string, ds diag.Diags) {
	files := map[string]*hcl.File{name: {Bytes: s.source}}
	for n, f := range s.work.recipe.Files {
		files[n] = f
	}
	if !s.app.json {
		s.app.printDiags(ds, files)
		return
	}
	r := &diag.Renderer{Files: files, Hide: s.app.secrets}
	doc := r.Document(ds.Sorted())
	s.line(consoleResult{Schema: consoleSchema, Expression: text, Diagnostics: &doc})
}

const consoleSchema = "optimize.console/v1"

func (s *console) line(r consoleResult) {
	e := json.NewEncoder(s.app.stdout)
	e.SetEscapeHTML(false)
	_ = e.Encode(r) // a reader that went away
}

func (s *console) printJSON(text string, v cty.Value, e *recipe.Expression) {
	plain, known, secret := recipe.Plain(v)
	r := consoleResult{Schema: consoleSchema, Expression: text, Known: known, Sensitive: secret, Type: typeexpr.TypeString(v.Type())}
	if !known {
		r.After = s.waits(e)
	}
	if b, err := ctyjson.Marshal(plain, plain.Type()); err == nil {
		r.Value = b
	}
	s.line(r)
}

// fill puts the results of what is cached into the scope, once, when an expression refers to a block of the recipe.
func (s *console) fill(ctx context.Context, e *recipe.Expression) {
	if s.filled || len(e.Nodes) == 0 {
		return
	}
	s.filled = true
	_, ds := s.work.session.Build(ctx)
	for i := range ds {
		// What stands in the way of a run is no mistake of the expression.
		ds[i].Severity = diag.Warning
	}
	if len(ds) > 0 && ctx.Err() == nil && !s.app.json {
		s.app.printDiags(ds, s.work.recipe.Files)
	}
}

// waits names what must run before an expression is known: of the blocks that it refers to those without a value.
func (s *console) waits(e *recipe.Expression) []string {
	return slices.DeleteFunc(slices.Clone(e.Nodes), s.program.Known)
}
