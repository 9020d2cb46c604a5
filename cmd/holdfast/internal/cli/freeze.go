//go:build unix

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/platform/control"
)

func (a *app) freezeCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "freeze [--all] TARGET...",
		Short: "Freeze instances: alive, connected, and silent",
		Long: `Stops the processes of instances with SIGSTOP: their connections stay open and nothing is answered, as on a machine
that hangs. They stay frozen until "holdfast thaw".

Targets are those of "holdfast kill".`,
		Example: `  holdfast freeze orders-1
  holdfast freeze --all control       all control members: discovery goes on from what is known`,
		Args:              targets,
		ValidArgsFunction: a.completeTargets(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachTarget(cmd.Context(), args, !all, "frozen", func(ctx context.Context, c *control.Client, target string) ([]string, error) {
				return c.Freeze(ctx, target, all)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all instances, if TARGET is a service of several")
	return cmd
}
