package memqueue_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/queue/queuetest"
)

// engine is one of the suite: clients of a memqueue.
type engine struct{ *memqueue.Engine }

func (e engine) Open(testing.TB) (driver.Engine, queuetest.Link) {
	c := e.Connect()
	return c, c
}

func (e engine) Restart() { e.Faults().Restart() }

func TestConformance(t *testing.T) {
	queuetest.Run(t, queuetest.Config{
		New:  func(*testing.T) queuetest.Engine { return engine{memqueue.New(memqueue.Config{})} },
		In:   func(t *testing.T, run func(*testing.T)) { synctest.Test(t, run) },
		Hold: 10 * time.Second, Within: 20 * time.Second,
	})
}

// small is an engine of 64 KiB, on which n messages of 1 KiB were published to each of topics and settled: it keeps them for
// groups to come, as far as there is room.
func small(t *testing.T, n int, topics ...string) *memqueue.Engine {
	t.Helper()
	e := memqueue.New(memqueue.Config{MaxBytes: 64 << 10})
	t.Cleanup(func() { _ = e.Close() }) // returns nil
	for _, topic := range topics {
		r, err := e.Subscribe(t.Context(), driver.Subscription{Topic: topic, Group: "g", Window: 1, Hold: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if errs := e.Publish(t.Context(), topic, []*driver.Message{sized(strconv.Itoa(i), 1<<10)}); errs != nil {
				t.Fatal(errs[0])
			}
			ds, err := r.Receive(t.Context(), 1)
			if err == nil {
				err = r.Ack(t.Context(), ds)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := e.Declare(t.Context(), driver.Topic{Name: "b", Groups: []string{"g"}}); err != nil {
		t.Fatal(err)
	}
	return e
}

func sized(id string, size int) *driver.Message {
	return &driver.Message{ID: id, Source: "test", Data: make([]byte, size)}
}

// kept is what a topic has for a group that comes now.
func kept(t *testing.T, e *memqueue.Engine, topic string) int64 {
	t.Helper()
	if err := e.Declare(t.Context(), driver.Topic{Name: topic, Groups: []string{"late"}}); err != nil {
		t.Fatal(err)
	}
	lag, err := e.Lag(t.Context(), topic, "late")
	if err != nil {
		t.Fatal(err)
	}
	return lag.Waiting
}

// TestWhatIsKeptMakesRoom: what a topic keeps for groups to come is in the way of nothing: other topics, what is for one group,
// dead letters.
func TestWhatIsKeptMakesRoom(t *testing.T) {
	for what, put := range map[string]func(ctx context.Context, e *memqueue.Engine, m *driver.Message) error{
		"publish": func(ctx context.Context, e *memqueue.Engine, m *driver.Message) error {
			return errors.Join(e.Publish(ctx, "b", []*driver.Message{m})...)
		},
		"publish to a group": func(ctx context.Context, e *memqueue.Engine, m *driver.Message) error {
			return errors.Join(e.PublishTo(ctx, "b", "g", []*driver.Message{m})...)
		},
		"bury": func(ctx context.Context, e *memqueue.Engine, m *driver.Message) error {
			return e.Bury(ctx, "a", "g", m)
		},
	} {
		t.Run(what, func(t *testing.T) {
			e := small(t, 200, "a")
			if err := put(t.Context(), e, sized("large", 4<<10)); err != nil {
				t.Error(err)
			}
			if n := kept(t, e, "a"); n < 30 || n > 50 {
				t.Errorf("%d messages are kept", n)
			}
		})
	}
}

// TestTheOldestMakesRoomFirst, of whatever topic, and no more of it than is needed.
func TestTheOldestMakesRoomFirst(t *testing.T) {
	e := small(t, 20, "old", "new")
	if errs := e.Publish(t.Context(), "b", []*driver.Message{sized("1", 16<<10)}); errs != nil {
		t.Fatal(errs[0])
	}
	if old, young := kept(t, e, "old"), kept(t, e, "new"); old != 5 || young != 20 {
		t.Errorf("kept are %d of the old and %d of the new", old, young)
	}
}

// TestNothingIsForgottenForWhatHasNoRoom: what does not help stays.
func TestNothingIsForgottenForWhatHasNoRoom(t *testing.T) {
	e := small(t, 10, "a")
	if errs := e.Publish(t.Context(), "b", []*driver.Message{sized("1", 60<<10)}); errs == nil || !errors.Is(errs[0], driver.ErrFull) {
		t.Errorf("got %v", errs)
	}
	if n := kept(t, e, "a"); n != 10 {
		t.Errorf("%d are kept", n)
	}
}

// TestRoomAfterAWipe: of what is gone nothing is counted, and nothing is to be forgotten.
func TestRoomAfterAWipe(t *testing.T) {
	e := small(t, 200, "a")
	e.Faults().Wipe()
	if err := e.Declare(t.Context(), driver.Topic{Name: "b", Groups: []string{"g"}}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := errors.Join(e.PublishTo(t.Context(), "b", "g", []*driver.Message{sized(strconv.Itoa(i), 20<<10)})...); err != nil {
			t.Error(err)
		}
	}
	if errs := e.PublishTo(t.Context(), "b", "g", []*driver.Message{sized("4", 20<<10)}); errs == nil || !errors.Is(errs[0], driver.ErrFull) {
		t.Errorf("what waits is in the way: %v", errs)
	}
}
