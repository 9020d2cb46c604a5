package rpc

import (
	"context"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/resilience"
)

// alarms end the attempts of a target when their deadlines have come, and call for their hedges before that.
//
// There is one timer for all of them. It is set for what comes first, and stays set when that attempt is over before, as
// nearly all are: where calls follow each other closely, only few of them set a timer, and hardly one stops it. To set
// the timer that is the next to fire makes the runtime wake a thread to wait for it, or the one that waits already. It is
// the target's timer, not everybody's, since one of a synctest bubble is of no use in another.
//
// Invariant: the timer is set for no later than the first attempt of the heap, or ring is about to run.
type alarms struct {
	mu    sync.Mutex
	zero  time.Time // of the times below
	timer *time.Timer
	rings time.Duration // what the timer is set for; 0: it is not
	set   time.Duration // when it was, from not being set
	keep  bool          // it is to stay set when there is no attempt

	heap []alarm // a 4-ary heap by at; of.place says where an attempt is
}

// alarm is that of one attempt.
type alarm struct {
	at time.Duration
	of *attempt
}

const (
	// branches is how many children a place of the heap has: most attempts come in at its end and stay there.
	branches = 4
	// spares is how many settings of the timer it has to save that it stays set. Otherwise one that calls make now and
	// then would wake an idle process for nothing.
	spares = 4
)

// arm makes a end at its deadline, and have a hedge before that if its plan says so.
func (s *alarms) arm(a *attempt, now time.Time) {
	at := a.plan.Deadline
	asked := a.plan.Hedge.IsZero() || !a.plan.Hedge.Before(at)
	if !asked {
		at = a.plan.Hedge
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer == nil {
		s.zero = now.Add(-1)
	}
	a.asked = asked
	s.push(alarm{at.Sub(s.zero), a})
	since := now.Sub(s.zero)
	if s.rings == 0 {
		s.keep = s.timer != nil && since-s.set < at.Sub(now)/spares
		s.set = since
	}
	s.wind(since)
}

// wind sets the timer for the first attempt, unless it rings by then.
func (s *alarms) wind(now time.Duration) {
	first := max(s.heap[0].at, 1)
	if s.rings != 0 && s.rings <= first {
		return
	}
	s.rings = first
	if s.timer == nil {
		s.timer = time.AfterFunc(first-now, s.ring)
	} else {
		s.timer.Reset(first - now)
	}
}

// disarm ends what arm has begun.
func (s *alarms) disarm(a *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.place > 0 {
		s.remove(a.place - 1)
	}
	if len(s.heap) == 0 && !s.keep && s.rings != 0 {
		s.timer.Stop()
		s.rings = 0
	}
}

// ring is called when the time of what was the first attempt has come. It may be late: the process was paused, and
// whoever is to be asked for a hedge may be past the deadline. What was answered meanwhile has not been read then: attempts
// are given a moment for it, as far as their calls have one.
func (s *alarms) ring() {
	var room [2][8]*attempt
	over, slow := room[0][:0], room[1][:0]
	s.mu.Lock()
	due := s.rings
	s.rings = 0
	t := time.Now()
	now := t.Sub(s.zero)
	stood := resilience.StoodStill(now - due)
	for len(s.heap) > 0 && s.heap[0].at <= now {
		a := s.heap[0].of
		left := a.left(t)
		if left <= 0 && stood && a.spare(t.Add(resilience.Spared)) {
			left = a.left(t)
		}
		if left <= 0 {
			left = a.expire(t)
		}
		if left <= 0 {
			s.remove(0)
			over = append(over, a)
			continue
		}
		if !a.asked {
			a.asked = true
			slow = append(slow, a)
		}
		s.heap[0].at = now + left
		s.down(0)
	}
	if len(s.heap) > 0 {
		s.wind(now)
	}
	s.mu.Unlock()
	// From here on, these may be over.
	for _, a := range over {
		a.cancel(context.DeadlineExceeded)
	}
	for _, a := range slow {
		a.call.beside(a)
	}
}

func (s *alarms) push(x alarm) {
	s.heap = append(s.heap, x)
	s.up(len(s.heap) - 1)
}

func (s *alarms) remove(i int) {
	s.heap[i].of.place = 0
	n := len(s.heap) - 1
	last := s.heap[n]
	s.heap[n] = alarm{}
	s.heap = s.heap[:n]
	if i < n {
		s.put(i, last)
		s.up(i)
		s.down(last.of.place - 1)
	}
}

func (s *alarms) put(i int, x alarm) {
	s.heap[i] = x
	x.of.place = i + 1
}

func (s *alarms) up(i int) {
	x := s.heap[i]
	for i > 0 {
		parent := (i - 1) / branches
		if s.heap[parent].at <= x.at {
			break
		}
		s.put(i, s.heap[parent])
		i = parent
	}
	s.put(i, x)
}

func (s *alarms) down(i int) {
	x := s.heap[i]
	for {
		least, at := i, x.at
		for j := branches*i + 1; j <= branches*i+branches && j < len(s.heap); j++ {
			if s.heap[j].at < at {
				least, at = j, s.heap[j].at
			}
		}
		if least == i {
			break
		}
		s.put(i, s.heap[least])
		i = least
	}
	s.put(i, x)
}
