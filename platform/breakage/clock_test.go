package breakage

import (
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

func jump(by time.Duration, ids ...string) control.FaultRequest {
	return control.FaultRequest{Kind: control.FaultClock, Targets: ids, Jump: by}
}

// Clocks are as wrong as all faults say together, and right when none is left, whatever the order; a lease that runs out
// counts as any end.
func TestClocks(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		wrong := func(id string, want time.Duration) {
			t.Helper()
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.clocks[id] != want {
				t.Errorf("the clock of %s is wrong by %s, not %s", id, s.clocks[id], want)
			}
		}
		first := inject(t, k, jump(time.Minute, "orders-1", "orders-2"))
		second := inject(t, k, jump(-time.Hour, "orders-1"))
		wrong("orders-1", -59*time.Minute)
		wrong("orders-2", time.Minute)
		if err := k.Mend(t.Context(), first.ID); err != nil {
			t.Error(err)
		}
		wrong("orders-1", -time.Hour)
		wrong("orders-2", 0)
		pass(time.Until(second.Until) + time.Second)
		wrong("orders-1", 0)
	})
}

// However many faults move a clock, it goes no farther than it can, and not around to the other side.
func TestClocksAreWrongWithinBounds(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	for by, want := range map[time.Duration]time.Duration{years: maxWrong, -years: -maxWrong} {
		keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
			for range 30 {
				inject(t, k, jump(by, "orders-1"))
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if got := s.clocks["orders-1"]; got != want {
				t.Errorf("the clock is wrong by %s", got)
			}
		})
	}
}

func TestClocksThatCannotBeMoved(t *testing.T) {
	keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
		for _, id := range []string{"legacy-1", "control-1"} {
			_, err := k.Inject(t.Context(), jump(time.Minute, "orders-1", id))
			wantCode(t, err, failure.FailedPrecondition, control.ReasonDoesNotFollow)
		}
		_, err := k.Inject(t.Context(), jump(time.Minute, "nobody-1"))
		wantCode(t, err, failure.NotFound, control.ReasonUnknown)
		if _, err = k.Inject(t.Context(), jump(time.Minute, "orders-1", "cart-2")); err == nil {
			t.Error("a clock that was not moved is taken for one that was")
		}
		if s.clocks["orders-1"] != 0 || len(k.Faults()) != 0 {
			t.Errorf("what failed is in force: %v, %v", s.clocks, k.Faults())
		}
	})
}
