package breakage

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/fault"
)

// patient is one process and what it suffers. It has a worker while want and has are not the same, so that one that is frozen
// holds up nobody else.
type patient struct {
	want Treatment
	pid  int // whose signals want is about; 0 for none

	// Of the worker alone: what the process suffers, whose pid it was when it got its signals, and whether any process of this name
	// got such a signal that was not taken back.
	has           Treatment
	hasPID        int
	froze, slowed bool

	still  bool               // the process was seen to be stopped
	dirty  bool               // there is something to do since the worker last looked
	idle   chan struct{}      // closed when the worker has nothing to do any more; nil without a worker
	cancel context.CancelFunc // ends what the worker waits for
	err    error              // of the last try
}

// treatOne makes one process suffer what it should, with mu held. It does not wait.
func (k *Keeper) treatOne(id string, want Treatment, w World) {
	i, _ := w.find(id)
	p := k.patients[id]
	if p == nil {
		p = &patient{pid: i.PID, hasPID: i.PID}
		k.patients[id] = p
	}
	p.still = i.Frozen
	if reflect.DeepEqual(want, p.want) && i.PID == p.pid && (p.err == nil || p.idle != nil) {
		if p.idle == nil && want.none() {
			delete(k.patients, id)
		}
		return
	}
	p.want, p.pid, p.dirty = want, i.PID, true
	if p.idle != nil {
		p.cancel()
		return
	}
	p.idle, p.cancel = make(chan struct{}), func() {}
	k.wg.Go(func() { k.work(id, p) })
}

// work makes has what want is, until there is nothing to do.
func (k *Keeper) work(id string, p *patient) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for p.dirty {
		p.dirty = false
		ctx, cancel := context.WithCancel(k.ctx)
		p.cancel = cancel
		o := order{want: p.want, pid: p.pid, still: p.still, again: p.err != nil}
		k.mu.Unlock()
		err := k.act(ctx, id, p, o)
		cancel()
		k.mu.Lock()
		p.err = err
	}
	close(p.idle)
	p.idle = nil
	if p.want.none() && p.err == nil {
		delete(k.patients, id)
	}
}

// order is what a worker is to do.
type order struct {
	want  Treatment
	pid   int
	still bool
	again bool // the last try failed
}

// act does what is to be done for one process. A process goes on before it is told anything, and is told before it is
// stopped: one that is stopped takes note of nothing.
func (k *Keeper) act(ctx context.Context, id string, p *patient, o order) error {
	if o.pid != p.hasPID { // signals are of the process, not of its name
		p.has.Frozen, p.has.Share, p.hasPID = false, 0, o.pid
	}
	var errs []error
	// What is taken back is taken back from whoever has the name by now: a signal may have reached another process than the
	// one that was seen.
	if p.froze && !o.want.Frozen {
		p.froze, p.has.Frozen, o.still = false, false, false
		errs = append(errs, gone(k.sys.Thaw(id)))
	}
	if p.slowed && o.want.Share == 0 {
		p.slowed, p.has.Share = false, 0
		errs = append(errs, gone(k.sys.Slow(id, 0)))
	}
	if o.want.Share != p.has.Share && o.pid != 0 {
		p.slowed, p.has.Share = true, o.want.Share
		errs = append(errs, gone(k.sys.Slow(id, o.want.Share)))
	}
	if !reflect.DeepEqual(o.want.Plan, p.has.Plan) || o.again {
		p.has.Plan = o.want.Plan // whoever does not take note now is told when it can be
		errs = append(errs, k.plan(ctx, id, o.want.Plan, o.still || p.has.Frozen))
	}
	if o.want.Frozen && !p.has.Frozen && o.pid != 0 {
		p.froze, p.has.Frozen = true, true
		errs = append(errs, gone(k.sys.Freeze(id)))
	}
	return errors.Join(errs...)
}

// plan hands over a plan. That a process which is stopped does not take note is nothing to wait for, nor to tell.
func (k *Keeper) plan(ctx context.Context, id string, plan fault.Plan, still bool) error {
	if still {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, stillTimeout)
		defer cancel()
	}
	err := k.sys.SetPlan(ctx, id, plan)
	switch code := failure.CodeOf(err); {
	case ctx.Err() != nil && (code == failure.DeadlineExceeded || code == failure.Canceled):
		return nil
	case code == failure.FailedPrecondition && reflect.ValueOf(plan).IsZero():
		return nil
	}
	return err
}

// stillTimeout is what a process gets that may be running after all.
const stillTimeout = 20 * time.Millisecond

// gone forgives that there is no process: the next one begins without.
func gone(err error) error {
	if code := failure.CodeOf(err); code == failure.NotFound || code == failure.FailedPrecondition {
		return nil
	}
	return err
}
