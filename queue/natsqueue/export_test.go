package natsqueue

import (
	"context"
	"slices"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Lanes are those that a receiver of an ordered group has, in their order.
func Lanes(r driver.Receiver) (out []int) {
	o := r.(*ordered)
	o.mu.Lock()
	defer o.mu.Unlock()
	for n := range o.lanes {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// TakeUnheard takes a lane from another member as take does when it does not hear that it has got it.
func TakeUnheard(ctx context.Context, r driver.Receiver, lane int) error {
	o := r.(*ordered)
	for {
		records, err := o.e.readLanes(ctx, o.t, o.s.Group)
		if err != nil {
			return err
		}
		_, errs := o.e.writeLanes(ctx, o.t, o.s.Group, []laneWrite{{lane, claim(records[lane].record, o.id), records[lane].revision}})
		if errs[0] != errLaneLost { //nolint:errorlint // as it is
			o.mu.Lock()
			o.unsure[lane] = true
			o.mu.Unlock()
			return errs[0]
		}
	}
}
