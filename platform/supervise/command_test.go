//go:build unix

package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/supervise"
)

func TestRollingRestart(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 2, "http")))
	check(t, s.WaitReady(soon(t)))
	events := s.Events()
	defer events.Stop()
	check(t, s.Restart(soon(t), "shop"))
	if got := ids(s); !slices.Equal(got, []string{"shop-1", "shop-2"}) {
		t.Errorf("got %v", got)
	}
	var order []string
	for len(order) < 9 {
		e, err := events.Next(soon(t))
		check(t, err)
		switch e.State.State {
		case supervise.Ready, supervise.Draining, supervise.Stopped:
			order = append(order, e.ID+" "+string(e.State.State))
		default:
		}
	}
	want := []string{
		"shop-3 ready",
		"shop-1 draining", "shop-1 stopped", "shop-1 ready",
		"shop-2 draining", "shop-2 stopped", "shop-2 ready",
		"shop-3 draining", "shop-3 stopped",
	}
	if !slices.Equal(order, want) {
		t.Errorf("got %q", order)
	}
	// One instance alone.
	pid, other := state(t, s, "shop-1").PID, state(t, s, "shop-2").PID
	check(t, s.Restart(soon(t), "shop", "shop-1"))
	if got := ids(s); !slices.Equal(got, []string{"shop-1", "shop-2"}) || state(t, s, "shop-1").PID == pid || state(t, s, "shop-2").PID != other {
		t.Errorf("got %v", got)
	}
	wantCode(t, s.Restart(soon(t), "shop", "shop-9"), failure.NotFound)
}

// A stand-in that does not become ready is taken away, and the old ones stay.
func TestRollingRestartThatFails(t *testing.T) {
	switchFile := filepath.Join(t.TempDir(), "broken")
	s := running(t, config(t.TempDir()))
	g := childGroup("shop", 2, "http")
	g.Command = []string{"sh", "-c", `[ ! -e "$1" ] || exit 7; exec "$2"`, "sh", switchFile, os.Args[0]}
	check(t, s.Add(g))
	check(t, s.WaitReady(soon(t)))
	before := s.States()
	check(t, os.WriteFile(switchFile, nil, 0o644))
	err := s.Restart(soon(t), "shop")
	var crash *supervise.CrashError
	if !errors.As(err, &crash) || crash.ID != "shop-3" || crash.Reason != "exit status 7" {
		t.Errorf("got %v", err)
	}
	after := s.States()
	if len(after) != 2 || after[0].PID != before[0].PID || after[1].PID != before[1].PID {
		t.Errorf("before %v, after %v", before, after)
	}
}

// An instance that does not become ready again is taken away, and the stand-in stays.
func TestRollingRestartThatFailsHalfWay(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	s := running(t, config(t.TempDir()))
	g := childGroup("shop", 2, "http")
	// Two starts, the stand-in, and no more.
	g.Command = []string{"sh", "-c", `echo >> "$1"; [ $(wc -l < "$1") -le 3 ] || exit 7; exec "$2"`, "sh", started, os.Args[0]}
	check(t, s.Add(g))
	check(t, s.WaitReady(soon(t)))
	err := s.Restart(soon(t), "shop")
	var crash *supervise.CrashError
	if !errors.As(err, &crash) || crash.ID != "shop-1" {
		t.Errorf("got %v", err)
	}
	wantCode(t, err, failure.FailedPrecondition)
	// These words are all that somebody far away is shown.
	if got := failure.From(err).Message; !strings.HasPrefix(got, "restart shop-1: shop-3 stays in its place: shop-1 keeps crashing: exit status 7") {
		t.Errorf("got %q", got)
	}
	if got := ids(s); !slices.Equal(got, []string{"shop-2", "shop-3"}) {
		t.Errorf("got %v", got)
	}
}

// A service that crashes again and again gets well by the restart that brings its repair: that those of its instances which were up
// for a moment crash meanwhile is no reason to stop.
func TestRollingRestartOfACrashLoop(t *testing.T) {
	dir := t.TempDir()
	s := running(t, config(t.TempDir()))
	g := childGroup("shop", 3, "http")
	// The sixth start of an instance is up until there is a repair.
	g.Command = []string{"sh", "-c", `me="$1/$HOLDFAST_INSTANCE"; echo >> "$me"
		if [ -e "$1/repair" ]; then sleep 0.3; exec "$2"; fi
		[ $(wc -l < "$me") -gt 5 ] || exit 7
		"$2" & while [ ! -e "$1/repair" ]; do sleep 0.02; done; exit 7`, "sh", dir, os.Args[0]}
	check(t, s.Add(g))
	eventually(t, "the sixth start is not up", func() bool {
		return !slices.ContainsFunc(s.States(), func(st supervise.State) bool { return st.Restarts < 5 || st.State != supervise.Ready })
	})
	check(t, os.WriteFile(filepath.Join(dir, "repair"), nil, 0o644))
	check(t, s.Restart(soon(t), "shop"))
	for _, st := range s.States() {
		if st.State != supervise.Ready || st.Restarts > 0 {
			t.Errorf("%+v", st)
		}
	}
}

// A restart goes on only while all that can be relied on serve: no further one is stopped when one of the others has stopped to. One
// that is to be restarted anyway comes first instead.
func TestRollingRestartWhileAnotherIsSick(t *testing.T) {
	for _, tc := range []struct {
		name  string
		ids   []string // to be restarted: all, if there are none
		well  bool     // again, before it is given up
		fails bool
	}{
		{"one that stays", []string{"shop-1", "shop-2"}, false, true},
		{"one that stays, for a while", []string{"shop-1", "shop-2"}, true, false},
		{"one of them", nil, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			started, gate := filepath.Join(dir, "started"), filepath.Join(dir, "gate")
			cfg := config(t.TempDir())
			cfg.ReadyTimeout = 3 * time.Second
			if !tc.fails {
				cfg.ReadyTimeout = time.Minute
			}
			s := running(t, cfg)
			g := childGroup("shop", 3, "http")
			// All after the first three begin when the test says so.
			g.Command = []string{"sh", "-c", `echo >> "$1"; while [ $(wc -l < "$1") -gt 3 ] && [ ! -e "$2" ]; do sleep 0.02; done; exec "$3"`, "sh", started, gate, os.Args[0]}
			check(t, s.Add(g))
			check(t, s.WaitReady(soon(t)))
			before := pids(s)
			events := s.Events()
			defer events.Stop()
			restart := func() <-chan error {
				done := make(chan error, 1)
				go func() { done <- s.Restart(soon(t), "shop", tc.ids...) }()
				return done
			}
			done := restart()
			eventually(t, "the stand-in is not started", func() bool { return len(ids(s)) == 4 })
			check(t, s.Freeze("shop-3"))
			is := func(id string, state supervise.Phase) func() bool {
				return func() bool {
					return slices.ContainsFunc(s.States(), func(st supervise.State) bool { return st.ID == id && st.State == state })
				}
			}
			eventually(t, "shop-3 is not frozen", is("shop-3", supervise.Frozen))
			check(t, os.WriteFile(gate, nil, 0o644))
			if tc.well {
				eventually(t, "the stand-in is not ready", is("shop-4", supervise.Ready))
				check(t, s.Thaw("shop-3"))
			}
			err := <-done
			after := pids(s)
			if !tc.fails {
				if err != nil || len(after) != 3 || after["shop-1"] == before["shop-1"] || after["shop-2"] == before["shop-2"] {
					t.Errorf("%v: %v, before %v", err, after, before)
				}
				if len(tc.ids) == 0 && firstOf(t, events, supervise.Draining) != "shop-3" {
					t.Error("the frozen one was not the first")
				}
				return
			}
			const told = "restart shop: shop-4 stays beside it: shop-3 is not ready any more"
			if got := failure.From(err); got == nil || got.Code != failure.DeadlineExceeded || !strings.HasPrefix(got.Message, told) {
				t.Errorf("got %v", err)
			}
			if after["shop-1"] != before["shop-1"] || after["shop-2"] != before["shop-2"] || after["shop-4"] == 0 {
				t.Errorf("%v, before %v", after, before)
			}
			// What stayed is gone with the next one that succeeds.
			check(t, s.Thaw("shop-3"))
			eventually(t, "shop-3 is not ready", is("shop-3", supervise.Ready))
			check(t, <-restart())
			if got := ids(s); !slices.Equal(got, []string{"shop-1", "shop-2", "shop-3"}) {
				t.Errorf("got %v", got)
			}
		})
	}
}

// firstOf returns the first instance that comes into a phase.
func firstOf(t *testing.T, events *supervise.Events, phase supervise.Phase) string {
	t.Helper()
	for {
		e, err := events.Next(soon(t))
		check(t, err)
		if e.State.State == phase {
			return e.ID
		}
	}
}

func TestScale(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 1, "http")))
	check(t, s.WaitReady(soon(t)))
	check(t, s.Scale(soon(t), "shop", 4))
	addrs := make(map[string]bool)
	for _, st := range s.States() {
		if st.State != supervise.Ready {
			t.Errorf("%+v", st)
		}
		addrs[st.Addrs["http"]] = true
	}
	if len(addrs) != 4 {
		t.Errorf("addresses clash: %v", s.States())
	}
	check(t, s.Scale(soon(t), "shop", 2))
	if got := ids(s); !slices.Equal(got, []string{"shop-1", "shop-2"}) {
		t.Errorf("got %v", got)
	}
	check(t, s.Scale(soon(t), "shop", 0))
	wantCode(t, s.Scale(soon(t), "shop", 65), failure.OutOfRange)
	wantCode(t, s.Scale(soon(t), "shop", -1), failure.OutOfRange)
	wantCode(t, s.Scale(soon(t), "shob", 1), failure.NotFound)
	wantCode(t, s.Kill("shop-1"), failure.NotFound)
	wantCode(t, s.Add(childGroup("shop", 1, "http")), failure.AlreadyExists)
}

// One that was there already and is frozen, or keeps crashing, does not keep others from being started: load may be why.
func TestScaleBesideASickInstance(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 2, "http")))
	check(t, s.WaitReady(soon(t)))
	check(t, s.Freeze("shop-1"))
	eventually(t, "frozen", func() bool { return state(t, s, "shop-1").State == supervise.Frozen })
	check(t, s.Scale(soon(t), "shop", 3))
	if got := []supervise.Phase{state(t, s, "shop-1").State, state(t, s, "shop-3").State}; !slices.Equal(got, []supervise.Phase{supervise.Frozen, supervise.Ready}) {
		t.Errorf("got %v", got)
	}
	check(t, s.Restart(soon(t), "shop", "shop-1"))

	g := childGroup("cart", 1, "http")
	g.Command = []string{"sh", "-c", `[ "$HOLDFAST_INSTANCE" != cart-1 ] || exit 7; exec "$1"`, "sh", os.Args[0]}
	check(t, s.Add(g))
	eventually(t, "keeps crashing", func() bool { return state(t, s, "cart-1").State == supervise.Looping })
	check(t, s.Scale(soon(t), "cart", 2))
	if got := state(t, s, "cart-2"); got.State != supervise.Ready {
		t.Errorf("%+v", got)
	}
	check(t, s.Scale(soon(t), "cart", 1)) // nor from being stopped
	if got := ids(s); !slices.Equal(got, []string{"shop-1", "shop-2", "shop-3", "cart-1"}) {
		t.Errorf("got %v", got)
	}
}

func TestCommandsExcludeEachOther(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 1, "http,not-serving")))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Scale(ctx, "shop", 2) }()
	eventually(t, "scaled", func() bool { return len(s.States()) == 2 })
	wantCode(t, s.Restart(soon(t), "shop"), failure.Aborted)
	for _, st := range s.States() {
		if st.State != supervise.Starting {
			t.Errorf("not serving, but %+v", st)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(s.States()) != 2 {
		t.Errorf("%v", s.States())
	}
}

// Members keep their names, addresses and places.
func TestFixedGroup(t *testing.T) {
	dir := t.TempDir()
	cfg := config(dir)
	addrs, err := supervise.Addresses(filepath.Join(dir, "addresses.json"), "a", "b")
	check(t, err)
	s := running(t, cfg)
	g := childGroup("control", 0, "grpc")
	for _, id := range []string{"a", "b"} {
		g.Members = append(g.Members, supervise.Member{ID: id, Addrs: map[string]string{"grpc": addrs[id]}})
	}
	check(t, s.Add(g))
	check(t, s.WaitReady(soon(t)))
	wantCode(t, s.Scale(soon(t), "control", 3), failure.FailedPrecondition)
	before := state(t, s, "a")
	check(t, s.Kill("a"))
	eventually(t, "back", func() bool {
		st := state(t, s, "a")
		return st.State == supervise.Ready && st.PID != before.PID
	})
	check(t, s.Restart(soon(t), "control", "a"))
	if st := state(t, s, "a"); st.Addrs["grpc"] != addrs["a"] || st.State != supervise.Ready {
		t.Errorf("%+v", st)
	}
	check(t, s.Stop(soon(t), "control"))
	check(t, s.Restart(soon(t), "control"))
	if got := ids(s); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
}

// A majority of the members is enough to go on with, and whoever waits for it is told who is missing, and why. It is not enough
// that a majority is ready first: of the others it has to be known.
func TestMajority(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 1, "http")))
	if crashing, err := s.WaitMajority(soon(t), "shop"); err != nil || crashing != nil {
		t.Errorf("of one: %v, %v", crashing, err)
	}
	sick := func(service, members, broken string) {
		g := childGroup(service, 0, "")
		for _, name := range strings.Fields(members) {
			g.Members = append(g.Members, supervise.Member{ID: name})
		}
		g.Command = []string{"sh", "-c", `case " $1 " in *" $HOLDFAST_INSTANCE "*) echo no disk; exit 7;; esac; exec sleep 60`, "sh", broken}
		check(t, s.Add(g))
	}
	sick("three", "a b c", "b")
	crashing, err := s.WaitMajority(soon(t), "three")
	if err != nil || len(crashing) != 1 || crashing[0].ID != "b" || !slices.Contains(crashing[0].Output, "no disk") {
		t.Errorf("of three, without one: %v, %v", crashing, err)
	}
	for service, members := range map[string]string{"two": "d e", "other": "d2 e2 f2"} {
		sick(service, members, "e e2 f2")
		var crash *supervise.CrashError
		if _, err := s.WaitMajority(soon(t), service); !errors.As(err, &crash) || crash.Reason != "exit status 7" {
			t.Errorf("%s: %v", service, err)
		}
	}
	_, err = s.WaitMajority(soon(t), "four")
	wantCode(t, err, failure.NotFound)
}

// Members that are replaced are gone at the same time, and come back whatever is done in between.
func TestReplaceMembers(t *testing.T) {
	dir := t.TempDir()
	addrs, err := supervise.Addresses(filepath.Join(dir, "addresses.json"), "a", "b", "c")
	check(t, err)
	s := running(t, config(dir))
	g := childGroup("control", 0, "grpc")
	for _, id := range []string{"a", "b", "c"} {
		g.Members = append(g.Members, supervise.Member{ID: id, Addrs: map[string]string{"grpc": addrs[id]}})
	}
	check(t, s.Add(g))
	check(t, s.WaitReady(soon(t)))
	c := state(t, s, "c")
	trouble := errors.New("trouble")
	err = s.Replace(soon(t), "control", []string{"a", "b"}, func() error {
		if got := ids(s); !slices.Equal(got, []string{"c"}) {
			t.Errorf("meanwhile there are %v", got)
		}
		return trouble
	})
	if !errors.Is(err, trouble) {
		t.Errorf("got %v", err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if st := state(t, s, id); st.State != supervise.Ready || st.Addrs["grpc"] != addrs[id] {
			t.Errorf("%+v", st)
		}
	}
	if got := state(t, s, "c"); got.PID != c.PID {
		t.Errorf("c was replaced, too: %+v", got)
	}
	err = s.Replace(soon(t), "control", []string{"a", "b"}, func() error { return fmt.Errorf("trouble: %w", supervise.ErrLeave) })
	if got := ids(s); !errors.Is(err, supervise.ErrLeave) || !slices.Equal(got, []string{"c"}) {
		t.Errorf("got %v, and there are %v", err, got)
	}
	never := func() error {
		t.Error("called")
		return nil
	}
	wantCode(t, s.Replace(soon(t), "control", []string{"a", "d"}, never), failure.FailedPrecondition)
	wantCode(t, s.Replace(soon(t), "shop", []string{"a"}, never), failure.NotFound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantCode(t, s.Replace(ctx, "control", []string{"a"}, never), failure.Canceled)
}

// Whoever gives up waiting for a command may give the next one: instances that the first one is still stopping are on
// their way out, and are neither counted nor replaced.
func TestCommandAfterOneThatWasGivenUp(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.StopTimeout = 500 * time.Millisecond
	s := running(t, cfg)
	check(t, s.Add(childGroup("shop", 3, "http,stubborn")))
	check(t, s.WaitReady(soon(t)))
	giveUp := func(command func(context.Context) error, until func() bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- command(ctx) }()
		eventually(t, "begun", until)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	draining := func(n int) func() bool {
		return func() bool {
			found := 0
			for _, st := range s.States() {
				if st.State == supervise.Draining {
					found++
				}
			}
			return found == n
		}
	}
	three := func(when string) {
		t.Helper()
		if got := s.States(); len(got) != 3 || slices.ContainsFunc(got, func(st supervise.State) bool { return st.State != supervise.Ready }) {
			t.Errorf("%s: %+v", when, got)
		}
	}
	giveUp(func(ctx context.Context) error { return s.Scale(ctx, "shop", 1) }, draining(2))
	check(t, s.Scale(soon(t), "shop", 3))
	three("scaled down and up")
	giveUp(func(ctx context.Context) error { return s.Restart(ctx, "shop") }, draining(1))
	check(t, s.Restart(soon(t), "shop"))
	check(t, s.Scale(soon(t), "shop", 3)) // and what the first one was stopping is gone
	three("restarted twice")
}

// An abort does not wait for the stop of one wave to begin with the next, and nothing comes back.
func TestAbort(t *testing.T) {
	s := running(t, config(t.TempDir()))
	for wave := range 3 {
		g := childGroup(fmt.Sprintf("shop%c", 'a'+wave), 1, "http,stubborn")
		g.Wave = wave
		check(t, s.Add(g))
	}
	check(t, s.Add(childGroup("broken", 1, "crash")))
	check(t, s.WaitReady(soon(t), "shopa", "shopb", "shopc"))
	s.Abort()
	eventually(t, "all gone", func() bool { return len(s.States()) == 0 })
	wantCode(t, s.Scale(soon(t), "shopa", 2), failure.Unavailable)
	s.Abort() // of nothing
}
