package queue

import "time"

// underWayAfter is the pause of a message that is being handled elsewhere, about.
const underWayAfter = time.Second

// comeBack is the end of an attempt that was none, since another instance is at it: nothing is counted. It stays in hand, where
// it is known: to the engine each return is a delivery more.
func (s *scheduler) comeBack(t *task, v verdict, now time.Time) decision {
	s.health.undecided(now, s.rnd)
	if s.stopping || revoked(t.d) {
		s.remember(t)
		return decision{do: giveBack}
	}
	pause := v.after
	if pause <= 0 {
		pause = underWayAfter
	}
	pause = pause/2 + time.Duration(s.rnd(int64(pause)+1))
	s.rest(t, now.Add(pause))
	return decision{do: retry, pause: pause}
}

// undecided is told of an attempt that says nothing about whether handling works: during an outage the next probe is a pause
// away from it all the same.
func (h *health) undecided(now time.Time, rnd func(n int64) int64) {
	if !h.stalled {
		return
	}
	step := min(probeMax, probeMin<<min(h.probes, 10))
	h.probeAt = now.Add(step/2 + time.Duration(rnd(int64(step/2)+1)))
}
