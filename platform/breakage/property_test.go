package breakage

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/platform/control"
)

// TestNothingIsLeft: whatever is broken and mended in whatever order, renewed or forgotten, while processes die and
// come back, nothing is left when no fault is.
func TestNothingIsLeft(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 30).Draw(rt, "steps")
		packets := rapid.Bool().Draw(rt, "packets")
		var wrong []string // told to rapid in its own goroutine
		keep(t, func(t *testing.T, s *fakeSystem, k *Keeper) {
			s.packets = packets
			var live []string
			for _, st := range steps {
				st.do(t, s, k, &live)
			}
			for _, id := range live {
				_ = k.Mend(t.Context(), id) // its lease may have run out
			}
			for id, p := range s.procs {
				if p.pid == 0 {
					s.restart(id)
				}
			}
			pass(2 * scaleRetry)
			synctest.Wait()
			if wrong = s.broken(); len(k.patients) != 0 || len(k.scales) != 0 {
				wrong = append(wrong, fmt.Sprint("still treated: ", k.patients, k.scales))
			}
		})
		if len(wrong) > 0 {
			rt.Fatalf("left after %+v: %q", steps, wrong)
		}
	})
}

type step struct {
	Do   string
	Req  control.FaultRequest
	ID   string
	N    int
	Wait time.Duration
}

func drawStep(t *rapid.T) step {
	who := rapid.SampledFrom([]string{"orders-1", "orders-2", "cart-1"})
	end := rapid.SampledFrom([]string{"orders-1", "orders-2", "cart-1", "*", "edge", "control-1"})
	st := step{
		Do: rapid.SampledFrom([]string{"inject", "inject", "mend", "renew", "kill", "restart", "wait", "hand", "scale"}).Draw(t, "do"),
		ID: who.Draw(t, "who"), N: rapid.IntRange(0, 100).Draw(t, "n"),
		Wait: time.Duration(rapid.IntRange(0, 7000).Draw(t, "ms")) * time.Millisecond,
	}
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		st.Req = freeze(st.ID)
	case 1:
		st.Req = slow(rapid.SampledFrom([]float64{0.1, 0.5}).Draw(t, "share"), st.ID)
	case 2:
		st.Req = scaleTo("orders", st.N%5)
	case 3:
		st.Req = control.FaultRequest{Kind: control.FaultMemory, Targets: []string{st.ID}, Bytes: int64(st.N) + 1}
	default:
		st.Req = netFault(end.Draw(t, "from"), end.Draw(t, "to"), control.Shape{
			CutOut: rapid.Bool().Draw(t, "out"), CutIn: rapid.Bool().Draw(t, "in"), Delay: time.Duration(st.N+1) * time.Millisecond, Reset: st.N%2 == 0,
		})
	}
	return st
}

func (st step) do(t *testing.T, s *fakeSystem, k *Keeper, live *[]string) {
	switch st.Do {
	case "inject":
		if f, err := k.Inject(t.Context(), st.Req); err == nil { // some pairs cannot be broken
			*live = append(*live, f.ID)
		}
	case "mend", "renew":
		if len(*live) == 0 {
			return
		}
		n := st.N % len(*live)
		if st.Do == "renew" {
			_, _ = k.Renew(t.Context(), (*live)[n])
			return
		}
		_ = k.Mend(t.Context(), (*live)[n])
		*live = append((*live)[:n:n], (*live)[n+1:]...)
	case "kill":
		s.kill(st.ID)
	case "restart":
		s.restart(st.ID)
	case "hand": // somebody lets it go on by hand
		s.goOn(st.ID)
	case "scale": // somebody scales by hand
		if s.Scale(t.Context(), "orders", 3) == nil {
			k.Rescaled("orders", 3)
		}
	case "wait":
		pass(st.Wait)
	}
}
