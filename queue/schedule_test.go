package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// newTestScheduler is one with defaults, whose randomness is seeded.
func newTestScheduler(seed uint64, change func(*SubscriptionConfig), caps driver.Capabilities) *scheduler {
	cfg := SubscriptionConfig{}
	if change != nil {
		change(&cfg)
	}
	return newScheduler(cfg.withDefaults(), caps, rand.New(rand.NewPCG(seed, 0)).Int64N)
}

func delivery(key string, n, count int) *driver.Delivery {
	return &driver.Delivery{Message: &driver.Message{ID: fmt.Sprintf("%s-%d", key, n), Source: "s", Key: key, Data: fmt.Append(nil, n)}, Count: count}
}

// TestScheduler states the invariants of the scheduler for whatever happens in whatever order: lanes, concurrency, order, and
// that nothing is forgotten.
func TestScheduler(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ordered := rapid.Bool().Draw(t, "ordered")
		concurrency := rapid.IntRange(1, 4).Draw(t, "concurrency")
		caps := driver.Capabilities{Counts: rapid.Bool().Draw(t, "counts"), Delay: rapid.Bool().Draw(t, "delay")}
		s := newTestScheduler(rapid.Uint64().Draw(t, "seed"), func(c *SubscriptionConfig) { c.Ordered, c.Concurrency = ordered, concurrency }, caps)
		now := time.Unix(0, 0)
		var running []*task
		added := make(map[string]int) // by key
		doneOf := make(map[string]int)
		out, in := 0, 0 // messages done or given back, and taken
		revokes := []chan struct{}{make(chan struct{}), make(chan struct{})}
		begin := func() {
			for {
				tk, _ := s.next(now)
				if tk == nil {
					return
				}
				for _, other := range running {
					if tk.m.Key != "" && other.m.Key == tk.m.Key {
						t.Fatalf("two of key %s at once", tk.m.Key)
					}
				}
				if ordered && tk.m.Key != "" && string(tk.m.Data) != fmt.Sprint(doneOf[tk.m.Key]) {
					t.Fatalf("key %s: %s begins when %d are done", tk.m.Key, tk.m.Data, doneOf[tk.m.Key])
				}
				if running = append(running, tk); len(running) > concurrency {
					t.Fatalf("%d run", len(running))
				}
			}
		}
		leaves := func(tk *task) {
			s.acked(s.unacked)
			out++
			doneOf[tk.m.Key]++
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				key := rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "key")
				d := delivery(key, added[key], rapid.SampledFrom([]int{1, 1, 1, 2, 14, 40}).Draw(t, "count"))
				if i := rapid.IntRange(0, 2).Draw(t, "revokes"); i < 2 && !ordered {
					d.Revoked = revokes[i]
				}
				s.add(d, now)
				added[key]++
				in++
				if rapid.Bool().Draw(t, "again") {
					again := rapid.IntRange(1, 8).Draw(t, "copies")
					for range again {
						s.add(&driver.Delivery{Message: d.Message, Count: d.Count + 1, Revoked: d.Revoked}, now)
					}
					if tk := s.byID[messageID{d.Message.Source, d.Message.ID}]; tk == nil || len(tk.deliveries(nil)) != again+1 {
						t.Fatal("a copy is forgotten")
					}
				}
				begin()
			},
			"end": func(t *rapid.T) {
				if len(running) == 0 {
					t.Skip("nothing runs")
				}
				i := rapid.IntRange(0, len(running)-1).Draw(t, "which")
				tk := running[i]
				running = slices.Delete(running, i, i+1)
				if tk.bury == "" {
					v := verdict{blame: rapid.SampledFrom([]blame{nobody, theMessage, unknown, elsewhere, waiting}).Draw(t, "blame"), reason: "r"}
					var err error
					if v.blame != nobody {
						err = errors.New("x")
					}
					switch d := s.end(tk, v, err, now); d.do {
					case settle:
						leaves(tk)
					case giveBack:
						if ordered {
							t.Fatal("an ordered message is given back for later")
						}
						s.done(tk)
						leaves(tk)
					case setAside:
						if tk.bury == "" {
							t.Fatal("set aside for no reason")
						}
					case retry:
						if d.pause > s.max {
							t.Fatalf("a pause of %v", d.pause)
						}
					}
				}
				if tk.bury != "" && !tk.gone {
					switch d := s.buried(tk, rapid.Bool().Draw(t, "buried"), now, time.Second); d.do {
					case settle:
						leaves(tk)
					case giveBack:
						s.done(tk)
						leaves(tk)
					case retry, setAside:
					}
				}
				begin()
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 20_000).Draw(t, "ms")) * time.Millisecond)
				begin()
			},
			"revoke": func(t *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(t, "which")
				close(revokes[i])
				for _, tk := range s.revoke(revokes[i]) {
					if slices.Contains(running, tk) {
						t.Fatal("what runs is dropped")
					}
					leaves(tk)
				}
				revokes[i] = make(chan struct{})
				begin()
			},
			"": func(t *rapid.T) {
				if s.running != len(running) {
					t.Fatalf("%d run, it says %d", len(running), s.running)
				}
				if len(s.tasks) != in-out {
					t.Fatalf("%d in hand of %d taken and %d done", len(s.tasks), in, out)
				}
				if len(s.tasks) == 0 && len(s.lanes)+len(s.byID)+len(s.paused) != 0 {
					t.Fatalf("something is left of nothing: %d lanes, %d IDs, %d paused", len(s.lanes), len(s.byID), len(s.paused))
				}
			},
		})
		// When everything succeeds from now on, everything ends.
		for range 10_000 {
			if len(s.tasks) == 0 {
				return
			}
			begin()
			for _, tk := range running {
				if tk.bury == "" {
					if d := s.end(tk, verdict{}, nil, now); d.do != settle {
						t.Fatalf("after success: %v", d.do)
					}
				} else {
					s.buried(tk, true, now, 0)
				}
				leaves(tk)
			}
			running = nil
			now = now.Add(time.Second)
		}
		t.Fatalf("%d are never done", len(s.tasks))
	})
}

// TestStopKeepsOrder: what follows one of its key that still runs is given back after it.
func TestStopKeepsOrder(t *testing.T) {
	s := newTestScheduler(1, func(c *SubscriptionConfig) { c.Ordered, c.Concurrency = true, 1 }, driver.Capabilities{})
	now := time.Unix(0, 0)
	for i := range 3 {
		s.add(delivery("a", i, 1), now)
		s.add(delivery("b", i, 1), now)
	}
	first, _ := s.next(now)
	if got := s.stop(); len(got) != 3 || slices.ContainsFunc(got, func(tk *task) bool { return tk.m.Key != "b" }) {
		t.Fatalf("%d are given back at once", len(got))
	}
	if tk, _ := s.next(now); tk != nil {
		t.Error("something is begun after the stop")
	}
	if d := s.end(first, verdict{blame: unknown}, errors.New("x"), now); d.do != giveBack || d.pause != 0 {
		t.Fatalf("what failed during the stop: %+v", d)
	}
	if got := s.stop(); len(got) != 0 {
		t.Errorf("%d are given back before the one that they follow", len(got))
	}
	s.done(first)
	if got := s.stop(); len(got) != 2 || len(s.tasks) != 0 {
		t.Errorf("%d are given back after it, %d are left", len(got), len(s.tasks))
	}
}

// What was handled and is delivered again, because the engine was not told of it in time, is not the last of its key.
func TestTheLastOfAKeyStaysTheLast(t *testing.T) {
	now := time.Unix(0, 0)
	s := newTestScheduler(1, func(c *SubscriptionConfig) { c.Ordered = true }, driver.Capabilities{Counts: true})
	var effects []string
	run := func() *task { tk, _ := s.next(now); return tk }
	end := func(tk *task) {
		effects = append(effects, string(tk.m.Data))
		s.end(tk, verdict{}, nil, now)
		s.acked(1)
	}
	first := make(chan struct{})
	for n := range 2 {
		d := delivery("k", n, 1)
		d.Revoked = first
		s.add(d, now)
	}
	end(run())   // 0; its acknowledgement is lost with the connection
	one := run() // 1 runs when the connection breaks
	close(first)
	s.revoke(first)
	second := make(chan struct{})
	for n := range 2 { // the engine begins again with what is not settled
		d := delivery("k", n, 2)
		d.Revoked = second
		s.add(d, now)
	}
	end(one)
	for tk := run(); tk != nil; tk = run() {
		end(tk)
	}
	if !slices.Equal(effects, []string{"0", "1", "0", "1"}) {
		t.Errorf("handled %v", effects)
	}
}

// What is in hand when the engine goes back to it is handled once, if nothing older comes before it.
func TestWhatComesAgainInItsOrderIsHandledOnce(t *testing.T) {
	now := time.Unix(0, 0)
	s := newTestScheduler(1, func(c *SubscriptionConfig) { c.Ordered = true }, driver.Capabilities{Counts: true})
	first, second := make(chan struct{}), make(chan struct{})
	for count, session := range []chan struct{}{first, second} {
		for n := range 4 {
			d := delivery("k", n, count+1)
			d.Revoked = session
			s.add(d, now)
		}
	}
	var effects []string
	for tk, _ := s.next(now); tk != nil; tk, _ = s.next(now) {
		effects = append(effects, string(tk.m.Data))
		s.end(tk, verdict{}, nil, now)
		s.acked(1)
	}
	if !slices.Equal(effects, []string{"0", "1", "2", "3"}) {
		t.Errorf("handled %v", effects)
	}
}
