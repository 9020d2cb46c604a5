package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/lifecycle"
)

func TestAFailedGroupIsToldOf(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		told := make(chan error, 2)
		a := w.boxes["a"]
		a.cfg = func(c *Config) { c.Failed = func(_ *Group, err error) { told <- err } }
		a.start()
		a.put("x", "1")
		if err := a.g.Err(); err != nil {
			t.Error(err)
		}
		_ = a.tryPut(time.Second, "panic", "boom")
		if err := <-told; !errors.Is(err, ErrFailed) {
			t.Errorf("told of %v", err)
		}
		<-a.g.Done()
		if err := a.g.Err(); !errors.Is(err, ErrFailed) {
			t.Errorf("Err is %v", err)
		}
		g, err := a.host.Group("other", newRegister(), GroupConfig{})
		if err != nil {
			t.Fatal(err)
		}
		<-g.Ready()
		a.stop()
		if err := g.Err(); !errors.Is(err, ErrStopped) {
			t.Errorf("Err of the other is %v", err)
		}
		if len(told) > 0 {
			t.Errorf("told of %v, too", <-told)
		}
	})
}

func TestWhenAFailedGroupIsDoneItSaysThatItHasFailed(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		a := w.boxes["a"].start()
		for i := range 50 { // what comes first is left to chance
			g, err := a.host.Group(fmt.Sprint(i), newRegister(), GroupConfig{})
			if err != nil {
				t.Fatal(err)
			}
			<-g.Ready()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			go func() { _, _ = g.Propose(ctx, []byte("panic=boom")) }()
			<-g.Done()
			if err := g.Err(); !errors.Is(err, ErrFailed) {
				t.Errorf("group %d: %v", i, err)
			}
			cancel()
		}
	})
}

// clumsy is a register whose first snapshot panics wherever it can.
type clumsy struct {
	*register
	taken int
}

type clumsySnapshot struct{ Snapshot }

func (c *clumsy) Snapshot() (Snapshot, error) {
	s, err := c.register.Snapshot()
	if c.taken++; c.taken == 1 {
		s = clumsySnapshot{s}
	}
	return s, err
}

func (clumsySnapshot) Write(w io.Writer) error {
	if _, err := w.Write([]byte("half of it")); err != nil {
		return err
	}
	panic("boom")
}

func (clumsySnapshot) Release() { panic("boom, too") }

// snapshotsSeen is an Observer of what becomes of snapshots.
type snapshotsSeen chan error

func (snapshotsSeen) Proposed(string, time.Duration, error)    {}
func (snapshotsSeen) Read(string, Level, time.Duration, error) {}
func (snapshotsSeen) Led(string, string, uint64)               {}
func (snapshotsSeen) Synced(int, int, time.Duration)           {}
func (o snapshotsSeen) Snapshotted(group, _ string, _ int64, _ time.Duration, err error) {
	if group == "clumsy" {
		o <- err
	}
}

func TestASnapshotThatPanicsIsOneThatFailed(t *testing.T) {
	inBubble(t, 1, []string{"a"}, func(w *world) {
		seen := make(snapshotsSeen, 100)
		a := w.boxes["a"]
		a.cfg = func(c *Config) { c.Observer = seen }
		a.start()
		g, err := a.host.Group("clumsy", &clumsy{register: newRegister()}, GroupConfig{SnapshotEntries: 5})
		if err != nil {
			t.Fatal(err)
		}
		put := func(i int) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if _, err := g.Propose(ctx, fmt.Appendf(nil, "x=%d", i)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 10 {
			put(i)
		}
		var panicked *lifecycle.PanicError
		if err := <-seen; !errors.As(err, &panicked) || panicked.Value != "boom" {
			t.Errorf("the first snapshot: %v", err)
		}
		put(10)
		<-time.After(time.Minute) // it is tried again
		put(11)
		if err := <-seen; err != nil {
			t.Errorf("the second snapshot: %v", err)
		}
		if n := len(a.host.snaps.List(g.id)); n != 2 { // that of the founding, and the good one
			t.Errorf("%d snapshots count", n)
		}
		if err := g.Err(); err != nil {
			t.Error(err)
		}
	})
}
