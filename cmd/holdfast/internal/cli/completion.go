//go:build unix

package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a script that completes commands in your shell",
		Long: `Prints a script for bash, zsh, fish or powershell. It completes commands and flags, and the names of services and
instances of the system that runs.`,
		Example: `  source <(holdfast completion bash)                                      in ~/.bashrc
  source <(holdfast completion zsh)                                       in ~/.zshrc
  holdfast completion fish > ~/.config/fish/completions/holdfast.fish`,
		Args:      exactly("SHELL"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.Out, true)
			case "zsh":
				return root.GenZshCompletion(a.Out)
			case "fish":
				return root.GenFishCompletion(a.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.Out)
			}
			return usage("no completion for %q; shells: %s", args[0], strings.Join(shells, ", "))
		},
	}
}
