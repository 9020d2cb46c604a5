//go:build unix

package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

func (a *app) killCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "kill [--all] TARGET...",
		Short: "Kill instances, as a crash would",
		Long: `Ends instances with SIGKILL: no goodbye, no cleaning up. The platform starts them again at once.

A target is an instance (orders-1) or a service that has one instance; a service of several takes --all, which leaves
its users without it for a moment. Control members are control-1, control-2 and so on.`,
		Example: `  holdfast kill orders-1
  holdfast kill orders-1 payment-2
  holdfast kill --all orders
  holdfast kill control-1`,
		Args:              targets,
		ValidArgsFunction: a.completeTargets(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.eachTarget(cmd.Context(), args, !all, "killed", func(ctx context.Context, c *control.Client, target string) ([]string, error) {
				return c.Kill(ctx, target, all)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all instances, if TARGET is a service of several")
	return cmd
}

// eachTarget does the same to all targets and says what was done. Nothing is done if one of them does not exist or, with
// single, is a service of several instances. It stops at the first error: the ones after it have not been touched.
func (a *app) eachTarget(ctx context.Context, targets []string, single bool, done string, do func(context.Context, *control.Client, string) ([]string, error)) error {
	c := a.client()
	defer c.Close()
	if err := checkTargets(ctx, c, targets, single); err != nil {
		return err
	}
	for _, target := range targets {
		ids, err := do(ctx, c, target)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			a.printf("nothing to do: no instance of %s has to be %s", target, done)
			continue
		}
		a.printf("%s %s", strings.Join(ids, ", "), done)
	}
	return nil
}

// checkTargets looks at all targets before something is done to the first. One alone is checked where it is acted on.
func checkTargets(ctx context.Context, c *control.Client, targets []string, single bool) error {
	if len(targets) < 2 {
		return nil
	}
	for _, target := range targets {
		instances, err := c.InstancesOf(ctx, target)
		switch {
		case err != nil:
			return err
		case len(instances) == 0:
			return failure.New(failure.FailedPrecondition, "%s has no instances", target)
		case single && len(instances) > 1:
			var ids []string
			for _, i := range instances {
				ids = append(ids, i.ID)
			}
			return failure.New(failure.InvalidArgument, "%s has %d instances", target, len(ids)).
				WithReason(control.ReasonAmbiguous, control.Domain).
				WithMetadata("service", target).WithMetadata("instances", strings.Join(ids, " "))
		}
	}
	return nil
}
