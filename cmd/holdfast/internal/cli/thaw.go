//go:build unix

package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/platform/control"
)

func (a *app) thawCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "thaw TARGET...",
		Short: "Let frozen instances go on",
		Long: `Lets frozen instances go on where they were stopped. A service is thawed whole; what is not frozen is left
alone.`,
		Example: `  holdfast thaw orders-1
  holdfast thaw control`,
		Args:              targets,
		ValidArgsFunction: a.completeTargets("frozen"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachTarget(cmd.Context(), args, false, "thawed", func(ctx context.Context, c *control.Client, target string) ([]string, error) {
				return c.Thaw(ctx, target)
			})
		},
	}
	cmd.Flags().Bool("all", true, "a service is always thawed whole; here so that what froze it can be typed again")
	return cmd
}
