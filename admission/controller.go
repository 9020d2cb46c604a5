package admission

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// Controller decides which calls a server begins with. Make one with [New]. Safe for concurrent use.
type Controller struct {
	off  atomic.Bool
	zero time.Time // the core's time 0

	mu     sync.Mutex // held for everything below
	core   *core
	quotas *quotas
	timer  *time.Timer // nil until calls have waited
	due    int64       // when the timer fires; 0: it will not
}

// New returns a Controller. Values in cfg that Validate finds wrong count as their defaults, and a MinLimit above the
// MaxLimit as that.
func New(cfg Config) *Controller {
	c := &Controller{zero: time.Now()}
	cfg = cfg.defaults()
	c.off.Store(cfg.Off)
	c.core = newCore(cfg)
	c.quotas = newQuotas(cfg)
	return c
}

// Configure changes the configuration. What has been measured, the calls in progress and those waiting are kept.
func (c *Controller) Configure(cfg Config) {
	cfg = cfg.defaults()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off.Store(cfg.Off)
	now := c.now()
	c.core.configure(now, cfg)
	c.quotas.configure(cfg)
	c.act(now)
}

// Request is what is decided on.
type Request struct {
	// Method and Path, either of which may be empty, say of what kind the call is. Calls of one kind should take about
	// the same time: how long they do says whether another one can meet its deadline. At most 1,000 kinds are known, and
	// calls of others are not judged by their deadlines before these have passed.
	Method, Path string
	// Criticality says who goes first.
	Criticality resilience.Criticality
	// Tenant is on whose behalf the call is made; "" nobody's.
	Tenant string
	// Attempt is how often the call was tried before: under load, first attempts go before repetitions.
	Attempt int
}

// Outcome is how a call that was admitted ended.
type Outcome uint8

// The outcomes.
const (
	// Done: the handler did its work.
	Done Outcome = iota
	// Failed: it returned an error. If that was much faster than the work, it says nothing about the server.
	Failed
	// Late: it was given up, at its deadline or by its caller: the work would have taken longer than it did.
	Late
	// TooLate: the handler did its work, but nobody waited for it any more.
	TooLate
)

// OutcomeOf is how a handler's answer with the given code counts.
func OutcomeOf(code failure.Code) Outcome {
	switch code {
	case failure.OK:
		return Done
	case failure.DeadlineExceeded, failure.Canceled:
		return Late
	default:
		return Failed
	}
}

// Ticket is the right to run one call.
type Ticket struct {
	c     *Controller // nil: there was nothing to ask
	kind  *kind
	start int64
}

// Admit waits until the call may begin, which without load is at once. The error is nil or a *failure.Error:
//
//   - RESOURCE_EXHAUSTED with reason SHED: there is too much to do; [Pushback] says whether and when to try again.
//   - RESOURCE_EXHAUSTED with reason QUOTA: the tenant has had its share; RetryAfter is until there is more of it.
//   - DEADLINE_EXCEEDED: ctx ends before the call could, or ended while it waited.
//   - CANCELLED: ctx was canceled while the call waited.
//
// After a nil error [Ticket.Done] must be called.
func (c *Controller) Admit(ctx context.Context, r Request) (Ticket, error) {
	if c.off.Load() {
		return Ticket{}, nil
	}
	var deadline int64
	if d, ok := ctx.Deadline(); ok {
		// 0 is for none.
		if deadline = int64(d.Sub(c.zero)); deadline == 0 {
			deadline = 1
		}
	}
	now := c.now()
	c.mu.Lock()
	if wait, ok := c.quotas.take(now, r.Tenant); !ok {
		c.core.stats.Quota++
		c.mu.Unlock()
		return Ticket{}, refusal(overQuota, wait, 0)
	}
	k := c.core.kind(now, r.Method, r.Path)
	v, w := c.core.arrive(now, deadline, k, rank(r.Criticality, r.Attempt))
	if v == queued {
		w.ready = make(chan struct{}, 1)
	}
	if len(c.core.decided) > 0 || c.core.queue.n > 0 {
		c.act(now)
	}
	c.mu.Unlock()
	switch v {
	case admitted:
		return Ticket{c: c, kind: k, start: now}, nil
	case queued:
		return c.await(ctx, w)
	default:
		return Ticket{}, refusal(v, 0, rand.Uint64())
	}
}

// await waits for the verdict on w.
func (c *Controller) await(ctx context.Context, w *waiter) (Ticket, error) {
	select {
	case <-w.ready:
	case <-ctx.Done():
		c.mu.Lock()
		now := c.now()
		if w.verdict == undecided {
			c.core.cancel(now, w)
			c.act(now)
			c.mu.Unlock()
			return Ticket{}, gone(ctx)
		}
		if w.verdict == admitted { // at the same moment
			c.core.end(now, w.begun, w.kind, Failed)
			c.act(now)
			c.mu.Unlock()
			return Ticket{}, gone(ctx)
		}
		c.mu.Unlock()
	}
	if w.verdict == admitted {
		return Ticket{c: c, kind: w.kind, start: w.begun}, nil
	}
	return Ticket{}, refusal(w.verdict, 0, rand.Uint64())
}

func gone(ctx context.Context) error {
	if ctx.Err() == context.Canceled {
		return failure.Wrap(ctx.Err(), failure.Canceled, "the caller has gone")
	}
	return errLate
}

// Done gives the right back. It must be called once, when the handler has really returned and not when nobody waits for it
// any more.
func (t Ticket) Done(o Outcome) {
	c := t.c
	if c == nil {
		return
	}
	now := c.now()
	c.mu.Lock()
	c.core.end(now, t.start, t.kind, o)
	if len(c.core.decided) > 0 || c.core.queue.n > 0 {
		c.act(now)
	}
	c.mu.Unlock()
}

// Stats returns what the Controller is doing.
func (c *Controller) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.core.snapshot()
	if c.off.Load() {
		s.Found = 0 // it is of before
	}
	return s
}

// Limit returns how many calls may be in progress.
func (c *Controller) Limit() int { return c.Stats().Limit }

func (c *Controller) now() int64 { return int64(time.Since(c.zero)) }

// act passes on what the core has decided, and sees to it that it is asked again in time. c.mu is held.
func (c *Controller) act(now int64) {
	for i, w := range c.core.decided {
		w.ready <- struct{}{} // has room: there is one verdict for a waiter
		c.core.decided[i] = nil
	}
	c.core.decided = c.core.decided[:0]
	next := c.core.next()
	if next == 0 || c.due > now && c.due <= next {
		return
	}
	c.due = next
	d := time.Duration(max(next-now, int64(time.Millisecond)))
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.tick)
	} else {
		c.timer.Reset(d)
	}
}

func (c *Controller) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.due = 0
	c.core.tick(now)
	c.act(now)
}
