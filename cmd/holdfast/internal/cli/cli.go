//go:build unix

// Package cli is the command line: one file for each command, thin over the packages that do the work. A command
// that shows or steers a running system talks to its control API; up runs a system (package host).
//
// Exit codes: 0 done, 1 failed, 2 wrong use. Errors are one line on standard error, "holdfast COMMAND: what is wrong".
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/host"
	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/system"
)

// Process is what a command line needs from the process it runs in.
type Process struct {
	Args       []string // with the program's name
	In         io.Reader
	Out, Err   io.Writer
	Getenv     func(string) string
	Environ    func() []string
	Interrupts <-chan os.Signal // each one is a Ctrl-C, but SIGHUP only as the first; nil for none
	SelfArgs   []string         // what this program wants before a command when it calls itself; empty but in tests
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// Main runs one command line and returns its exit code. The first interrupt ends the command's context; what a second
// one does is up's business.
func Main(p Process) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a := &app{
		Process: p,
		name:    invocation(p.Args[0], p.Getenv),
		out:     terminal.Detect(p.Out, p.Getenv),
		again:   make(chan struct{}, 2),
	}
	done := make(chan struct{})
	defer close(done)
	go a.watch(p.Interrupts, done, cancel)

	root := a.root()
	root.SetArgs(p.Args[1:])
	root.SetIn(p.In)
	root.SetOut(output{a})
	root.SetErr(p.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = a.lostOutput()
	}
	var verdict *verdictError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &verdict):
		return verdict.verdict.ExitCode() // all has been said
	}
	fmt.Fprintf(p.Err, "%s: %s\n", strings.TrimSpace(cmd.CommandPath()), a.explain(cmd, err))
	return exitCode(err)
}

// app is one run of the command line.
type app struct {
	Process
	name  string            // how the user called this program
	out   terminal.Features // of Out
	again chan struct{}     // interrupts after the first

	control string // --control

	unread bool       // output may be lost: this is up
	mu     sync.Mutex // guards lost
	lost   error      // the first error of writing to Out
}

// watch ends the context at the first interrupt and passes on that there were more.
func (a *app) watch(interrupts <-chan os.Signal, done <-chan struct{}, cancel func()) {
	for first := true; ; first = false {
		var sig os.Signal
		select {
		case <-done:
			return
		case sig = <-interrupts:
		}
		if first {
			cancel()
			continue
		}
		if sig == syscall.SIGHUP {
			continue // the kernel and the shell each send one when a terminal closes: nobody is in a hurry
		}
		select {
		case a.again <- struct{}{}:
		default:
		}
	}
}

func (a *app) root() *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Runs systems of services that stay up",
		Long: `Holdfast runs a system of services on this machine: it builds them, starts a control plane of three members (etcd,
and NATS for messages) and every service as processes of their own, keeps them running, and forwards users to instances
that work.`,
		Example: `  holdfast up examples/shop      run the system of that directory; Ctrl-C stops it
  holdfast ps                    what runs
  holdfast logs -f orders        what the service orders says
  holdfast kill orders-1         what happens when one dies
  holdfast restart orders        replace its instances one after another
  holdfast down                  stop the system from another terminal`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args:              a.unknownCommand,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkControl() },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				a.printVersion()
				return nil
			}
			return cmd.Help()
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.Flags().BoolVar(&showVersion, "version", false, "print the version of this program")
	root.PersistentFlags().StringVar(&a.control, "control", cmp.Or(a.Getenv("HOLDFAST_CONTROL"), control.DefaultAddr),
		"`ADDR` of the running system's control API; HOLDFAST_CONTROL in the environment sets the default")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%s; see %s --help", parsed.ReplaceAllString(err.Error(), "not a number, or too large a one"), cmd.CommandPath())
	})
	root.AddCommand(
		a.upCommand(), a.psCommand(), a.topCommand(), a.traceCommand(), a.explainCommand(), a.consoleCommand(), a.tokenCommand(), a.logsCommand(), a.eventsCommand(), a.killCommand(), a.freezeCommand(), a.thawCommand(), a.restartCommand(),
		a.scaleCommand(), a.policyCommand(), a.queueCommand(), a.drillCommand(), a.drillGuardCommand(), a.exportCommand(), a.downCommand(), a.versionCommand(), a.completionCommand(), a.memberCommand(), a.guardCommand(),
	)
	root.SetHelpCommand(a.helpCommand())
	for _, cmd := range root.Commands() {
		cmd.DisableFlagsInUseLine = true
	}
	return root
}

// parsed is what Go says of a value that is no number, or none that there can be.
var parsed = regexp.MustCompile(`strconv\.\w+: parsing ".*": (?:invalid syntax|value out of range)`)

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			target, _, err := cmd.Root().Find(args)
			if err != nil || target == cmd.Root() && len(args) > 0 {
				return a.unknownCommand(cmd, args)
			}
			target.InitDefaultHelpFlag() // it is only there once a command has run
			return target.Help()
		},
	}
}

// unknownCommand is the root's argument check: whatever is left there is no command.
func (a *app) unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Root().Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	guess := ""
	if g := control.Suggest(args[0], names); g != "" {
		guess = "did you mean " + g + "? "
	}
	return usage("no command %q; %scommands: %s", args[0], guess, strings.Join(names, ", "))
}

// usageError is wrong use of the command line.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// exitCode tells wrong use from failure. What the control API calls a wrong argument was typed here.
func exitCode(err error) int {
	var wrong *usageError
	var not *couldNotError
	var problems system.Problems
	var refused *failure.Error
	switch {
	case errors.As(err, &wrong), errors.As(err, &problems), errors.As(err, &not):
		return exitUsage
	case errors.As(err, &refused) && (refused.Code == failure.InvalidArgument || refused.Reason == control.ReasonUnknown):
		return exitUsage
	}
	return exitFailed
}

// explain is the message for an error: what is wrong, and what to do about it where that is known.
func (a *app) explain(cmd *cobra.Command, err error) string {
	var refused *failure.Error
	var taken *host.TakenError
	switch {
	case errors.As(err, &taken):
		return taken.Message
	case errors.Is(err, control.ErrNotRunning):
		return fmt.Sprintf("no system is running at %s; start one with: %s up DIR", a.control, a.name)
	case errors.Is(err, control.ErrNotControl):
		return fmt.Sprintf("what listens at %s is no Holdfast system; use --control ADDR to name another address", a.control)
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case !errors.As(err, &refused):
		return err.Error()
	case refused.Reason == control.ReasonToken:
		return fmt.Sprintf("%s; the token is found by the user who runs \"%s up\" on the same machine, and others set %s (made by \"%s token\")",
			refused.Message, a.name, control.TokenVariable, a.name)
	case refused.Reason == control.ReasonAmbiguous:
		ids := strings.Fields(refused.Metadata["instances"])
		return fmt.Sprintf("%s has %d instances; name one of %s, or all of them: %s %s --all",
			refused.Metadata["service"], len(ids), strings.Join(ids, ", "), cmd.CommandPath(), refused.Metadata["service"])
	}
	return cmp.Or(refused.Message, refused.Error())
}

// checkControl refuses a value of --control, or of HOLDFAST_CONTROL, that cannot be an address.
func (a *app) checkControl() error {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(a.control, "https://"))
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || host == "" {
		return usage("--control takes HOST:PORT, or https://HOST:PORT beyond this machine, not %q", a.control)
	}
	return nil
}

// client returns a client for the running system, to be closed.
func (a *app) client() *control.Client { return control.NewClient(a.control) }

// printf writes a line of output. See lostOutput for errors.
func (a *app) printf(format string, args ...any) { fmt.Fprintf(output{a}, format+"\n", args...) }

// output is Out, and remembers the first error.
type output struct{ app *app }

func (o output) Write(p []byte) (int, error) {
	n, err := o.app.Out.Write(p)
	if err != nil {
		o.app.mu.Lock()
		defer o.app.mu.Unlock()
		if o.app.lost == nil {
			o.app.lost = err
		}
	}
	return n, err
}

// lostOutput is the first error of writing output, where that is what the command is for.
func (a *app) lostOutput() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unread {
		return nil
	}
	return a.lost
}

// invocation is how to call this program again: the path it was called by, or go run, whose program has no path that
// lasts.
func invocation(arg0 string, getenv func(string) string) string {
	if strings.Contains(filepath.ToSlash(arg0), "/go-build") {
		return "go run ./cmd/holdfast"
	}
	for _, dir := range filepath.SplitList(getenv("PATH")) {
		if filepath.Dir(arg0) == dir {
			return filepath.Base(arg0)
		}
	}
	return arg0
}
