package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes commands in your shell",
		Long: `Print a script that makes your shell complete commands, flags, recipes, the steps of a
recipe, plugins and runs.

bash (needs the package bash-completion):
  optimize completion bash > ~/.local/share/bash-completion/completions/optimize

zsh (the folder must stand in $fpath before compinit runs):
  optimize completion zsh > "${fpath[1]}/_optimize"

fish:
  optimize completion fish > ~/.config/fish/completions/optimize.fish

Then start a new shell. For the running one only: source <(optimize completion bash)`,
		Example:               "  source <(optimize completion bash)\n  optimize completion zsh > \"${fpath[1]}/_optimize\"",
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{noJSON: ""},
		ValidArgs:             []string{"bash", "zsh", "fish"},
		Args:                  cobra.MatchAll(between(1, 1), cobra.OnlyValidArgs),
		RunE: func(c *cobra.Command, args []string) error {
			switch root := c.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			default:
				return root.GenFishCompletion(a.stdout, true)
			}
		},
	}
}
