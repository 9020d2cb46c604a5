//go:build unix

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

// lastEvent is how long to wait for the event that says that a command is done, after it has answered.
const lastEvent = time.Second

func (a *app) eventsCommand() *cobra.Command {
	var asJSON bool
	q := control.EventQuery{Last: 100}
	cmd := &cobra.Command{
		Use:   "events [-f] [-n N] [--json] [SERVICE]",
		Short: "Show what happened, and what happens",
		Long: `Shows what happened last to the running system, or to a service or an instance of it, and with -f what happens from then on,
until Ctrl-C: processes that start, die and come back, who was elected, who was ejected and why, and what is broken on purpose
and mended.`,
		Example: `  holdfast events
  holdfast events -f orders
  holdfast events -f -n 0 --json | jq -r 'select(.fault) | .message'`,
		Args:              atMost(1),
		ValidArgsFunction: a.completeTargets(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Last < 0 || q.Last > control.MaxEvents {
				return usage("--lines must be from 0 to %d, not %d", control.MaxEvents, q.Last)
			}
			c := a.client()
			defer c.Close()
			target := strings.Join(args, "")
			if target != "" {
				if _, err := c.InstancesOf(cmd.Context(), target); err != nil { // a name that is wrong would show nothing for ever
					return err
				}
			}
			lines := json.NewEncoder(output{a})
			err := c.EventsOf(cmd.Context(), q, nil, func(e control.Event) error {
				switch {
				case target != "" && !belongs(e, target):
				case asJSON:
					return lines.Encode(e)
				default:
					a.printf("%s", a.eventLine(e))
				}
				return a.lostOutput()
			})
			if q.Follow && errors.Is(err, context.Canceled) {
				return nil // Ctrl-C is how following ends
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "go on with what happens until Ctrl-C")
	cmd.Flags().IntVarP(&q.Last, "lines", "n", q.Last, "begin with the last `N` events that are kept")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

// following prints what happens to a target's service while do runs. It starts do when it is connected, and ends with
// the event that says that all is done, so that nothing is missed.
func (a *app) following(ctx context.Context, c *control.Client, target string, do func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	connected, last, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- c.Events(ctx, func() { close(connected) }, func(e control.Event) error {
			switch {
			case !belongs(e, target):
			case e.State == control.EventRestarted, e.State == control.EventScaled:
				close(last)
				return errLast
			default:
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
	err := do()
	if err == nil {
		select {
		case <-last:
		case <-time.After(lastEvent): // lost: this reader was too slow
		}
	}
	cancel()
	streamErr := <-ended
	if errors.Is(streamErr, control.ErrGone) {
		return streamErr // says it better than what became of the request
	}
	if streamErr != nil && !errors.Is(streamErr, context.Canceled) && !errors.Is(streamErr, errLast) {
		err = errors.Join(err, streamErr)
	}
	return err
}

var errLast = errors.New("last event")

// belongs reports whether an event is about target, a service or an instance, or about one that stands in for it.
func belongs(e control.Event, target string) bool {
	if e.Service == "" || e.Service == target || e.Instance == target {
		return e.Service != ""
	}
	number, ok := strings.CutPrefix(target, e.Service+"-")
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// eventLine is an event as one line, with the time of day.
func (a *app) eventLine(e control.Event) string {
	return a.out.Paint(terminal.Dim, e.Time.Local().Format(time.TimeOnly)) + "  " + a.out.Paint(eventStyle(e.State), terminal.Clean(e.Message))
}

// eventStyle is the colour of an event by its state.
func eventStyle(state string) terminal.Style {
	switch state {
	case "backoff", "crash-looping", control.EventEjected:
		return terminal.Red
	case "frozen":
		return terminal.Cyan
	case "ready":
		return terminal.Green
	case control.EventFaultBegun:
		return terminal.Yellow
	case "starting", "draining", "stopped":
		return terminal.Dim
	}
	return terminal.Plain
}
