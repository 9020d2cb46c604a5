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
	turn chan struct{} // has room for who declares

	registered bool // the program has named it; guarded by the queue's mu

	mu   sync.Mutex // never held during a call of the engine
	spec driver.Topic
	done bool
	// changes counts what makes a declaration under way not be the last: more groups, an error.
	changes int
}

// register makes sure that a topic is declared with spec when something is published to it.
func (q *Queue) register(spec driver.Topic) {
	d := q.declaration(spec.Name, true)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range spec.Groups {
		if !slices.Contains(d.spec.Groups, g) {
			d.spec.Groups = append(d.spec.Groups, g)
			d.undo()
		}
	}
	if spec.Partitions > 0 || spec.Replicas > 0 || spec.Retention > 0 {
		d.spec.Partitions = max(spec.Partitions, d.spec.Partitions)
		d.spec.Replicas = max(spec.Replicas, d.spec.Replicas)
		d.spec.Retention = max(spec.Retention, d.spec.Retention)
		d.undo()
	}
}

// declaration is what is known of a topic. It is kept if there is room for it, or if the program itself names it: what that one says is
// never forgotten.
func (q *Queue) declaration(topic string, register bool) *declaration {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.topics[topic]
	switch {
	case d == nil:
		d = &declaration{turn: make(chan struct{}, 1), spec: driver.Topic{Name: topic}, registered: register}
		if register {
			q.topics[topic] = d
		} else if q.foreign < maxTopics {
			q.topics[topic] = d
			q.foreign++
		}
	case register && !d.registered:
		d.registered = true
		q.foreign--
	}
	return d
}

// undo needs mu.
func (d *declaration) undo() {
	d.done = false
	d.changes++
}

// ensure declares a topic that was not, or not since something failed. One at a time does; others wait for it, each by its own
// ctx.
func (d *declaration) ensure(ctx context.Context, engine driver.Engine) error {
	if done, _, _ := d.state(); done {
		return nil
	}
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-d.turn }()
	done, spec, changes := d.state()
	if done {
		return nil
	}
	if err := engine.Declare(ctx, spec); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = d.changes == changes
	return nil
}

// declare declares a topic that the program has named, if that is due: who subscribes to it would otherwise make it without
// what the program says of it.
func (q *Queue) declare(ctx context.Context, topic string) error {
	q.mu.Lock()
	d := q.topics[topic]
	named := d != nil && d.registered
	q.mu.Unlock()
	if !named {
		return nil
	}
	return d.ensure(ctx, q.engine)
}

func (d *declaration) state() (done bool, spec driver.Topic, changes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done {
		return true, driver.Topic{}, 0
	}
	spec = d.spec
	spec.Groups = slices.Clone(spec.Groups)
	return false, spec, d.changes
}

func (d *declaration) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.undo()
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
	b := batch{q: q, topic: topic, group: group, messages: messages, declaration: q.declaration(topic, false)}
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

	errs    []error // nil while none has failed for good
	pending []pending
}

// pending is a message that is neither confirmed nor given up.
type pending struct {
	index int // in messages
	at    time.Time
	pause backoff.Backoff
	err   error // of its last attempt
}

// run sends round after round until nothing more can be done.
func (b *batch) run(ctx context.Context) []error {
	together := b.q.caps.Sequenced || distinct(b.messages)
	if together {
		errs := b.attempt(ctx, b.messages)
		if errs == nil { // nearly always, and it costs nothing more
			return nil
		}
		b.begin()
		b.learn(errs, b.pending)
	} else {
		b.begin()
	}
	for len(b.pending) > 0 {
		round, wait := b.round(time.Now())
		if len(round) == 0 {
			if b.wait(ctx, wait) {
				continue
			}
			for _, p := range b.pending {
				b.fail(p.index, unconfirmed(ctx, b.topic, p.err))
			}
			break
		}
		messages := make([]*driver.Message, len(round))
		for i, p := range round {
			messages[i] = b.messages[p.index]
		}
		b.learn(b.attempt(ctx, messages), round)
	}
	return b.errs
}

// distinct reports whether no key is there twice.
func distinct(messages []*driver.Message) bool {
	if len(messages) == 1 {
		return true
	}
	seen := make(map[string]struct{}, len(messages))
	for _, m := range messages {
		if m.Key == "" {
			continue
		}
		if _, twice := seen[m.Key]; twice {
			return false
		}
		seen[m.Key] = struct{}{}
	}
	return true
}

func (b *batch) begin() {
	b.pending = make([]pending, len(b.messages))
	for i := range b.pending {
		b.pending[i] = pending{index: i, pause: backoff.Backoff{Base: publishPauseMin, Max: publishPauseMax}}
	}
}

// round returns what may be under way at the same time and is due, or how long until something is: of an engine that has no
// sequence in its batches the first of each key.
func (b *batch) round(now time.Time) (round []pending, wait time.Duration) {
	var seen map[string]struct{}
	for _, p := range b.pending {
		if key := b.messages[p.index].Key; key != "" && !b.q.caps.Sequenced {
			if _, behind := seen[key]; behind {
				continue
			}
			if seen == nil {
				seen = make(map[string]struct{})
			}
			seen[key] = struct{}{}
		}
		switch left := p.at.Sub(now); {
		case left <= 0:
			round = append(round, p)
		case wait == 0 || left < wait:
			wait = left
		}
	}
	return round, wait
}

// learn takes in what became of a round.
func (b *batch) learn(errs []error, round []pending) {
	if slices.ContainsFunc(errs, func(err error) bool { return err != nil && !final(err) }) {
		b.declaration.forget() // maybe the engine lost it
	}
	now := time.Now()
	state := make(map[int]*pending, len(round)) // nil for what is done
	var lost map[string]struct{}                // keys of what will never be confirmed
	for i := range round {
		p := round[i]
		state[p.index] = nil
		switch {
		case errs == nil || errs[i] == nil:
		case final(errs[i]):
			b.fail(p.index, engineError(errs[i], "publish to %s", b.topic))
			if key := b.messages[p.index].Key; key != "" {
				if lost == nil {
					lost = make(map[string]struct{})
				}
				lost[key] = struct{}{}
			}
		default:
			p.err, p.at = errs[i], now.Add(p.pause.Next())
			state[p.index] = &p
		}
	}
	if b.q.caps.Sequenced { // what failed together stays together
		var last time.Time
		for _, p := range state {
			if p != nil && p.at.After(last) {
				last = p.at
			}
		}
		for _, p := range state {
			if p != nil {
				p.at = last
			}
		}
	}
	rest := b.pending[:0:0]
	for _, p := range b.pending {
		next, sent := state[p.index]
		_, behind := lost[b.messages[p.index].Key]
		switch {
		case sent && next == nil:
		case behind:
			b.fail(p.index, errBehind(b.topic))
		case sent:
			rest = append(rest, *next)
		default:
			rest = append(rest, p)
		}
	}
	b.pending = rest
}

// wait reports whether there is time left for another attempt after pause.
func (b *batch) wait(ctx context.Context, pause time.Duration) bool {
	left := time.Until(b.deadline)
	if b.q.closed.Load() || ctx.Err() != nil || left <= 0 {
		return false
	}
	return backoff.Pause(ctx, min(pause, left)) && time.Until(b.deadline) > 0
}

// fail says that a message is not confirmed.
func (b *batch) fail(index int, err error) {
	if b.errs == nil {
		b.errs = make([]error, len(b.messages))
	}
	b.errs[index] = err
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
