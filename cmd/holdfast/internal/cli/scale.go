//go:build unix

package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/host"
	"github.com/holdfast-go/holdfast/platform/control"
)

func (a *app) scaleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scale SERVICE N",
		Short: "Set how many instances a service has",
		Long: `Starts or stops instances until the service has N of them, and waits until that is so. Those that go finish what they
have begun. The system file is not changed: the next "holdfast up" starts with what it says.`,
		Example: `  holdfast scale orders 5
  holdfast scale orders 0        none, until it is scaled up again`,
		Args:              exactly("SERVICE", "N"),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			service := args[0]
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 0 || n > control.MaxReplicas {
				return wrongReplicas(args[1])
			}
			c := a.client()
			defer c.Close()
			began := time.Now()
			err = a.following(cmd.Context(), c, service, func() error { return c.Scale(cmd.Context(), service, n) })
			if err != nil {
				return err
			}
			a.printf("%s has %s, after %s", service, plural(n, "instance"), host.Seconds(time.Since(began)))
			return nil
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

func wrongReplicas(word string) error {
	return usage("N must be a number from 0 to %d, not %q", control.MaxReplicas, word)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
