package natsqueue_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/proxytest"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
)

func inOrder(instance string) driver.Subscription {
	return driver.Subscription{Topic: "t", Group: "g", Instance: instance, Ordered: true, Window: 50, Hold: 10 * time.Second}
}

func publish(t *testing.T, e *natsqueue.Engine, from, to int) {
	t.Helper()
	ctx := soon(t)
	for i := from; i < to; i++ {
		for {
			errs := e.Publish(ctx, "t", []*driver.Message{text(i)})
			if errs == nil {
				break
			}
			check(t, ctx.Err())
			_ = e.Declare(ctx, driver.Topic{Name: "t"}) // the engine may have been wiped
		}
	}
}

// An engine that comes back with nothing counts its messages from 1 again: a group that is ordered and had settled more
// than there are now gets them all the same.
func TestOrderedAfterTheEngineWasWiped(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, e.Declare(ctx, driver.Topic{Name: "t"}))
	r, err := e.Subscribe(ctx, inOrder("one"))
	check(t, err)
	publish(t, e, 0, 40)
	receive(t, r, 40)
	s.stop()
	there, err := os.ReadDir(s.cfg.DataDir)
	check(t, err)
	for _, f := range there {
		check(t, os.RemoveAll(filepath.Join(s.cfg.DataDir, f.Name())))
	}
	s.start()
	publish(t, e, 100, 110)
	missing := make(map[string]bool)
	for i := 100; i < 110; i++ {
		missing[text(i).ID] = true
	}
	for len(missing) > 0 {
		ds, err := r.Receive(ctx, 10)
		if ctx.Err() != nil {
			t.Fatalf("%d never came", len(missing))
		}
		if err != nil {
			continue
		}
		for _, d := range ds {
			delete(missing, d.Message.ID)
		}
		_ = r.Ack(ctx, ds) // what was given out before the lanes were lost comes again
	}
}

// A member whose connection is lost gives up its lanes by itself, before others take them, and gives nothing more out. When
// the connection is back it goes on, and that counts as nobody's death.
func TestOrderedWithoutAConnectionGivesUp(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := proxytest.New(t, func() string { return s.cfg.ClientAddr })
	e := open(t, nil, p.Addr())
	ctx := soon(t)
	check(t, e.Declare(ctx, driver.Topic{Name: "t"}))
	cfg := inOrder("one")
	cfg.Hold = time.Second
	r, err := e.Subscribe(ctx, cfg)
	check(t, err)
	publish(t, e, 0, 40)
	ds, err := r.Receive(ctx, 1)
	check(t, err)
	begun := time.Now()
	s.stop()
	select {
	case <-ds[0].Revoked:
		if after := time.Since(begun); after > 5*time.Second {
			t.Errorf("revoked after %v only", after)
		}
	case <-ctx.Done():
		t.Fatal("never revoked")
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if ds, err := r.Receive(short, 10); err == nil {
		t.Errorf("%d were given out after it", len(ds))
	}
	if err := r.Ack(ctx, ds); !errors.Is(err, driver.ErrLost) {
		t.Errorf("what was revoked was settled: %v", err)
	}
	s.start()
	for left := 40; left > 0; {
		ds, err := r.Receive(ctx, left)
		check(t, ctx.Err())
		if err != nil {
			continue // the server has just started
		}
		for _, d := range ds {
			if d.Count > 2 {
				t.Errorf("%s counts %d", d.Message.ID, d.Count)
			}
		}
		if r.Ack(ctx, ds) == nil {
			left -= len(ds)
		}
	}
}

// A lane whose record names a member that never heard that it had got it is read by somebody all the same.
func TestALaneThatWasTakenUnheard(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := open(t, nil, s.cfg.ClientAddr), open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, a.Declare(ctx, driver.Topic{Name: "t"}))
	one, err := a.Subscribe(ctx, inOrder("one"))
	check(t, err)
	two, err := b.Subscribe(ctx, inOrder("two"))
	check(t, err)
	all := func() bool {
		lanes := slices.Concat(natsqueue.Lanes(one), natsqueue.Lanes(two))
		slices.Sort(lanes)
		return len(natsqueue.Lanes(one)) == 4 && slices.Equal(lanes, []int{0, 1, 2, 3, 4, 5, 6, 7})
	}
	until := func(what func() bool) {
		t.Helper()
		for tick := time.NewTicker(5 * time.Millisecond); !what(); <-tick.C {
			check(t, ctx.Err())
		}
	}
	until(all)
	lane := natsqueue.Lanes(two)[0]
	check(t, natsqueue.TakeUnheard(ctx, one, lane))
	for n := range 50 { // the other one finds out when it writes
		publish(t, a, n, n+1)
		for _, r := range []driver.Receiver{one, two} {
			short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			if ds, err := r.Receive(short, 10); err == nil {
				_ = r.Ack(ctx, ds)
			}
			cancel()
		}
	}
	until(all)
}

// A group that is made one without order while a member of the ordered one lives, as in a rolling update, goes on when that
// one has left.
func TestAnOrderedMemberLeavesOneThatIsNot(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, e.Declare(ctx, driver.Topic{Name: "t"}))
	old, err := e.Subscribe(ctx, inOrder("old"))
	check(t, err)
	publish(t, e, 0, 20)
	receive(t, old, 20)
	cfg := inOrder("new")
	cfg.Ordered = false
	r, err := e.Subscribe(ctx, cfg)
	check(t, err)
	publish(t, e, 20, 40)
	got := make(map[string]bool)
	take := func(r driver.Receiver, until func(error) bool) {
		for {
			short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			ds, err := r.Receive(short, 10)
			cancel()
			for _, d := range ds {
				got[d.Message.ID] = true
			}
			_ = r.Ack(ctx, ds)
			check(t, ctx.Err())
			if until(err) {
				return
			}
		}
	}
	take(old, func(err error) bool { return err != nil && len(natsqueue.Lanes(old)) == 8 }) // it has made it ordered again
	check(t, old.Close())
	publish(t, e, 40, 60)
	for len(got) < 40 {
		ds, err := r.Receive(ctx, 10)
		check(t, ctx.Err())
		if err != nil {
			continue
		}
		for _, d := range ds {
			got[d.Message.ID] = true
		}
		_ = r.Ack(ctx, ds)
	}
	for i := range 20 {
		if got[text(i).ID] {
			t.Errorf("%d was settled and came again", i)
		}
	}
}
