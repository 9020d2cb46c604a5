package rpc_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/rpc"
)

// slowly makes every call take a while, so that there are some in flight at any time.
func slowly(_ *rpc.ServerConfig, h *handler) {
	answer := h.unary
	h.unary = func(ctx context.Context, in string) (string, error) {
		wait(20 * time.Millisecond)
		return answer(ctx, in)
	}
}

func TestARollingReplacementLosesNoCall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var old []*host
		for i := range 3 {
			old = append(old, w.start(fmt.Sprint("old-", i), slowly))
		}
		c := w.dial()
		connected()
		l := w.load(c, say, 8)
		wait(time.Second)
		for i, h := range old {
			w.start(fmt.Sprint("new-", i), slowly)
			if err := h.stop(); err != nil {
				t.Error(err)
			}
		}
		wait(time.Second)
		l.end(t)
		for _, h := range old {
			if h.calls.Load() == 0 {
				t.Errorf("%s had no call", h.id)
			}
		}
	})
}

func TestStoppingWithoutAWordToTheRegistryLosesNoCall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var hosts []*host
		for i := range 3 {
			hosts = append(hosts, w.start(fmt.Sprint("inst-", i), slowly))
		}
		c := w.dial()
		connected()
		l := w.load(c, say, 8)
		wait(time.Second)
		for _, h := range hosts[:2] { // both at once: what one refuses may meet the other next
			go h.serve.end()
		}
		wait(time.Second)
		synctest.Wait()
		l.end(t)
	})
}

func TestRotatingConnectionsLosesNoCall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		rotate := func(cfg *rpc.ServerConfig, h *handler) {
			cfg.MaxConnectionAge = time.Second
			slowly(cfg, h)
		}
		a, b := w.start("a", rotate), w.start("b", rotate)
		l := w.load(w.dial(), say, 8)
		wait(8 * time.Second)
		l.end(t)
		if a, b := w.net.Dials(a.addr), w.net.Dials(b.addr); a < 5 || b < 5 {
			t.Errorf("%d and %d connections were made", a, b)
		}
	})
}

func TestCallsInFlightOutliveTheRecordOfTheirInstance(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		entered := make(chan struct{})
		h := w.start("leaving", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(context.Context, string) (string, error) {
				close(entered)
				wait(3 * time.Second)
				return "leaving", nil
			}
		})
		c := w.dial()
		go func() {
			<-entered
			w.start("other")
			h.record.end()
		}()
		if who, err := call(t.Context(), c, say); who != "leaving" || err != nil {
			t.Error(who, err)
		}
		if counts := share(t, c, say, 10); counts["other"] != 10 {
			t.Errorf("%v", counts)
		}
	})
}

func TestAMessageLargerThanTheWindowsArrives(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.start("a", func(_ *rpc.ServerConfig, h *handler) {
			h.unary = func(_ context.Context, in string) (string, error) { return in, nil }
		})
		large := strings.Repeat("x", 3<<20)
		out := new(wrapperspb.StringValue)
		if err := w.dial().Invoke(t.Context(), say, wrapperspb.String(large), out); err != nil || out.GetValue() != large {
			t.Errorf("%d bytes: %v", len(out.GetValue()), err)
		}
	})
}
