package lock

import (
	"cmp"
	"slices"
	"time"
)

// Hold is a lock that is held, for people.
type Hold struct {
	// Name is the lock's, or the election's, which is a lock.
	Name  string
	Token uint64
	// Since is when it was got, by this process's clock.
	Since time.Time
}

// Holds returns what is held through the Locker, by name. It makes no call. The slice is the caller's.
func (l *Locker) Holds() []Hold {
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	if s == nil || !s.alive() {
		return nil
	}
	s.mu.Lock()
	holds := make([]Hold, 0, len(s.holds))
	for h := range s.holds {
		holds = append(holds, Hold{Name: h.name, Token: h.token, Since: h.since.Round(0)})
	}
	s.mu.Unlock()
	slices.SortFunc(holds, func(a, b Hold) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Token, b.Token)) })
	return holds
}
