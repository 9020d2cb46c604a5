package queue

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// The attributes that dead letters have beside those of the message.
const (
	attributeReason     = reserved + "reason"
	attributeAttempts   = reserved + "attempts"
	attributeFirstError = reserved + "firsterror"
	attributeLastError  = reserved + "lasterror"
	attributeInstance   = reserved + "instance"
	// attributeReplays is also that of a message that was replayed.
	attributeReplays = reserved + "replays"

	// deadPage is how many are read at a time, each of which may be as large as messages are.
	deadPage = 50
	// deadBytes is about how many bytes of messages are read at a time to see what there is.
	deadBytes = 16 << 20
	maxLimit  = 1000
	// toldRefusals is how many letters are named that could not be replayed.
	toldRefusals = 10
)

// DeadLetters are the messages that a group set aside. Safe for concurrent use.
type DeadLetters struct {
	q            *Queue
	topic, group string
}

// DeadLetter is one of them.
type DeadLetter struct {
	// Position names it: for Get, Replay, Discard, and to list on from.
	Position string
	Buried   time.Time
	// Reason is why it is here, for people; FirstError and LastError are those of its attempts, cut to 1 KiB.
	Reason, FirstError, LastError string
	// Attempts is how many there were, as far as it is known.
	Attempts int
	// Instance is who gave up.
	Instance string
	// Replays is how often it was replayed before.
	Replays int
	// Message is as it was published.
	Message *driver.Message
}

// DeadLetters returns those of a group. What is wrong with the names is an error of its methods. Those may also fail with
// UNAVAILABLE or DEADLINE_EXCEEDED.
func (q *Queue) DeadLetters(topic, group string) *DeadLetters { return &DeadLetters{q, topic, group} }

// List returns at most limit letters (at most 1000), oldest first, after the one whose position is after; "" is the
// beginning.
func (d *DeadLetters) List(ctx context.Context, after string, limit int) ([]DeadLetter, error) {
	if err := validateNames(d.topic, d.group); err != nil {
		return nil, err
	}
	dead, err := d.q.engine.Dead(ctx, d.topic, d.group, after, max(1, min(limit, maxLimit)))
	if err != nil {
		return nil, engineError(err, "dead letters of %s/%s", d.topic, d.group)
	}
	out := make([]DeadLetter, len(dead))
	for i, letter := range dead {
		out[i] = readLetter(letter)
	}
	return out, nil
}

// readLetter takes the letter's own attributes out of its message.
func readLetter(d driver.Dead) DeadLetter {
	a := d.Message.Attributes
	l := DeadLetter{
		Position: d.Position, Buried: d.Buried, Reason: a[attributeReason], FirstError: a[attributeFirstError], LastError: a[attributeLastError],
		Instance: a[attributeInstance], Attempts: number(a[attributeAttempts]), Replays: number(a[attributeReplays]),
	}
	m := *d.Message
	m.Attributes = nil
	for name, value := range a {
		switch name {
		case attributeReason, attributeAttempts, attributeFirstError, attributeLastError, attributeInstance, attributeReplays:
		default:
			Attribute(name, value)(&m)
		}
	}
	l.Message = &m
	return l
}

// number reads a count that others may have written.
func number(s string) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// letter is m as a dead letter. Errors are scrubbed.
func letter(m *driver.Message, reason, instance string, attempts int, first, last error) *driver.Message {
	out := *m
	out.Attributes = maps.Clone(m.Attributes)
	for name, value := range map[string]string{
		attributeReason: scrub(reason), attributeInstance: instance, attributeAttempts: strconv.Itoa(attempts),
		attributeFirstError: errorText(first), attributeLastError: errorText(last),
	} {
		delete(out.Attributes, name)
		if value != "" {
			Attribute(name, value)(&out)
		}
	}
	return &out
}

// Get returns one letter, NOT_FOUND if there is none at that position.
func (d *DeadLetters) Get(ctx context.Context, position string) (DeadLetter, error) {
	var found *DeadLetter
	err := d.each(ctx, func(page []DeadLetter) (bool, error) {
		for i := range page {
			if page[i].Position == position {
				found = &page[i]
			}
		}
		return found == nil, nil
	})
	if err == nil && found == nil {
		err = d.notFound(position)
	}
	if err != nil {
		return DeadLetter{}, err
	}
	return *found, nil
}

func (d *DeadLetters) notFound(position string) error {
	return failure.New(failure.NotFound, "dead letters of %s/%s: none at %.100q", d.topic, d.group, position)
}

// each calls fn for page after page of what is there, until it says that it has enough.
func (d *DeadLetters) each(ctx context.Context, fn func(page []DeadLetter) (more bool, err error)) error {
	for after := ""; ; {
		page, err := d.List(ctx, after, deadPage)
		if err != nil || len(page) == 0 || page[len(page)-1].Position == after { // somebody's letters without positions
			return err
		}
		after = page[len(page)-1].Position
		if more, err := fn(page); err != nil || !more {
			return err
		}
	}
}

// Replay gives letters to their group again (no other group sees them), with their IDs, and then removes them. It says how
// many. A crash between the two leaves a letter here that was replayed. Positions at which there is nothing are NOT_FOUND, and a
// letter whose data was cut, since the engine would not take it whole, is FAILED_PRECONDITION, after the others were replayed.
func (d *DeadLetters) Replay(ctx context.Context, positions ...string) (int, error) {
	wanted := make(map[string]bool, len(positions))
	for _, p := range positions {
		wanted[p] = true
	}
	total, err, refused := d.replayOf(ctx, wanted)
	if err == nil {
		for p := range wanted {
			err = errors.Join(err, d.notFound(p))
		}
	}
	return total, told(total, err, refused)
}

// told is the error of a replay, of some letters or at all, with how many were replayed all the same.
func told(total int, err, refused error) error {
	switch all := errors.Join(err, refused); {
	case all == nil || total == 0:
		return all
	case err == nil: // in the message, which is what goes over the wire
		return failure.New(failure.CodeOf(all), "%d letters were replayed, others were not: %v", total, all)
	default:
		return errors.Join(failure.Wrap(err, failure.CodeOf(err), "%d letters were replayed, others were not", total), refused)
	}
}

// replayOf replays those of the letters that are wanted, and leaves in wanted what is not there. What is wrong with a letter
// keeps none of the others.
func (d *DeadLetters) replayOf(ctx context.Context, wanted map[string]bool) (total int, err, refused error) {
	var bad refusals
	err = d.each(ctx, func(page []DeadLetter) (bool, error) {
		chosen := page[:0:0]
		for _, l := range page {
			if wanted[l.Position] {
				delete(wanted, l.Position)
				chosen = append(chosen, l)
			}
		}
		n, err := d.replay(ctx, chosen, &bad)
		total += n
		return len(wanted) > 0, err
	})
	return total, err, bad.err()
}

// refusals are errors of single letters, of which the first few are told.
type refusals struct {
	errs []error
	more int
}

func (r *refusals) add(err error) {
	if len(r.errs) < toldRefusals {
		r.errs = append(r.errs, err)
	} else {
		r.more++
	}
}

func (r *refusals) err() error {
	if r.more > 0 {
		return errors.Join(errors.Join(r.errs...), failure.New(failure.FailedPrecondition, "and %d more letters", r.more))
	}
	return errors.Join(r.errs...)
}

// ReplayAll replays what is there when it is called, oldest first, and says how many. What becomes a letter meanwhile, maybe
// since it fails again, is left alone. What somebody else removes meanwhile is passed over.
func (d *DeadLetters) ReplayAll(ctx context.Context) (int, error) {
	there, err := d.positions(ctx)
	if err != nil || len(there) == 0 {
		return 0, err
	}
	total, err, refused := d.replayOf(ctx, there)
	return total, told(total, err, refused)
}

// positions are those of all letters.
func (d *DeadLetters) positions(ctx context.Context) (map[string]bool, error) {
	out := make(map[string]bool)
	limit := deadPage
	for after := ""; ; {
		page, err := d.List(ctx, after, limit)
		if err != nil || len(page) == 0 || page[len(page)-1].Position == after {
			return out, err
		}
		after = page[len(page)-1].Position
		size := 1
		for _, l := range page {
			out[l.Position] = true
			size += len(l.Message.Data)
		}
		// An engine may have to look at all that is before a page: few large ones, if the letters are small.
		limit = min(max(deadPage, len(page)*deadBytes/size), maxLimit)
	}
}

// replay publishes letters to their group and removes those that were confirmed.
func (d *DeadLetters) replay(ctx context.Context, letters []DeadLetter, refused *refusals) (int, error) {
	var whole []DeadLetter
	var messages []*driver.Message
	for _, l := range letters {
		if was := l.Message.Attributes[driver.AttributeCut]; was != "" {
			refused.add(failure.New(failure.FailedPrecondition, "the dead letter at %.100q of %s/%s is the first %d bytes of %.20s: the rest was too large to be kept",
				l.Position, d.topic, d.group, len(l.Message.Data), was))
			continue
		}
		Attribute(attributeReplays, strconv.Itoa(l.Replays+1))(l.Message)
		whole, messages = append(whole, l), append(messages, l.Message)
	}
	if len(whole) == 0 {
		return 0, nil
	}
	errs := d.q.send(ctx, d.topic, d.group, messages)
	var positions []string
	var failed error
	for i, l := range whole {
		switch {
		case errs == nil || errs[i] == nil:
			positions = append(positions, l.Position)
		case failure.CodeOf(errs[i]) == failure.InvalidArgument: // it is this letter's
			refused.add(errs[i])
		default:
			failed = errors.Join(failed, errs[i])
		}
	}
	n, err := d.exhume(ctx, positions)
	return n, errors.Join(failed, err)
}

func (d *DeadLetters) exhume(ctx context.Context, positions []string) (int, error) {
	if len(positions) == 0 {
		return 0, nil
	}
	n, err := d.q.engine.Exhume(ctx, d.topic, d.group, positions)
	return n, engineError(err, "remove dead letters of %s/%s", d.topic, d.group)
}

// Discard removes letters for good, and says how many there were.
func (d *DeadLetters) Discard(ctx context.Context, positions ...string) (int, error) {
	if err := validateNames(d.topic, d.group); err != nil {
		return 0, err
	}
	return d.exhume(ctx, positions)
}

// DiscardAll removes all there are, those included that come meanwhile, and says how many.
func (d *DeadLetters) DiscardAll(ctx context.Context) (int, error) {
	total := 0
	err := d.each(ctx, func(page []DeadLetter) (bool, error) {
		positions := make([]string, len(page))
		for i, l := range page {
			positions[i] = l.Position
		}
		n, err := d.exhume(ctx, positions)
		total += n
		return true, err
	})
	return total, err
}
