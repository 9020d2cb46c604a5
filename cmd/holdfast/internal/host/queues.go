//go:build unix

package host

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// measureEvery is how often queues are measured at most, while somebody looks; measureTimeout bounds one time, and
	// lookTimeout a look at dead letters.
	measureEvery   = 5 * time.Second
	measureTimeout = 10 * time.Second
	lookTimeout    = 8 * time.Second
	// maxQueues bounds how many groups are measured.
	maxQueues = 500
)

// queues measures the queues of the system and looks at their dead letters. It connects when it is first asked.
type queues struct {
	url      string
	insecure bool
	ctx      context.Context //nolint:containedctx // of the measurements, which outlive whoever asked; ended by close
	cancel   func()

	mu        sync.Mutex
	wg        sync.WaitGroup
	closed    bool
	engine    driver.Engine
	queue     *queue.Queue
	measured  []control.Queue
	missing   string
	at        time.Time // of the last measurement, or of the last that failed
	measuring bool
}

func newQueues(url string, insecure bool) *queues {
	q := &queues{url: url, insecure: insecure}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

// latest returns what was measured last, and has it measured again if that is too long ago.
func (q *queues) latest() ([]control.Queue, string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed && !q.measuring && time.Since(q.at) >= measureEvery {
		q.measuring = true
		q.wg.Go(q.measure)
	}
	return slices.Clone(q.measured), q.missing
}

func (q *queues) measure() {
	ctx, cancel := context.WithTimeout(q.ctx, measureTimeout)
	defer cancel()
	measured, err := q.ask(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.measuring, q.at = false, time.Now()
	if err != nil {
		q.missing = "queues: " + brief(err)
		return
	}
	q.missing, q.measured = "", rates(q.measured, measured)
}

// ask asks the engine how far every group is.
func (q *queues) ask(ctx context.Context) ([]control.Queue, error) {
	client, err := q.open()
	if err != nil {
		return nil, err
	}
	groups, err := client.Groups(ctx)
	if err != nil {
		return nil, err
	}
	var out []control.Queue
	for _, g := range groups[:min(len(groups), maxQueues)] {
		lag, err := client.Lag(ctx, g.Topic, g.Group)
		if err != nil {
			if failure.CodeOf(err) == failure.NotFound { // it went in the meantime
				continue
			}
			return nil, err
		}
		out = append(out, control.Queue{
			Topic: g.Topic, Group: g.Group, Lag: lag.Waiting + lag.Unsettled, Waiting: lag.Waiting, Unsettled: lag.Unsettled, Dead: lag.Dead,
			At: time.Now(),
		})
	}
	return out, nil
}

// rates says by how many messages a second each group's lag has changed.
func rates(before, after []control.Queue) []control.Queue {
	for i := range after {
		for _, b := range before {
			if took := after[i].At.Sub(b.At).Seconds(); b.Topic == after[i].Topic && b.Group == after[i].Group && took > 0 {
				after[i].Rate = float64(after[i].Lag-b.Lag) / took
			}
		}
	}
	return after
}

// known adds what processes say of their subscriptions, and the groups that only they know of.
func known(measured []control.Queue, s said) []control.Queue {
	at := make(map[driver.Group]int, len(measured))
	for i, q := range measured {
		at[driver.Group{Topic: q.Topic, Group: q.Group}] = i
	}
	for _, id := range slices.Sorted(maps.Keys(s)) {
		for _, sub := range s[id].Subscriptions {
			key := driver.Group{Topic: sub.Topic, Group: sub.Group}
			i, ok := at[key]
			if !ok {
				i = len(measured)
				at[key] = i
				measured = append(measured, control.Queue{Topic: sub.Topic, Group: sub.Group, Lag: sub.Lag, Dead: sub.Dead, At: s[id].At})
			}
			q := &measured[i]
			q.Subscribers = append(q.Subscribers, id)
			q.Oldest = max(q.Oldest, sub.Oldest)
			if sub.Slowed {
				q.Slowed = append(q.Slowed, id)
			}
		}
	}
	slices.SortFunc(measured, func(a, b control.Queue) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Group, b.Group))
	})
	return measured
}

func (q *queues) open() (*queue.Queue, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.queue != nil:
		return q.queue, nil
	case q.closed:
		return nil, failure.New(failure.Unavailable, "the system stops")
	}
	opener, err := QueueOpener(q.url)
	if err != nil {
		return nil, err
	}
	engine, err := opener.OpenQueue(q.url, driver.OpenOptions{Name: "holdfast up", Insecure: q.insecure, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	q.engine = engine
	q.queue = queue.New(engine, queue.Config{Source: "holdfast", Logger: slog.New(slog.DiscardHandler), PublishTimeout: lookTimeout})
	return q.queue, nil
}

// close ends what is under way and waits for it.
func (q *queues) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.cancel()
	q.wg.Wait()
	if q.queue != nil {
		_ = errors.Join(q.queue.Close(), q.engine.Close()) // nothing was written that is not confirmed
	}
}

// letters finds the dead letters of a group that is there.
func (q *queues) letters(ctx context.Context, topic, group string) (*queue.DeadLetters, error) {
	client, err := q.open()
	if err != nil {
		return nil, err
	}
	groups, err := client.Groups(ctx)
	if err != nil {
		return nil, err
	}
	letters := client.DeadLetters(topic, group)
	if slices.Contains(groups, driver.Group{Topic: topic, Group: group}) {
		return letters, nil
	}
	if found, err := letters.List(ctx, "", 1); err == nil && len(found) > 0 {
		return letters, nil // of a group that is gone
	}
	names := make([]string, 0, len(groups))
	for _, g := range groups {
		names = append(names, g.Topic+" "+g.Group)
	}
	guess := control.Suggest(topic+" "+group, names)
	if guess != "" {
		guess = "; did you mean " + guess + "?"
	}
	return nil, failure.New(failure.NotFound, "no group %.128q of %.128q%s", group, topic, guess).WithReason(control.ReasonUnknown, control.Domain)
}

// letter is a dead letter as it is shown.
func letter(l queue.DeadLetter) control.DeadLetter {
	m := l.Message
	out := control.DeadLetter{
		Position: l.Position, Buried: l.Buried, Reason: l.Reason, Attempts: l.Attempts, FirstError: l.FirstError, LastError: l.LastError,
		Instance: l.Instance, Replays: l.Replays, ID: m.ID, Source: m.Source, Type: m.Type, Key: m.Key, Time: m.Time, ContentType: m.ContentType,
		Attributes: m.Attributes, Size: len(m.Data), Trace: traceOf(m.Attributes["traceparent"]),
	}
	switch {
	case len(m.Data) == 0:
	case utf8.Valid(m.Data):
		out.Data, out.Encoding = driver.Cut(string(m.Data), control.MaxDeadData), "text"
	default:
		out.Data, out.Encoding = base64.StdEncoding.EncodeToString(m.Data[:min(len(m.Data), control.MaxDeadData/4*3)]), "base64"
	}
	return out
}

// traceOf is the ID in a traceparent of W3C Trace Context, "" if there is none.
func traceOf(traceparent string) string {
	parts := strings.Split(traceparent, "-")
	if len(parts) < 4 || len(parts[1]) != 32 {
		return ""
	}
	for _, half := range []string{parts[1][:16], parts[1][16:]} {
		if _, err := strconv.ParseUint(half, 16, 64); err != nil {
			return ""
		}
	}
	return strings.ToLower(parts[1])
}
