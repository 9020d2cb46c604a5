//go:build unix

package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/platform/control"
)

// exactly refuses any other number of arguments than there are names, in one line that says what belongs there.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			is := "is"
			if len(names)-len(args) > 1 {
				is = "are"
			}
			return usage("%s %s missing; usage: %s", strings.Join(names[len(args):], " and "), is, cmd.UseLine())
		case len(args) > len(names):
			return usage("unexpected argument %q; usage: %s", args[len(names)], cmd.UseLine())
		}
		return nil
	}
}

// targets refuses no arguments.
func targets(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("TARGET is missing; usage: %s", cmd.UseLine())
	}
	return nil
}

// atMost refuses more than n arguments; n may be 0.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usage("unexpected argument %q; usage: %s", args[n], cmd.UseLine())
		}
		return nil
	}
}

// completeTimeout is how long a shell waits for names at a press of the Tab key.
const completeTimeout = time.Second

type completion = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective)

// completeServices offers the services of the running system, for one argument.
func (a *app) completeServices(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	services, _ := a.names(cmd)
	services = slices.DeleteFunc(services, func(s string) bool { return !strings.HasPrefix(s, typed) })
	return services, cobra.ShellCompDirectiveNoFileComp
}

// completeTargets offers services and instances, without those that are there already. With states, only instances
// in one of these.
func (a *app) completeTargets(states ...string) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		services, instances := a.names(cmd)
		out := slices.Clone(services)
		for _, i := range instances {
			if len(states) == 0 || slices.Contains(states, i.State) {
				out = append(out, i.ID+"\t"+i.State)
			}
		}
		out = slices.DeleteFunc(out, func(s string) bool {
			name, _, _ := strings.Cut(s, "\t")
			return slices.Contains(args, name) || !strings.HasPrefix(name, typed)
		})
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// names asks the running system. Without one there is nothing to offer, which is no error while somebody types.
func (a *app) names(cmd *cobra.Command) (services []string, instances []control.Instance) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	c := a.client()
	defer c.Close()
	info, err := c.System(ctx)
	if err != nil {
		return nil, nil
	}
	for _, s := range info.Services {
		services = append(services, s.Name)
	}
	if instances, err = c.Instances(ctx); err != nil {
		return services, nil
	}
	if slices.ContainsFunc(instances, func(i control.Instance) bool { return i.Service == control.ControlService }) {
		services = append(services, control.ControlService)
	}
	return services, instances
}
