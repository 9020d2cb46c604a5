//go:build unix

package host

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/system"
)

// A registry of one's own that does not answer is told of once, for as long as that lasts, and so is that it does again.
func TestARegistryThatDoesNotAnswerIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Host{feed: newFeed()}
		begun := time.Now()
		o := &outside{name: "etcd://127.0.0.1:1", publish: h.feed.publish, ask: func(ctx context.Context) error {
			switch since := time.Since(begun); {
			case since < 12*time.Second:
				return errors.New("connection refused\nand more")
			case since < 22*time.Second:
				return nil
			case since < 32*time.Second:
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		h.outside = o
		told := func() (messages []string) {
			kept, _, stop := h.feed.subscribeFrom(control.MaxEvents)
			defer stop()
			for _, e := range kept {
				messages = append(messages, e.Message)
			}
			return messages
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- o.run(ctx) }()
		for _, want := range []struct {
			after   time.Duration
			trouble string
			told    int
		}{
			{time.Second, "registry etcd://127.0.0.1:1 does not answer: connection refused", 1},
			{11 * time.Second, "registry etcd://127.0.0.1:1 does not answer: connection refused", 1},
			{16 * time.Second, "", 2},
			{29 * time.Second, "registry etcd://127.0.0.1:1 does not answer: not within 3.0 s", 3},
			{36 * time.Second, "", 4},
		} {
			<-time.After(want.after - time.Since(begun))
			synctest.Wait()
			_, missing := steering{h}.Locks()
			if got := o.trouble(); got != want.trouble || missing != got || len(told()) != want.told {
				t.Errorf("after %s: %q, told %q, want %q, %d", want.after, got, told(), want.trouble, want.told)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		again := "registry etcd://127.0.0.1:1 answers again"
		if want := []string{
			"registry etcd://127.0.0.1:1 does not answer: connection refused", again, "registry etcd://127.0.0.1:1 does not answer: not within 3.0 s", again,
		}; !slices.Equal(told(), want) {
			t.Errorf("told %q, want %q", told(), want)
		}
	})
}

// Whatever the URL has in it, people are shown where the registry is, and what a real driver says of it.
func TestTheRegistryIsShownWithoutSecrets(t *testing.T) {
	const url = "etcd://127.0.0.1:1,127.0.0.1:2/prefix"
	driver, err := openDriver(url, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer driver.Close()
	h := &Host{feed: newFeed(), driver: driver, sys: &system.System{Registry: url, Services: []system.Service{{Name: "web"}}}}
	o := h.newOutside()
	events, stop := h.Subscribe()
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- o.run(ctx) }()
	var told control.Event
	select {
	case told = <-events:
	case <-time.After(time.Minute):
		t.Fatal("nothing is told")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(told.Message, "registry etcd://127.0.0.1:1,127.0.0.1:2 does not answer: ") {
		t.Errorf("told %q", told.Message)
	}
	t.Log(told.Message)
	h.sys.Registry = "consul://me:hunter2@127.0.0.1:1/dc1?token=hunter2"
	if name := h.newOutside().name; name != "consul://127.0.0.1:1" {
		t.Errorf("shown as %q", name)
	}
	h.sys.Registry = ""
	if h.newOutside().trouble() != "" {
		t.Error("the platform's own registry is in trouble")
	}
}
