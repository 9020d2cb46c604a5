package autoscale

import (
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/scale"
)

// longestGap is the longest time between two looks over which somebody goes on serving.
const longestGap = 15 * time.Second

// served is who of a service has served for long enough to be made up for. It is bounded by who is there. The zero value is one
// that has not looked yet.
type served struct {
	at time.Time // of the last look
	by map[string]tenure
}

// tenure is one instance's.
type tenure struct {
	since  time.Time // without a break; zero while it does not serve
	proven bool      // it once has for scale.Proof, as whichever process
}

// lost takes note of who serves, and returns how many do not that once have for long enough. Of those who are there at first it is
// taken for granted. Who is on the way out is not lost, and forgotten.
func (s *served) lost(now time.Time, service string, instances []control.Instance) (n int) {
	since := now.Sub(s.at)
	first, gap := s.at.IsZero(), since < 0 || since > longestGap
	by := make(map[string]tenure)
	for _, i := range instances {
		if i.Service != service || i.State == draining || i.State == stopped {
			continue
		}
		is := s.by[i.ID]
		is.proven = is.proven || first
		switch {
		case i.State != ready:
			is.since = time.Time{}
		case is.since.IsZero() || gap:
			is.since = now
		case now.Sub(is.since) >= scale.Proof:
			is.proven = true
		}
		if is.proven && i.State != ready {
			n++
		}
		by[i.ID] = is
	}
	s.at, s.by = now, by
	return n
}
