package breakage

import (
	"errors"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// maxWrong is how wrong a clock can be, whatever the faults in force say together: what it shows can still be given in nanoseconds
// since 1970.
const maxWrong = 100 * 365 * 24 * time.Hour

// checkClocks refuses instances whose clocks cannot be moved.
func checkClocks(ids []string, w World) error {
	if err := w.known(ids...); err != nil {
		return err
	}
	for _, id := range ids {
		if i, _ := w.find(id); !i.Clock {
			return failure.New(failure.FailedPrecondition, "the clock of %s cannot be moved: that takes holdfast up --clock, and a service that is a Go package", id).
				WithReason(control.ReasonDoesNotFollow, control.Domain).WithMetadata("instance", id)
		}
	}
	return nil
}

// setClocks makes the clocks of a request's targets as wrong as the faults in force say together, with mu held. A process
// that is started later finds its clock as it was left, so that nothing is to be done then.
func (k *Keeper) setClocks(r control.FaultRequest) error {
	if r.Kind != control.FaultClock {
		return nil
	}
	var errs []error
	for _, id := range r.Targets {
		var ahead, behind time.Duration // apart, so that the order does not matter where one of them stops
		for _, f := range k.faults {
			if f.Kind == control.FaultClock && slices.Contains(f.Targets, id) {
				ahead, behind = add(ahead, max(f.Jump, 0), maxWrong), add(behind, max(-f.Jump, 0), maxWrong)
			}
		}
		errs = append(errs, k.sys.SetClock(id, ahead-behind))
	}
	return errors.Join(errs...)
}
