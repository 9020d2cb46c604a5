package kafkaqueue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// TestStorm: instances come and go while messages are published (TestRealStorm: 20, in any way). None is lost, and the first time of those
// of a key is in order.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { storm(t, newFake(t), 500*time.Millisecond, false) })
}

// storm is harder on a real broker: the one in memory does not get over members that vanish while they join.
func storm(t *testing.T, e engine, every time.Duration, hard bool) {
	keys, each, instances := 6, 30, 10
	if hard {
		keys, each, instances = 8, 60, 20
	}
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's
	pub := open(t, e)
	pub.declare("t", "g")
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	var l ledger
	join := func(i int) (leave func()) {
		c := open(t, e)
		name := ""
		if hard {
			name = fmt.Sprintf("i-%d", i)
		}
		r := c.subscribe("t", name, 16)
		mine, stop := context.WithCancel(ctx)
		work.Go(func() { handle(mine, r, &l) })
		return func() {
			switch how := i % 3; {
			case how == 0 || !hard: // stops
				stop()
				_ = r.Close()
			case how == 1: // is cut off
				stop()
				c.Cut()
			default: // hangs
				c.Freeze()
				stop()
			}
		}
	}
	var here []func()
	here = append(here, join(-3))
	work.Go(func() {
		for i := range each {
			for k := range keys {
				pub.publish("t", message(fmt.Sprintf("k%d", k), i))
			}
			pause(time.Duration(instances) * every / time.Duration(each))
		}
	})
	for i := range instances {
		here = append(here, join(i))
		pause(every)
		if len(here) > 3 {
			n := 1 + rnd.IntN(len(here)-1)
			here[n]()
			here = append(here[:n], here[n+1:]...)
		}
	}
	for begun := time.Now(); l.distinct() < keys*each && time.Since(begun) < 2*time.Minute; {
		pause(50 * time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d messages, %d came again", keys*each, l.check(t, keys, each))
}

// TestStuckMessage: one message that is never settled holds up nothing, and when its instance dies nothing else comes again.
func TestStuckMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		pub, dies, other := open(t, f), open(t, f), open(t, f)
		pub.declare("t", "g")
		r := dies.subscribe("t", "dies", 10)
		pub.publish("t", message("k", 0))
		stuck := receive(t, r, 1, 10*time.Second)
		const n = 500
		for i := 1; i <= n; i++ {
			pub.publish("t", message("k", i))
		}
		for i := 1; i <= n; {
			ds := receive(t, r, 1, 10*time.Second)
			if len(ds) == 0 {
				t.Fatalf("%d of %d came", i, n)
			}
			if err := r.Ack(t.Context(), ds); err != nil {
				t.Fatal(err)
			}
			i++
		}
		pause(time.Second)
		if lag, err := pub.Lag(t.Context(), "t", "g"); err != nil || lag.Waiting != 1 {
			t.Errorf("lag %+v, %v: one waits", lag, err)
		}
		dies.Cut()
		s := other.subscribe("t", "other", 10)
		ds := receive(t, s, 2, 20*time.Second)
		if len(ds) != 1 || ds[0].Message.ID != stuck[0].Message.ID {
			t.Errorf("%d came again", len(ds))
		}
	})
}

// TestZombie: an instance that was frozen for so long that the group went on without it is told so, begins nothing, and
// takes nothing back from what its successor has committed.
func TestZombie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { zombie(t, newFake(t)) })
}

func zombie(t *testing.T, e engine) {
	pub, frozen, other := open(t, e), open(t, e), open(t, e)
	pub.declare("t", "g")
	r := frozen.subscribe("t", "frozen", 5)
	for i := range 20 {
		pub.publish("t", message("k", i))
	}
	old := receive(t, r, 5, 20*time.Second)
	if len(old) != 5 {
		t.Fatalf("%d came", len(old))
	}
	frozen.Freeze()
	s := other.subscribe("t", "other", 100)
	ds := receive(t, s, 20, time.Minute)
	if len(ds) != 20 {
		t.Fatalf("the successor has %d", len(ds))
	}
	if err := s.Ack(t.Context(), ds); err != nil {
		t.Fatal(err)
	}
	pause(time.Second) // for the commit
	_ = r.Ack(t.Context(), old[:2])
	frozen.Thaw()
	lost := false
	for begun := time.Now(); !lost && time.Since(begun) < 20*time.Second; pause(50 * time.Millisecond) {
		lost = errors.Is(r.Ack(t.Context(), old), driver.ErrLost)
	}
	if !lost {
		t.Error("it was not told that its deliveries are lost")
	}
	pause(2 * time.Second)
	if lag, err := pub.Lag(t.Context(), "t", "g"); err != nil || lag.Waiting != 0 {
		t.Errorf("lag %+v, %v: something was taken back", lag, err)
	}
	pub.publish("t", message("k", 99))
	if got := append(receive(t, s, 1, 3*time.Second), receive(t, r, 1, 3*time.Second)...); len(got) != 1 || got[0].Message.ID != "k/99" {
		t.Errorf("%d came", len(got))
	}
}

// TestKilledWhileGivingUp: an instance dies while it is the only one that has a partition to give up, and a process takes its place in
// the group before anybody has noticed. What it was to give up is handled.
func TestKilledWhileGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { killedWhileGivingUp(t, newFake(t)) })
}

func killedWhileGivingUp(t *testing.T, e engine) {
	const members, keys = 3, 40 // and four partitions, two of them for what is given back: one member has two
	pub := open(t, e)
	ctx := t.Context()
	if err := pub.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"g"}, Replicas: 1, Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return fmt.Sprintf("member-%d", i) }
	clients, receivers, held := make([]*client, members), make([]driver.Receiver, members), make([][]*driver.Delivery, members)
	for i := range members {
		clients[i] = open(t, e)
		receivers[i] = clients[i].subscribe("t", name(i), 100)
		pause(6 * time.Second) // until it has its part
	}
	for k := range keys {
		if k%2 == 0 {
			pub.publish("t", message(fmt.Sprintf("k%d", k), 0))
			continue
		}
		if err := errors.Join(pub.PublishTo(ctx, "t", "g", []*driver.Message{message(fmt.Sprintf("k%d", k), 0)})...); err != nil {
			t.Fatal(err)
		}
	}
	var work sync.WaitGroup
	for i, r := range receivers {
		work.Go(func() { held[i] = receive(t, r, keys, 5*time.Second) })
	}
	work.Wait()
	for i, ds := range held {
		by := map[string]int{}
		for _, d := range ds {
			by[fmt.Sprint(d.Revoked)]++
		}
		t.Logf("%s has %d messages of %d partitions", name(i), len(ds), len(by))
	}
	handling, stop := context.WithCancel(context.Background())
	var l ledger
	defer work.Wait()
	defer stop()
	last := open(t, e).subscribe("t", "last", 100)
	work.Go(func() { handle(handling, last, &l) })
	dying, given := -1, 0
	for begun := time.Now(); dying < 0; pause(50 * time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			t.Fatal("nobody is told to give anything up")
		}
		for i, ds := range held {
			for _, d := range ds {
				select {
				case <-d.Revoked:
					dying = i
					given++
				default:
				}
			}
		}
	}
	t.Logf("%s has %d messages, and gives up %d", name(dying), len(held[dying]), given)
	clients[dying].Cut()
	died := time.Now()
	again := open(t, e).subscribe("t", name(dying), 100)
	work.Go(func() { handle(handling, again, &l) })
	for l.distinct() < len(held[dying]) {
		if pause(50 * time.Millisecond); time.Since(died) > 30*time.Second {
			t.Fatalf("%d of %d that it had are handled %v after it died", l.distinct(), len(held[dying]), time.Since(died))
		}
	}
	t.Logf("all is handled after %v", time.Since(died))
}

// TestSameName: of two instances with one name both go on, the older one without it.
func TestSameName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		pub := open(t, f)
		pub.declare("t", "g")
		var l ledger
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		defer work.Wait()
		defer cancel()
		for range 2 {
			r := open(t, f).subscribe("t", "name", 10)
			work.Go(func() { handle(ctx, r, &l) })
			pause(time.Second)
		}
		for i := range 20 {
			for k := range 8 {
				pub.publish("t", message(fmt.Sprintf("k%d", k), i))
			}
			pause(500 * time.Millisecond)
		}
		for begun := time.Now(); l.distinct() < 160 && time.Since(begun) < time.Minute; {
			pause(50 * time.Millisecond)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if again := l.check(t, 8, 20); again > 40 { // once, of what was not committed when the name went over
			t.Errorf("%d came again: the two drive each other out", again)
		}
	})
}
