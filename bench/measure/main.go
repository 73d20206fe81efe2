// Command measure runs commands side by side as whole processes and prints how their times and peak memory compare.
//
//	measure [flags] :: NAME [KEY=VALUE ...] COMMAND [ARG ...] :: NAME ...
//
// Each round runs every command once, in an order that rotates, so that a slow spell of the machine falls on all of
// them; medians are compared. {dir} in a word stands for a fresh, empty folder of that run.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"
)

// A command is one side of the comparison.
type command struct {
	name string
	env  []string
	argv []string
}

// A run is what one execution of a command cost.
type run struct {
	wall    time.Duration
	cpu     time.Duration // of the process and those that it waited for
	peak    int64         // bytes; 0 when memory was not sampled
	samples int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := measure(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		stop()
		os.Exit(1)
	}
}

func measure(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("measure", flag.ContinueOnError)
	runs := flags.Int("runs", 21, "timed runs of each command")
	warmup := flags.Int("warmup", 2, "runs of each command before the first timed one")
	memory := flags.Int("memory", 0, "further runs of each command whose peak memory is sampled (Linux)")
	against := flags.String("against", "", "name of the command that the others are compared with")
	gate := flags.Bool("gate", false, "fail when a command is slower or takes more memory than the one it is compared with")
	grow := flags.Float64("grow", 0, "fail when a command's peak memory is over this many times that of the one it is compared with; 0: any")
	limits := limitFlag{}
	flags.Var(limits, "limit", "NAME=DURATION that the median of that command must stay under (repeatable)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	commands, err := parseCommands(flags.Args())
	if err != nil {
		return err
	}
	if err := checkNames(commands, *against, limits); err != nil {
		return err
	}
	if *runs < 1 {
		return fmt.Errorf("-runs %d: at least one run is needed", *runs)
	}
	if *grow > 0 && (*memory < 1 || *against == "") {
		return errors.New("-grow: it needs -memory and -against")
	}
	if *memory > 0 && !canSample {
		return errors.New("-memory: peak memory can be sampled on Linux only")
	}

	timed := make([][]run, len(commands))
	sampled := make([][]run, len(commands))
	rounds := max(*warmup+*runs, *warmup+*memory)
	for round := range rounds {
		for i := range commands {
			at := (i + round) % len(commands)
			if round < *warmup {
				if _, err := execute(ctx, commands[at], false); err != nil {
					return err
				}
				continue
			}
			if round-*warmup < *runs {
				r, err := execute(ctx, commands[at], false)
				if err != nil {
					return err
				}
				timed[at] = append(timed[at], r)
			}
			if round-*warmup < *memory {
				r, err := execute(ctx, commands[at], true)
				if err != nil {
					return err
				}
				sampled[at] = append(sampled[at], r)
			}
		}
	}
	missed := report(out, summarise(commands, timed, sampled), *against, limits, *gate, *grow)
	if len(missed) > 0 {
		return errors.New(strings.Join(missed, "; "))
	}
	return nil
}

// parseCommands splits the words after the flags at each "::".
func parseCommands(words []string) ([]command, error) {
	var commands []command
	for len(words) > 0 {
		if words[0] != "::" {
			return nil, fmt.Errorf("%q stands where \"::\" must introduce a command", words[0])
		}
		words = words[1:]
		end := len(words)
		for i, w := range words {
			if w == "::" {
				end = i
				break
			}
		}
		spec := words[:end]
		words = words[end:]
		if len(spec) == 0 {
			return nil, errors.New("\"::\" is followed by no command")
		}
		c := command{name: spec[0]}
		rest := spec[1:]
		for len(rest) > 0 && isAssignment(rest[0]) {
			c.env = append(c.env, rest[0])
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return nil, fmt.Errorf("%s: no command after the name", c.name)
		}
		c.argv = rest
		commands = append(commands, c)
	}
	if len(commands) == 0 {
		return nil, errors.New("no command given; usage: measure [flags] :: NAME [KEY=VALUE ...] COMMAND [ARG ...]")
	}
	return commands, nil
}

func isAssignment(word string) bool {
	key, _, found := strings.Cut(word, "=")
	return found && key != "" && !strings.ContainsAny(key, "/. -{")
}

func checkNames(commands []command, against string, limits limitFlag) error {
	known := map[string]bool{}
	for _, c := range commands {
		if known[c.name] {
			return fmt.Errorf("two commands are called %q", c.name)
		}
		known[c.name] = true
	}
	if against != "" && !known[against] {
		return fmt.Errorf("-against %q: no command has this name", against)
	}
	for name := range limits {
		if !known[name] {
			return fmt.Errorf("-limit %s: no command has this name", name)
		}
	}
	return nil
}

// execute runs a command once in an environment of its own. A failing command's output is part of the error.
func execute(ctx context.Context, c command, sample bool) (run, error) {
	dir, err := os.MkdirTemp("", "measure-")
	if err != nil {
		return run{}, err
	}
	defer os.RemoveAll(dir)
	place := func(words []string) []string {
		placed := make([]string, len(words))
		for i, w := range words {
			placed[i] = strings.ReplaceAll(w, "{dir}", dir)
		}
		return placed
	}

	argv := place(c.argv)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), place(c.env)...)
	var output bytes.Buffer
	cmd.Stdout = &output
	cmd.Stderr = &output

	start := time.Now()
	if err := cmd.Start(); err != nil {
		return run{}, fmt.Errorf("%s: %w", c.name, err)
	}
	var s *sampler
	if sample {
		s = startSampler(cmd.Process.Pid)
	}
	err = cmd.Wait()
	r := run{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if s != nil {
		r.peak, r.samples = s.stop()
	}
	if err != nil {
		return run{}, fmt.Errorf("%s: %s: %w\n%s", c.name, strings.Join(argv, " "), err, tail(output.Bytes(), 4000))
	}
	return r, nil
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}

// limitFlag collects -limit NAME=DURATION.
type limitFlag map[string]time.Duration

func (l limitFlag) String() string { return "" }

func (l limitFlag) Set(value string) error {
	name, text, found := strings.Cut(value, "=")
	if !found || name == "" {
		return errors.New("want NAME=DURATION")
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	l[name] = d
	return nil
}
