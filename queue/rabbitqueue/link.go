package rabbitqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	redialBase = 100 * time.Millisecond
	redialMax  = 2 * time.Second
	// closedLogins is how many logins in a row must end without a word before they count as refused: a broker that is
	// killed meanwhile looks the same as one that does not like the password.
	closedLogins = 3
)

// link keeps one connection: it dials when somebody asks for it, one dial at a time, and after a failure not before a
// while. Who asks meanwhile learns at once what is wrong. Safe for concurrent use.
type link struct {
	dial func(ctx context.Context) (*connection, error)
	log  *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // dials and watches

	live atomic.Pointer[connection] // nil while there is none

	mu      sync.Mutex
	dialing chan struct{} // not nil while a dial is under way, closed at its end
	err     error         // why the last dial failed, or the last connection ended
	ready   time.Time     // not to be dialed before
	wait    backoff.Backoff
	logins  int // that ended without a word, in a row
	closed  bool
}

func newLink(dial func(context.Context) (*connection, error), log *slog.Logger) *link {
	l := &link{dial: dial, log: log, wait: backoff.Backoff{Base: redialBase, Max: redialMax}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// get returns the connection that lives, or dials. The error is ctx's, errClosed, or says why there is none now.
func (l *link) get(ctx context.Context) (*connection, error) {
	if c := l.live.Load(); c != nil && !c.ended() {
		return c, nil
	}
	l.mu.Lock()
	switch c := l.live.Load(); {
	case l.closed:
		l.mu.Unlock()
		return nil, errClosed
	case c != nil && !c.ended():
		l.mu.Unlock()
		return c, nil
	case l.dialing == nil && time.Now().Before(l.ready):
		defer l.mu.Unlock()
		return nil, l.err
	case l.dialing == nil:
		l.dialing = make(chan struct{})
		l.wg.Go(l.redial)
	}
	dialing := l.dialing
	l.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-dialing:
	}
	l.mu.Lock() // the dial has ended when this is ours
	defer l.mu.Unlock()
	if c := l.live.Load(); c != nil {
		return c, nil
	}
	return nil, l.err
}

// await is get for those who wait as long as it takes. It tells why it waits.
func (l *link) await(ctx context.Context, tell func(error)) (*connection, error) {
	for {
		c, err := l.get(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, errClosed) {
			return c, err
		}
		tell(err)
		l.mu.Lock()
		d := time.Until(l.ready)
		l.mu.Unlock()
		if !backoff.Pause(ctx, d+backoff.Jitter(0, redialBase)) {
			return nil, ctx.Err()
		}
	}
}

func (l *link) redial() {
	c, err := l.dial(l.ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.dialing)
	l.dialing = nil
	if err == nil && l.closed {
		l.wg.Go(c.close)
		l.err = errClosed
		return
	}
	if err != nil {
		l.failed(err)
		return
	}
	l.wait.Reset()
	l.logins = 0
	l.live.Store(c)
	l.log.Info("connected to RabbitMQ", "connection", c.name)
	l.wg.Go(func() { l.watch(c) })
}

// failed notes why there is no connection. l.mu is held.
func (l *link) failed(err error) {
	if l.closed {
		l.err = errClosed
		return
	}
	if l.logins++; !errors.Is(err, errLogin) {
		l.logins = 0
	}
	if l.logins >= closedLogins {
		err = fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	l.err = fmt.Errorf("RabbitMQ: %w", err)
	l.ready = time.Now().Add(l.wait.Next())
	l.log.Warn("no connection to RabbitMQ", "error", err)
}

// watch waits for the end of a connection.
func (l *link) watch(c *connection) {
	select {
	case <-c.done:
	case <-l.ctx.Done():
		c.close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live.CompareAndSwap(c, nil)
	l.failed(c.reason())
}

// close ends the connection and everything that waits for it. It is idempotent.
func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.err = errClosed
	l.mu.Unlock()
	l.cancel()
	l.wg.Wait()
}
