package queue

const (
	// suspectAfter and killerAfter are how often a message was delivered beyond its attempts before it is suspected of ending
	// the process that handles it, and before that is taken for certain. Between the two it is handled alone, one suspect after the
	// other in random order, so that those that were merely at hand when a process died get rid of the suspicion.
	suspectAfter = 4
	killerAfter  = 20
	// trials: where many are certain, one in so many is set aside untried.
	trials = 4
	// killed is why a message is set aside that is taken for one.
	killed = "was delivered again and again and never settled: it seems to end the process that handles it"
)

// killer returns one that is to be set aside without being handled, if it is time for that.
//
// Where there are many, it may be that none is one: an instance that stops in an outage gives back what it has, and that counts as a
// delivery, too. Then most likely one of them is to be tried, alone; if the process lives, it takes none for a killer any more. Not
// always, since where there are indeed many, each trial ends a process.
func (s *scheduler) killer(now bool) *task {
	if !now {
		return nil
	}
	s.many = s.many || s.killers.len() >= stallAfter
	trial := s.many && s.rnd(trials) != 0
	t := s.killers.pop()
	switch {
	case t == nil || trial && s.running == 0 && s.unacked == 0:
		return t
	case trial:
		s.suspects = append(s.suspects, t)
		return nil
	}
	t.bury = killed
	return t
}

// doubt takes the certainty from all that is in hand: this process has lived through an outage, or through one that was certain
// to end it, and how often these were delivered may come from the outage. They are handled alone.
func (s *scheduler) doubt() {
	for t := range s.tasks {
		t.certain = false
	}
	for t := s.killers.pop(); t != nil; t = s.killers.pop() {
		s.suspects = append(s.suspects, t)
	}
}
