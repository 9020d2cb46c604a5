package outbox

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// maxPublishing is how many topics are published to at once.
	maxPublishing = 8
	// slow is how long publications may take before the events of other topics are looked for meanwhile. Looking passes over
	// all events of the busy topics, so it is not done while they are fast.
	slow = 100 * time.Millisecond
	// vainPause and vainTimes bound the looks that find nothing but what has to wait: they, too, pass over all of that. There is at
	// least that pause after one, and that many times what it took unless a topic's time has come.
	vainPause = 100 * time.Millisecond
	vainTimes = 10
	// lagEvery is how often the lag is looked at, cleanEvery how often events that are done are removed: cleanBatch at a time,
	// with pauses of cleanPause, so that nobody waits for it.
	lagEvery   = 3 * time.Second
	cleanEvery = 30 * time.Second
	cleanBatch = 500
	cleanPause = 50 * time.Millisecond
)

// work is one term of a relay as the leader. Its fields are of the goroutine of run.
type work struct {
	r     *Relay
	holds *holds
	leads func() error // the Err of the leader's own ctx: a lock's looks at the clock, one that is made of it does not

	busy      map[string]bool // topics that are being published to
	results   chan result
	confirmed []Mark          // published and not yet marked
	more      bool            // there may be events that were not read
	lookAt    time.Time       // not before, because what is being published may be through any moment, or there was nothing but what waits
	looked    time.Time       // last
	fetchAt   time.Time       // not before, because the store failed
	markAt    time.Time       // likewise
	fetching  backoff.Backoff // after failures of the store
	marking   backoff.Backoff
	wake      chan struct{}
	arm       chan struct{}
}

// result is what became of a batch.
type result struct {
	topic  string
	events []Event
	errs   []error
}

func newWork(r *Relay, leads func() error) *work {
	b := backoff.Backoff{Base: 50 * time.Millisecond, Max: 2 * time.Second}
	return &work{
		r: r, holds: newHolds(r.cfg.Batch), leads: leads, busy: make(map[string]bool), more: true,
		results: make(chan result, maxPublishing), fetching: b, marking: b,
		wake: make(chan struct{}, 1), arm: make(chan struct{}, 1),
	}
}

// run works until leader ends, or stop and then there is nothing left to do in time.
func (w *work) run(leader, stop context.Context) error {
	ctx, cancel := context.WithCancel(leader)
	helpers := make(chan struct{}, 2)
	defer func() {
		w.abandon(cancel)
		<-helpers
		<-helpers
	}()
	go func() { w.watch(ctx); helpers <- struct{}{} }()
	go func() { w.keepHouse(ctx); helpers <- struct{}{} }()

	stopping, end := stop.Done(), (<-chan time.Time)(nil)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for w.leads() == nil {
		w.mark(ctx)
		w.fetch(ctx)
		if end != nil && len(w.busy) == 0 && len(w.confirmed) == 0 && !w.more {
			return nil
		}
		timer.Reset(w.pause())
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-w.wake:
			w.more = true
		case res := <-w.results:
			w.settle(res)
			for range len(w.results) {
				w.settle(<-w.results)
			}
		case <-stopping:
			stopping, w.more, w.lookAt = nil, true, time.Time{}
			t := time.NewTimer(w.r.cfg.DrainTimeout)
			defer t.Stop()
			end = t.C
		case <-end:
			return nil
		}
	}
	return cmp.Or(context.Cause(leader), w.leads())
}

// abandon ends what is being published, and marks what was confirmed: that is true whoever leads now.
func (w *work) abandon(cancel context.CancelFunc) {
	cancel()
	for len(w.busy) > 0 {
		w.settle(<-w.results)
	}
	if len(w.confirmed) == 0 {
		return
	}
	ctx, done := context.WithTimeout(context.Background(), min(time.Second, w.r.cfg.StoreTimeout))
	defer done()
	w.markAt = time.Time{}
	w.mark(ctx)
}

// pause is how long there is nothing to do unless something happens: an hour for ever.
func (w *work) pause() time.Duration {
	now := time.Now()
	d := time.Hour
	until := func(at time.Time) {
		if !at.IsZero() {
			d = min(d, max(at.Sub(now), time.Millisecond))
		}
	}
	if len(w.confirmed) > 0 {
		until(w.markAt)
	}
	if w.more && len(w.confirmed) == 0 && len(w.busy) < maxPublishing {
		until(later(w.fetchAt, w.lookAt))
	}
	until(w.holds.next(now))
	return d
}

// mark takes what is confirmed out of the store.
func (w *work) mark(ctx context.Context) {
	for len(w.confirmed) > 0 && !time.Now().Before(w.markAt) && ctx.Err() == nil {
		n := min(len(w.confirmed), 1000)
		call, done := context.WithTimeout(ctx, w.r.cfg.StoreTimeout)
		err := w.done(call, w.confirmed[:n])
		done()
		if err != nil {
			w.markAt = time.Now().Add(w.marking.Next())
			w.r.cfg.Logger.Warn("events are published and cannot be marked; they are published again if the process ends now",
				"relay", w.r.cfg.Name, "events", len(w.confirmed), "error", err)
			return
		}
		w.confirmed = w.confirmed[n:]
		w.markAt = time.Time{}
		w.marking.Reset()
		w.r.update(func(s *Status) { s.Marked += uint64(n) })
	}
	if len(w.confirmed) == 0 {
		w.confirmed = nil
	}
}

func (w *work) done(ctx context.Context, marks []Mark) error {
	if m, ok := w.r.store.(Marker); ok {
		return m.Mark(ctx, marks)
	}
	seqs := make([]uint64, len(marks))
	for i, m := range marks {
		seqs[i] = m.Seq
	}
	return w.r.store.Done(ctx, seqs)
}

// fetch reads what is to be published and begins with it. Nothing is read while what was published cannot be marked: it
// would be read again, and the store has troubles enough.
func (w *work) fetch(ctx context.Context) {
	now := time.Now()
	if lane, topic := w.holds.release(now); lane || topic {
		w.more = true
		if at := w.looked.Add(vainPause); topic && at.Before(w.lookAt) {
			w.lookAt = at
		}
	}
	if !w.more || len(w.confirmed) > 0 || len(w.busy) == maxPublishing || now.Before(later(w.fetchAt, w.lookAt)) || ctx.Err() != nil {
		return
	}
	q := Query{Limit: w.r.cfg.Batch, MaxBytes: w.r.cfg.BatchBytes, Skip: w.holds.skip(now)}
	for topic := range w.busy {
		q.Skip.Topics = append(q.Skip.Topics, topic)
	}
	call, done := context.WithTimeout(ctx, w.r.cfg.StoreTimeout)
	events, err := w.r.store.Pending(call, q)
	done()
	w.looked = time.Now()
	if err != nil {
		if ctx.Err() == nil {
			w.r.cfg.Logger.Warn("the outbox cannot be read", "relay", w.r.cfg.Name, "error", err)
		}
		w.fetchAt = time.Now().Add(w.fetching.Next())
		return
	}
	w.fetching.Reset()
	w.fetchAt = time.Time{}
	// A store may know a key by another name than it was given, and return what was to be left out.
	events = slices.DeleteFunc(events, func(e Event) bool { return w.busy[e.Topic] || w.holds.holds(now, &e) })
	if len(events) > 0 {
		w.publish(ctx, events)
		w.lookAt = time.Now().Add(slow)
		return
	}
	w.more = false
	if !q.Skip.empty() {
		w.lookAt = w.looked.Add(max(vainPause, vainTimes*w.looked.Sub(now)))
	}
	select {
	case w.arm <- struct{}{}:
	default:
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// publish begins with a batch for each topic, as many as there may be at a time; the rest is read again.
func (w *work) publish(ctx context.Context, events []Event) {
	batches := make(map[string][]Event)
	var order []string
	for _, e := range events {
		if batches[e.Topic] == nil {
			order = append(order, e.Topic)
		}
		batches[e.Topic] = append(batches[e.Topic], e)
	}
	for _, topic := range order[:min(len(order), maxPublishing-len(w.busy))] {
		w.busy[topic] = true
		batch := batches[topic]
		slices.SortStableFunc(batch, func(a, b Event) int { return cmp.Compare(a.Seq, b.Seq) })
		messages := make([]*driver.Message, len(batch))
		for i := range batch {
			messages[i] = batch[i].Message
		}
		go func() {
			call, done := context.WithTimeout(ctx, w.r.cfg.PublishTimeout)
			defer done()
			res := result{topic: topic, events: batch}
			if err := lifecycle.Recover(func() error {
				if err := w.leads(); err != nil { // looks at the clock, if the lock's ctx does: not beside a successor
					return err
				}
				res.errs = w.r.pub.PublishMessages(call, topic, messages)
				return nil
			}); err != nil {
				res.errs = repeat(err, len(batch))
			}
			w.results <- res
		}()
	}
}

func repeat(err error, n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// settle takes in what became of a batch.
func (w *work) settle(res result) {
	delete(w.busy, res.topic)
	published := w.holds.settle(time.Now(), res.topic, res.events, res.errs)
	w.confirmed = append(w.confirmed, published...)
	w.more, w.lookAt = true, time.Time{}
	failed := len(res.events) - len(published)
	if failed > 0 {
		for i, err := range res.errs {
			if err != nil {
				w.r.cfg.Logger.Warn("events could not be published, and are tried again", "relay", w.r.cfg.Name, "topic", res.topic,
					"events", failed, "id", res.events[i].Message.ID, "error", err)
				break
			}
		}
	}
	held := w.holds.list()
	w.r.update(func(s *Status) {
		s.Published += uint64(len(published))
		s.Failed += uint64(failed) //nolint:gosec // not negative
		s.Held = held
	})
}

// watch wakes run when there may be events. The store is asked to wait only after it had none, and once more at the end.
func (w *work) watch(ctx context.Context) {
	wait := func() error { return w.contain("Wait", func() error { return w.r.store.Wait(ctx) }) }
	defer func() { _ = wait() }() // ctx is over: it lets go of what it waited with
	pause := backoff.Backoff{Base: 50 * time.Millisecond, Max: 2 * time.Second}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.arm:
		}
		if err := wait(); err != nil {
			backoff.Pause(ctx, pause.Next()) // and then look, since waiting does not work
		} else {
			pause.Reset()
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// contain makes a panic of the store an error: in a goroutine of its own nobody else would, and the process would end.
func (w *work) contain(method string, call func() error) error {
	err := lifecycle.Recover(call)
	if p := (*lifecycle.PanicError)(nil); errors.As(err, &p) {
		w.r.cfg.Logger.Error("a panic in the store of an outbox", "relay", w.r.cfg.Name, "method", method, "error", err)
	}
	return err
}

// keepHouse looks at the lag, and removes what was done long ago.
func (w *work) keepHouse(ctx context.Context) {
	counter, _ := w.r.store.(Counter)
	cleaner, _ := w.r.store.(Cleaner)
	cleanAt := time.Now().Add(backoff.Jitter(0, cleanEvery))
	for {
		if counter != nil {
			call, done := context.WithTimeout(ctx, w.r.cfg.StoreTimeout)
			var lag Lag
			err := w.contain("Lag", func() (err error) { lag, err = counter.Lag(call); return err })
			done()
			if err == nil {
				w.r.update(func(s *Status) { s.Lag = lag })
			}
		}
		if cleaner != nil && !time.Now().Before(cleanAt) {
			w.clean(ctx, cleaner)
			cleanAt = time.Now().Add(backoff.Jitter(cleanEvery*3/4, cleanEvery*5/4))
		}
		if !backoff.Pause(ctx, backoff.Jitter(lagEvery*3/4, lagEvery*5/4)) {
			return
		}
	}
}

func (w *work) clean(ctx context.Context, cleaner Cleaner) {
	for {
		call, done := context.WithTimeout(ctx, w.r.cfg.StoreTimeout)
		n := 0
		err := lifecycle.Recover(func() (err error) { n, err = cleaner.Clean(call, cleanBatch); return err })
		done()
		if err != nil && ctx.Err() == nil {
			w.r.cfg.Logger.Warn("events that are done cannot be removed", "relay", w.r.cfg.Name, "error", err)
		}
		w.r.update(func(s *Status) { s.Cleaned += uint64(max(n, 0)) })
		if err != nil || n < cleanBatch || !backoff.Pause(ctx, cleanPause) {
			return
		}
	}
}
