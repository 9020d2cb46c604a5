package queue

const (
	// suspectAfter and killerAfter are how often a message was delivered beyond its attempts before it is suspected of ending
	// the process that handles it, and before that is taken for certain. Between the two it is handled alone, one suspect after the
	// other in random order, so that those that were merely at hand when a process died get rid of the suspicion.
	suspectAfter = 4
	killerAfter  = 20
	// trials is of how many that are certain one is set aside untried, where there are so many of them that it looks as if an
	// outage and the ends of processes in it had made them look so.
	trials = 4
	// killed is why a message is set aside that is taken for one.
	killed = "was delivered again and again and never settled: it seems to end the process that handles it"
)

// killer returns one that is to be set aside without being handled, if it is time for that. Of many, it is likely to be one that
// is to be tried alone first: an instance that stops gives its messages back, and many that stop in an outage raise how often
// they were delivered, too. Should it be what it is taken for, the others are no fewer after it, so that not all are tried.
func (s *scheduler) killer(now bool) *task {
	if !now {
		return nil
	}
	trial := s.killers.len() >= stallAfter && s.rnd(trials) != 0
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
