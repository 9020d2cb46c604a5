package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/lifecycle"
)

func TestGroupRunsSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		slow := func(p *part) { p.readyTime, p.after = time.Second, 3*time.Second }
		servers := lifecycle.Group("servers",
			r.part("rpc", slow, func(p *part) { p.drain = func(context.Context) error { return errors.New("no") } }),
			lifecycle.Func(untilDone))
		var l logs
		if err := runFor(10*time.Second, lifecycle.Config{Logger: l.logger()}, servers, quiet{r.part("last")}); err != nil {
			t.Error(err)
		}
		r.add("Run returns")
		r.expect(t,
			"0s rpc starts",
			"1s last starts",
			"10s rpc drains",
			"12s last stops",
			"12s rpc stops",
			"15s Run returns",
		)
		if got, want := l.String(), "level=WARN msg=\"drain failed\" component=servers error=no\n"; !strings.Contains(got, want) {
			t.Errorf("log is %s, want %s in it", got, want)
		}
	})
}

func TestGroupEndsWithItsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		g := lifecycle.Group("servers", quiet{r.part("rest")}, lifecycle.Named("rpc", lifecycle.Func(func(ctx context.Context) error {
			pause(ctx, time.Second)
			panic("listener lost")
		})))
		err := runFor(time.Hour, lifecycle.Config{}, g)
		if got, want := text(err), "run servers: run rpc: panic: listener lost"; got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
		r.expect(t, "0s rest starts", "1s rest stops")
	})
}

// TestGroupReportsWhoWasCanceledByItself: a call of one's own that was canceled is a failure as long as nobody asked to stop.
func TestGroupReportsWhoWasCanceledByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		g := lifecycle.Group("servers", quiet{r.part("rest")}, lifecycle.Named("rpc", lifecycle.Func(func(ctx context.Context) error {
			pause(ctx, time.Second)
			return fmt.Errorf("accept: %w", context.Canceled)
		})))
		err := runFor(time.Hour, lifecycle.Config{}, g)
		if got, want := text(err), "run servers: run rpc: accept: context canceled"; got != want {
			t.Errorf("error is %q, want %q", got, want)
		}
		r.expect(t, "0s rest starts", "1s rest stops")
	})
}

func TestGroupThatNeverGetsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		g := lifecycle.Group("servers", &unready{})
		if err := runFor(time.Second, lifecycle.Config{}, g, r.part("late")); err != nil {
			t.Error(err)
		}
		r.expect(t)
	})
}

func TestGroupWithoutDrainersHasNoDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTranscript()
		if err := runFor(time.Second, lifecycle.Config{}, lifecycle.Group("servers", quiet{r.part("rest")}), lifecycle.Group("none")); err != nil {
			t.Error(err)
		}
		r.expect(t, "0s rest starts", "1s rest stops")
	})
}
