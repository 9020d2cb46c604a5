//go:build unix

package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

// shownID is how much of a trace's ID is shown in lists: enough to be named by, as no two of those that are kept begin alike.
const shownID = 12

// traceOptions are the flags of trace. They are about the list.
type traceOptions struct {
	failed, retried, hedged, slow bool

	service string
	text    string
	min     time.Duration
	limit   int
	json    bool
}

func (a *app) traceCommand() *cobra.Command {
	opts := traceOptions{limit: 20}
	cmd := &cobra.Command{
		Use:   "trace [--failed | --retried | --hedged | --slow] [--service SERVICE] [--text TEXT] [--min DURATION] [-n N] [--json] [ID | last]",
		Short: "List calls, or show one as it went through the system",
		Long: `Without an ID it lists what users and services asked for lately, newest first. With the ID of a trace or of a span, or the
beginning of one, it shows who called whom, when and for how long: the attempts of a call stand side by side, then what each
of them set off. "last" is the newest of those that the flags ask for.

All that failed, was tried again, hedged, refused or slow is kept as long as there is room, and a part of the rest.`,
		Example: `  holdfast trace
  holdfast trace --failed --service orders
  holdfast trace --min 500ms -n 50
  holdfast trace 4bf92f3577b3
  holdfast trace --hedged last`,
		Args:              atMost(1),
		ValidArgsFunction: a.completeTraces(func() control.TraceQuery { return opts.query() }),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.limit < 1 || opts.limit > control.MaxTraces {
				return usage("-n takes a number from 1 to %d, not %d", control.MaxTraces, opts.limit)
			}
			if opts.min < 0 {
				return usage("--min takes a duration such as 250ms, not %s", opts.min)
			}
			c := a.client()
			defer c.Close()
			if len(args) == 0 {
				return a.listTraces(cmd.Context(), c, opts)
			}
			id, err := a.traceID(cmd.Context(), c, args[0], opts.query())
			if err != nil {
				return err
			}
			t, err := c.Trace(cmd.Context(), id)
			if err != nil {
				return err
			}
			if opts.json {
				return a.printJSON(t)
			}
			a.printTrace(t)
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&opts.failed, "failed", false, "those whose user got an error")
	f.BoolVar(&opts.retried, "retried", false, "those in which some call was tried again")
	f.BoolVar(&opts.hedged, "hedged", false, "those in which some call was made twice at once")
	f.BoolVar(&opts.slow, "slow", false, "those that took far longer than their like")
	cmd.MarkFlagsMutuallyExclusive("failed", "retried", "hedged", "slow")
	f.StringVar(&opts.service, "service", "", "those that went through `SERVICE`")
	f.StringVar(&opts.text, "text", "", "those with `TEXT` in a name, an error, an instance or an attribute")
	f.DurationVar(&opts.min, "min", 0, "those that took at least this `DURATION`")
	f.IntVarP(&opts.limit, "lines", "n", opts.limit, "list at most `N`")
	f.BoolVar(&opts.json, "json", false, "print a JSON array of objects with id, root, status, start, duration, services and more, or one with all spans in tree")
	_ = cmd.RegisterFlagCompletionFunc("service", a.completeServices)
	return cmd
}

func (o traceOptions) query() control.TraceQuery {
	q := control.TraceQuery{Service: o.service, Text: o.text, Min: o.min, Limit: o.limit}
	switch {
	case o.failed:
		q.Status = control.TraceError
	case o.retried:
		q.Status = control.TraceRetried
	case o.hedged:
		q.Status = control.TraceHedged
	case o.slow:
		q.Status = control.TraceSlow
	}
	return q
}

// lastTrace is the word for the newest one.
const lastTrace = "last"

// traceID is what a user means by a word: an ID, or the newest of those that q asks for.
func (a *app) traceID(ctx context.Context, c *control.Client, word string, q control.TraceQuery) (string, error) {
	if word != lastTrace {
		return word, nil
	}
	q.Limit = 1
	traces, err := c.Traces(ctx, q)
	switch {
	case err != nil:
		return "", err
	case len(traces) == 0:
		return "", fmt.Errorf("no such call is kept: %s", describeQuery(q))
	}
	return traces[0].ID, nil
}

// describeQuery says what was looked for.
func describeQuery(q control.TraceQuery) string {
	what := map[string]string{
		control.TraceError: "failed", control.TraceRetried: "retried", control.TraceHedged: "hedged", control.TraceSlow: "slow",
	}[q.Status]
	words := []string{"nothing " + what}
	if what == "" {
		words[0] = "nothing"
	}
	if q.Service != "" {
		words = append(words, "that went through "+q.Service)
	}
	if q.Text != "" {
		words = append(words, fmt.Sprintf("with %q in it", q.Text))
	}
	if q.Min > 0 {
		words = append(words, "that took "+q.Min.String()+" or more")
	}
	return strings.Join(words, " ")
}

// completeTraces offers the newest traces, each with what it is.
func (a *app) completeTraces(query func() control.TraceQuery) completion {
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
		c := a.client()
		defer c.Close()
		out := []string{lastTrace}
		traces, _ := c.Traces(ctx, query()) // no system is no error while somebody types
		for _, t := range traces {
			out = append(out, short12(t.ID)+"\t"+t.Status+" "+t.Service+" "+t.Root)
		}
		return slices.DeleteFunc(out, func(s string) bool { return !strings.HasPrefix(s, typed) }), cobra.ShellCompDirectiveNoFileComp
	}
}

func short12(id string) string { return id[:min(len(id), shownID)] }

func (a *app) listTraces(ctx context.Context, c *control.Client, opts traceOptions) error {
	traces, err := c.Traces(ctx, opts.query())
	if err != nil {
		return err
	}
	if opts.json {
		if traces == nil {
			traces = []control.TraceSummary{}
		}
		return a.printJSON(traces)
	}
	rows := [][]string{{"TRACE", "TIME", "STATUS", "TOOK", "ATTEMPTS", "SERVICES", "WHAT"}}
	for _, t := range traces {
		what := t.Root
		if t.Error != "" {
			what += ": " + t.Error
		}
		rows = append(rows, []string{
			terminal.Clean(short12(t.ID)), t.Start.Local().Format("15:04:05.000"), a.paintStatus(t.Status), latency(t.Duration),
			strconv.Itoa(t.Attempts), terminal.Clean(servicesOf(t)), short(what),
		})
	}
	a.printTable(rows)
	if len(traces) == 0 {
		a.note("%s is kept", describeQuery(opts.query()))
	}
	return nil
}

// servicesOf names the first services of a trace, and how many there are beyond.
func servicesOf(t control.TraceSummary) string {
	const most = 4
	if len(t.Services) <= most {
		return strings.Join(t.Services, " ")
	}
	return strings.Join(t.Services[:most], " ") + " +" + strconv.Itoa(len(t.Services)-most)
}

// note is a remark about the output, which is not part of it.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.Err, format+"\n", args...) }

func (a *app) paintStatus(status string) string {
	switch status {
	case control.TraceOK:
		return a.out.Paint(terminal.Green, status)
	case control.TraceError:
		return a.out.Paint(terminal.Red, status)
	}
	return a.out.Paint(terminal.Yellow, terminal.Clean(status))
}
