package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a system that a hub looks at.
type watched struct {
	looks  atomic.Int64
	events chan Event
	slow   time.Duration // that a look takes
}

func (w *watched) look() Live {
	time.Sleep(w.slow) //nolint:forbidigo // in virtual time
	return Live{Info: Info{PID: int(w.looks.Add(1))}}
}

func (w *watched) follow(ctx context.Context, emit func(Event) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.events:
			if !ok {
				return nil
			}
			if err := emit(e); err != nil {
				return err
			}
		}
	}
}

// number is which look a frame is of, 0 for none.
func number(t *testing.T, frame []byte) int {
	t.Helper()
	if frame == nil {
		return 0
	}
	var live Live
	if err := json.Unmarshal(frame, &live); err != nil {
		t.Fatal(err)
	}
	return live.Info.PID
}

// next waits for the next frame and says which look it is of and how long it took.
func (h *hub) next(t *testing.T, f *follower) (look int, after time.Duration) {
	t.Helper()
	begun := time.Now()
	<-f.wake
	live, _, _ := h.take(f)
	return number(t, live), time.Since(begun)
}

func TestHubTellsOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{events: make(chan Event), slow: 30 * time.Millisecond}
		h := newHub(w.look, w.follow, slog.New(slog.DiscardHandler))
		f := h.join()
		if n, after := h.next(t, f); n != 1 || after != w.slow {
			t.Errorf("first look %d after %s", n, after)
		}
		for want := 2; want < 5; want++ {
			if n, after := h.next(t, f); n != want || after != liveEvery {
				t.Errorf("look %d after %s", n, after)
			}
		}
		// Whoever comes is told at once what was seen last, and nobody looks again for it.
		g := h.join()
		if n, after := h.next(t, g); n != 4 || after != 0 {
			t.Errorf("who comes later is told look %d after %s", n, after)
		}
		h.leave(f)
		if n, _ := h.next(t, g); n != 5 {
			t.Errorf("look %d", n)
		}
		h.leave(g)
		time.Sleep(time.Minute) //nolint:forbidigo // in virtual time
		if n := w.looks.Load(); n != 5 {
			t.Errorf("nobody follows, and there were %d looks", n)
		}
		f = h.join()
		defer h.leave(f)
		if n, after := h.next(t, f); n != 6 || after != w.slow {
			t.Errorf("somebody follows again and is told look %d after %s", n, after)
		}
	})
}

func TestHubTellsAtOnceOfChangesAndNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{events: make(chan Event)}
		h := newHub(w.look, w.follow, slog.New(slog.DiscardHandler))
		f := h.join()
		defer h.leave(f)
		h.next(t, f)
		time.Sleep(500 * time.Millisecond) //nolint:forbidigo // in virtual time
		w.events <- Event{Message: "orders-1 died"}
		if _, after := h.next(t, f); after != 0 {
			t.Errorf("told after %s", after)
		}
		synctest.Wait()
		h.take(f)
		before, begun := w.looks.Load(), time.Now()
		for i := range 1000 { // 500 a second
			w.events <- Event{Message: strconv.Itoa(i)}
			time.Sleep(2 * time.Millisecond) //nolint:forbidigo // in virtual time
		}
		if n, most := w.looks.Load()-before, int64(time.Since(begun)/liveSoon)+1; n > most || n < most-2 {
			t.Errorf("%d looks in %s, want about %d", n, time.Since(begun), most)
		}
	})
}

// A follower that does not read loses what is old, costs a bounded amount, and holds up nobody.
func TestHubDoesNotWaitForTheSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{events: make(chan Event)}
		h := newHub(w.look, w.follow, slog.New(slog.DiscardHandler))
		slow, quick := h.join(), h.join()
		for i := range 1000 {
			w.events <- Event{Message: strconv.Itoa(i)}
		}
		for range 10 {
			h.next(t, quick)
		}
		live, events, over := h.take(slow)
		if int64(number(t, live)) != w.looks.Load() || over {
			t.Errorf("the slow one is told look %d of %d, over: %v", number(t, live), w.looks.Load(), over)
		}
		if len(events) != maxPending || string(events[maxPending-1]) != `{"time":"0001-01-01T00:00:00Z","message":"999"}` {
			t.Errorf("%d events, the last %s", len(events), events[len(events)-1])
		}
		close(w.events) // the system has ended
		synctest.Wait()
		for _, f := range []*follower{slow, quick} {
			if _, _, over := h.take(f); !over {
				t.Error("a follower is not told of the end")
			}
			h.leave(f)
		}
	})
}
