//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// topGap is between the two looks of which one picture is made: how busy a processor is shows only over a time.
	topGap = time.Second
	// resizeTick is how soon a resized terminal is drawn anew, and ages on it grow.
	resizeTick = 200 * time.Millisecond
)

// topOptions are the flags of top.
type topOptions struct {
	sort     string
	services bool
	once     bool
	json     bool
}

func (a *app) topCommand() *cobra.Command {
	opts := topOptions{sort: "name"}
	cmd := &cobra.Command{
		Use:   "top [--sort KEY] [--services] [--once] [--json] [SERVICE]",
		Short: "Watch what services and instances do",
		Long: `Shows the services of the running system and their instances, live: state, calls served a second, how many of them fail, how
long they take, how many are in flight, processor and memory; below it what is broken, what waits in queues, and what has
happened last. Where there is no terminal it prints that once.

In it: n r e p f c m s sort by name, rate, errors, p99, in flight, cpu, memory, state (the worst first); i leaves instances out;
arrows scroll; the space bar holds the picture; ? explains; q ends it.`,
		Example: `  holdfast top
  holdfast top --sort p99 orders                                        the slowest first, of one service
  holdfast top --once --sort cpu | head -20
  holdfast top --json | jq '.instances[] | select(.ejected) | .id'`,
		Args:              atMost(1),
		ValidArgsFunction: a.completeTargets(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !topSortKey(opts.sort) {
				return usage("--sort takes one of %s, not %q", strings.Join(topSortNames(), ", "), opts.sort)
			}
			return a.top(cmd.Context(), strings.Join(args, ""), opts)
		},
	}
	cmd.Flags().StringVar(&opts.sort, "sort", opts.sort, "sort by this `KEY`: "+strings.Join(topSortNames(), ", "))
	cmd.Flags().BoolVar(&opts.services, "services", false, "show services only, without their instances")
	cmd.Flags().BoolVar(&opts.once, "once", false, "print it once and end")
	cmd.Flags().BoolVar(&opts.json, "json", false, "print a JSON object with info, instances, edge, graph, groups, queues, locks, faults, once")
	_ = cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(topSortNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) top(ctx context.Context, target string, opts topOptions) error {
	c := a.client()
	defer c.Close()
	if target != "" {
		if _, err := c.InstancesOf(ctx, target); err != nil { // a name that is wrong would show nothing for ever
			return err
		}
	}
	v := &topView{out: a.out, target: target, sort: opts.sort, services: opts.services}
	switch {
	case opts.json:
		live, err := c.Snapshot(ctx)
		if err != nil {
			return err
		}
		return a.printJSON(live)
	case opts.once || !a.out.Redraw:
		return a.topOnce(ctx, c, v)
	}
	return a.topLive(ctx, c, v)
}

// topOnce prints one picture, without the keys and with all rows.
func (a *app) topOnce(ctx context.Context, c *control.Client, v *topView) error {
	for n := range 2 {
		live, err := c.Snapshot(ctx)
		if err != nil {
			return err
		}
		v.update(live)
		if n == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(topGap):
			}
		}
	}
	columns := noLimit // whoever reads a pipe wants all columns, and can cut them
	if a.out.Redraw {
		columns, _ = terminal.Size(a.Out)
	}
	for _, line := range v.whole(columns, time.Now()) {
		a.printf("%s", line)
	}
	return nil
}

// topLive draws until a key, Ctrl-C or the system ends it.
func (a *app) topLive(ctx context.Context, c *control.Client, v *topView) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lives, events, ended := make(chan control.Live), make(chan control.Event), make(chan error, 1)
	go func() {
		defer close(ended) // whoever has read its one value may wait for the end again
		ended <- c.Live(ctx, func(l control.Live) error { return hand(ctx, lives, l) },
			func(e control.Event) error { return hand(ctx, events, e) })
	}()
	// The first answer is awaited before the terminal is taken: what goes wrong by then is an ordinary line.
	select {
	case l := <-lives:
		v.update(l)
	case err := <-ended:
		return err
	case <-ctx.Done():
		<-ended //nolint:errcheck // it was told to end
		return nil
	}
	err := a.showTop(ctx, v, lives, events, ended)
	cancel()
	switch {
	case errors.Is(err, errLeft), errors.Is(err, context.Canceled):
		<-ended //nolint:errcheck // it was told to end
		return nil
	case errors.Is(err, errTerminal):
		<-ended //nolint:errcheck // it was told to end
		return err
	case err == nil:
		a.printf("%s has stopped", terminal.Clean(v.live.Info.System))
	}
	return err
}

var (
	// errLeft says that whoever watched has seen enough.
	errLeft = errors.New("left")
	// errTerminal says that there was nothing to watch on.
	errTerminal = errors.New("the terminal")
)

// showTop takes the terminal for watchTop, and gives it back, when something panics too.
func (a *app) showTop(ctx context.Context, v *topView, lives <-chan control.Live, events <-chan control.Event, ended <-chan error) error {
	screen, err := terminal.OpenFull(a.Out, a.In)
	if err != nil {
		return fmt.Errorf("%w: %w", errTerminal, err)
	}
	defer screen.Close()
	return a.watchTop(ctx, v, screen, lives, events, ended)
}

// watchTop returns errLeft for a key that ends it, or what the stream ended with.
func (a *app) watchTop(ctx context.Context, v *topView, screen *terminal.Full, lives <-chan control.Live, events <-chan control.Event, ended <-chan error) error {
	tick := time.NewTicker(resizeTick)
	defer tick.Stop()
	var columns, rows int
	var drawn time.Time
	for {
		// Ages are in seconds: without news it is drawn once in that time, or when the window has another size.
		c, r := terminal.Size(a.Out)
		if now := time.Now(); v.changed || c != columns || r != rows || now.Sub(drawn) >= time.Second {
			columns, rows, drawn, v.changed = c, r, now, false
			screen.Draw(v.draw(columns, rows, now), columns, rows)
		}
		select {
		case l := <-lives:
			v.update(l)
		case e := <-events:
			v.happened(e)
		case k := <-screen.Keys():
			if v.key(k) {
				return errLeft
			}
		case <-tick.C:
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hand gives v to whoever takes it, unless ctx ends first.
func hand[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
