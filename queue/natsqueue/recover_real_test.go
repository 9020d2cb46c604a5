//go:build real

package natsqueue_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/proxytest"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// A message that was on its way when the connection broke comes although nothing comes after it.
func TestRealAMessageOnItsWayWhenTheConnectionBreaksComes(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := proxytest.New(t, func() string { return s.cfg.ClientAddr })
	direct, e := open(t, nil, s.cfg.ClientAddr), open(t, nil, p.Addr())
	ctx := soon(t)
	check(t, direct.Declare(ctx, driver.Topic{Name: "t"}))
	r, err := e.Subscribe(ctx, inOrder("one"))
	check(t, err)
	publish(t, direct, 0, 40)
	receive(t, r, 40)
	got := make(chan string, 10)
	rctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for rctx.Err() == nil {
			ds, err := r.Receive(rctx, 10)
			if err != nil {
				<-time.After(50 * time.Millisecond)
				continue
			}
			for _, d := range ds {
				got <- d.Message.ID
			}
			_ = r.Ack(rctx, ds)
		}
	}()
	<-time.After(500 * time.Millisecond)
	p.Freeze()
	publish(t, direct, 100, 101)
	<-time.After(200 * time.Millisecond)
	p.Cut()
	p.Thaw()
	p.Restore()
	select {
	case <-got:
	case <-time.After(20 * time.Second):
		lag, err := direct.Lag(ctx, "t", "g")
		t.Errorf("did not come within 20 s; lag %+v, %v", lag, err)
	}
	cancel()
	<-done
}

// The default Hold counts, too, where it was shorter before.
func TestRealALongerHoldCounts(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	sub := driver.Subscription{Topic: "t", Group: "g", Instance: "one", Window: 10, Hold: 2 * time.Second}
	r, err := e.Subscribe(ctx, sub)
	check(t, err)
	check(t, r.Close())
	sub.Hold = 30 * time.Second
	r, err = e.Subscribe(ctx, sub)
	check(t, err)
	publish(t, e, 0, 1)
	_, err = r.Receive(ctx, 1)
	check(t, err)
	again, cancel := context.WithTimeout(ctx, 8*time.Second) // package queue extends after 10 s
	defer cancel()
	if ds, err := r.Receive(again, 1); err == nil {
		t.Errorf("delivered again within its Hold of 30 s, count %d", ds[0].Count)
	}
}

// What is said about a delivery of a stream that is gone does not settle another message.
func TestRealAnAckOfAStreamThatIsGoneSettlesNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	sub := driver.Subscription{Topic: "t", Group: "g", Instance: "one", Window: 10, Hold: 5 * time.Second}
	check(t, e.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"g"}}))
	r, err := e.Subscribe(ctx, sub)
	check(t, err)
	publish(t, e, 0, 1)
	old, err := r.Receive(ctx, 1)
	check(t, err)
	s.stop()
	there, err := os.ReadDir(s.cfg.DataDir)
	check(t, err)
	for _, f := range there {
		check(t, os.RemoveAll(filepath.Join(s.cfg.DataDir, f.Name())))
	}
	s.start()
	other := open(t, nil, s.cfg.ClientAddr) // a publisher declares it
	check(t, other.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"g"}}))
	publish(t, other, 100, 101)
	var now []*driver.Delivery
	for len(now) == 0 {
		now, err = r.Receive(ctx, 1)
		if err != nil {
			<-time.After(100 * time.Millisecond)
		}
		check(t, ctx.Err())
	}
	if now[0].Message.ID != text(100).ID {
		t.Fatal(now[0].Message.ID)
	}
	if err = r.Ack(ctx, old); !errors.Is(err, driver.ErrLost) {
		t.Errorf("what is gone was settled: %v", err)
	}
	check(t, r.Close()) // gives the new one back
	r, err = e.Subscribe(ctx, sub)
	check(t, err)
	again, cancel := context.WithTimeout(ctx, 12*time.Second)
	defer cancel()
	if _, err := r.Receive(again, 1); err != nil {
		t.Errorf("the new message, which nobody has settled, never came again: %v", err)
	}
}

// However many are settled beyond one that is not, the next owner gets that one alone.
func TestRealTheNextOwnerKnowsWhatIsSettled(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, e.Declare(ctx, driver.Topic{Name: "t", Partitions: 1}))
	sub := inOrder("one")
	sub.Window = 4096
	r, err := e.Subscribe(ctx, sub)
	check(t, err)
	const n = 3000
	ms := make([]*driver.Message, n)
	for i := range ms {
		ms[i] = text(i)
		ms[i].Key = fmt.Sprint("k", i)
	}
	if errs := e.Publish(ctx, "t", ms); errs != nil {
		t.Fatal(errs)
	}
	// One is stuck; the others are settled, as soon as they do not come any faster.
	stuck, settled, hand := text(500).ID, 0, []*driver.Delivery(nil)
	for settled < n-1 {
		c, cancel := context.WithTimeout(ctx, time.Second)
		more, err := r.Receive(c, n)
		cancel()
		for _, d := range more {
			if d.Message.ID != stuck {
				hand = append(hand, d)
			}
		}
		if err == nil && settled+len(hand) < n-1 {
			continue
		}
		if len(hand) == 0 {
			break
		}
		check(t, r.Ack(ctx, hand))
		settled, hand = settled+len(hand), nil
	}
	want := n - settled
	check(t, r.Close())
	r, err = e.Subscribe(ctx, sub)
	check(t, err)
	got := 0
	for {
		c, cancel := context.WithTimeout(ctx, 5*time.Second)
		more, err := r.Receive(c, n)
		cancel()
		if err != nil {
			if ctx.Err() == nil && got < want && !errors.Is(err, context.DeadlineExceeded) {
				continue
			}
			break
		}
		got += len(more)
		check(t, r.Ack(ctx, more))
	}
	if got != want {
		t.Errorf("%d came again, of which %d were not settled", got, want)
	}
}

// A lane of which much is settled beyond a message that is not goes on with that one when another instance has it.
func TestRealAStuckMessageOfALaneGoesToTheNextOwner(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, e.Declare(ctx, driver.Topic{Name: "t", Partitions: 1}))
	sub := inOrder("one")
	sub.Window = 128 // the default
	r, err := e.Subscribe(ctx, sub)
	check(t, err)
	const n = 2000
	ms := make([]*driver.Message, n)
	for i := range ms {
		ms[i] = text(i)
		ms[i].Key = fmt.Sprint("k", i)
	}
	if errs := e.Publish(ctx, "t", ms); errs != nil {
		t.Fatal(errs)
	}
	settled := 0
	for {
		c, cancel := context.WithTimeout(ctx, 2*time.Second)
		ds, err := r.Receive(c, n)
		cancel()
		if err != nil {
			break
		}
		for _, d := range ds {
			if d.Message.ID != text(500).ID { // is tried again for long
				check(t, r.Ack(ctx, []*driver.Delivery{d}))
				settled++
			}
		}
	}
	check(t, r.Close()) // a new version comes
	r, err = e.Subscribe(ctx, sub)
	check(t, err)
	got := 0
	for got < n-settled {
		c, cancel := context.WithTimeout(ctx, 10*time.Second)
		ds, err := r.Receive(c, n)
		cancel()
		if err != nil {
			t.Errorf("%d of %d came: %v", got, n-settled, err)
			break
		}
		got += len(ds)
		check(t, r.Ack(ctx, ds))
	}
}

// What waited in the receiver, since the runner had no room, has its Hold when it is handed out.
func TestRealWhatWaitsInTheReceiverKeepsItsHold(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	const hold = 3 * time.Second
	r, err := e.Subscribe(ctx, driver.Subscription{Topic: "t", Group: "g", Instance: "one", Window: 10, Hold: hold})
	check(t, err)
	publish(t, e, 0, 10)
	<-time.After(300 * time.Millisecond)
	hand, err := r.Receive(ctx, 1)
	check(t, err)
	seen := map[string]int{}
	for range 14 { // slow handlers: no room for five seconds; package queue extends what is in hand at every third of Hold
		<-time.After(hold / 9)
		check(t, r.Extend(ctx, hand))
	}
	for len(hand) < 10 {
		ds, err := r.Receive(ctx, 10-len(hand))
		check(t, err)
		hand = append(hand, ds...)
	}
	end := time.Now().Add(hold + time.Second)
	for time.Now().Before(end) {
		<-time.After(hold / 3)
		_ = r.Extend(ctx, hand)
	}
	for _, d := range hand {
		seen[d.Message.ID]++
		if d.Count > 1 {
			t.Errorf("%s is handed out with a count of %d, and nobody has died", d.Message.ID, d.Count)
		}
	}
	c, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	check(t, r.Ack(ctx, hand[:1]))
	if ds, err := r.Receive(c, 9); err == nil {
		t.Errorf("%s comes again, count %d", ds[0].Message.ID, ds[0].Count)
	}
	if len(seen) != 10 {
		t.Errorf("%d of 10", len(seen))
	}
}
