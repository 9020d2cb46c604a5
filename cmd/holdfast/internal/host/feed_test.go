//go:build unix

package host

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/holdfast-go/holdfast/platform/control"
)

func TestASlowSubscriberLosesEventsAndIsTold(t *testing.T) {
	f := newFeed()
	slow, cancel := f.subscribe()
	defer cancel()
	for i := range feedBuffer + 10 { // nobody reads, and publish does not wait
		f.publish(control.Event{Message: fmt.Sprint(i)})
	}
	for i := range feedBuffer {
		if e := <-slow; e.Message != fmt.Sprint(i) {
			t.Fatalf("event %d is %q", i, e.Message)
		}
	}
	f.publish(control.Event{Message: "after"})
	if e := <-slow; e.Message != "10 events lost: the reader is too slow" {
		t.Errorf("got %q, want to be told of the loss", e.Message)
	}
	if e := <-slow; e.Message != "after" {
		t.Errorf("got %q, want what came after", e.Message)
	}
}

func TestTheFeedEndsAfterItsLastEvent(t *testing.T) {
	f := newFeed()
	events, cancel := f.subscribe()
	f.publish(control.Event{Message: "last"})
	f.close()
	if e := <-events; e.Message != "last" {
		t.Errorf("got %q", e.Message)
	}
	if _, open := <-events; open {
		t.Error("the channel is still open")
	}
	cancel()
	late, _ := f.subscribe()
	if _, open := <-late; open {
		t.Error("a late subscription is open")
	}
}

func TestEventsEndWithTheContextOrTheConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Host{feed: newFeed()}
		full := errors.New("full")
		ended := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		follow := func() {
			go func() { ended <- h.Events(ctx, func(control.Event) error { return full }) }()
			synctest.Wait() // it has subscribed
		}
		follow()
		h.feed.publish(control.Event{})
		if err := <-ended; !errors.Is(err, full) {
			t.Errorf("Events = %v, want the consumer's error", err)
		}
		follow()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Events = %v, want nil when the context has ended", err)
		}
		if len(h.feed.subs) != 0 {
			t.Error("a subscription is left")
		}
	})
}
