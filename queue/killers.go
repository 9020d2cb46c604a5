package queue

const (
	// suspectAfter and killerAfter are how often a message was delivered beyond its attempts before it is suspected of ending
	// the process that handles it, and before that is taken for certain. Between the two it is handled alone, one suspect after the
	// other in random order, so that those that were merely at hand when a process died get rid of the suspicion.
	suspectAfter = 4
	killerAfter  = 20
	// killed is why a message is set aside that is taken for one.
	killed = "was delivered again and again and never settled: it seems to end the process that handles it"
)

// killer returns one that is to be set aside without being handled, if it is time for that.
func (s *scheduler) killer(now bool) *task {
	if !now {
		return nil
	}
	t := s.killers.pop()
	if t != nil {
		t.bury = killed
	}
	return t
}

// doubt takes the certainty from all that is in hand in an outage: so many failures have not ended this process, and how often these
// were delivered may come from the outage. They are handled alone.
func (s *scheduler) doubt() {
	for t := range s.tasks {
		t.certain = false
	}
	for t := s.killers.pop(); t != nil; t = s.killers.pop() {
		s.suspects = append(s.suspects, t)
	}
}
