//go:build unix

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/drivers"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/policy/policystore"
)

// policyTimeout bounds a call to the engine of the live settings.
const policyTimeout = 5 * time.Second

// policyOptions are the flags of all policy commands.
type policyOptions struct {
	config   string
	insecure bool
}

func (a *app) policyCommand() *cobra.Command {
	var opts policyOptions
	cmd := &cobra.Command{
		Use:   "policy COMMAND",
		Short: "Change how services are called and serve, while they run",
		Long: `Shows and changes the live policies: timeouts, attempts, hedges, balancing, limits and quotas of each service. A change is
in force in all running processes within a second. A policy that is wrong is refused with every reason, here and by the
processes, and the one before stays. Policies in code and in the system file hold where a live one says nothing.

The policies are in the live settings of the running system, or in those that --config names.`,
		Example: `  holdfast policy ls
  holdfast policy get orders > orders.yaml
  holdfast policy set orders orders.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			var names []string
			for _, c := range cmd.Commands() {
				names = append(names, c.Name())
			}
			guess := ""
			if g := control.Suggest(args[0], names); g != "" {
				guess = "did you mean " + g + "? "
			}
			return usage("no command %q; %scommands: %s", args[0], guess, strings.Join(names, ", "))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := cmd.PersistentFlags()
	f.StringVar(&opts.config, "config", a.Getenv("HOLDFAST_CONFIG"),
		"`URL` of the live settings, such as etcd://127.0.0.1:2379 or file:DIR; HOLDFAST_CONFIG sets the default")
	insecure, _ := strconv.ParseBool(a.Getenv("HOLDFAST_INSECURE")) // what is neither true nor false allows nothing
	f.BoolVar(&opts.insecure, "insecure", insecure, "allow plaintext beyond loopback")
	cmd.AddCommand(a.policyLsCommand(&opts), a.policyGetCommand(&opts), a.policySetCommand(&opts), a.policyRmCommand(&opts), a.policyCheckCommand())
	for _, c := range cmd.Commands() {
		c.DisableFlagsInUseLine = true
	}
	return cmd
}

func (a *app) policyLsCommand(opts *policyOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ls [--json]",
		Short:   "List the live policies",
		Long:    "Lists the services that have a live policy, with its revision, and what is wrong with those that processes refuse.",
		Example: "  holdfast policy ls\n  holdfast policy ls --config etcd://10.0.0.1:2379",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), opts, func(ctx context.Context, s *config.Store, _ control.Info) error {
				entries, err := s.List(ctx, policystore.Prefix)
				if err != nil {
					return err
				}
				return a.printPolicies(entries, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of objects with service, revision, problems")
	return cmd
}

// policyRow is a live policy in a list.
type policyRow struct {
	Service  string   `json:"service"`
	Revision uint64   `json:"revision"`
	Problems []string `json:"problems,omitempty"` // why it is refused
}

func (a *app) printPolicies(entries []config.Entry, asJSON bool) error {
	out := make([]policyRow, 0, len(entries))
	for _, e := range entries {
		row := policyRow{Service: strings.TrimPrefix(e.Key, policystore.Prefix), Revision: e.Revision}
		err := e.Err
		if _, ok := policystore.Service(e.Key); !ok {
			err = errors.New("not the name of a service")
		} else if err == nil {
			_, err = policy.Parse(row.Service, e.Value)
		}
		if err != nil {
			row.Problems = strings.Split(err.Error(), "\n")
		}
		out = append(out, row)
	}
	slices.SortFunc(out, func(a, b policyRow) int { return cmp.Compare(a.Service, b.Service) })
	if asJSON {
		enc := json.NewEncoder(output{a})
		enc.SetIndent("", "  ")
		return enc.Encode(out)
	}
	rows := [][]string{{"SERVICE", "REVISION", "STATE"}}
	for _, p := range out {
		state := a.out.Paint(terminal.Green, "valid")
		if len(p.Problems) > 0 {
			state = a.out.Paint(terminal.Red, "refused") + ": " + terminal.Clean(p.Problems[0])
			if more := len(p.Problems) - 1; more > 0 {
				state += fmt.Sprintf(" (and %s)", plural(more, "more problem"))
			}
		}
		rows = append(rows, []string{terminal.Clean(p.Service), strconv.FormatUint(p.Revision, 10), state})
	}
	for n, line := range table(rows) {
		if n == 0 {
			line = a.out.Paint(terminal.Dim, line)
		}
		a.printf("%s", line)
	}
	return nil
}

func (a *app) policyGetCommand(opts *policyOptions) *cobra.Command {
	var effective bool
	cmd := &cobra.Command{
		Use:   "get [--effective] SERVICE",
		Short: "Print the live policy of a service",
		Long: `Prints the live policy of a service as it was set. With --effective all other keys are there as comments, with their
defaults; policies in code and in the system file are not known here.`,
		Example:           "  holdfast policy get orders\n  holdfast policy get --effective orders",
		Args:              exactly("SERVICE"),
		ValidArgsFunction: a.completePolicies(opts),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), opts, func(ctx context.Context, s *config.Store, _ control.Info) error {
				key, err := policyKey(args[0])
				if err != nil {
					return err
				}
				e, found, err := s.Get(ctx, key)
				switch {
				case err != nil:
					return err
				case !found:
					return fmt.Errorf("%s has no live policy", args[0])
				case e.Err != nil:
					return e.Err
				case effective:
					p, err := policy.Parse(args[0], e.Value)
					if err != nil {
						return err
					}
					e.Value = policy.Effective(p)
				}
				_, err = output{a}.Write(e.Value)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&effective, "effective", false, "with all other keys and their defaults")
	return cmd
}

func (a *app) policySetCommand(opts *policyOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "set SERVICE FILE",
		Short: "Put a live policy in force",
		Long: `Reads the policy of a service from FILE, or from standard input if that is "-", and puts it in force in all running
processes. It takes the place of the one before as a whole. Nothing is changed if anything is wrong with it.`,
		Example: `  holdfast policy set orders orders.yaml
  echo 'calls: {timeout: 2s, hedge: off}' | holdfast policy set orders -`,
		Args: exactly("SERVICE", "FILE"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			names, directive := a.completeServices(cmd, args, typed)
			return slices.DeleteFunc(names, func(s string) bool { return s == control.ControlService }), directive
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := policyKey(args[0])
			if err != nil {
				return err
			}
			name, document, err := a.readPolicy(args[1])
			if err != nil {
				return err
			}
			if _, err := policy.Parse(name, document); err != nil {
				return wrongPolicy(err)
			}
			return a.withStore(cmd.Context(), opts, func(ctx context.Context, s *config.Store, info control.Info) error {
				revision, err := s.Put(ctx, key, document)
				if err != nil {
					return err
				}
				a.printf("the policy of %s is set, revision %d", args[0], revision)
				a.noteUnknown(args[0], info)
				return nil
			})
		},
	}
}

// noteUnknown says that a service is not one of the running system, which may be meant.
func (a *app) noteUnknown(service string, info control.Info) {
	var names []string
	for _, s := range info.Services {
		names = append(names, s.Name)
	}
	if len(names) == 0 || slices.Contains(names, service) {
		return
	}
	guess := ""
	if g := control.Suggest(service, names); g != "" {
		guess = "; did you mean " + g + "?"
	}
	fmt.Fprintf(a.Err, "note: the running system has no service %q%s\n", service, guess)
}

func (a *app) policyRmCommand(opts *policyOptions) *cobra.Command {
	return &cobra.Command{
		Use:               "rm SERVICE",
		Short:             "Remove the live policy of a service",
		Long:              "Removes the live policy of a service. What code and the system file say is in force again, within a second.",
		Example:           "  holdfast policy rm orders",
		Args:              exactly("SERVICE"),
		ValidArgsFunction: a.completePolicies(opts),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := policyKey(args[0])
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), opts, func(ctx context.Context, s *config.Store, _ control.Info) error {
				found, err := s.Delete(ctx, key)
				if err != nil {
					return err
				}
				if !found {
					return fmt.Errorf("%s has no live policy", args[0])
				}
				a.printf("the policy of %s is removed", args[0])
				return nil
			})
		},
	}
}

func (a *app) policyCheckCommand() *cobra.Command {
	var effective bool
	cmd := &cobra.Command{
		Use:   "check [--effective] PATH",
		Short: "Say what is wrong with a policy, without setting it",
		Long: `Reads a file with the policy of one service or with those of several by their names, or a directory with a file for each,
and reports everything that is wrong. "-" is standard input.`,
		Example: "  holdfast policy check orders.yaml\n  holdfast policy check --effective policies/",
		Args:    exactly("PATH"),
		RunE: func(_ *cobra.Command, args []string) error {
			found, err := a.loadPolicies(args[0])
			if err != nil {
				return wrongPolicy(err)
			}
			if !effective {
				a.printf("%d valid", len(found))
				return nil
			}
			for _, p := range found {
				if p.service != "" {
					a.printf("# %s", p.service)
				}
				if _, err := (output{a}).Write(policy.Effective(p.Service)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&effective, "effective", false, "print all keys, with the defaults of those that are not given")
	return cmd
}

// namedPolicy is the policy of a service, whose name is not known if it stands alone in a file.
type namedPolicy struct {
	service string
	policy.Service
}

func (a *app) loadPolicies(path string) ([]namedPolicy, error) {
	if info, err := os.Stat(path); path != "-" && err == nil && info.IsDir() {
		all, err := policy.Load(path)
		return sortedPolicies(all), err
	}
	name, document, err := a.readPolicy(path)
	if err != nil {
		return nil, err
	}
	one, err := policy.Parse(name, document)
	if err == nil {
		return []namedPolicy{{Service: one}}, nil
	}
	if all, e := policy.ParseAll(name, document); e == nil {
		return sortedPolicies(all), nil
	} else if !aboutOne(document) {
		err = e
	}
	return nil, err
}

// aboutOne guesses whether a document that is wrong was meant to be that of one service.
func aboutOne(document []byte) bool {
	for line := range strings.Lines(string(document)) {
		if key, _, ok := strings.Cut(line, ":"); ok && control.Suggest(key, []string{"calls", "serves"}) != "" {
			return true
		}
	}
	return false
}

func sortedPolicies(all map[string]policy.Service) []namedPolicy {
	out := make([]namedPolicy, 0, len(all))
	for name, p := range all {
		out = append(out, namedPolicy{name, p})
	}
	slices.SortFunc(out, func(a, b namedPolicy) int { return cmp.Compare(a.service, b.service) })
	return out
}

// readPolicy reads one byte more than is allowed at most, so that the parser sees that it is too much.
func (a *app) readPolicy(path string) (name string, document []byte, err error) {
	in := a.In
	if name = "standard input"; path != "-" {
		name = path
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil, usage("there is no %s", path)
		}
		if err != nil {
			return "", nil, err
		}
		defer f.Close()
		in = f
	}
	document, err = io.ReadAll(io.LimitReader(in, policy.MaxBytes*16+1))
	return name, document, err
}

// wrongPolicy puts several problems below each other.
func wrongPolicy(err error) error {
	var problems policy.Problems
	if errors.As(err, &problems) && len(problems) > 1 {
		return usage("the policy has %s\n%s", plural(len(problems), "problem"), problems.Error())
	}
	return err
}

func policyKey(service string) (string, error) {
	if !policy.ValidName(service) {
		return "", usage("%q is no name of a service", service)
	}
	return policystore.Key(service), nil
}

// withStore calls f with the live settings, and with what is known of the running system if that said where they are.
func (a *app) withStore(ctx context.Context, opts *policyOptions, f func(context.Context, *config.Store, control.Info) error) error {
	ctx, cancel := context.WithTimeout(ctx, policyTimeout)
	defer cancel()
	url, info := opts.config, control.Info{}
	if url == "" {
		c := a.client()
		defer c.Close()
		var err error
		if info, err = c.System(ctx); err != nil {
			return err
		}
		if url = info.Config; url == "" {
			return fmt.Errorf("the system %s has no live settings", info.System)
		}
	}
	// In a network of namespaces only this machine is.
	d, err := holdfast.OpenLive(url, opts.insecure || info.Network != "", drivers.All()...)
	if err != nil {
		return usage("%v", err)
	}
	if d == nil {
		return usage("--config %s: there are no live settings", url)
	}
	defer func() { _ = d.Close() }() // nothing is open that matters
	s := config.New(d, config.Config{CallTimeout: policyTimeout})
	defer func() { _ = s.Close() }()
	return f(ctx, s, info)
}

// completePolicies offers the services that have a live policy.
func (a *app) completePolicies(opts *policyOptions) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completeTimeout)
		defer cancel()
		var names []string
		_ = a.withStore(ctx, opts, func(ctx context.Context, s *config.Store, _ control.Info) error {
			entries, err := s.List(ctx, policystore.Prefix)
			for _, e := range entries {
				if name, ok := policystore.Service(e.Key); ok && strings.HasPrefix(name, typed) {
					names = append(names, name)
				}
			}
			return err
		}) // which is no error while somebody types
		slices.Sort(names)
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
