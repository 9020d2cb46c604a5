//go:build unix

package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/host"
	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

func (a *app) scaleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scale [SERVICE N]",
		Short: "Set how many instances a service has, or list how many they have",
		Long: `Starts or stops instances until the service has N of them, and waits until that is so. Those that go finish what they
have begun. The system file is not changed: the next "holdfast up" starts with what it says.

A service that the system file scales by its load (autoscale) stays at the number that was set by hand, until N is auto.
Without arguments, lists what services have, and of those that are scaled by their load what that asks for.`,
		Example: `  holdfast scale                 list
  holdfast scale orders 5
  holdfast scale orders 0        none, until it is scaled up again
  holdfast scale gateway auto    as many as its load needs, again`,
		Args:              noneOr(exactly("SERVICE", "N")),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			c := a.client()
			defer c.Close()
			switch {
			case len(args) == 0:
				return a.listScales(cmd.Context(), c)
			case args[1] == "auto":
				n, err := c.Autoscale(cmd.Context(), args[0])
				if err == nil {
					a.printf("%s is scaled by its load; it has %s now", args[0], plural(n, "instance"))
				}
				return err
			}
			return a.scale(cmd.Context(), c, args[0], args[1])
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// A number below zero looks like a flag: "unknown shorthand flag: '1' in -1".
		_, word, _ := strings.Cut(err.Error(), " in ")
		if _, e := strconv.Atoi(word); e == nil {
			return wrongReplicas(word)
		}
		return cmd.Parent().FlagErrorFunc()(cmd, err)
	})
	return cmd
}

// noneOr allows no arguments beside what other does.
func noneOr(other cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return other(cmd, args)
	}
}

func (a *app) scale(ctx context.Context, c *control.Client, service, number string) error {
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > control.MaxReplicas {
		return wrongReplicas(number)
	}
	began := time.Now()
	if err := a.following(ctx, c, service, func() error { return c.Scale(ctx, service, n) }); err != nil {
		return err
	}
	a.printf("%s has %s, after %s", service, plural(n, "instance"), host.Seconds(time.Since(began)))
	return nil
}

// listScales lists how many instances services have, and why.
func (a *app) listScales(ctx context.Context, c *control.Client) error {
	info, err := c.System(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"SERVICE", "INSTANCES", "READY", "SCALED", "ASKED FOR", "WHY"}}
	for _, s := range info.Services {
		row := []string{s.Name, strconv.Itoa(s.Replicas), strconv.Itoa(s.Ready), "by hand", "-", ""}
		if by := s.Autoscale; by != nil {
			row[3] = fmt.Sprintf("%d to %d", by.Min, by.Max)
			if by.Wish > 0 {
				row[4] = strconv.Itoa(by.Wish)
			}
			row[5] = cmp.Or(by.Paused, by.Why)
			if by.Paused == "" && by.Waits != "" {
				row[5] = strings.TrimPrefix(row[5]+"; "+by.Waits, "; ")
			}
			row[5] = terminal.Clean(row[5])
		}
		rows = append(rows, row)
	}
	for n, line := range table(rows) {
		if n == 0 {
			line = a.out.Paint(terminal.Dim, line)
		}
		a.printf("%s", line)
	}
	return nil
}

func wrongReplicas(word string) error {
	return usage("N must be a number from 0 to %d, or auto, not %q", control.MaxReplicas, word)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
