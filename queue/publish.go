package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// Pauses before what failed is published again.
	publishPauseMin = 50 * time.Millisecond
	publishPauseMax = 2 * time.Second
	// attemptShare of the time that is left is for one attempt, minAttempt at least: a confirmation that got lost with a
	// connection must not take the time of the attempts after it.
	attemptShare = 3
	minAttempt   = 2 * time.Second
)

// errBehind is the error of a message that was not tried since one before it with the same key failed.
func errBehind(topic string) error {
	return failure.New(failure.Aborted, "publish to %s: not tried, since an earlier message with its key is not confirmed", topic)
}

// declaration is what is known of a topic.
type declaration struct {
	mu   sync.Mutex
	spec driver.Topic
	done bool
}

// register makes sure that a topic is declared with spec when something is published to it.
func (q *Queue) register(spec driver.Topic) {
	d := q.declaration(spec.Name)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range spec.Groups {
		if !slices.Contains(d.spec.Groups, g) {
			d.spec.Groups = append(d.spec.Groups, g)
			d.done = false
		}
	}
	if spec.Partitions > 0 || spec.Replicas > 0 || spec.Retention > 0 {
		d.spec.Partitions = max(spec.Partitions, d.spec.Partitions)
		d.spec.Replicas = max(spec.Replicas, d.spec.Replicas)
		d.spec.Retention = max(spec.Retention, d.spec.Retention)
		d.done = false
	}
}

func (q *Queue) declaration(topic string) *declaration {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.topics[topic]
	if d == nil {
		d = &declaration{spec: driver.Topic{Name: topic}}
		if len(q.topics) < maxTopics {
			q.topics[topic] = d
		}
	}
	return d
}

// ensure declares a topic that was not, or not since something failed. One at a time does; others wait for it.
func (d *declaration) ensure(ctx context.Context, engine driver.Engine) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	spec := d.spec
	spec.Groups = slices.Clone(spec.Groups)
	err := engine.Declare(ctx, spec)
	d.done = err == nil
	return err
}

func (d *declaration) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = false
}

// send publishes messages to all groups of a topic, or to one, until each is confirmed, will never be, or ctx ends. nil says
// that all are confirmed.
func (q *Queue) send(ctx context.Context, topic, group string, messages []*driver.Message) []error {
	if len(messages) == 0 {
		return nil
	}
	begun := time.Now()
	errs := q.sendAll(ctx, topic, group, messages)
	if q.cfg.Observer == nil {
		return errs
	}
	failed := 0
	for _, err := range errs {
		if err != nil {
			failed++
		}
	}
	took := time.Since(begun)
	if n := len(messages) - failed; n > 0 {
		q.observe(Event{Kind: Published, Topic: topic, Group: group, Count: n, Took: took})
	}
	if failed > 0 {
		q.observe(Event{Kind: Published, Topic: topic, Group: group, Count: failed, Took: took, Err: errors.Join(errs...)})
	}
	return errs
}

func (q *Queue) sendAll(ctx context.Context, topic, group string, messages []*driver.Message) []error {
	var err error
	switch {
	case q.closed.Load():
		err = ErrClosed
	case q.lacking != nil:
		err = q.lacking
	case group == "":
		err = validateNames(topic)
	default:
		err = validateNames(topic, group)
	}
	if err != nil {
		return slices.Repeat([]error{err}, len(messages))
	}
	b := batch{q: q, topic: topic, group: group, messages: messages, declaration: q.declaration(topic)}
	var ok bool
	if b.deadline, ok = ctx.Deadline(); !ok {
		b.deadline = time.Now().Add(q.cfg.PublishTimeout)
	}
	return b.run(ctx)
}

// batch is messages on their way.
type batch struct {
	q            *Queue
	topic, group string
	declaration  *declaration
	messages     []*driver.Message
	deadline     time.Time

	errs []error // nil while none has failed for good
}

// run sends wave after wave.
func (b *batch) run(ctx context.Context) []error {
	if b.q.caps.Sequenced || len(b.messages) == 1 {
		b.wave(ctx, b.messages, nil)
		return b.errs
	}
	for _, wave := range waves(b.messages) {
		b.wave(ctx, b.pick(wave), wave)
	}
	return b.errs
}

func (b *batch) pick(indices []int) []*driver.Message {
	out := make([]*driver.Message, len(indices))
	for i, n := range indices {
		out[i] = b.messages[n]
	}
	return out
}

// waves are the indices of messages that may be under way at the same time: each key is once in a wave, in order.
func waves(messages []*driver.Message) [][]int {
	var out [][]int
	var next map[string]int // the wave after the last that has the key
	for i, m := range messages {
		n := 0
		if m.Key != "" {
			if next == nil {
				next = make(map[string]int)
			}
			n = next[m.Key]
			next[m.Key] = n + 1
		}
		if n == len(out) {
			out = append(out, nil)
		}
		out[n] = append(out[n], i)
	}
	return out
}

// fail says that a message is not confirmed.
func (b *batch) fail(index int, err error) {
	if b.errs == nil {
		b.errs = make([]error, len(b.messages))
	}
	b.errs[index] = err
}

// wave sends messages, which are those at indices (nil: all), until nothing more can be done.
func (b *batch) wave(ctx context.Context, messages []*driver.Message, indices []int) {
	at := func(i int) int {
		if indices == nil {
			return i
		}
		return indices[i]
	}
	if b.errs != nil { // of an earlier wave
		messages, indices = b.withoutFollowers(messages, indices)
	}
	pause := backoff.Backoff{Base: publishPauseMin, Max: publishPauseMax}
	for len(messages) > 0 {
		errs := b.attempt(ctx, messages)
		if errs == nil {
			return
		}
		b.declaration.forget() // maybe the engine lost it
		var again []int
		for i, err := range errs {
			switch {
			case err == nil:
			case final(err):
				b.fail(at(i), engineError(err, "publish to %s", b.topic))
			default:
				again = append(again, i)
			}
		}
		if len(again) > 0 && !b.again(ctx, pause.Next()) {
			for _, i := range again {
				b.fail(at(i), unconfirmed(ctx, b.topic, errs[i]))
			}
			return
		}
		messages, indices = b.rest(messages, indices, errs, again)
	}
}

// again waits for pause, or for as long as there is time, and reports whether there is some left for another attempt.
func (b *batch) again(ctx context.Context, pause time.Duration) bool {
	left := time.Until(b.deadline)
	if b.q.closed.Load() || ctx.Err() != nil || left <= 0 {
		return false
	}
	return backoff.Pause(ctx, min(pause, left)) && time.Until(b.deadline) > 0
}

// rest is what is to be sent again, without those that are behind one that failed for good.
func (b *batch) rest(messages []*driver.Message, indices []int, errs []error, again []int) ([]*driver.Message, []int) {
	var failed map[string]bool
	for i, err := range errs {
		if err != nil && final(err) && messages[i].Key != "" {
			if failed == nil {
				failed = make(map[string]bool)
			}
			failed[messages[i].Key] = true
		}
	}
	nextMessages, nextIndices := make([]*driver.Message, 0, len(again)), make([]int, 0, len(again))
	for _, i := range again {
		n := i
		if indices != nil {
			n = indices[i]
		}
		if failed[messages[i].Key] {
			b.fail(n, errBehind(b.topic))
			continue
		}
		nextMessages, nextIndices = append(nextMessages, messages[i]), append(nextIndices, n)
	}
	return nextMessages, nextIndices
}

// withoutFollowers leaves out messages behind one of an earlier wave that failed.
func (b *batch) withoutFollowers(messages []*driver.Message, indices []int) ([]*driver.Message, []int) {
	failed := make(map[string]bool)
	for i, err := range b.errs {
		if err != nil && b.messages[i].Key != "" {
			failed[b.messages[i].Key] = true
		}
	}
	var outMessages []*driver.Message
	var outIndices []int
	for i, m := range messages {
		if failed[m.Key] {
			b.fail(indices[i], errBehind(b.topic))
			continue
		}
		outMessages, outIndices = append(outMessages, m), append(outIndices, indices[i])
	}
	return outMessages, outIndices
}

// attempt declares the topic if that is due, and sends messages once.
func (b *batch) attempt(ctx context.Context, messages []*driver.Message) []error {
	left := time.Until(b.deadline)
	ctx, cancel := context.WithTimeout(ctx, min(left, max(left/attemptShare, minAttempt)))
	defer cancel()
	if err := b.declaration.ensure(ctx, b.q.engine); err != nil {
		return slices.Repeat([]error{err}, len(messages))
	}
	if b.group == "" {
		return b.q.engine.Publish(ctx, b.topic, messages)
	}
	return b.q.engine.PublishTo(ctx, b.topic, b.group, messages)
}
