package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// Pauses before the engine is asked again after it has said what is wrong.
	receivePauseMin = 50 * time.Millisecond
	receivePauseMax = 2 * time.Second
	// callTimeout bounds calls to the engine that nobody waits for.
	callTimeout = 10 * time.Second
	// stopGrace is for handlers to return whose ctx has ended, before their messages are given back all the same.
	stopGrace = 2 * time.Second
	// flushTimeout is for the last acknowledgements.
	flushTimeout = 5 * time.Second
	// sameError is how often an error that persists is logged.
	sameError = time.Minute
	lagEvery  = 15 * time.Second
)

var errStopping = errors.New("the instance stops")

// runner is one run of a Subscription: the shell around its scheduler.
type runner struct {
	s   *Subscription
	log *slog.Logger
	rec driver.Receiver

	base   context.Context // of handlers; ends when they have no time left
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // everything but Run's own goroutine

	settler settler

	mu       sync.Mutex
	sched    *scheduler
	alarm    *time.Timer
	alarmAt  time.Time
	revokes  map[<-chan struct{}]int // deliveries in hand by what revokes them
	idle     chan struct{}           // closed when nothing runs, made when somebody waits for that
	room     chan struct{}           // has room for one: something was settled or begun
	quit     chan struct{}           // closed when the run is over
	closing  bool
	lastErr  string
	lastSaid time.Time
}

func newRunner(s *Subscription, rnd func(int64) int64) *runner {
	r := &runner{
		s: s, log: s.q.cfg.Logger.With("topic", s.topic, "group", s.group), sched: newScheduler(s.cfg, s.q.caps, rnd),
		revokes: make(map[<-chan struct{}]int), room: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	r.settler = settler{r: r, kick: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{})}
	return r
}

func (r *runner) run(ctx context.Context) error {
	r.base, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	defer r.cancel(nil)
	receiving, stop := context.WithCancel(ctx)
	defer stop()
	r.wg.Go(func() {
		select {
		case <-r.s.drain:
			stop()
		case <-receiving.Done():
		}
	})
	if r.subscribe(receiving) {
		r.settler.ctx, r.settler.cancel = context.WithCancel(context.WithoutCancel(ctx))
		defer r.settler.cancel()
		r.wg.Go(r.settler.run)
		r.wg.Go(r.extend)
		if r.s.q.cfg.Observer != nil {
			r.wg.Go(r.measure)
		}
		r.fetch(receiving)
		r.finish(ctx)
	}
	stop()
	<-ctx.Done() // after Drain the rest of the service goes on
	r.wg.Wait()
	return nil
}

// subscribe tries until it is done or ctx ends. It does not depend on a declaration: that may be refused for another group.
func (r *runner) subscribe(ctx context.Context) bool {
	pause := backoff.Backoff{Base: receivePauseMin, Max: receivePauseMax}
	for {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		undeclared := r.s.q.declare(call, r.s.topic)
		cancel()
		call, cancel = context.WithTimeout(ctx, callTimeout)
		rec, err := r.s.q.engine.Subscribe(call, driver.Subscription{
			Topic: r.s.topic, Group: r.s.group, Instance: r.s.q.cfg.Instance, Ordered: r.s.cfg.Ordered, Window: r.s.cfg.Window, Hold: r.s.cfg.Hold,
		})
		cancel()
		if err == nil {
			if undeclared != nil {
				r.complain(ctx, "declare", undeclared)
			}
			r.rec = rec
			return true
		}
		r.complain(ctx, "subscribe", err)
		if !backoff.Pause(ctx, pause.Next()) {
			return false
		}
	}
}

// complain logs what is wrong with the engine, once in a while.
func (r *runner) complain(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	text := what + ": " + err.Error()
	again := text == r.lastErr && time.Since(r.lastSaid) < sameError
	if !again {
		r.lastErr, r.lastSaid = text, time.Now()
	}
	r.mu.Unlock()
	if !again {
		r.log.Warn("queue: "+what+" failed, trying again", "error", err)
	}
}

// fetch receives until ctx ends.
func (r *runner) fetch(ctx context.Context) {
	pause := backoff.Backoff{Base: receivePauseMin, Max: receivePauseMax}
	for {
		n := r.free(ctx)
		if n == 0 {
			return
		}
		ds, err := r.rec.Receive(ctx, n)
		if len(ds) > 0 {
			pause.Reset()
			r.take(ds)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
		case errors.Is(err, driver.ErrStopped): // nobody but us stops it; then somebody has
			r.complain(ctx, "receive", err)
			if !backoff.Pause(ctx, receivePauseMax) {
				return
			}
		default:
			r.complain(ctx, "receive", err)
			if !backoff.Pause(ctx, pause.Next()) {
				return
			}
		}
	}
}

// free waits until there is room, and returns how much; 0 at the end of ctx. As long as something can begin it waits for some
// more of it, so that few calls bring many.
func (r *runner) free(ctx context.Context) int {
	for ctx.Err() == nil {
		r.mu.Lock()
		n, unbegun := r.s.cfg.Window-r.settler.inHand, r.sched.unbegun()
		r.mu.Unlock()
		if n > 0 && (!unbegun || n >= r.s.cfg.Window/8) {
			return n
		}
		select {
		case <-ctx.Done():
		case <-r.room:
		}
	}
	return 0
}

func (r *runner) madeRoom() {
	select {
	case r.room <- struct{}{}:
	default:
	}
}

// take takes deliveries in hand.
func (r *runner) take(ds []*driver.Delivery) {
	now := time.Now()
	r.mu.Lock()
	for _, d := range ds {
		r.watch(d)
		r.sched.add(d, now)
	}
	r.settler.inHand += len(ds)
	r.dispatch(now)
	r.mu.Unlock()
	if r.s.q.cfg.Observer == nil {
		return
	}
	var age time.Duration
	for _, d := range ds {
		age = max(age, ageOf(d, now))
	}
	r.observe(Event{Kind: Received, Count: len(ds), Age: age})
}

// ageOf is how long ago a delivery was stored, or its message happened.
func ageOf(d *driver.Delivery, now time.Time) time.Duration {
	at := d.Stored
	if at.IsZero() {
		at = d.Message.Time
	}
	if at.IsZero() {
		return 0
	}
	return max(now.Sub(at), 0)
}

func (r *runner) observe(e Event) {
	e.Topic, e.Group = r.s.topic, r.s.group
	r.s.q.observe(e)
}

// watch makes sure that somebody hears of a delivery's being revoked. It needs mu.
func (r *runner) watch(d *driver.Delivery) {
	channel := d.Revoked
	if channel == nil {
		return
	}
	r.revokes[channel]++
	if r.revokes[channel] > 1 {
		return
	}
	r.wg.Go(func() {
		select {
		case <-r.quit:
		case <-channel:
			r.revoke(channel)
		}
	})
}

// revoke gives back what is not begun.
func (r *runner) revoke(channel <-chan struct{}) {
	r.mu.Lock()
	delete(r.revokes, channel)
	dropped := r.sched.revoke(channel)
	r.dispatch(time.Now())
	r.mu.Unlock()
	r.returnAll(dropped)
}

// returnAll gives back what was not begun and is not in hand any more.
func (r *runner) returnAll(tasks []*task) {
	if len(tasks) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.base), callTimeout)
	defer cancel()
	for _, t := range tasks {
		r.returnOne(ctx, t, 0)
	}
	r.observe(Event{Kind: Returned, Count: len(tasks)})
}

// returnOne gives back what a task has. What comes of its message from then on is a task of its own: the engine may be quicker
// than its answer.
func (r *runner) returnOne(ctx context.Context, t *task, after time.Duration) {
	r.mu.Lock()
	r.sched.part(t)
	ds := t.deliveries(nil)
	r.mu.Unlock()
	for _, d := range ds {
		if err := r.rec.Return(ctx, d, after); err != nil && !errors.Is(err, driver.ErrLost) {
			r.complain(ctx, "return", err)
		}
	}
	r.settler.settled(len(ds))
}

// dispatch begins what can begin. It needs mu.
func (r *runner) dispatch(now time.Time) {
	for {
		t, wait := r.sched.next(now)
		if t == nil {
			r.arm(now, wait)
			return
		}
		r.wg.Go(func() { r.work(t) })
	}
}

// arm sees to it that dispatch is called after wait. It needs mu.
func (r *runner) arm(now time.Time, wait time.Duration) {
	if wait <= 0 || r.closing {
		return
	}
	at := now.Add(wait)
	if !r.alarmAt.IsZero() && !at.Before(r.alarmAt) {
		return
	}
	r.alarmAt = at
	if r.alarm != nil {
		r.alarm.Stop()
	}
	r.alarm = time.AfterFunc(wait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.alarmAt.Equal(at) {
			r.alarmAt = time.Time{}
		}
		if !r.closing {
			r.dispatch(time.Now())
		}
	})
}

// work handles a task that has begun, and those after it.
func (r *runner) work(t *task) {
	for t != nil {
		var d decision
		if t.bury == "" {
			d = r.attempt(t)
		} else {
			d.do = setAside
		}
		if d.do == setAside {
			d = r.setAside(t)
		}
		if d.do == giveBack {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.base), callTimeout)
			r.returnOne(ctx, t, d.pause)
			cancel()
		}
		t = r.after(t, d)
	}
}

// after does what follows from a decision, and returns what this goroutine handles next.
func (r *runner) after(t *task, d decision) *task {
	now := time.Now()
	r.mu.Lock()
	if d.do == giveBack {
		r.sched.done(t)
	}
	var dropped []*task
	if r.sched.stopping {
		dropped = r.sched.stop()
	}
	if d.do == settle {
		r.settler.list = t.deliveries(r.settler.list)
		r.settler.tasks++
	}
	next, wait := r.sched.next(now)
	starved := !r.sched.unbegun()
	if next != nil {
		r.dispatch(now)
	} else {
		r.arm(now, wait)
	}
	if r.idle != nil && r.sched.running == 0 {
		close(r.idle)
		r.idle = nil
	}
	r.mu.Unlock()
	r.returnAll(dropped)
	if d.do == settle {
		r.settler.wake()
	}
	if starved {
		r.madeRoom()
	}
	return next
}

// attempt calls the handler, and says what follows.
func (r *runner) attempt(t *task) decision {
	m := t.m
	err, tracer := r.call(t)
	now := time.Now()
	v := judge(err, r.base.Err() != nil)
	if v.blame == ourselves {
		err = nil
	}

	r.mu.Lock()
	age, took, number := ageOf(t.d, now), now.Sub(t.begun), t.number // once it has ended it may begin again at any time
	d := r.sched.end(t, v, err, now)
	reason := t.bury
	r.mu.Unlock()
	if tracer != nil {
		end := AttemptEnd{Err: err, Verdict: verdictOf(d), Pause: d.pause}
		if d.do == setAside {
			end.Reason = reason
		}
		tracer.EndAttempt(end)
	}
	if r.s.q.cfg.Observer != nil {
		r.observe(Event{Kind: Handled, Count: 1, Took: took, Age: age, Err: err})
		switch {
		case d.do == retry || d.do == giveBack && d.pause > 0:
			r.observe(Event{Kind: Retried, Count: 1, Err: err})
		case d.do == giveBack:
			r.observe(Event{Kind: Returned, Count: 1})
		}
	}
	if d.began {
		r.log.Warn("queue: everything fails, probing until something succeeds", "error", err)
		r.observe(Event{Kind: Slowed, Count: 1, Err: err})
	}
	if d.ended {
		r.log.Info("queue: handling succeeds again")
		r.observe(Event{Kind: Resumed, Count: 1})
	}
	var p *lifecycle.PanicError
	switch {
	case errors.As(err, &p):
		r.log.Error("queue: handler panicked", "id", m.ID, "attempt", number, "panic", p)
	case err != nil:
		r.log.Debug("queue: attempt failed", "id", m.ID, "attempt", number, "error", err)
	}
	return d
}

// call calls the handler, through the inbox if there is one.
func (r *runner) call(t *task) (error, AttemptTracer) { //nolint:revive,staticcheck // the error is the handler's, not call's
	in := &incoming{m: t.m, topic: r.s.topic, group: r.s.group, attempt: t.number}
	ctx := extract(r.base, r.s.q.cfg.Propagator, in.m)
	var tracer AttemptTracer
	if with := r.s.q.cfg.Tracer; with != nil {
		ctx, tracer = with.BeginAttempt(ctx, Attempt{
			Topic: r.s.topic, Group: r.s.group, ID: in.m.ID, Key: in.m.Key, Number: t.number, Size: len(in.m.Data),
			Age: ageOf(t.d, t.begun), Replayed: in.m.Attributes[attributeReplays] != "",
		})
	}
	own := withDeadline(ctx, time.Now().Add(r.s.cfg.Timeout))
	defer own.end()
	return lifecycle.Recover(func() error {
		err := r.handle(own, in)
		ask(err)
		return err
	}), tracer
}

func (r *runner) handle(ctx context.Context, in *incoming) error {
	if r.s.cfg.Inbox == nil {
		return r.s.handler.handle(ctx, in)
	}
	if in.m.ID == "" || in.m.Source == "" {
		return &rejected{errors.New("it has no ID or no source, and the inbox needs both")}
	}
	return r.s.cfg.Inbox.Once(ctx, r.s.topic+"/"+r.s.group, inboxID(in.m), func(ctx context.Context) error {
		return r.s.handler.handle(ctx, in)
	})
}

// ask asks an error of a handler what it will be asked: that is not ours, and a nil pointer in it may panic. Here that is contained.
func ask(err error) {
	if err != nil {
		_ = err.Error()
		_ = judge(err, false)
		_ = errors.As(err, new(*lifecycle.PanicError))
	}
}

// setAside makes a dead letter of a task that runs. Only when that is confirmed it is settled.
func (r *runner) setAside(t *task) decision {
	m := t.m
	attempts := t.number
	if t.last == nil {
		attempts-- // it was not begun
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.base), callTimeout)
	err := r.s.q.engine.Bury(ctx, r.s.topic, r.s.group, letter(m, t.bury, r.s.q.cfg.Instance, attempts, t.first, t.last))
	cancel()
	if err == nil {
		r.log.Warn("queue: message set aside", "id", m.ID, "key", m.Key, "reason", t.bury, "attempts", attempts, "error", errorText(t.last))
		r.observe(Event{Kind: Buried, Count: 1, Err: t.last})
	} else {
		r.complain(r.base, "bury", fmt.Errorf("%s: %w", strings.ToValidUTF8(m.ID, ""), err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sched.buried(t, err == nil, time.Now(), backoff.Jitter(receivePauseMax/2, receivePauseMax))
}
