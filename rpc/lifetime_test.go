package rpc

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/resilience"
)

type valueKey struct{}

func begun(ctx context.Context, d time.Duration) *attempt {
	a := &attempt{call: &call{target: &target{}}, plan: resilience.Plan{Deadline: time.Now().Add(d)}}
	a.Context = ctx
	a.live(a.plan.Deadline)
	return a
}

// What is derived from an attempt ends with it, and when it has ended already, at once.
func TestAnAttemptIsAContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, stop := context.WithCancelCause(context.WithValue(t.Context(), valueKey{}, 1))
		cause := errors.New("enough")
		for _, tt := range []struct {
			name string
			end  func(*attempt)
			err  error
		}{
			{"its deadline", func(*attempt) { <-time.After(time.Second) }, context.DeadlineExceeded},
			{"lost", func(a *attempt) { a.cancel(context.Canceled) }, context.Canceled},
			{"over", func(a *attempt) { a.end() }, context.Canceled},
			{"the call's end", func(*attempt) { stop(cause) }, context.Canceled},
		} {
			a := begun(parent, time.Second)
			var alarms alarms
			alarms.arm(a, time.Now())
			before, cancelBefore := context.WithCancel(a)
			timed, cancelTimed := context.WithTimeout(before, time.Hour)
			called := make(chan struct{})
			context.AfterFunc(a, func() { close(called) })
			if d, ok := timed.Deadline(); !ok || !d.Equal(a.plan.Deadline) || a.Err() != nil || timed.Value(valueKey{}) != 1 || attemptOf(timed) != a {
				t.Errorf("%s: it is not like its parent", tt.name)
			}
			tt.end(a)
			<-a.Done()
			<-called
			<-timed.Done()
			after, cancelAfter := context.WithCancel(a)
			<-after.Done()
			for i, ctx := range []context.Context{a, before, timed, after} {
				if !errors.Is(ctx.Err(), tt.err) {
					t.Errorf("%s: context %d has the error %v", tt.name, i, ctx.Err())
				}
			}
			cancelBefore()
			cancelTimed()
			cancelAfter()
			alarms.disarm(a)
			a.end()
		}
		if late := begun(parent, time.Second); late != nil {
			synctest.Wait()
			if late.Err() == nil || !errors.Is(context.Cause(parent), cause) {
				t.Error("begun after the end of the call, and lives")
			}
		}
	})
}

// An attempt with no end of its own is its parent in everything.
func TestAnAttemptWithoutAnEndOfItsOwnIsItsParent(t *testing.T) {
	parent, stop := context.WithTimeout(t.Context(), time.Hour)
	a := &attempt{call: &call{}}
	a.Context = parent
	child, cancel := context.WithCancel(a)
	defer cancel()
	a.cancel(context.Canceled)
	a.end()
	given, _ := parent.Deadline()
	if d, ok := a.Deadline(); a.Err() != nil || !ok || !d.Equal(given) {
		t.Errorf("%v, %v, %v", a.Err(), d, ok)
	}
	called := make(chan struct{})
	a.AfterFunc(func() { close(called) })
	stop()
	<-child.Done()
	<-called
	if !errors.Is(a.Err(), context.Canceled) {
		t.Error(a.Err())
	}
}

// The timer is there for all attempts, and rings for none that has ended.
func TestAlarmsRingForTheAttemptThatTheyAreOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var alarms alarms
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				for j := range 50 {
					d := time.Duration(1+(i+j)%7) * time.Millisecond
					a := begun(t.Context(), d)
					alarms.arm(a, time.Now())
					early := (i*j)%3 == 0
					if early {
						<-time.After(d - time.Microsecond)
					} else {
						<-a.Done()
					}
					if err := a.Err(); errors.Is(err, context.DeadlineExceeded) == early {
						t.Errorf("early %v: %v", early, err)
					}
					alarms.disarm(a)
					a.end()
				}
			})
		}
		wg.Wait()
	})
}

// A process that was paused hears of the time for a hedge when the attempt has to be over.
func TestAnAlarmThatRingsTooLateEndsTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var alarms alarms
		a := begun(t.Context(), time.Second)
		a.plan.Hedge = time.Now().Add(time.Millisecond)
		alarms.arm(a, time.Now())
		defer alarms.disarm(a)
		alarms.timer.Stop()
		<-time.After(2 * time.Second)
		alarms.ring()
		if err := a.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second after its deadline: %v", err)
		}
	})
}
