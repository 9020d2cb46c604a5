//go:build unix

package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/host"
	"github.com/holdfast-go/holdfast/platform/control"
)

func (a *app) downCommand() *cobra.Command {
	var detach bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the running system",
		Long: `Stops the running system as Ctrl-C does where it was started: users' requests are finished, then services stop, those
first that others do not need, then the control plane. Data is kept. Waits until all is gone.`,
		Example: `  holdfast down
  holdfast down --detach         do not wait`,
		Args:              atMost(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := a.client()
			defer c.Close()
			ctx := cmd.Context()
			info, err := c.System(ctx)
			if err != nil {
				return err
			}
			if detach {
				return c.Down(ctx)
			}
			began := time.Now()
			if err := a.watchDown(ctx, c); err != nil {
				return err
			}
			a.printf("%s is down, after %s", info.System, host.Seconds(time.Since(began)))
			return nil
		},
	}
	cmd.Flags().BoolVar(&detach, "detach", false, "return as soon as the stop has begun")
	return cmd
}

// watchDown stops the system and prints what stops until nothing is left that could tell.
func (a *app) watchDown(ctx context.Context, c *control.Client) error {
	connected, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- c.Events(ctx, func() { close(connected) }, func(e control.Event) error {
			if e.State != "draining" || e.Instance == "" {
				a.printf("%s", a.eventLine(e))
			}
			return nil
		})
	}()
	select {
	case <-connected:
	case err := <-ended:
		return err
	}
	if err := c.Down(ctx); err != nil {
		return err
	}
	return <-ended
}
