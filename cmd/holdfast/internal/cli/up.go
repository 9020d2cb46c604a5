//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/host"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/supervise"
	"github.com/holdfast-go/holdfast/platform/system"
)

// upOptions are the flags of up.
type upOptions struct {
	data    string
	noBuild bool
	netns   bool
	clock   bool
	queue   string
	cert    string
	key     string
}

func (a *app) upCommand() *cobra.Command {
	var opts upOptions
	cmd := &cobra.Command{
		Use:   "up [--data DIR] [--queue URL] [--no-build] [--netns] [--clock] [--control-cert FILE --control-key FILE] [PATH]",
		Short: "Run a system until Ctrl-C",
		Long: `Runs the system of the file system.yaml in PATH (default: this directory), or of the file PATH: builds the services that
are Go packages, starts the control members, then the services, each after those it needs, and listens where services have
http: in the file. Then it tells what happens, one line each, until Ctrl-C.

Ctrl-C stops everything in order and loses no request; a second one kills everything at once. No process is left behind,
even if this one is killed with -9. What the system keeps is in the data directory; starting again finds it.`,
		Example: `  holdfast up examples/shop
  holdfast up --data /tmp/shop examples/shop     keep the data elsewhere
  holdfast up --no-build examples/shop           take the programs that the last run built
  holdfast up --queue kafka://127.0.0.1:9092     take another engine for messages than the control plane's
  holdfast up --netns examples/shop              each instance in a network of its own, whose packets drills can lose
  holdfast up --control 127.0.0.1:7071 other     a second system on this machine
  holdfast up --control 0.0.0.0:7070 --control-cert tls.crt --control-key tls.key   steered from other machines, with a token`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "."
			if len(args) == 1 {
				path = args[0]
			}
			return a.up(cmd.Context(), path, opts)
		},
	}
	cmd.Flags().StringVar(&opts.data, "data", "", "`DIR` for what the system keeps (default .holdfast/SYSTEM)")
	cmd.Flags().StringVar(&opts.queue, "queue", "", "`URL` of an engine for messages instead of the one in the system file; or none")
	cmd.Flags().BoolVar(&opts.netns, "netns", false, "give each instance a network namespace of its own, for drills (Linux, as root); its data is DIR's own, by default .holdfast/SYSTEM-netns")
	cmd.Flags().BoolVar(&opts.clock, "clock", false, "build the services so that drills can move their wall clocks")
	cmd.Flags().StringVar(&opts.cert, "control-cert", "", "`FILE` with the certificate (PEM) of the control API and the console, for others than this machine")
	cmd.Flags().StringVar(&opts.key, "control-key", "", "`FILE` with its key")
	cmd.Flags().BoolVar(&opts.noBuild, "no-build", false, "do not build: take the programs that the last run built")
	return cmd
}

func (a *app) up(ctx context.Context, path string, opts upOptions) error {
	surviveReaders()
	a.unread = true
	sys, err := system.Load(path)
	if err != nil {
		return explainLoad(path, err)
	}
	if opts.queue != "" {
		if err := system.CheckQueue(opts.queue); err != nil {
			return usage("--queue: %v", err)
		}
		sys.Queue = opts.queue
	}
	data := opts.data
	if data == "" {
		data = filepath.Join(".holdfast", sys.Name)
		if opts.netns {
			data += "-netns" // control members keep their addresses
		}
	}
	if data, err = filepath.Abs(data); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	encrypted, err := controlTLS(opts.cert, opts.key)
	if err != nil {
		return err
	}
	token := a.Getenv(control.TokenVariable)
	if token != "" && len(token) < control.MinToken {
		return usage("%s has %s; a token has at least %d", control.TokenVariable, plural(len(token), "byte"), control.MinToken)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to start control members: %w", err)
	}
	insecure, _ := strconv.ParseBool(a.Getenv("HOLDFAST_INSECURE"))
	log := &logFile{path: filepath.Join(data, "holdfast.log"), max: maxLogFile}
	defer func() { _ = log.Close() }()
	h, err := host.New(ctx, host.Config{
		System: sys, Data: data, Control: strings.TrimPrefix(a.control, "https://"), ControlTLS: encrypted, Token: token, Self: append([]string{self}, a.SelfArgs...), Version: version(),
		Env: a.Environ(), NoBuild: opts.noBuild, Netns: opts.netns, Clock: opts.clock, Insecure: insecure, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		return err
	}
	return a.attend(ctx, h, a.newView(h.Console, data))
}

// surviveReaders lets the system outlive whoever reads what up prints. In "holdfast up | tee FILE" a Ctrl-C ends tee, too,
// and the next line printed would then end this process in the middle of the stop, and with it all others. Asked for, the
// signal comes here, the line is lost, and nothing else.
func surviveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// view shows how a system comes up, runs and goes down.
type view interface {
	// event shows what happened, and how far the system is by now.
	event(e control.Event, p host.Progress)
	// tick is called ten times a second.
	tick(p host.Progress)
	// note says what Ctrl-C has done.
	note(text string)
	// end is called once, after the last event; killed says that a second Ctrl-C has ended the stop.
	end(p host.Progress, killed bool)
}

// lastWords is how long whoever reads has for the end of what up prints.
const lastWords = 2 * time.Second

// attend runs the host and shows what happens until it has ended. Printing waits for whoever reads, who may have stopped, as a pager
// does; Ctrl-C and the end do not wait for him.
func (a *app) attend(ctx context.Context, h *host.Host, v view) error {
	events, cancel := h.Subscribe()
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	killing, ended, shown := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(shown)
		show(ctx, h, v, events, killing, ended)
	}()
	var err error
	killed := false
	for running := true; running; {
		select {
		case err = <-done:
			running = false
		case <-a.again:
			h.KillAll()
			if !killed {
				killed = true
				close(killing)
			}
		}
	}
	close(ended)
	bound := time.NewTimer(lastWords)
	defer bound.Stop()
	select {
	case <-shown:
	case <-bound.C:
	}
	p := h.Progress()
	switch {
	case err != nil:
		return a.explainUp(err)
	case killed:
		return errors.New("killed before everything had stopped")
	case p.Ready.IsZero():
		return errors.New("stopped before it was ready")
	}
	return nil
}

// show has v show what happens until the host has ended, and that everything is being killed.
func show(ctx context.Context, h *host.Host, v view, events <-chan control.Event, killing, ended <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	interrupted := ctx.Done()
	killed := false
	for events != nil {
		select {
		case e, ok := <-events:
			if !ok {
				events = nil // closed when everything is down
				continue
			}
			v.event(e, h.Progress())
		case <-tick.C:
			v.tick(h.Progress())
		case <-interrupted:
			interrupted = nil
			v.note("Ctrl-C again kills everything at once")
		case <-killing:
			killing, killed = nil, true
			v.note("killing everything")
		}
	}
	<-ended
	select {
	case <-killing: // nil if it has been seen
		killed = true
	default:
	}
	v.end(h.Progress(), killed)
}

// explainUp takes a failed build out of its wrapping: what the compiler says speaks for itself.
func (a *app) explainUp(err error) error {
	var build *supervise.BuildError
	if errors.As(err, &build) && build.Output != "" {
		return fmt.Errorf("the build failed\n%s", strings.TrimRight(build.Output, "\n"))
	}
	return err
}

func explainLoad(path string, err error) error {
	var problems system.Problems
	switch {
	case errors.As(err, &problems) && len(problems) > 1:
		return usage("the system file has %s\n%s", plural(len(problems), "problem"), problems.Error())
	case errors.Is(err, fs.ErrNotExist):
		return usage("there is no %s", path)
	}
	return usage("%v", err)
}
