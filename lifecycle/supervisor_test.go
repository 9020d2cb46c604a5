package lifecycle_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/lifecycle"
)

// supervise runs s until the returned function, which waits for it.
func supervise(t *testing.T, s *lifecycle.Supervisor) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func newSupervisor(c lifecycle.SupervisorConfig) *lifecycle.Supervisor {
	if c.Logger == nil {
		c.Logger = silent
	}
	return lifecycle.NewSupervisor(c)
}

func wait(d time.Duration) { pause(context.Background(), d) }

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestTasksStartWithRunOrAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSupervisor(lifecycle.SupervisorConfig{})
		s.Go("before", untilDone)
		if st := s.States(); len(st) != 1 || st[0].Running {
			t.Errorf("before Run: %+v", st)
		}
		stop := supervise(t, s)
		synctest.Wait()
		s.Go("after", untilDone)
		synctest.Wait()
		st := s.States()
		if len(st) != 2 || st[0].Name != "before" || !st[0].Running || st[1].Name != "after" || !st[1].Running {
			t.Errorf("while Run runs: %+v", st)
		}
		if got, want := s.Name(), "tasks (before, after)"; got != want {
			t.Errorf("name is %q, want %q", got, want)
		}
		stop()
		s.Go("too late", func(context.Context) error { t.Error("started after the stop"); return nil })
		if st := s.States(); len(st) != 0 || s.Name() != "tasks" {
			t.Errorf("after Run: %+v, %s", st, s.Name())
		}
	})
}

func TestATaskThatIsDoneIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSupervisor(lifecycle.SupervisorConfig{})
		var runs atomic.Int32
		s.Go("once", func(context.Context) error { runs.Add(1); return nil })
		stop := supervise(t, s)
		wait(time.Hour)
		if n := runs.Load(); n != 1 || len(s.States()) != 0 {
			t.Errorf("%d runs, states %+v", n, s.States())
		}
		stop()
	})
}

func TestAFailedTaskIsRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSupervisor(lifecycle.SupervisorConfig{})
		var runs atomic.Int32
		s.Go("flaky", func(ctx context.Context) error {
			if runs.Add(1) < 3 {
				return errors.New("no connection")
			}
			return untilDone(ctx)
		})
		stop := supervise(t, s)
		wait(time.Second)
		st := s.States()[0]
		if runs.Load() != 3 || !st.Running || st.Restarts != 2 || text(st.LastError) != "no connection" || st.CrashLooping {
			t.Errorf("%d runs, state %+v", runs.Load(), st)
		}
		stop()
	})
}

func TestAPanicIsAnErrorWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		s := newSupervisor(lifecycle.SupervisorConfig{Logger: l.logger()})
		s.Go("fragile", func(context.Context) error { panic("index out of range") })
		s.Go("sound", untilDone)
		stop := supervise(t, s)
		synctest.Wait()
		st := s.States()[0]
		var p *lifecycle.PanicError
		if !errors.As(st.LastError, &p) || p.Value != "index out of range" || !strings.Contains(string(p.Stack), "TestAPanicIsAnErrorWithItsStack") {
			t.Errorf("state is %+v", st)
		}
		if st := s.States()[1]; !st.Running || st.Restarts != 0 {
			t.Errorf("the other task was touched: %+v", st)
		}
		if got := l.String(); !strings.Contains(got, "error.stack=") || !strings.Contains(got, "task=fragile") {
			t.Errorf("log is %s", got)
		}
		stop()
	})
}

func TestACrashLoopIsVisibleAndSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		s := newSupervisor(lifecycle.SupervisorConfig{Logger: l.logger()})
		var runs atomic.Int32
		var fixed atomic.Bool
		s.Go("broken", func(ctx context.Context) error {
			runs.Add(1)
			if fixed.Load() {
				return untilDone(ctx)
			}
			return errors.New("bad config")
		})
		stop := supervise(t, s)
		wait(time.Hour)

		st := s.States()[0]
		if !st.CrashLooping || st.Running || text(st.LastError) != "bad config" || st.Restarts != int(runs.Load()) {
			t.Errorf("state is %+v after %d runs", st, runs.Load())
		}
		// The mean pause is 15 s: 240 runs an hour.
		if n := runs.Load(); n < 150 || n > 400 {
			t.Errorf("%d runs in an hour", n)
		}
		if got := strings.Count(l.String(), "level=WARN"); got != 4 {
			t.Errorf("%d warnings:\n%s", got, &l)
		}
		if got := strings.Count(l.String(), "crash looping"); got != 1 {
			t.Errorf("%d errors:\n%s", got, &l)
		}

		fixed.Store(true)
		wait(30 * time.Second)
		if st := s.States()[0]; !st.Running || !st.CrashLooping {
			t.Errorf("forgiven before a run lasted: %+v", st)
		}
		wait(time.Minute)
		if st := s.States()[0]; !st.Running || st.CrashLooping {
			t.Errorf("a run that lasts does not end the crash loop: %+v", st)
		}
		if got := l.String(); strings.Count(got, "level=INFO") != 1 || !strings.HasSuffix(got, "level=INFO msg=\"task recovered\" task=broken\n") {
			t.Errorf("log is\n%s", got)
		}
		stop()
	})
}

func TestARunThatLastsResetsTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSupervisor(lifecycle.SupervisorConfig{MinBackoff: time.Second, ResetAfter: time.Minute})
		s.Go("daily", func(ctx context.Context) error {
			if !pause(ctx, time.Minute) {
				return ctx.Err()
			}
			return errors.New("connection lost")
		})
		stop := supervise(t, s)
		wait(24 * time.Hour)
		st := s.States()[0]
		// Every pause is the first of its row: 1 s to 2 s after a run of 60 s.
		if least := 24 * 3600 / 62; st.Restarts < least || st.CrashLooping {
			t.Errorf("state is %+v, want %d restarts at least", st, least)
		}
		stop()
	})
}

func TestStopJoinsEveryTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logs
		s := newSupervisor(lifecycle.SupervisorConfig{Logger: l.logger()})
		finished := 0
		s.Go("slow", func(ctx context.Context) error {
			<-ctx.Done()
			wait(3 * time.Second)
			finished++
			return nil
		})
		s.Go("failing", func(ctx context.Context) error {
			<-ctx.Done()
			return errors.New("flush: disk full")
		})
		s.Go("pausing", func(context.Context) error { return errors.New("bad config") })
		stop := supervise(t, s)
		wait(time.Hour)
		begin := time.Now()
		stop()
		if got := time.Since(begin); finished != 1 || got != 3*time.Second {
			t.Errorf("stopped after %v, %d finished", got, finished)
		}
		if got := l.String(); strings.Count(got, "flush: disk full") != 1 {
			t.Errorf("what failed during the stop is not in the log:\n%s", got)
		}
	})
}

func TestRunIsForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSupervisor(lifecycle.SupervisorConfig{})
		stop := supervise(t, s)
		synctest.Wait()
		if err := s.Run(t.Context()); text(err) != "supervisor run: already run" {
			t.Errorf("got %v", err)
		}
		stop()
		if err := s.Run(t.Context()); text(err) != "supervisor run: already run" {
			t.Errorf("got %v", err)
		}
	})
}

// A task that does not stop is named by the error of lifecycle.Run.
func TestAHangingTaskIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newSupervisor(lifecycle.SupervisorConfig{})
		s.Go("fine", untilDone)
		s.Go("reindex", func(context.Context) error { <-release; return nil })
		err := runFor(time.Second, lifecycle.Config{}, s)
		if got, want := text(err), "stop tasks (reindex): still running after 25s"; got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
		close(release)
		synctest.Wait()
	})
}

func TestTheRateOfRestartsIsBounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		least := time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(rt, "min"))
		most := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(rt, "max"))
		synctest.Test(t, func(t *testing.T) {
			var starts []time.Time
			s := newSupervisor(lifecycle.SupervisorConfig{MinBackoff: least, MaxBackoff: most})
			s.Go("broken", func(context.Context) error {
				starts = append(starts, time.Now())
				if len(starts) == 40 {
					return nil
				}
				return errors.New("broken")
			})
			stop := supervise(t, s)
			wait(41 * time.Hour)
			stop()
			low, high := least, most
			if low == 0 {
				low = 100 * time.Millisecond
			}
			if high == 0 {
				high = 30 * time.Second
			}
			high = max(low, high)
			if len(starts) != 40 {
				t.Fatalf("%d starts", len(starts))
			}
			for i := 1; i < len(starts); i++ {
				pause := starts[i].Sub(starts[i-1])
				ceiling := high
				if i < 20 {
					ceiling = min(high, low<<i)
				}
				if pause < low || pause > ceiling {
					t.Errorf("pause %d is %v, want %v to %v", i, pause, low, ceiling)
				}
			}
		})
	})
}
