package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/lifecycle"
)

func TestStartsInOrderAndStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		slow := func(p *part) { p.readyTime, p.after = time.Second, 3*time.Second }
		if err := runFor(10*time.Second, lifecycle.Config{}, r.part("store", slow), quiet{r.part("server", slow)}, r.part("announcement")); err != nil {
			t.Error(err)
		}
		r.add("Run returns")
		// The order of the Drain calls is free: they are made at once.
		if a, b := 3, 4; r.lines[a] > r.lines[b] {
			r.lines[a], r.lines[b] = r.lines[b], r.lines[a]
		}
		r.expect(t,
			"0s store starts",
			"1s server starts",
			"2s announcement starts",
			"10s announcement drains",
			"10s store drains",
			"12s announcement stops",
			"12s server stops",
			"15s store stops",
			"18s Run returns",
		)
	})
}

func TestFirstReturnStopsAll(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		run  func(context.Context) error
		want string
		is   error
	}{
		"error":           {func(context.Context) error { return broken }, "run server: broken", broken},
		"nil":             {func(context.Context) error { return nil }, "", nil},
		"panic":           {func(context.Context) error { panic(broken) }, "run server: panic: broken", broken},
		"goexit":          {func(context.Context) error { runtime.Goexit(); return nil }, "run server: goroutine exited", nil},
		"canceled itself": {func(context.Context) error { return context.Canceled }, "run server: context canceled", context.Canceled},
	} {
		for _, at := range []time.Duration{0, time.Second} {
			t.Run(fmt.Sprintf("%s at %v", name, at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newTranscript()
					server := r.part("server", func(p *part) {
						p.run = func(ctx context.Context) error {
							pause(ctx, at)
							return test.run(ctx)
						}
					})
					err := runFor(time.Hour, lifecycle.Config{}, r.part("store"), quiet{server}, r.part("announcement"))
					if got := text(err); got != test.want {
						t.Errorf("error is %q, want %q", got, test.want)
					}
					if test.is != nil && !errors.Is(err, test.is) {
						t.Errorf("%v is not %v", err, test.is)
					}
					if got, most := time.Since(r.begin), at+2*time.Second; got > most {
						t.Errorf("Run returned after %v, want %v at most", got, most)
					}
				})
			})
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestFailureDuringTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		server := &unready{err: errors.New("address in use")}
		err := runFor(time.Hour, lifecycle.Config{}, r.part("store"), lifecycle.Named("server", server), r.part("announcement"))
		if got, want := text(err), "run server: address in use"; got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
		r.add("Run returns")
		// Nobody was told yet: no delay, and what comes later is not started.
		r.expect(t, "0s store starts", "0s store drains", "0s store stops", "0s Run returns")
	})
}

// unready never gets ready and returns err, or waits if that is nil.
type unready struct{ err error }

func (*unready) Ready() <-chan struct{} { return nil }
func (u *unready) Run(ctx context.Context) error {
	if u.err == nil {
		<-ctx.Done()
	}
	return u.err
}

func TestStartTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		err := runFor(time.Hour, lifecycle.Config{StartTimeout: 5 * time.Second}, quiet{r.part("store")}, lifecycle.Named("server", &unready{}))
		if got, want := text(err), "start server: not ready within 5s"; got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
		r.expect(t, "0s store starts", "5s store stops")
	})
}

func TestStopDuringTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		if err := runFor(time.Second, lifecycle.Config{}, quiet{r.part("store")}, lifecycle.Named("server", &unready{}), r.part("late")); err != nil {
			t.Error(err)
		}
		r.add("Run returns")
		r.expect(t, "0s store starts", "1s store stops", "1s Run returns")
	})
}

func TestStopDuringTheStartWithSomethingToDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		if err := runFor(time.Second, lifecycle.Config{}, r.part("announcement"), lifecycle.Named("server", &unready{})); err != nil {
			t.Error(err)
		}
		r.expect(t, "0s announcement starts", "1s announcement drains", "3s announcement stops")
	})
}

func TestContextDoneBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := newTranscript()
		if err := lifecycle.Run(ctx, r.part("store")); err != nil {
			t.Error(err)
		}
		r.expect(t)
	})
}

func TestNothingToRun(t *testing.T) {
	if err := (lifecycle.Config{Logger: silent}).Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDrainDelay(t *testing.T) {
	for name, test := range map[string]struct {
		delay, want time.Duration
	}{
		"default": {0, 2 * time.Second},
		"set":     {7 * time.Second, 7 * time.Second},
		"none":    {-1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTranscript()
				if err := runFor(time.Second, lifecycle.Config{DrainDelay: test.delay}, r.part("server")); err != nil {
					t.Error(err)
				}
				r.expect(t, "0s server starts", "1s server drains", fmt.Sprintf("%v server stops", time.Second+test.want))
			})
		})
	}
	t.Run("not without a drainer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newTranscript()
			if err := runFor(time.Second, lifecycle.Config{}, lifecycle.Named("renamed", quiet{r.part("server")})); err != nil {
				t.Error(err)
			}
			r.expect(t, "0s server starts", "1s server stops")
		})
	})
}

// The delay counts from when the others were told: a slow registry must not eat it up.
func TestDelayBeginsAfterTheDrainCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		slow := r.part("announcement", func(p *part) {
			p.drain = func(ctx context.Context) error {
				if !pause(ctx, time.Second) {
					t.Error("canceled too early")
				}
				return nil
			}
		})
		if err := runFor(time.Second, lifecycle.Config{}, slow); err != nil {
			t.Error(err)
		}
		r.expect(t, "0s announcement starts", "1s announcement drains", "4s announcement stops")
	})
}

func TestDrainThatFails(t *testing.T) {
	for name, drain := range map[string]func(ctx context.Context) error{
		"error":   func(context.Context) error { return errors.New("registry is down") },
		"panic":   func(context.Context) error { panic("registry is down") },
		"timeout": func(ctx context.Context) error { <-ctx.Done(); return errors.New("registry is down") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTranscript()
				var l logs
				err := runFor(time.Second, lifecycle.Config{Logger: l.logger()}, r.part("announcement", func(p *part) { p.drain = drain }))
				if err != nil {
					t.Errorf("a failed Drain is a failed Run: %v", err)
				}
				if got := l.String(); !strings.Contains(got, "drain failed") || !strings.Contains(got, "registry is down") {
					t.Errorf("log is %s", got)
				}
				if got, most := time.Since(r.begin), 5*time.Second; got > most {
					t.Errorf("stopped after %v", got)
				}
			})
		})
	}
}

func TestDrainThatNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		release := make(chan struct{})
		stuck := r.part("announcement", func(p *part) {
			p.drain = func(context.Context) error { <-release; return nil }
		})
		err := runFor(time.Second, lifecycle.Config{StopTimeout: 10 * time.Second}, stuck)
		if got, want := text(err), "drain announcement: still running after 12s"; got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
		r.expect(t, "0s announcement starts", "1s announcement drains", "5.1s announcement stops")
		close(release)
		synctest.Wait()
	})
}

func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		release := make(chan struct{})
		stuck := quiet{r.part("stuck", func(p *part) {
			p.run = func(context.Context) error { <-release; return nil }
		})}
		late := quiet{r.part("late", func(p *part) { p.after = 500 * time.Millisecond })}
		broken := errors.New("flush: disk full")
		store := quiet{r.part("store", func(p *part) {
			p.run = func(ctx context.Context) error { <-ctx.Done(); r.add("store stops"); return broken }
		})}
		err := runFor(time.Second, lifecycle.Config{StopTimeout: 10 * time.Second, DrainDelay: -1}, store, late, stuck)
		want := "run store: flush: disk full\nstop stuck: still running after 10s"
		if got := text(err); got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
		if !errors.Is(err, broken) {
			t.Errorf("%v is not %v", err, broken)
		}
		r.add("Run returns")
		// Those before the stuck one get the last tenth of the time.
		if r.lines[3] > r.lines[4] {
			r.lines[3], r.lines[4] = r.lines[4], r.lines[3]
		}
		r.expect(t, "0s store starts", "0s late starts", "0s stuck starts", "10s late stops", "10s store stops", "11s Run returns")
		close(release)
		synctest.Wait()
	})
}

type key struct{}

func TestContextHasValuesAndIsCanceledInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		first := lifecycle.Func(func(ctx context.Context) error {
			if ctx.Value(key{}) != "value" {
				t.Error("the value is missing")
			}
			<-parent.Done()
			synctest.Wait() // the other one takes its time to stop
			if ctx.Err() != nil {
				t.Error("canceled before the component after it had stopped")
			}
			<-ctx.Done()
			return fmt.Errorf("serve: %w", ctx.Err())
		})
		second := lifecycle.Func(func(ctx context.Context) error {
			<-ctx.Done()
			pause(context.Background(), time.Second)
			return nil
		})
		time.AfterFunc(time.Second, cancel)
		if err := (lifecycle.Config{Logger: silent}).Run(parent, first, second); err != nil {
			t.Error(err)
		}
	})
}

// TestOnlyTheEndOfAContextIsExcusedAtTheStop: an error that has another one beside it, or a panic, is told.
func TestOnlyTheEndOfAContextIsExcusedAtTheStop(t *testing.T) {
	lost := errors.New("not written")
	for name, test := range map[string]struct {
		run  func(context.Context) error
		want string
	}{
		"wrapped":              {func(ctx context.Context) error { return fmt.Errorf("a: %w", fmt.Errorf("b: %w", ctx.Err())) }, ""},
		"joined with its like": {func(ctx context.Context) error { return errors.Join(ctx.Err(), fmt.Errorf("b: %w", ctx.Err())) }, ""},
		"joined with another":  {func(ctx context.Context) error { return errors.Join(lost, ctx.Err()) }, "not written\ncontext canceled"},
		"beside another":       {func(ctx context.Context) error { return fmt.Errorf("flush: %w: %w", ctx.Err(), lost) }, "flush: context canceled: not written"},
		"panic":                {func(ctx context.Context) error { panic(ctx.Err()) }, "panic: context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := lifecycle.Named("store", lifecycle.Func(func(ctx context.Context) error {
					<-ctx.Done()
					return test.run(ctx)
				}))
				want := test.want
				if want != "" {
					want = "run store: " + want
				}
				if got := text(runFor(time.Second, lifecycle.Config{}, store)); got != want {
					t.Errorf("alone, the error is %q, want %q", got, want)
				}
				if want != "" {
					want = "run servers: " + want
				}
				if got := text(runFor(time.Second, lifecycle.Config{}, lifecycle.Group("servers", store))); got != want {
					t.Errorf("in a group, the error is %q, want %q", got, want)
				}
			})
		})
	}
}

// TestAPanicIsLoggedWithItsStack: whoever logs the error of Run logs its text, in which there is none.
func TestAPanicIsLoggedWithItsStack(t *testing.T) {
	explode := lifecycle.Func(func(ctx context.Context) error {
		pause(ctx, time.Second)
		panic("listener lost")
	})
	late := lifecycle.Func(func(ctx context.Context) error {
		<-ctx.Done()
		panic("listener lost")
	})
	for name, test := range map[string]struct {
		component func() lifecycle.Component // made in the bubble
		is        string
	}{
		"by itself":                {func() lifecycle.Component { return lifecycle.Named("rpc", explode) }, "rpc"},
		"in a group":               {func() lifecycle.Component { return lifecycle.Group("servers", lifecycle.Func(untilDone), explode) }, "servers"},
		"while it stops":           {func() lifecycle.Component { return lifecycle.Named("rpc", late) }, "rpc"},
		"in a group, as it stops":  {func() lifecycle.Component { return lifecycle.Group("servers", late) }, "servers"},
		"before all others are up": {func() lifecycle.Component { return lifecycle.Group("servers", &unready{}, explode) }, "servers"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l logs
				if err := runFor(time.Hour, lifecycle.Config{Logger: l.logger()}, test.component()); err == nil {
					t.Error("there is no error")
				}
				lines := strings.Split(l.String(), "\n")
				at := slices.IndexFunc(lines, func(line string) bool {
					return strings.Contains(line, `msg="component panicked" component=`+test.is+` error.panic="listener lost"`)
				})
				if at < 0 || !strings.Contains(lines[at], "TestAPanicIsLoggedWithItsStack") || strings.Count(l.String(), "component panicked") != 1 {
					t.Errorf("log is\n%s", &l)
				}
			})
		})
	}
}

func TestUnnamedComponentsAreCalledByTheirType(t *testing.T) {
	err := (lifecycle.Config{Logger: silent}).Run(t.Context(), lifecycle.Func(func(context.Context) error { return errors.New("broken") }))
	if got, want := text(err), "run lifecycle.Func: broken"; got != want {
		t.Errorf("error is %q, want %q", got, want)
	}
}

func TestRecover(t *testing.T) {
	broken := errors.New("broken")
	if err := lifecycle.Recover(func() error { return broken }); err != broken { //nolint:errorlint // itself
		t.Errorf("got %v", err)
	}
	if err := lifecycle.Recover(func() error { return nil }); err != nil {
		t.Errorf("got %v", err)
	}
	err := lifecycle.Recover(func() error { panic(fmt.Errorf("x: %w", broken)) })
	var p *lifecycle.PanicError
	if !errors.As(err, &p) || !errors.Is(err, broken) || err.Error() != "panic: x: broken" {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(string(p.Stack), "TestRecover") {
		t.Errorf("stack is %s", p.Stack)
	}
	var l logs
	l.logger().Error("request failed", "error", lifecycle.Recover(func() error { panic(7) }))
	if got := l.String(); !strings.Contains(got, "error.panic=7") || !strings.Contains(got, "TestRecover") {
		t.Errorf("log is %s", got)
	}
}
