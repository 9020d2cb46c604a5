//go:build unix

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/host"
	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// queueTimeout bounds a look at the engine for messages, and replayTimeout what moves or removes many.
	queueTimeout  = 10 * time.Second
	replayTimeout = 10 * time.Minute
)

// queueOptions are the flags of all queue commands.
type queueOptions struct {
	queue    string
	insecure bool
}

func (a *app) queueCommand() *cobra.Command {
	var opts queueOptions
	cmd := &cobra.Command{
		Use:   "queue COMMAND",
		Short: "Look at messages that wait or failed, and replay them",
		Long: `Shows how far consumer groups are, and their dead letters: messages that failed for good and were set aside. A dead letter
can be replayed, which gives it to its group again and to no other, or discarded.

The messages are in the engine of the running system, or in the one that --queue names.`,
		Example: `  holdfast queue list
  holdfast queue dead orders.paid shipping
  holdfast queue replay orders.paid shipping --all`,
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
	// The environment is not the flag's default, which help shows: there may be a password in it.
	f.StringVar(&opts.queue, "queue", "",
		"`URL` of the engine for messages, such as nats://127.0.0.1:4222 or kafka://127.0.0.1:9092; HOLDFAST_QUEUE sets the default")
	insecure, _ := strconv.ParseBool(a.Getenv("HOLDFAST_INSECURE")) // what is neither true nor false allows nothing
	f.BoolVar(&opts.insecure, "insecure", insecure, "allow plaintext beyond loopback")
	cmd.AddCommand(a.queueListCommand(&opts), a.queueShowCommand(&opts), a.queueDeadCommand(&opts), a.queueReplayCommand(&opts), a.queueDiscardCommand(&opts))
	for _, c := range cmd.Commands() {
		c.DisableFlagsInUseLine = true
	}
	return cmd
}

// groupRow is how far a group is.
type groupRow struct {
	Topic     string `json:"topic"`
	Group     string `json:"group"`
	Waiting   int64  `json:"waiting"`
	Unsettled int64  `json:"unsettled"`
	Dead      int64  `json:"dead"`
}

func (a *app) queueListCommand(opts *queueOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json] [TOPIC]",
		Short: "List groups and how far they are",
		Long: `Lists the consumer groups of all topics, or of one. WAITING are messages that were not delivered yet, UNSETTLED those that
were and are not done, DEAD those that failed for good.`,
		Example:           "  holdfast queue list\n  holdfast queue list orders.paid\n  holdfast queue list --queue nats://127.0.0.1:4222",
		Args:              atMost(1),
		ValidArgsFunction: a.completeGroups(opts, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withQueue(cmd.Context(), opts, queueTimeout, func(ctx context.Context, q *queue.Queue) error {
				groups, err := q.Groups(ctx)
				if err != nil {
					return err
				}
				if len(args) == 1 && !slices.ContainsFunc(groups, func(g driver.Group) bool { return g.Topic == args[0] }) {
					return noGroup(groups, args[0], "")
				}
				rows := make([]groupRow, 0, len(groups))
				for _, g := range groups {
					if len(args) == 1 && g.Topic != args[0] {
						continue
					}
					lag, err := q.Lag(ctx, g.Topic, g.Group)
					if err != nil {
						return err
					}
					rows = append(rows, groupRow{g.Topic, g.Group, lag.Waiting, lag.Unsettled, lag.Dead})
				}
				return a.printGroups(rows, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of objects with topic, group, waiting, unsettled, dead")
	return cmd
}

func (a *app) printGroups(groups []groupRow, asJSON bool) error {
	if asJSON {
		return a.printJSON(groups)
	}
	rows := [][]string{{"TOPIC", "GROUP", "WAITING", "UNSETTLED", "DEAD"}}
	for _, g := range groups {
		dead := strconv.FormatInt(g.Dead, 10)
		if g.Dead > 0 {
			dead = a.out.Paint(terminal.Red, dead)
		}
		rows = append(rows, []string{
			terminal.Clean(g.Topic), terminal.Clean(g.Group), strconv.FormatInt(g.Waiting, 10), strconv.FormatInt(g.Unsettled, 10), dead,
		})
	}
	a.printTable(rows)
	return nil
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(output{a})
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printTable prints rows under a header.
func (a *app) printTable(rows [][]string) {
	for n, line := range table(rows) {
		if n == 0 {
			line = a.out.Paint(terminal.Dim, line)
		}
		a.printf("%s", line)
	}
}

// noGroup says that a topic or a group is not there, and what may have been meant.
func noGroup(groups []driver.Group, topic, group string) error {
	var topics, ofTopic []string
	for _, g := range groups {
		topics = append(topics, g.Topic)
		if g.Topic == topic {
			ofTopic = append(ofTopic, g.Group)
		}
	}
	topics = slices.Compact(topics)
	what, name, known := "topic", topic, topics
	if len(ofTopic) > 0 {
		what, name, known = "group of "+topic, group, ofTopic
	}
	guess := ""
	if g := control.Suggest(name, known); g != "" {
		guess = "did you mean " + g + "? "
	}
	list := "none"
	if len(known) > 0 {
		list = strings.Join(known, ", ")
	}
	if len(ofTopic) > 0 {
		return usage("no group %q of %s; %sgroups: %s", name, topic, guess, list)
	}
	return usage("no %s %q with a group; %stopics: %s", what, name, guess, list)
}

// withQueue calls f with the engine for messages.
func (a *app) withQueue(ctx context.Context, opts *queueOptions, timeout time.Duration, f func(context.Context, *queue.Queue) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	url, insecure := cmp.Or(opts.queue, a.Getenv("HOLDFAST_QUEUE")), opts.insecure
	if url == "" {
		c := a.client()
		defer c.Close()
		info, err := c.System(ctx)
		if err != nil {
			return err
		}
		if url = info.Queue; url == "" {
			return fmt.Errorf("the system %s has no engine for messages; name one with --queue", info.System)
		}
		insecure = insecure || info.Network != "" // a network that only this machine is in
	}
	opener, err := host.QueueOpener(url)
	if err != nil {
		return usage("%v", err)
	}
	if err := opener.CheckURL(url); err != nil {
		return usage("the queue's URL %v", err)
	}
	engine, err := opener.OpenQueue(url, driver.OpenOptions{Name: "holdfast queue", Insecure: insecure, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return usage("%v", err)
	}
	q := queue.New(engine, queue.Config{Source: "holdfast", Logger: slog.New(slog.DiscardHandler), PublishTimeout: queueTimeout})
	defer func() { _ = errors.Join(q.Close(), engine.Close()) }() // nothing is open that matters
	return engineFailed(url, f(ctx, q))
}

// engineFailed says what an error of the engine is: it is not sent by anybody, so that its cause is known here, and says more than its
// message.
func engineFailed(url string, err error) error {
	var e *failure.Error
	if !errors.As(err, &e) || e.Cause == nil {
		return err
	}
	scheme, place, _ := strings.Cut(url, "://")
	place = place[strings.LastIndexByte(place, '@')+1:]
	if end := strings.IndexAny(place, "/?"); end >= 0 {
		place = place[:end]
	}
	if e.Code == failure.Unavailable || e.Code == failure.DeadlineExceeded {
		return failure.Wrap(err, e.Code, "%s://%s does not answer: %v", scheme, place, e.Cause)
	}
	return failure.Wrap(err, e.Code, "%s://%s: %v", scheme, place, e.Cause)
}

// completeGroups offers topics, and then the groups of the topic that is there, for so many arguments.
func (a *app) completeGroups(opts *queueOptions, most int) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		var names []string
		_ = a.withQueue(ctx, opts, completeTimeout, func(ctx context.Context, q *queue.Queue) error {
			groups, err := q.Groups(ctx)
			for _, g := range groups {
				name := g.Topic
				if len(args) == 1 {
					name = g.Group
				}
				if (len(args) == 0 || g.Topic == args[0]) && strings.HasPrefix(name, typed) {
					names = append(names, name)
				}
			}
			return err
		}) // which is no error while somebody types
		slices.Sort(names)
		return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
	}
}
