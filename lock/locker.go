package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/lock/driver"
)

const (
	// Pauses before what failed is tried again. The shorter ones are for what holds others up.
	pauseMin = 50 * time.Millisecond
	pauseMax = 2 * time.Second
	// recheck is how often what waits asks anew although nothing seems to have happened: a watch can hang silently.
	recheck = 30 * time.Second
	// delayPoll is how often a claim that the engine delays is tried.
	delayPoll = 250 * time.Millisecond
)

// Locker is one process's part in the locks of one engine. It has one session there, which is opened when it is needed
// first, renewed until Close, and opened again when it is lost. Safe for concurrent use.
type Locker struct {
	engine driver.Engine
	cfg    Config

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	session *session
	opening *opening
	pause   backoff.Backoff
	again   time.Time // no session is opened before
	highest uint64    // token seen
	epoch   struct {
		id       string
		seen     time.Time
		settling bool // in the background
	}
}

// opening is a session on its way, for all who wait for it.
type opening struct {
	done    chan struct{}
	session *session // set, or err, before done is closed
	err     error
}

// New returns a Locker on engine. It makes no call and cannot fail; fields of cfg that Validate rejects get their
// default. The caller keeps engine and closes it after the Locker.
func New(engine driver.Engine, cfg Config) *Locker {
	cfg = cfg.withDefaults()
	if cfg.Margin > cfg.TTL/2 {
		cfg.Margin = 0 // a tenth of what the engine grants
	}
	if len(cfg.Name) > maxText {
		cfg.Name = ""
	}
	l := &Locker{engine: engine, cfg: cfg, pause: backoff.Backoff{Base: pauseMin, Max: pauseMax}}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// Mutex returns the lock of that name. Two of the same name, here or in another process, are the same lock, and an
// Election of that name is, too. What is wrong with the name is an error of its methods.
func (l *Locker) Mutex(name string) *Mutex { return &Mutex{l: l, name: name} }

// Election returns the election of that name.
func (l *Locker) Election(name string) *Election { return &Election{l: l, name: name} }

// Close ends everything held and waited for through the Locker: contexts first, then the session, so that others go on
// at once. It waits for the engine at most for Config.CallTimeout, and joins all goroutines. It does not close the
// engine. It is idempotent and returns nil.
func (l *Locker) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	s := l.session
	l.mu.Unlock()
	if first {
		if s != nil {
			s.lose(ErrClosed)
		}
		l.cancel(ErrClosed)
		if s != nil {
			l.end(s.d)
		}
	}
	l.wg.Wait()
	return nil
}

// end gives a session back. Without an answer it ends by itself.
func (l *Locker) end(d driver.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), l.cfg.CallTimeout)
	defer cancel()
	if err := d.End(ctx); err != nil {
		l.cfg.Logger.Warn("lock session not ended, others wait until it expires", "session", d.ID(), "error", err)
	}
}

// spawn runs f in a goroutine that Close joins, unless Close has begun.
func (l *Locker) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Go(f)
	return true
}

// live returns the session, and opens one if there is none. It tries once, after the pause that the failures before
// demand; all who ask meanwhile share the attempt.
func (l *Locker) live(ctx context.Context) (*session, error) {
	l.mu.Lock()
	switch {
	case l.closed:
		l.mu.Unlock()
		return nil, ErrClosed
	case l.session != nil && l.session.alive():
		defer l.mu.Unlock()
		return l.session, nil
	}
	o := l.opening
	if o == nil {
		o = &opening{done: make(chan struct{})}
		l.opening = o
		l.wg.Go(func() { l.open(o) })
	}
	l.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-o.done:
		return o.session, o.err
	}
}

// open makes the attempt.
func (l *Locker) open(o *opening) {
	defer close(o.done)
	l.mu.Lock()
	pause := time.Until(l.again)
	l.mu.Unlock()
	if pause > 0 && !backoff.Pause(l.ctx, pause) {
		o.err = ErrClosed
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.cfg.CallTimeout)
	defer cancel()
	sent := time.Now()
	d, err := l.engine.Open(ctx, l.cfg.TTL, l.cfg.Name)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.opening = nil
	if err != nil {
		l.again = time.Now().Add(l.pause.Next())
		o.err = fmt.Errorf("open session: %w", err)
		if l.closed {
			o.err = ErrClosed
		}
		return
	}
	l.pause.Reset()
	s := newSession(l, d, sent)
	if l.closed {
		s.lose(ErrClosed)
		o.err = ErrClosed
		l.wg.Go(func() { l.end(d) })
		return
	}
	l.session, o.session = s, s
	l.wg.Go(s.renew)
}

// acquire waits for the lock, or tries for it once.
func (l *Locker) acquire(ctx context.Context, name, value string, try bool) (*Held, error) {
	if err := ValidateName(name); err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "the lock's name is wrong")
	}
	if len(value) > maxText {
		return nil, failure.New(failure.InvalidArgument, "the leader's value has more than %d bytes", maxText)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	if try {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.cfg.CallTimeout)
		defer cancel()
	}
	pause := backoff.Backoff{Base: pauseMin, Max: pauseMax}
	for warned := false; ; {
		s, err := l.live(ctx)
		if err == nil {
			var h *Held
			if h, err = s.acquire(ctx, name, value, try); err == nil {
				return h, nil
			}
		}
		switch {
		case l.ctx.Err() != nil:
			return nil, fmt.Errorf("lock %s: %w", name, ErrClosed)
		case errors.Is(err, driver.ErrUnusable):
			return nil, failure.Wrap(fmt.Errorf("lock %s: %w", name, err), failure.FailedPrecondition, "there are no locks")
		case errors.Is(err, ErrHeld):
			return nil, fmt.Errorf("lock %s: %w", name, err)
		case try && !errors.Is(err, context.Canceled):
			return nil, failure.Wrap(fmt.Errorf("lock %s: %w", name, err), failure.Unavailable, "locks do not answer")
		case ctx.Err() != nil:
			return nil, fmt.Errorf("lock %s: %w", name, ctx.Err())
		}
		if !warned && !errors.Is(err, errAgain) {
			warned = true
			l.cfg.Logger.Warn("waiting for a lock is held up", "lock", name, "error", err)
		}
		if !backoff.Pause(ctx, pause.Next()) {
			return nil, fmt.Errorf("lock %s: %w", name, ctx.Err())
		}
	}
}

// floor is the least that the next token may be: above what this process has seen, its own tokens and others', and by the
// clock above what was given out before an engine forgot it. Microseconds, so that no engine gives out more.
func (l *Locker) floor() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().UnixMicro()
	return max(l.highest+1, uint64(max(now, 1)))
}

// saw remembers a token that somebody holds, or held.
func (l *Locker) saw(token uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.highest = max(l.highest, token)
}

// settleSoon begins to settle in the background, unless that is under way, for those who do not wait for it.
func (l *Locker) settleSoon(ttl time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.epoch.settling {
		return
	}
	l.epoch.settling = true
	l.wg.Go(func() {
		err := l.settle(l.ctx, ttl)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.epoch.settling = false // the next try begins again if it was in vain
		if err != nil && !l.closed {
			l.cfg.Logger.Debug("settling the engine of locks", "error", err)
		}
	})
}

// settle waits until the engine's epoch is as old as the longest that a holder of before can live, by this process's
// own clock since it first saw the epoch, and then says so to the engine.
func (l *Locker) settle(ctx context.Context, ttl time.Duration) error {
	var e driver.Epoch
	err := l.within(ctx, func(ctx context.Context) (err error) {
		e, err = l.engine.Epoch(ctx)
		return err
	})
	if err != nil || e.Settled {
		return err
	}
	wait := ttl
	if l.cfg.Settle != 0 {
		wait = max(0, l.cfg.Settle)
	}
	l.mu.Lock()
	first := l.epoch.id != e.ID
	if first {
		l.epoch.id, l.epoch.seen = e.ID, time.Now()
	}
	at := l.epoch.seen.Add(wait)
	l.mu.Unlock()
	if first && wait > 0 {
		l.cfg.Logger.Info("the engine of locks is new or has lost its memory: waiting until nobody can hold a lock of before", "wait", wait)
	}
	if !backoff.Pause(ctx, max(0, time.Until(at))) {
		return ctx.Err()
	}
	return l.within(ctx, func(ctx context.Context) error { return l.engine.Settle(ctx, e.ID) })
}

// within bounds a call to the engine.
func (l *Locker) within(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.CallTimeout)
	defer cancel()
	return f(ctx)
}
