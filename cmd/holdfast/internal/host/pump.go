//go:build unix

package host

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/supervise"
)

// pump turns what the supervisor reports into events for people until ctx ends. It is stopped after the supervisor.
func (h *Host) pump(ctx context.Context) error {
	defer h.events.Stop()
	late := make(map[string]string)
	for {
		e, err := h.events.Next(ctx)
		if err != nil { // ctx, or the supervisor has ended
			<-ctx.Done()
			return nil
		}
		h.keeper.Changed()
		h.Progress() // notes when a service was ready first
		if e.Dropped > 0 {
			h.feed.publish(control.Event{Time: e.Time, Message: fmt.Sprintf("%s lost: this machine is very busy", count(e.Dropped, "event"))})
			continue
		}
		h.tellOf(e, late)
		h.saw(e)
	}
}

// tellOf tells the feed what happened to an instance. late has, by instance, why it is not ready yet, as far as that was told.
func (h *Host) tellOf(e supervise.Event, late map[string]string) {
	h.mu.Lock()
	before := h.seen[e.ID]
	h.mu.Unlock()
	if before != e.State.State || e.Late && e.Reason != late[e.ID] { // otherwise another of its ports was found: nothing to tell people
		told := control.Event{Time: e.Time, Service: e.Service, Instance: e.ID, State: string(e.State.State), Message: describe(before, e)}
		if before == e.State.State {
			told.State = "" // is no new one
		}
		h.feed.publish(told)
	}
	if delete(late, e.ID); e.Late {
		late[e.ID] = e.Reason
	}
}

// saw remembers the phase of which the feed has been told.
func (h *Host) saw(e supervise.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.State.State == supervise.Stopped {
		delete(h.seen, e.ID)
	} else {
		h.seen[e.ID] = e.State.State
	}
	close(h.pumped)
	h.pumped = make(chan struct{})
}

// settleTimeout bounds settle: things may go on happening for ever.
const settleTimeout = 500 * time.Millisecond

// settle waits until the feed has been told of everything that the supervisor has done so far, so that what is
// published next comes after it.
func (h *Host) settle() {
	late := time.NewTimer(settleTimeout)
	defer late.Stop()
	for {
		h.mu.Lock()
		pumped := h.pumped
		told := maps.Clone(h.seen)
		h.mu.Unlock()
		done := true
		for _, s := range h.sup.States() {
			if s.State != supervise.Stopped && told[s.ID] != s.State {
				done = false
			}
			delete(told, s.ID)
		}
		if done && len(told) == 0 {
			return
		}
		select {
		case <-pumped:
		case <-late.C:
			return
		}
	}
}

// describe says in a line what happened to an instance that was in another phase before.
func describe(before supervise.Phase, e supervise.Event) string {
	switch e.State.State {
	case supervise.Starting:
		if e.Late {
			return e.ID + " is not ready yet: " + e.Reason
		}
		return fmt.Sprintf("%s starting (pid %d)", e.ID, e.PID)
	case supervise.Ready:
		switch {
		case before == supervise.Frozen:
			return e.ID + " thawed"
		case e.Restarts > 0:
			return fmt.Sprintf("%s ready again (pid %d, %s)", e.ID, e.PID, count(e.Restarts, "restart"))
		default:
			return fmt.Sprintf("%s ready (pid %d)", e.ID, e.PID)
		}
	case supervise.Frozen:
		return e.ID + " frozen"
	case supervise.Draining:
		return e.ID + " stopping"
	case supervise.Backoff:
		return fmt.Sprintf("%s died: %s; starting it again", e.ID, e.Reason)
	case supervise.Looping:
		return fmt.Sprintf("%s keeps dying: %s; next try in %s", e.ID, e.Reason, Seconds(e.RetryAt.Sub(e.Time)))
	case supervise.Stopped:
		return e.ID + " stopped"
	}
	return fmt.Sprintf("%s %s", e.ID, e.State.State)
}
