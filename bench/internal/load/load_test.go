package load

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLoadDoesNotWaitForAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offer := func(took time.Duration) Calls {
			return new(Recorder).Run(t.Context(), Config{
				For: 10 * time.Second, Rate: Constant(1000), Seed: 1, Classes: []float64{1, 3},
				Do: func(ctx context.Context, _ int) error { time.Sleep(took); return nil },
			})
		}
		fast, slow := offer(0), offer(3*time.Second)
		if n := len(fast); math.Abs(float64(n)-10_000) > 400 { // 4 standard deviations
			t.Errorf("%d calls in 10 s at 1000 a second", n)
		}
		if n := len(fast.Of(1)); math.Abs(float64(n)-7_500) > 200 {
			t.Errorf("%d of %d calls are of the class that has three in four", n, len(fast))
		}
		due := func(c Calls) (out []time.Duration) {
			for _, call := range c {
				out = append(out, call.Due)
			}
			return out
		}
		if !slices.Equal(due(fast), due(slow)) {
			t.Error("slow answers change when calls are due")
		}
		if got := slow.Quantile(0.5); got != 3*time.Second {
			t.Errorf("median of calls of 3 s: %v", got)
		}
	})
}

func TestACallCountsFromWhenItWasDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(Recorder)
		r.Start()
		time.Sleep(time.Second)
		calls := r.Run(t.Context(), Config{For: time.Second, Rate: Constant(100), Do: func(context.Context, int) error { return nil }})
		if first := calls[0].Due; first < time.Second {
			t.Errorf("a call was due at %v, before the load began", first)
		}
		if calls.Late() != 0 {
			t.Errorf("late by %v on a machine that does nothing else", calls.Late())
		}
	})
}

func TestLoadEndsWhenItIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enough := make(chan struct{})
		time.AfterFunc(time.Second, func() { close(enough) })
		calls := new(Recorder).Run(t.Context(), Config{
			For: time.Hour, Enough: enough, Rate: Constant(100),
			Do: func(ctx context.Context, _ int) error { time.Sleep(100 * time.Millisecond); return ctx.Err() },
		})
		if n := len(calls); n < 60 || n > 140 || calls.Failed() > 0 {
			t.Errorf("%d calls, %d failed, of 100 a second in a second that then were left to finish", n, calls.Failed())
		}
	})
}

func TestFailuresAndAttemptsAreCounted(t *testing.T) {
	r := new(Recorder)
	calls := r.Run(t.Context(), Config{For: 100 * time.Millisecond, Rate: Constant(1000), Seed: 1, Do: func(ctx context.Context, _ int) error {
		r.HandleRPC(ctx, &stats.Begin{})
		r.HandleRPC(ctx, &stats.Begin{}) // beside it
		r.HandleRPC(ctx, &stats.End{})
		r.HandleRPC(ctx, &stats.End{})
		r.HandleRPC(ctx, &stats.Begin{}) // after them
		r.HandleRPC(ctx, &stats.End{})
		return errors.New("no")
	}})
	if calls.Success() != 0 || calls.Failed() != len(calls) || calls[0].Code != codes.Unknown {
		t.Errorf("%d of %d failed, with %v", calls.Failed(), len(calls), calls[0].Code)
	}
	if calls.Attempts() != 3 || calls.Hedges() != 1 {
		t.Errorf("%v attempts, %v hedges", calls.Attempts(), calls.Hedges())
	}
}

func TestQuestionsToCalls(t *testing.T) {
	var calls Calls
	for i := range 100 {
		calls = append(calls, Call{Due: time.Duration(i) * time.Second, Took: time.Duration(i+1) * time.Millisecond})
	}
	calls[40].Code = codes.Unavailable
	if got := calls.Between(10*time.Second, 20*time.Second); len(got) != 10 || got[0].Due != 10*time.Second {
		t.Errorf("from 10 to 20 s: %d calls from %v", len(got), got[0].Due)
	}
	if len(calls.Between(20*time.Second, 10*time.Second)) != 0 {
		t.Error("calls in less than no time")
	}
	if got := calls.Quantile(0.99); got != 99*time.Millisecond {
		t.Errorf("p99 of 1 to 100 ms: %v", got)
	}
	if got := calls.Success(); got != 0.99 {
		t.Errorf("success %v", got)
	}
	good := func(c Calls) bool { return c.Failed() == 0 }
	if got := calls.Settled(30*time.Second, 100*time.Second, 5*time.Second, good); got != 15*time.Second {
		t.Errorf("settled after %v, of a failure after 10", got)
	}
	if got := calls.Settled(50*time.Second, 100*time.Second, 5*time.Second, good); got != 0 {
		t.Errorf("settled after %v, of none", got)
	}
	var out strings.Builder
	calls.Timeline(&out)
	if !strings.Contains(out.String(), "1 Unavailable") {
		t.Errorf("no failure in\n%s", out.String())
	}
	if c := Calls(nil); c.Quantile(0.5) != 0 || c.Success() != 1 || c.Attempts() != 0 {
		t.Error("no calls, but figures")
	}
}

func TestShares(t *testing.T) {
	a := Attempts{{1, "a"}, {2, "b"}, {3, "a"}, {4, "a"}}
	if got := a.Between(2, 4).Share("a"); got != 0.5 {
		t.Errorf("share %v", got)
	}
	if got := a.Between(9, 10).Share("a"); got != 0 {
		t.Errorf("share of nothing %v", got)
	}
}
