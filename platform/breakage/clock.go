package breakage

import (
	"errors"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

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
		var by time.Duration
		for _, f := range k.faults {
			if f.Kind == control.FaultClock && slices.Contains(f.Targets, id) {
				by += f.Jump
			}
		}
		errs = append(errs, k.sys.SetClock(id, by))
	}
	return errors.Join(errs...)
}
