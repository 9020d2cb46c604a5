package rpc

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/resilience"
)

// Attempts that come and go in any order, with deadlines that move, end when theirs has come and not before.
func TestEveryAttemptEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var alarms alarms
		rnd := rand.New(rand.NewPCG(1, 2))
		under := make(map[*attempt]struct{})
		for range 2000 {
			switch rnd.IntN(4) {
			case 0, 1:
				a := begun(context.Background(), time.Duration(1+rnd.IntN(300))*time.Millisecond)
				if rnd.IntN(2) == 0 {
					a.plan.Hedge = a.start.Add(1)
				}
				alarms.arm(a, time.Now())
				under[a] = struct{}{}
			case 2:
				for a := range under {
					alarms.disarm(a)
					if rnd.IntN(2) == 0 {
						a.end()
					}
					delete(under, a)
					break
				}
			default:
				for a := range under {
					if a.Err() == nil {
						d, _ := a.Deadline()
						a.extend(d.Add(time.Duration(rnd.IntN(100)) * time.Millisecond))
					}
					break
				}
				<-time.After(time.Duration(rnd.IntN(5)) * time.Millisecond)
				synctest.Wait()
			}
			for a := range under {
				if d, _ := a.Deadline(); time.Now().Before(d) != (a.Err() == nil) {
					t.Fatalf("%v after its deadline: %v", time.Since(d), a.Err())
				}
			}
			checkHeap(t, &alarms)
		}
	})
}

func checkHeap(t *testing.T, s *alarms) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.heap {
		if x.of.place != i+1 || x.at < s.heap[max(0, i-1)/branches].at {
			t.Fatalf("place %d of the heap: %v, %d", i, x.at, x.of.place)
		}
	}
	if len(s.heap) > 0 && (s.rings == 0 || s.rings > max(1, s.heap[0].at)) {
		t.Fatalf("rings at %v, for %v", s.rings, s.heap[0].at)
	}
}

// A process that makes calls now and then has no timer between them; one that makes many sets one for many of them.
func TestTheTimerStaysSetWhereCallsFollowEachOther(t *testing.T) {
	const calls = 1000
	for _, tt := range []struct {
		name     string
		pause    time.Duration
		from, to int // calls after which it is set
	}{
		{"often", 40 * time.Microsecond, calls - calls/20, calls},
		{"seldom", time.Millisecond, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var alarms alarms
				isSet := func() bool {
					synctest.Wait()
					alarms.mu.Lock()
					defer alarms.mu.Unlock()
					return alarms.rings != 0
				}
				n := 0
				for range calls {
					a := begun(context.Background(), time.Second)
					a.plan.Hedge = time.Now().Add(3 * time.Millisecond)
					alarms.arm(a, time.Now())
					<-time.After(10 * time.Microsecond)
					alarms.disarm(a)
					if isSet() {
						n++
					}
					<-time.After(tt.pause)
				}
				if n < tt.from || n > tt.to {
					t.Errorf("set after %d of %d calls, not %d to %d", n, calls, tt.from, tt.to)
				}
				<-time.After(3 * time.Millisecond)
				if isSet() {
					t.Error("is set for nobody")
				}
			})
		})
	}
}

// What is late for a hedge that nobody can be asked for has its deadline all the same.
func TestAnAttemptThatIsNotHedgedEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var alarms alarms
		a := begun(context.Background(), time.Second)
		a.plan.Hedge = time.Now().Add(time.Millisecond)
		alarms.arm(a, time.Now())
		start := time.Now()
		<-a.Done()
		if took := time.Since(start); took != time.Second || !errors.Is(a.Err(), context.DeadlineExceeded) {
			t.Errorf("%v after %v", a.Err(), took)
		}
		alarms.disarm(a)
	})
}

// A process that was frozen, or its machine, does not blame others for it: what ran out meanwhile has a moment more for answers
// that have come, but not beyond its call, not twice, and not if nothing may follow it.
func TestAttemptsAreSparedAfterAPause(t *testing.T) {
	for _, tt := range []struct {
		name                string
		pause, call, spared time.Duration
	}{
		{"paused", time.Second, 10 * time.Second, resilience.Spared},
		{"paused until shortly before the end", time.Second, 1200 * time.Millisecond, 200 * time.Millisecond},
		{"paused beyond the end", time.Second, 900 * time.Millisecond, 0},
		{"the only attempt", time.Second, 100 * time.Millisecond, 0},
		{"a little late", 300 * time.Millisecond, 10 * time.Second, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var alarms alarms
				a := begun(context.Background(), 100*time.Millisecond)
				start := time.Now()
				a.call.deadline = start.Add(tt.call)
				alarms.arm(a, start)
				alarms.timer.Stop() // nothing runs
				<-time.After(tt.pause)
				alarms.ring()
				if (a.Err() == nil) != (tt.spared > 0) {
					t.Fatalf("after the pause: %v", a.Err())
				}
				if tt.spared > 0 {
					<-time.After(tt.spared - 1)
					synctest.Wait()
					if a.Err() != nil {
						t.Errorf("not spared for %v: %v", tt.spared, a.Err())
					}
					<-time.After(1)
					synctest.Wait()
				}
				if a.Err() == nil {
					t.Error("it goes on")
				}
				alarms.disarm(a)
				a.end()
			})
		})
	}
}
