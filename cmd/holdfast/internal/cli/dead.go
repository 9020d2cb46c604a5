//go:build unix

package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/queue"
)

const (
	// deadShown is how many dead letters are listed unless it is said, deadPage how many are read at a time, deadMost the
	// most that are listed, and reasonShown how much of a reason.
	deadShown   = 100
	deadPage    = 100
	deadMost    = 100_000
	reasonShown = 80
)

func (a *app) queueShowCommand(opts *queueOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "show [--json] TOPIC GROUP",
		Short:             "Show how far a group is, and why its dead letters are there",
		Long:              "Shows how far a group is, and its dead letters by their reasons, of the oldest 1000.",
		Example:           "  holdfast queue show orders.paid shipping",
		Args:              exactly("TOPIC", "GROUP"),
		ValidArgsFunction: a.completeGroups(opts, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withQueue(cmd.Context(), opts, queueTimeout, func(ctx context.Context, q *queue.Queue) error {
				return a.showGroup(ctx, q, args[0], args[1], asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object with topic, group, waiting, unsettled, dead, reasons")
	return cmd
}

// reasonRow is why letters are dead.
type reasonRow struct {
	Reason  string    `json:"reason"`
	Letters int       `json:"letters"`
	Last    time.Time `json:"last"`
}

func (a *app) showGroup(ctx context.Context, q *queue.Queue, topic, group string, asJSON bool) error {
	if err := checkGroup(ctx, q, topic, group); err != nil {
		return err
	}
	lag, err := q.Lag(ctx, topic, group)
	if err != nil {
		return err
	}
	letters, err := q.DeadLetters(topic, group).List(ctx, "", 1000)
	if err != nil {
		return err
	}
	by := make(map[string]*reasonRow)
	for _, l := range letters {
		r := by[l.Reason]
		if r == nil {
			r = &reasonRow{Reason: l.Reason}
			by[l.Reason] = r
		}
		r.Letters++
		r.Last = l.Buried
	}
	reasons := make([]reasonRow, 0, len(by))
	for _, name := range slices.Sorted(maps.Keys(by)) {
		reasons = append(reasons, *by[name])
	}
	slices.SortStableFunc(reasons, func(a, b reasonRow) int { return b.Letters - a.Letters })
	if asJSON {
		return a.printJSON(struct {
			groupRow
			Reasons []reasonRow `json:"reasons"`
		}{groupRow{topic, group, lag.Waiting, lag.Unsettled, lag.Dead}, reasons})
	}
	if err := a.printGroups([]groupRow{{topic, group, lag.Waiting, lag.Unsettled, lag.Dead}}, false); err != nil || len(reasons) == 0 {
		return err
	}
	a.printf("")
	rows := [][]string{{"LETTERS", "LAST", "REASON"}}
	for _, r := range reasons {
		rows = append(rows, []string{strconv.Itoa(r.Letters), age(time.Since(r.Last)), short(r.Reason)})
	}
	a.printTable(rows)
	return nil
}

// short is a reason on one line of a list.
func short(text string) string {
	text = terminal.Clean(text)
	if utf8.RuneCountInString(text) <= reasonShown {
		return text
	}
	return string([]rune(text)[:reasonShown-1]) + "…"
}

// checkGroup refuses what is no group and has no dead letters.
func checkGroup(ctx context.Context, q *queue.Queue, topic, group string) error {
	groups, err := q.Groups(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if g.Topic == topic && g.Group == group {
			return nil
		}
	}
	if letters, err := q.DeadLetters(topic, group).List(ctx, "", 1); err == nil && len(letters) > 0 {
		return nil // of a group that is gone
	}
	return noGroup(groups, topic, group)
}

func (a *app) queueDeadCommand(opts *queueOptions) *cobra.Command {
	var asJSON bool
	limit := deadShown
	cmd := &cobra.Command{
		Use:   "dead [--json] [--limit N] TOPIC GROUP [LETTER]",
		Short: "List the dead letters of a group, or show one",
		Long: `Lists the messages that a group could not handle, oldest first. With a LETTER of the list's first column, or the ID of a
message, it shows all that is known of it, and what is in it.`,
		Example: `  holdfast queue dead orders.paid shipping
  holdfast queue dead orders.paid shipping 17
  holdfast queue dead --json orders.paid shipping | jq -r '.[].id'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 3 {
				return nil
			}
			return exactly("TOPIC", "GROUP")(cmd, args)
		},
		ValidArgsFunction: a.completeGroups(opts, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > deadMost {
				return usage("--limit takes a number between 1 and %d, not %d", deadMost, limit)
			}
			return a.withQueue(cmd.Context(), opts, queueTimeout, func(ctx context.Context, q *queue.Queue) error {
				if err := checkGroup(ctx, q, args[0], args[1]); err != nil {
					return err
				}
				letters := q.DeadLetters(args[0], args[1])
				if len(args) == 3 {
					return a.showLetters(ctx, letters, args[2], asJSON)
				}
				return a.listLetters(ctx, letters, limit, asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of objects with letter, buried, reason, attempts, id, key, data and more")
	cmd.Flags().IntVar(&limit, "limit", limit, "the most letters to list")
	return cmd
}

// letterRow is a dead letter in JSON. Data is text as it is, or else base64.
type letterRow struct {
	Letter      string            `json:"letter"`
	Buried      time.Time         `json:"buried"`
	Reason      string            `json:"reason"`
	Attempts    int               `json:"attempts"`
	FirstError  string            `json:"first_error,omitempty"`
	LastError   string            `json:"last_error,omitempty"`
	Instance    string            `json:"instance,omitempty"`
	Replays     int               `json:"replays,omitempty"`
	ID          string            `json:"id"`
	Source      string            `json:"source"`
	Type        string            `json:"type"`
	Key         string            `json:"key,omitempty"`
	Time        time.Time         `json:"time"`
	ContentType string            `json:"content_type,omitempty"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	Data        json.RawMessage   `json:"data,omitempty"`
	Text        string            `json:"text,omitempty"`
	Base64      string            `json:"base64,omitempty"`
}

func row(l queue.DeadLetter) letterRow {
	m := l.Message
	r := letterRow{
		Letter: l.Position, Buried: l.Buried, Reason: l.Reason, Attempts: l.Attempts, FirstError: l.FirstError, LastError: l.LastError,
		Instance: l.Instance, Replays: l.Replays, ID: m.ID, Source: m.Source, Type: m.Type, Key: m.Key, Time: m.Time,
		ContentType: m.ContentType, Attributes: m.Attributes,
	}
	switch {
	case len(m.Data) == 0:
	case json.Valid(m.Data) && utf8.Valid(m.Data):
		r.Data = m.Data
	case utf8.Valid(m.Data):
		r.Text = string(m.Data)
	default:
		r.Base64 = base64.StdEncoding.EncodeToString(m.Data)
	}
	return r
}

func (a *app) listLetters(ctx context.Context, letters *queue.DeadLetters, limit int, asJSON bool) error {
	out := make([]letterRow, 0, min(limit, deadPage))
	more := false
	err := eachLetter(ctx, letters, func(l queue.DeadLetter) bool {
		if more = len(out) == limit; !more {
			out = append(out, row(l))
		}
		return !more
	})
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(out)
	}
	rows := [][]string{{"LETTER", "ID", "KEY", "BURIED", "ATTEMPTS", "REASON"}}
	for _, l := range out {
		key := l.Key
		if key == "" {
			key = "-"
		}
		rows = append(rows, []string{
			terminal.Clean(l.Letter), terminal.Clean(l.ID), terminal.Clean(key), age(time.Since(l.Buried)), strconv.Itoa(l.Attempts), short(why(l)),
		})
	}
	a.printTable(rows)
	if more {
		fmt.Fprintf(a.Err, "there are more; --limit N lists as many\n")
	}
	return nil
}

// why is the reason of a letter, and the error that tells it from others.
func why(l letterRow) string {
	if l.LastError == "" || strings.Contains(l.Reason, l.LastError) {
		return l.Reason
	}
	return strings.TrimPrefix(l.Reason+": "+l.LastError, ": ")
}

// eachLetter calls f for every letter, oldest first, until it has enough.
func eachLetter(ctx context.Context, letters *queue.DeadLetters, f func(queue.DeadLetter) bool) error {
	for after := ""; ; {
		page, err := letters.List(ctx, after, deadPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, l := range page {
			if !f(l) {
				return nil
			}
		}
		after = page[len(page)-1].Position
	}
}

// find returns the letters that are meant by names, each of which is a position or, when no letter has that, the ID of a
// message: IDs are chosen by who publishes, and may look like positions.
func find(ctx context.Context, letters *queue.DeadLetters, names []string) ([]queue.DeadLetter, error) {
	var candidates []queue.DeadLetter
	positions, left := make(map[string]bool), make(map[string]bool)
	err := eachLetter(ctx, letters, func(l queue.DeadLetter) bool {
		if slices.Contains(names, l.Position) {
			positions[l.Position] = true
		} else if !slices.Contains(names, l.Message.ID) {
			return true
		}
		candidates = append(candidates, l)
		return true // an ID may be there twice
	})
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if !positions[n] {
			left[n] = true
		}
	}
	var out []queue.DeadLetter
	for _, l := range candidates {
		id := l.Message.ID
		if positions[l.Position] || slices.Contains(names, id) && !positions[id] {
			delete(left, id)
			out = append(out, l)
		}
	}
	if len(left) > 0 {
		return nil, usage("no dead letter %s", strings.Join(slices.Sorted(maps.Keys(left)), ", "))
	}
	return out, nil
}

func (a *app) showLetters(ctx context.Context, letters *queue.DeadLetters, name string, asJSON bool) error {
	found, err := find(ctx, letters, []string{name})
	if err != nil {
		return err
	}
	if asJSON {
		out := make([]letterRow, 0, len(found))
		for _, l := range found {
			out = append(out, row(l))
		}
		return a.printJSON(out)
	}
	for n, l := range found {
		if n > 0 {
			a.printf("")
		}
		a.showLetter(row(l), len(l.Message.Data))
	}
	return nil
}

func (a *app) showLetter(l letterRow, size int) {
	var rows [][]string
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{a.out.Paint(terminal.Dim, name), terminal.Clean(value)})
		}
	}
	add("letter", l.Letter)
	add("buried", l.Buried.Local().Format(time.RFC3339))
	add("reason", l.Reason)
	add("attempts", strconv.Itoa(l.Attempts))
	add("first error", l.FirstError)
	add("last error", l.LastError)
	add("given up by", l.Instance)
	if l.Replays > 0 {
		add("replays", strconv.Itoa(l.Replays))
	}
	add("id", l.ID)
	add("source", l.Source)
	add("type", l.Type)
	add("key", l.Key)
	if !l.Time.IsZero() {
		add("time", l.Time.Local().Format(time.RFC3339))
	}
	add("content type", l.ContentType)
	for _, name := range slices.Sorted(maps.Keys(l.Attributes)) {
		add(name, l.Attributes[name])
	}
	add("size", plural(size, "byte"))
	for _, line := range table(rows) {
		a.printf("%s", line)
	}
	switch {
	case l.Data != nil:
		a.printf("\n%s", cleanLines(string(l.Data)))
	case l.Text != "":
		a.printf("\n%s", cleanLines(l.Text))
	case l.Base64 != "":
		a.printf("\n%s", l.Base64)
	}
}

// cleanLines keeps the line breaks of a text.
func cleanLines(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, l := range lines {
		lines[i] = terminal.Clean(l)
	}
	return strings.Join(lines, "\n")
}

func (a *app) queueReplayCommand(opts *queueOptions) *cobra.Command {
	return a.letterCommand(opts, &cobra.Command{
		Use:   "replay TOPIC GROUP LETTER... | --all",
		Short: "Give dead letters to their group again",
		Long: `Gives dead letters to the group that could not handle them, and to no other, and removes them. A LETTER is one of the first
column of "queue dead", or the ID of a message. Those that fail again come back as new letters.`,
		Example: "  holdfast queue replay orders.paid shipping 17 18\n  holdfast queue replay orders.paid shipping --all",
	}, "replayed", (*queue.DeadLetters).Replay, (*queue.DeadLetters).ReplayAll)
}

func (a *app) queueDiscardCommand(opts *queueOptions) *cobra.Command {
	return a.letterCommand(opts, &cobra.Command{
		Use:   "discard TOPIC GROUP LETTER... | --all",
		Short: "Remove dead letters for good",
		Long: `Removes dead letters of a group for good. A LETTER is one of the first column of "queue dead", or the ID of a
message.`,
		Example: "  holdfast queue discard orders.paid shipping 17 18\n  holdfast queue discard orders.paid shipping --all",
	}, "discarded", (*queue.DeadLetters).Discard, (*queue.DeadLetters).DiscardAll)
}

// letterCommand completes a command that does something to some letters of a group, or to all.
func (a *app) letterCommand(opts *queueOptions, cmd *cobra.Command, done string,
	some func(*queue.DeadLetters, context.Context, ...string) (int, error), all func(*queue.DeadLetters, context.Context) (int, error),
) *cobra.Command {
	var every bool
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < 2:
			return exactly("TOPIC", "GROUP")(cmd, args)
		case every && len(args) > 2:
			return usage("--all and %q exclude each other; usage: %s", args[2], cmd.UseLine())
		case !every && len(args) == 2:
			return usage("name letters, or --all; usage: %s", cmd.UseLine())
		}
		return nil
	}
	cmd.ValidArgsFunction = a.completeGroups(opts, 2)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withQueue(cmd.Context(), opts, replayTimeout, func(ctx context.Context, q *queue.Queue) error {
			if err := checkGroup(ctx, q, args[0], args[1]); err != nil {
				return err
			}
			letters := q.DeadLetters(args[0], args[1])
			var n int
			var err error
			if every {
				n, err = all(letters, ctx)
			} else {
				var found []queue.DeadLetter
				if found, err = find(ctx, letters, args[2:]); err != nil {
					return err
				}
				positions := make([]string, 0, len(found))
				for _, l := range found {
					positions = append(positions, l.Position)
				}
				n, err = some(letters, ctx, positions...)
			}
			if n > 0 || err == nil {
				a.printf("%s %s", plural(n, "dead letter"), done)
			}
			if errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("not all within %s: %w", replayTimeout, err)
			}
			return err
		})
	}
	cmd.Flags().BoolVar(&every, "all", false, "all that are there now")
	return cmd
}
