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
		Short: "Restart instances one after another, unnoticed",
		Long: `Restarts each instance of the targets, one at a time: it is told to stop, finishes what it has begun, ends, and is started
again under its name. Before the first one stops, another instance is started under a free number; it stands in and is
stopped after the last. Control members have no stand-in.

What is started is the program as it is now. One that "up" has built from Go is in the system's data directory, where a new version
of it can be built: go build -o .holdfast/shop/bin/orders ./orders

A target is a service (orders) or an instance (orders-1). Ctrl-C ends it after the instance under way.`,
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
