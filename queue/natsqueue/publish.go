package natsqueue

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	mrand "math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	headerPrefix = "ce-"
	headerType   = "Content-Type"
	headerID     = "Nats-Msg-Id"

	// elections is how often a message that nobody took is sent again before it is an error, electionWait apart: the one
	// who led has just left.
	elections    = 3
	electionWait = 100 * time.Millisecond
)

// Publish implements driver.Engine.
func (e *Engine) Publish(ctx context.Context, topic string, messages []*driver.Message) []error {
	return e.publish(ctx, topic, messages, maxMessage, e.names.all, dedupID)
}

// PublishTo implements driver.Engine. What others have published may be larger than what we send, and is as large as the server
// takes when it comes back from the dead letters.
func (e *Engine) PublishTo(ctx context.Context, topic, group string, messages []*driver.Message) []error {
	return e.publish(ctx, topic, messages, math.MaxInt,
		func(topic string, lane int) string { return e.names.to(topic, group, lane) },
		func(*driver.Message) string { return cryptoText() })
}

// cryptoText is an ID for what is sent again by this call alone.
func cryptoText() string { return rand.Text() }

// dedupID is what the server knows a message by: its ID is unique together with its source. Where the two could run together, or
// a header does not keep them as they are, it is their sum.
func dedupID(m *driver.Message) string {
	both := m.Source + m.ID
	odd := func(c rune) bool { return c <= ' ' || c >= 0x7f }
	if len(both) < 128 && !strings.ContainsFunc(both, odd) {
		return m.Source + " " + m.ID
	}
	sum := sha256.Sum256([]byte(strconv.Itoa(len(m.Source)) + " " + both))
	return hex.EncodeToString(sum[:])
}

func (e *Engine) publish(ctx context.Context, name string, messages []*driver.Message, limit int, subject func(string, int) string, id func(*driver.Message) string) []error {
	fail := func(err error) []error {
		errs := make([]error, len(messages))
		for i := range errs {
			errs[i] = fmt.Errorf("publish to %s: %w", name, err)
		}
		return errs
	}
	if err := e.link.get(ctx); err != nil {
		return fail(err)
	}
	t, err := e.topic(ctx, name)
	if err != nil {
		return fail(err)
	}
	out := make([]*nats.Msg, len(messages))
	errs := make([]error, len(messages))
	failed := false
	for i, m := range messages {
		if len(m.Data) > limit {
			errs[i], failed = fmt.Errorf("publish to %s: %d bytes are more than %d: %w", name, len(m.Data), limit, driver.ErrTooLarge), true
			continue
		}
		lane := mrand.IntN(t.lanes) //nolint:gosec // spreads
		if m.Key != "" {
			lane = laneOf(m.Key, t.lanes)
		}
		out[i] = encode(m)
		out[i].Subject = subject(name, lane)
		out[i].Header[headerID] = []string{id(m)}
	}
	for round := range rounds(messages, errs) {
		e.sendAll(ctx, name, out, errs, round)
	}
	for _, err := range errs {
		if err != nil {
			failed = true
			if errors.Is(err, errNoStream) {
				e.forget(name)
			}
		}
	}
	if !failed {
		return nil
	}
	return errs
}

// rounds yields indices of messages that can be under way at the same time: a message follows the one before it of its key
// when that is confirmed. What stays behind because of one that failed gets its error.
func rounds(messages []*driver.Message, errs []error) func(func([]int) bool) {
	return func(yield func([]int) bool) {
		if len(messages) == 1 {
			if errs[0] == nil {
				yield([]int{0})
			}
			return
		}
		left := make([]int, 0, len(messages))
		for i := range messages {
			left = append(left, i)
		}
		failed := make(map[string]error)
		for len(left) > 0 {
			var now, later []int
			under := make(map[string]bool)
			for _, i := range left {
				key := messages[i].Key
				switch {
				case errs[i] != nil: // was refused before
					if key != "" {
						failed[key] = errs[i]
					}
				case key != "" && failed[key] != nil:
					errs[i] = fmt.Errorf("not tried after one of the same key: %w", failed[key])
				case key != "" && under[key]:
					later = append(later, i)
				default:
					under[key] = key != ""
					now = append(now, i)
				}
			}
			if len(now) > 0 && !yield(now) {
				return
			}
			for _, i := range now {
				if errs[i] != nil && messages[i].Key != "" {
					failed[messages[i].Key] = errs[i]
				}
			}
			left = later
		}
	}
}

// sendAll sends messages and sets errs of those that are not confirmed.
func (e *Engine) sendAll(ctx context.Context, name string, out []*nats.Msg, errs []error, round []int) {
	roomMade := false
	left := round
	for {
		_, results := e.send(ctx, out, left)
		var again []int
		for k, i := range left {
			err := results[k]
			if err != nil && errors.Is(err, driver.ErrFull) && !roomMade {
				again = append(again, i)
				continue
			}
			if err != nil {
				errs[i] = fmt.Errorf("publish to %s: %w", name, err)
			}
		}
		if len(again) == 0 {
			return
		}
		roomMade = true
		if err := e.makeRoom(ctx, name); err != nil {
			e.cfg.Logger.Warn("make room in a topic that is full", "topic", name, "error", err)
		}
		left = again
	}
}

// send sends some messages and waits for their confirmations. Those that are not answered in time are sent again, under
// the same ID: whoever led may be gone, or frozen.
func (e *Engine) send(ctx context.Context, out []*nats.Msg, which []int) (seqs []uint64, errs []error) {
	c := e.link.replies.open(2 * len(which))
	defer c.close()
	results := make([]error, len(which))
	seqs = make([]uint64, len(which))
	open := make([]bool, len(which))
	tries := make([]uint8, len(which))
	left := len(which)
	post := func(k int) {
		m := out[which[k]]
		m.Reply = c.reply(k)
		if err := e.link.conn.PublishMsg(m); err != nil {
			if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrConnectionClosed) {
				results[k], open[k] = translate(err), false
				left--
			} // else: sent again when there is a connection
		}
	}
	for k := range which {
		open[k] = true
		post(k)
	}
	wait := time.NewTimer(e.cfg.AckWait)
	defer wait.Stop()
	var again *time.Timer
	var due <-chan time.Time // of again
	var nobody map[int]bool  // took them
	for left > 0 {
		select {
		case a := <-c.answers:
			if a.i < 0 || a.i >= len(which) || !open[a.i] {
				continue
			}
			seq, err := readAck(a.msg)
			if errors.Is(err, errNoStream) && tries[a.i] < elections {
				tries[a.i]++
				if again == nil {
					again, nobody = time.NewTimer(electionWait), make(map[int]bool)
					defer again.Stop()
					due = again.C
				} else if len(nobody) == 0 {
					again.Reset(electionWait)
				}
				nobody[a.i] = true
				continue
			}
			seqs[a.i], results[a.i], open[a.i] = seq, err, false
			left--
		case <-due:
			for k := range nobody {
				if open[k] {
					post(k)
				}
			}
			clear(nobody)
		case <-wait.C:
			if err := e.link.get(ctx); err != nil {
				return seqs, unanswered(results, open, err)
			}
			for k := range which {
				if open[k] {
					post(k)
				}
			}
			wait.Reset(e.cfg.AckWait)
		case <-ctx.Done():
			return seqs, unanswered(results, open, fmt.Errorf("nats: not confirmed: %w", context.Cause(ctx)))
		}
	}
	return seqs, results
}

func (e *Engine) sendOne(ctx context.Context, m *nats.Msg) error {
	_, errs := e.send(ctx, []*nats.Msg{m}, []int{0})
	return errs[0]
}

func unanswered(results []error, open []bool, err error) []error {
	for k := range results {
		if open[k] {
			results[k] = err
		}
	}
	return results
}

// encode writes a message as NATS has it.
func encode(m *driver.Message) *nats.Msg {
	n := 9 + len(m.Attributes)
	h, values := make(nats.Header, n), make([]string, 0, n) // one array for all of them
	driver.ToHeaders(m, headerPrefix, headerType, func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1:]
	})
	return &nats.Msg{Header: h, Data: m.Data}
}

// decode reads one, whoever wrote it.
func decode(h nats.Header, data []byte) *driver.Message {
	m := driver.FromHeaders(func(yield func(string, string) bool) {
		for name, values := range h {
			for _, v := range values {
				if !yield(name, v) {
					return
				}
			}
		}
	}, headerPrefix, headerType)
	m.Data = data
	return m
}

func formatSeq(seq uint64) string { return strconv.FormatUint(seq, 10) }
