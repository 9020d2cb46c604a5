//go:build unix

package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/host"
)

func (a *app) restartCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restart TARGET...",
		Short: "Replace instances one after another, unnoticed",
		Long: `Replaces each instance of the targets, one at a time: the replacement is started under a free number, and when it is
ready the old one is told to stop, finishes what it has begun, and ends. Control members are restarted in place.

A target is a service (orders) or an instance (orders-1). Ctrl-C ends it after the replacement under way.`,
		Example: `  holdfast restart orders
  holdfast restart orders-1
  holdfast restart gateway orders payment`,
		Args:              targets,
		ValidArgsFunction: a.completeTargets(),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := a.client()
			defer c.Close()
			if err := checkTargets(cmd.Context(), c, args, false); err != nil {
				return err
			}
			for _, target := range args {
				began := time.Now()
				var ids []string
				err := a.following(cmd.Context(), c, target, func() (err error) {
					ids, err = c.Restart(cmd.Context(), target)
					return err
				})
				if err != nil {
					return err
				}
				a.printf("%s replaced in %s", strings.Join(ids, ", "), host.Seconds(time.Since(began)))
			}
			return nil
		},
	}
}
