// Package cli is the command `optimize`: one file a command.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/telemetry"
	"github.com/optimize-hcl/optimize/core/term"
	"github.com/optimize-hcl/optimize/core/view"
)

// Exit codes of the command.
const (
	ExitOK     = 0
	ExitFailed = 1   // the recipe or a step failed
	ExitUsage  = 2   // wrong use of the command line
	ExitEnsure = 3   // an ensure did not hold
	ExitStop   = 130 // SIGINT or SIGTERM
)

// Program is what main hands in: the version and the bundled plugins, each with the function that serves it.
type Program struct {
	Version string
	Bundled map[string]func()
}

// app is one invocation.
type app struct {
	Program
	stdout, stderr io.Writer
	json           bool
	noColor        bool
	secrets        []string                 // texts that no message may show
	hidden         atomic.Pointer[[]string] // the same, for those who write while the recipe is still being read
	looks          bool                     // the command only looks: it needs no store that can be written
	events         bool                     // with --json the command writes an event a line
	view           atomic.Pointer[view.View]
	exit           int // set by a command that ends with something else than 0 without an error to print
}

// errPrinted ends a command whose errors have been written already.
var errPrinted = errors.New("printed")

// usageError is wrong use of the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errStopped is the cause of a context that a signal ended.
var errStopped = errors.New("stopped by a signal")

// sendCommand is the argument with which this program sends what a slow collector did not take while a run lasted.
const sendCommand = "send-telemetry"

func sender() []string {
	exe, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{exe, sendCommand}
}

// Main runs the command with args (without the program's name) and gives its exit code.
func Main(args []string, p Program) int {
	// A plugin process is started with every run: it takes the short way, past the command line's machinery.
	if len(args) == 3 && args[0] == "plugin" && args[1] == "serve" {
		if serve, ok := p.Bundled[args[2]]; ok {
			serve()
			return ExitOK
		}
	}
	if len(args) == 2 && args[0] == sendCommand {
		if telemetry.Send(context.Background(), args[1]) != nil {
			return ExitFailed // nobody listens
		}
		return ExitOK
	}
	a := &app{Program: p, stdout: output(os.Stdout), stderr: os.Stderr}
	ctx, stop := a.signals(context.Background())
	defer stop()
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case errors.Is(context.Cause(ctx), errStopped):
		if err != nil && !errors.Is(err, errPrinted) && !errors.Is(err, context.Canceled) {
			a.printError(err)
		}
		return ExitStop
	case err == nil:
		return a.checkOutput(a.exit)
	case errors.Is(err, errPrinted):
		return max(a.exit, ExitFailed)
	}
	var u usageError
	if errors.As(err, &u) || isCobraUsage(err) {
		fmt.Fprintf(a.stderr, "optimize: %s\nRun `%s --help` for what it takes.\n", err, cmd.CommandPath())
		return ExitUsage
	}
	a.printError(err)
	return ExitFailed
}

// isCobraUsage recognises the errors that cobra makes itself and that no hook of ours sees; it has no type for them.
func isCobraUsage(err error) bool {
	return strings.HasPrefix(err.Error(), "required flag")
}

// signals gives a context that the first SIGINT or SIGTERM ends; the second ends the process. Plugins end with it,
// because their lease on the connection ends.
func (a *app) signals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	// A reader that goes away (apply | head) must not end the run in the middle: writes fail, the work goes on.
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		if _, ok := <-c; !ok {
			return
		}
		cancel(errStopped)
		if v := a.view.Load(); v != nil {
			v.Stopping()
		}
		if _, ok := <-c; ok {
			if v := a.view.Load(); v != nil {
				v.Abandon()
			}
			os.Exit(ExitStop)
		}
	}()
	return ctx, func() { signal.Stop(c); close(c); cancel(nil) }
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "optimize",
		Short: "Make trained models smaller and faster, and prove it",
		Long: `Optimize runs recipes: an HCL file says how a trained model becomes a smaller, faster one,
how the result is measured against the original, and what must hold.

Exit codes: 0 all held, 1 the recipe or a step failed, 2 wrong use of the command
line, 3 an ensure did not hold, 130 stopped by a signal.`,
		Example: `  optimize init recipe.hcl     bring the native libraries that the recipe needs
  optimize plan recipe.hcl     what would run, what is cached, and why not
  optimize apply recipe.hcl    run it, measure, check the budgets, write the outputs`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON instead of text")
	root.PersistentFlags().BoolVar(&a.noColor, "no-color", false, "print without colours (also: NO_COLOR)")
	// One command a line; help.go sorts them into groups.
	root.AddCommand(
		a.applyCommand(),
		a.cacheCommand(),
		a.completionCommand(),
		a.consoleCommand(),
		a.docsCommand(),
		a.fmtCommand(),
		a.graphCommand(),
		a.initCommand(),
		a.inspectCommand(),
		a.planCommand(),
		a.pluginCommand(),
		a.runsCommand(),
		a.showCommand(),
		a.validateCommand(),
		a.versionCommand(),
	)
	a.finish(root)
	return root
}

// color tells whether what goes to w may be coloured: w is a terminal, or the user insists.
func (a *app) color(w io.Writer) bool {
	if a.noColor || a.json || os.Getenv("NO_COLOR") != "" {
		return false
	}
	if force := os.Getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true
	}
	return os.Getenv("TERM") != "dumb" && term.Is(w) && term.Prepare(w)
}

// printError writes an error that has no place in a recipe, as text or JSON.
func (a *app) printError(err error) {
	var ds diag.Diags
	if !errors.As(err, &ds) {
		var d diag.Diagnostic
		if !errors.As(err, &d) {
			d = diag.Errorf("", upperFirst(err.Error()), "")
		}
		ds = diag.Diags{d}
	}
	a.printDiags(ds, nil)
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }
