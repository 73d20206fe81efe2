package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/optimize-hcl/optimize/core/diag"
	"github.com/optimize-hcl/optimize/core/report"
	"github.com/optimize-hcl/optimize/sdk/plugintest"
)

// checkRules is what plugin check --list --json prints.
type checkRules struct {
	Schema string            `json:"schema"`
	Rules  []plugintest.Rule `json:"rules"`
}

func (a *app) pluginCheckCommand() *cobra.Command {
	var only, artifacts, env []string
	var list bool
	var patience time.Duration
	c := &cobra.Command{
		Use:   "check BINARY",
		Short: "Check a plugin against the contract",
		Long: `Start a plugin as apply would and check what the contract asks of it: that it starts
anywhere and says nothing on stdout, that its schemas are sound, that its steps
give the same bytes in another folder, language and time zone and change nothing
that is not theirs, that it says what is wrong with a broken model, stops when it
is asked to and ends with its host. BINARY is an executable in any language, or
the name of a bundled plugin.

The suite has an ONNX classifier and a dataset that fits it. Name files of other
formats by --artifact. It is the same suite as the Go package sdk/plugintest.`,
		Example: "  optimize plugin check ./optimize-plugin-acme\n  optimize plugin check ./optimize-plugin-acme --only describe --only apply/deterministic\n  optimize plugin check ./optimize-plugin-acme --artifact openvino-ir=model.xml --json",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if list {
				return a.listRules()
			}
			if len(args) == 0 {
				return usagef("name the plugin's executable: optimize plugin check ./optimize-plugin-NAME")
			}
			o := plugintest.Options{Command: args, Only: only, Env: env, Artifacts: map[string]string{}, Patience: patience}
			if _, ok := a.Bundled[args[0]]; ok {
				exe, err := os.Executable()
				if err != nil {
					return err
				}
				o.Command = []string{exe, "plugin", "serve", args[0]}
			}
			for _, s := range artifacts {
				format, path, ok := strings.Cut(s, "=")
				if !ok || format == "" || path == "" {
					return usagef("--artifact %q is not FORMAT=PATH", s)
				}
				o.Artifacts[format] = path
			}
			for _, s := range only {
				if !knownCheck(s) {
					return usagef("there is no check or group %q; `optimize plugin check --list` has them all", s)
				}
			}
			s := report.Style{Color: a.color(a.stdout)}
			if !a.json {
				o.Progress = func(r plugintest.Result) { writeCheck(a, s, r) }
			}
			rep, err := plugintest.Check(cmd.Context(), o)
			if err != nil {
				return diag.Errorf("plugin/check", "The plugin cannot be checked", "%s.", upperFirst(err.Error()))
			}
			failed := rep.Count(plugintest.Fail)
			if failed > 0 {
				a.exit = ExitFailed
			}
			if a.json {
				return json.NewEncoder(a.stdout).Encode(rep)
			}
			writeSkipped(a, s, rep)
			word := s.Green("Sound")
			if failed > 0 {
				word = s.Red("Not sound")
			}
			_, err = fmt.Fprintf(a.stdout, "\n%s: %s %s: %d checks passed, %d failed, %d skipped.\n", word, rep.Name, rep.Version, rep.Count(plugintest.Pass), failed, rep.Count(plugintest.Skip))
			return err
		},
	}
	c.Flags().StringArrayVar(&only, "only", nil, "a check, or a group of checks such as apply; may be given again")
	c.Flags().StringArrayVar(&artifacts, "artifact", nil, "FORMAT=PATH: an artifact for steps and runtimes of that format")
	c.Flags().StringArrayVar(&env, "env", nil, "NAME=VALUE: a further variable for the plugin")
	c.Flags().BoolVar(&list, "list", false, "list the checks and run none")
	c.Flags().DurationVar(&patience, "patience", time.Minute, "how long one call may take")
	return c
}

func knownCheck(s string) bool {
	return slices.ContainsFunc(plugintest.Rules(), func(r plugintest.Rule) bool {
		return r.ID == s || strings.HasPrefix(r.ID, s+"/")
	})
}

func (a *app) listRules() error {
	rules := plugintest.Rules()
	if a.json {
		return json.NewEncoder(a.stdout).Encode(checkRules{"optimize.plugin.rules/v1", rules})
	}
	for _, r := range rules {
		fmt.Fprintf(a.stdout, "  %-28s %s\n", r.ID, r.Text)
	}
	_, err := fmt.Fprintf(a.stdout, "\n%d checks.\n", len(rules))
	return err
}

func writeCheck(a *app, s report.Style, r plugintest.Result) {
	switch r.Status {
	case plugintest.Pass:
		fmt.Fprintf(a.stdout, "  %s  %s\n", s.Green("pass"), r.ID)
	case plugintest.Fail:
		fmt.Fprintf(a.stdout, "  %s  %s\n        %s\n        %s\n", s.Red("FAIL"), r.ID, r.Rule, strings.ReplaceAll("found: "+r.Detail, "\n", "\n        "))
	}
}

// writeSkipped names the reasons for which checks were skipped, each once.
func writeSkipped(a *app, s report.Style, rep *plugintest.Report) {
	count := map[string]int{}
	var reasons []string
	for _, r := range rep.Results {
		if r.Status == plugintest.Skip {
			if count[r.Detail]++; count[r.Detail] == 1 {
				reasons = append(reasons, r.Detail)
			}
		}
	}
	for _, reason := range reasons {
		fmt.Fprintf(a.stdout, "  %s  %d: %s\n", s.Faint("skip"), count[reason], reason)
	}
}
