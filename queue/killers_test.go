package queue

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// TestSuspects: messages that were delivered far too often are handled one at a time, in any order, and those beyond doubt
// not at all.
func TestSuspects(t *testing.T) {
	s := newTestScheduler(1, nil, driver.Capabilities{Counts: true})
	now := time.Unix(0, 0)
	for i := range 10 {
		s.add(delivery("", i, defaultAttempts+suspectAfter+1), now)
	}
	s.add(delivery("", 10, 1), now)
	killer := delivery("", 11, defaultAttempts+killerAfter+1)
	s.add(killer, now)
	var order []string
	for i := range 10 {
		tk, _ := s.next(now)
		if tk == nil || tk.bury != "" {
			t.Fatalf("suspect %d is not begun", i)
		}
		order = append(order, string(tk.m.Data))
		if other, _ := s.next(now); other != nil {
			t.Fatalf("%s is handled beside the suspect %s", other.m.Data, tk.m.Data)
		}
		s.end(tk, verdict{}, nil, now)
		if i == 9 {
			break
		}
		if other, _ := s.next(now); other != nil {
			t.Fatalf("%s is handled before %s is settled", other.m.Data, tk.m.Data)
		}
		if !s.acked(1) {
			t.Error("nobody waits for what is settled")
		}
	}
	if slices.IsSorted(order) {
		t.Errorf("begun in the order %v", order)
	}
	for range 2 {
		tk, _ := s.next(now)
		if tk == nil || (tk.bury != "") != (tk.d == killer) {
			t.Errorf("after the suspects %+v", tk)
		}
	}
}

// failElsewhere begins up to n tasks, one after the other, each of which fails for want of something else. What is to be set aside fails
// the test.
func failElsewhere(t *testing.T, s *scheduler, n int, now time.Time) time.Time {
	t.Helper()
	for range n {
		tk, wait := s.next(now)
		if tk == nil && wait == 0 {
			return now
		}
		if tk == nil {
			now = now.Add(wait)
			continue
		}
		if tk.bury != "" {
			t.Fatalf("%s is set aside: it %s", tk.m.ID, tk.bury)
		}
		switch d := s.end(tk, verdict{blame: elsewhere}, errors.New(tk.m.ID), now); d.do {
		case retry:
		case giveBack:
			s.done(tk)
		case settle, setAside:
			t.Fatalf("%s: %+v", tk.m.ID, d)
		}
	}
	return now
}

// TestOutageIsNoKiller: what an engine takes away and gives again, time and again while everything fails, has ended no process. Neither
// what was tried in between is set aside, nor what was not.
func TestOutageIsNoKiller(t *testing.T) {
	for _, window := range []int{6, 128} {
		s := newTestScheduler(1, nil, driver.Capabilities{Counts: true})
		s.rnd = func(int64) int64 { return 0 }
		now := time.Unix(0, 0)
		for round := range 40 {
			revoked := make(chan struct{})
			for i := range window {
				d := delivery("", i, round+1)
				d.Revoked = revoked
				s.add(d, now)
			}
			now = failElsewhere(t, s, 20, now)
			close(revoked)
			s.revoke(revoked)
			now = now.Add(30 * time.Minute)
		}
		for i := range window { // over: everything succeeds
			s.add(delivery("", i, 41), now)
		}
		for range window {
			tk, wait := s.next(now)
			if tk == nil {
				now = now.Add(wait)
				tk, _ = s.next(now)
			}
			if tk == nil || tk.bury != "" || tk.suspect {
				t.Fatalf("after the outage: %+v", tk)
			}
			s.end(tk, verdict{}, nil, now)
			s.acked(1)
		}
	}
}

// TestRevokedWhileItRan: what ran when its delivery was taken away, and failed, is known when it comes again.
func TestRevokedWhileItRan(t *testing.T) {
	s := newTestScheduler(1, nil, driver.Capabilities{Counts: true})
	now := time.Unix(0, 0)
	for round := range 40 {
		revoked := make(chan struct{})
		d := delivery("", 1, round+1)
		d.Revoked = revoked
		s.add(d, now)
		tk, _ := s.next(now)
		if tk == nil || tk.bury != "" || tk.suspect {
			t.Fatalf("in round %d: %+v", round, tk)
		}
		close(revoked)
		if dropped := s.revoke(revoked); len(dropped) != 0 {
			t.Fatal("what runs is dropped")
		}
		if d := s.end(tk, verdict{blame: elsewhere}, errors.New("down"), now); d.do != giveBack {
			t.Fatalf("in round %d: %+v", round, d)
		}
		s.done(tk)
	}
}

// TestRevokedKiller: that a killer was in hand here and was not begun does not clear it.
func TestRevokedKiller(t *testing.T) {
	s := newTestScheduler(1, nil, driver.Capabilities{Counts: true})
	now := time.Unix(0, 0)
	for round := range 3 {
		revoked := make(chan struct{})
		d := delivery("", 1, defaultAttempts+killerAfter+1+round)
		d.Revoked = revoked
		s.add(d, now)
		close(revoked)
		if len(s.revoke(revoked)) != 1 {
			t.Fatal("it is not dropped")
		}
	}
	s.add(delivery("", 1, defaultAttempts+killerAfter+4), now)
	if tk, _ := s.next(now); tk == nil || tk.bury == "" {
		t.Errorf("it is handled: %+v", tk)
	}
}

// TestNoKillersInAnOutage: who has lived through an outage calls nothing that is in hand a killer, however often it was delivered: the
// processes before may have left for other reasons. It is handled alone instead: during the outage when there is nothing else to
// try, and otherwise after it.
func TestNoKillersInAnOutage(t *testing.T) {
	for name, others := range map[string]int{"beside others": stallAfter, "alone": 0} {
		t.Run(name, func(t *testing.T) {
			s := newTestScheduler(1, nil, driver.Capabilities{Counts: true})
			now := time.Unix(0, 0)
			for i := range stallAfter {
				d := delivery("", i, 1)
				if others == 0 {
					d.Revoked = make(chan struct{})
				}
				s.add(d, now)
			}
			now = failElsewhere(t, s, stallAfter, now)
			if !s.health.stalled {
				t.Fatal("it is no outage")
			}
			if others == 0 {
				for tk := range s.tasks {
					s.revoke(tk.d.Revoked)
				}
			}
			for i := range 3 {
				s.add(delivery("", 100+i, defaultAttempts+killerAfter+1), now)
			}
			now = failElsewhere(t, s, 40, now)
			tried := 0
			for tk := range s.tasks {
				if tk.suspect && tk.tries > 0 {
					tried++
				}
			}
			if want := map[bool]int{true: 0, false: 3}[others > 0]; tried != want {
				t.Errorf("during the outage %d suspects were tried, want %d", tried, want)
			}
			for len(s.tasks) > 0 {
				tk, wait := s.next(now)
				if tk == nil {
					if wait == 0 {
						t.Fatalf("%d are never begun", len(s.tasks))
					}
					now = now.Add(wait)
					continue
				}
				if tk.bury != "" {
					t.Fatalf("%s is set aside: it %s", tk.m.ID, tk.bury)
				}
				if tk.suspect {
					if other, _ := s.next(now); other != nil {
						t.Fatalf("%s is handled beside %s", other.m.ID, tk.m.ID)
					}
				}
				s.end(tk, verdict{}, nil, now)
				s.acked(1)
			}
		})
	}
}

// TestKillersComeLast: in a process in which nothing has succeeded yet nothing is called a killer before what may show an outage was tried.
func TestKillersComeLast(t *testing.T) {
	s := newTestScheduler(1, nil, driver.Capabilities{Counts: true})
	now := time.Unix(0, 0)
	for i := range 3 {
		s.add(delivery("", 100+i, defaultAttempts+killerAfter+1), now)
	}
	for i := range stallAfter {
		s.add(delivery("", i, 1), now)
	}
	var running []*task
	for {
		tk, _ := s.next(now)
		if tk == nil {
			break
		}
		if tk.bury != "" {
			t.Fatalf("%s is set aside while %d are tried", tk.m.ID, len(running))
		}
		running = append(running, tk)
	}
	if len(running) != stallAfter {
		t.Fatalf("%d are tried", len(running))
	}
	for _, tk := range running {
		s.end(tk, verdict{blame: elsewhere}, errors.New("down"), now)
	}
	failElsewhere(t, s, 100, now)
}

// TestGivenBackInAnOutage: instances that stop in an outage, dozens of times, give everything back, which counts as a delivery.
// Little of it is set aside for that, a quarter of a message each time it looks so, and the rest is handled when the outage is over.
func TestGivenBackInAnOutage(t *testing.T) {
	const messages, restarts = 40, 100
	now := time.Unix(0, 0)
	aside, count := make(map[string]bool), 0
	start := func(seed uint64) *scheduler {
		s := newTestScheduler(seed, nil, driver.Capabilities{Counts: true})
		count++
		for i := range messages {
			if d := delivery("", i, count); !aside[d.Message.ID] {
				s.add(d, now)
			}
		}
		return s
	}
	for seed := range uint64(restarts) {
		s := start(seed)
		for range 2 * messages {
			tk, wait := s.next(now)
			if tk == nil {
				now = now.Add(wait)
				continue
			}
			if tk.bury != "" {
				aside[tk.m.ID] = true
				s.buried(tk, true, now, 0)
				s.acked(1)
				continue
			}
			s.end(tk, verdict{blame: elsewhere}, errors.New("down"), now)
		}
	}
	if len(aside) > messages*3/4 {
		t.Errorf("%d of %d were set aside in the outage", len(aside), messages)
	}
	left := messages - len(aside)
	s := start(restarts)
	handled := 0
	for tk, _ := s.next(now); tk != nil; tk, _ = s.next(now) {
		if tk.bury == "" {
			handled++
		}
		s.end(tk, verdict{}, nil, now)
		s.acked(1)
	}
	if handled < left-2 {
		t.Errorf("%d of %d were handled after it", handled, left)
	}
}

// TestManyKillers: many messages that do end the process are set aside all the same, and the others are handled.
func TestManyKillers(t *testing.T) {
	const messages, killers = 40, 10
	now := time.Unix(0, 0)
	over := make(map[string]bool)
	fatal := make(map[string]bool)
	for i := range killers {
		fatal[delivery("", i, 1).Message.ID] = true
	}
	processes := 0
	for count := 1; len(over) < messages; count++ {
		if processes++; processes > 100 {
			t.Fatalf("%d processes later %d of %d are over", processes, len(over), messages)
		}
		s := newTestScheduler(uint64(count), nil, driver.Capabilities{Counts: true})
		for i := range messages {
			if d := delivery("", i, count); !over[d.Message.ID] {
				s.add(d, now)
			}
		}
		for tk, _ := s.next(now); tk != nil; tk, _ = s.next(now) {
			if tk.bury == "" && fatal[tk.m.ID] {
				break // that was this process
			}
			over[tk.m.ID] = true
			if tk.bury != "" {
				s.buried(tk, true, now, 0)
			} else {
				s.end(tk, verdict{}, nil, now)
			}
			s.acked(1)
		}
	}
}
