package breakage

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// scaleRetry is how long to wait after a change of scale that was refused: a restart may be under way.
const scaleRetry = time.Second

// errOverruled is the trouble of a fault that somebody's hand came after.
var errOverruled = errors.New("overruled by hand")

// scaling is a service whose scale faults change.
type scaling struct {
	before int // how many there were, and are to be again
	want   int
	has    int // what was last asked for
	busy   bool
	asked  int                // what is being asked for, while busy
	giveUp context.CancelFunc // ends the wait for that
	err    error

	overruled []string // the IDs of the faults that somebody's hand came after: they do not count any more

	release func() // of those who would scale it by themselves
}

// scale makes services have as many instances as the newest fault wants, and as many as before when there is none any
// more, with mu held. It does not wait.
func (k *Keeper) scale() {
	if k.ended {
		return // the system stops: there is no scale any more
	}
	wanted := make(map[string]int)
	for _, f := range k.faults {
		if f.Kind != control.FaultScale {
			continue
		}
		service := f.Targets[0]
		s := k.scales[service]
		if s == nil {
			n := k.sys.Replicas(service)
			s = &scaling{before: n, has: n, release: k.sys.HoldScale(service)}
			k.scales[service] = s
		}
		if !slices.Contains(s.overruled, f.ID) {
			wanted[service] = *f.Replicas
		}
	}
	for service, s := range k.scales {
		n, ok := wanted[service]
		if !ok {
			n = s.before
		}
		s.want = n
		switch {
		case s.busy:
			// What waits for an instance that does not become ready may wait for ever. This one is not to be any more.
			if s.giveUp != nil && n != s.asked {
				s.giveUp()
			}
		case s.has != n:
			s.busy = true
			k.wg.Go(func() { k.rescale(service, s) })
		case !k.scaled(service):
			k.forget(service)
		}
	}
}

// rescale changes the scale until it is what is wanted.
func (k *Keeper) rescale(service string, s *scaling) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() { s.busy = false }()
	for s.has != s.want {
		n, ctx := s.want, k.ctx
		asking, giveUp := context.WithCancel(ctx)
		s.asked, s.giveUp = n, giveUp
		k.mu.Unlock()
		err := k.sys.Scale(asking, service, n)
		if err != nil {
			select {
			case <-time.After(scaleRetry):
			case <-asking.Done():
			}
		}
		k.mu.Lock()
		if s.err = err; asking.Err() != nil {
			s.err = nil // nobody asks for that any more
		}
		giveUp()
		s.giveUp = nil
		// What was begun and took too long is in force all the same.
		if err == nil || k.sys.Replicas(service) == n {
			s.has = n
		}
		if ctx.Err() != nil {
			return
		}
	}
	if !k.scaled(service) {
		k.forget(service)
	}
}

// forget is called with mu held.
func (k *Keeper) forget(service string) {
	if s := k.scales[service]; s != nil {
		s.release()
		delete(k.scales, service)
	}
}

// scaled reports whether a fault is to change the scale of a service, with mu held: also one that is overruled, which is to
// remain so.
func (k *Keeper) scaled(service string) bool {
	for _, f := range k.faults {
		if f.Kind == control.FaultScale && f.Targets[0] == service {
			return true
		}
	}
	return false
}

// Rescaled tells that somebody else has changed the scale of a service: that is how it is to be from now on, during the faults
// in force as well as after them. A fault that begins later changes it again.
func (k *Keeper) Rescaled(service string, replicas int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.scales[service]
	if s == nil {
		return
	}
	// Meanwhile a fault that had just begun may have changed it once more.
	s.before, s.has, s.overruled = replicas, k.sys.Replicas(service), nil
	for _, f := range k.faults {
		if f.Kind == control.FaultScale && f.Targets[0] == service {
			s.overruled = append(s.overruled, f.ID)
		}
	}
	k.scale()
}
