package rabbitqueue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// dials answers a link. It is for a synctest bubble.
type dials struct {
	mu   sync.Mutex
	n    int
	next func(ctx context.Context) (*connection, error)
}

func (d *dials) dial(ctx context.Context) (*connection, error) {
	d.mu.Lock()
	d.n++
	next := d.next
	d.mu.Unlock()
	return next(ctx)
}

func (d *dials) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

func (d *dials) answer(f func(ctx context.Context) (*connection, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = f
}

func alive() *connection { return &connection{name: "test", done: make(chan struct{})} }

func (c *connection) die(err error) {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	close(c.done)
}

func bubble(t *testing.T, f func(t *testing.T, d *dials, l *link)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &dials{}
		d.answer(func(context.Context) (*connection, error) { return alive(), nil })
		l := newLink(d.dial, slog.New(slog.DiscardHandler))
		f(t, d, l)
		if c := l.live.Load(); c != nil {
			c.die(nil) // there is no client to say goodbye to
		}
		l.close()
		if _, err := l.get(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

// TestManyAskOneDials: whoever asks while a dial is under way gets its connection.
func TestManyAskOneDials(t *testing.T) {
	bubble(t, func(t *testing.T, d *dials, l *link) {
		d.answer(func(context.Context) (*connection, error) {
			<-time.After(time.Second)
			return alive(), nil
		})
		got := make(chan *connection, 50)
		for range cap(got) {
			go func() {
				c, err := l.get(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- c
			}()
		}
		first := <-got
		for range cap(got) - 1 {
			if c := <-got; c != first {
				t.Error("another connection")
			}
		}
		if d.count() != 1 {
			t.Errorf("dialed %d times", d.count())
		}
	})
}

// TestAskingEndsWithItsContext: a broker that accepts connections and says nothing holds up nobody.
func TestAskingEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, d *dials, l *link) {
		d.answer(func(ctx context.Context) (*connection, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begun := time.Now()
		if _, err := l.get(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// TestADeadBrokerIsAskedSeldom: callers learn at once what is wrong, and dials become rare, to at most one in redialMax.
func TestADeadBrokerIsAskedSeldom(t *testing.T) {
	bubble(t, func(t *testing.T, d *dials, l *link) {
		dead := errors.New("connection refused")
		d.answer(func(context.Context) (*connection, error) { return nil, dead })
		for begun := time.Now(); time.Since(begun) < 5*time.Minute; <-time.After(10 * time.Millisecond) {
			before := time.Now()
			if _, err := l.get(t.Context()); !errors.Is(err, dead) {
				t.Fatal(err)
			}
			if time.Since(before) > 0 {
				t.Fatal("it waited")
			}
		}
		// Full jitter: waits are half of the most on average.
		if n := d.count(); n < 150 || n > 600 {
			t.Errorf("dialed %d times in 5 minutes", n)
		}
		d.answer(func(context.Context) (*connection, error) { return alive(), nil })
		ctx, cancel := context.WithTimeout(t.Context(), redialMax+2*redialBase)
		defer cancel()
		told := 0
		if _, err := l.await(ctx, func(error) { told++ }); err != nil {
			t.Errorf("the broker is back: %v", err)
		}
	})
}

// TestALostConnectionIsDialedAgain, and what it is replaced by is another one.
func TestALostConnectionIsDialedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, d *dials, l *link) {
		first, err := l.get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lost := errors.New("reset by peer")
		first.die(lost)
		synctest.Wait()
		if _, err := l.get(t.Context()); err != nil && !errors.Is(err, lost) {
			t.Errorf("right after it: %v", err)
		}
		second, err := l.await(t.Context(), func(error) {})
		if err != nil || second == first || d.count() != 2 {
			t.Errorf("%v, %d dials, the same %v", err, d.count(), second == first)
		}
	})
}

// TestLoginsThatEndWithoutAWord: one may be of a broker that is killed; three in a row are of a wrong password.
func TestLoginsThatEndWithoutAWord(t *testing.T) {
	bubble(t, func(t *testing.T, d *dials, l *link) {
		fail := errLogin
		d.answer(func(context.Context) (*connection, error) { return nil, fail })
		try := func() error {
			for n := d.count(); ; <-time.After(redialMax) {
				if _, err := l.get(t.Context()); d.count() > n {
					return err
				}
			}
		}
		for range closedLogins - 1 {
			if err := try(); errors.Is(err, driver.ErrRefused) {
				t.Fatalf("refused too early: %v", err)
			}
		}
		if err := try(); !errors.Is(err, driver.ErrRefused) {
			t.Errorf("not refused: %v", err)
		}
		fail = errors.New("connection refused")
		if err := try(); errors.Is(err, driver.ErrRefused) {
			t.Errorf("another reason counts as a refusal: %v", err)
		}
	})
}

// TestClosedWhileDialing: the dial ends, and nothing is left of what it brings.
func TestClosedWhileDialing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(func(ctx context.Context) (*connection, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, slog.New(slog.DiscardHandler))
		answer := make(chan error, 1)
		go func() {
			_, err := l.await(t.Context(), func(error) {})
			answer <- err
		}()
		synctest.Wait()
		l.close()
		if err := <-answer; !errors.Is(err, errClosed) {
			t.Errorf("got %v", err)
		}
	})
}
