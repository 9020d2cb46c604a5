package inbox_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/inbox"
	"github.com/holdfast-go/holdfast/queue/inbox/inboxtest"
)

// pass lets virtual time go on.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // in virtual time
}

func TestMemory(t *testing.T) {
	inboxtest.Run(t, inboxtest.Config{
		Around: synctest.Test,
		Open: func(*testing.T) (a, b queue.Inbox) {
			store := new(idempotency.Memory)
			return inbox.New(store, inbox.Config{}), inbox.New(store, inbox.Config{})
		},
		Forget: func(*testing.T) { pass(inbox.DefaultKeep + time.Second) },
	})
}

// One that is being handled elsewhere for longer than MaxWait is to come later, and that is no permanent failure.
func TestUnderWayForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(idempotency.Memory)
		a, b := inbox.New(store, inbox.Config{}), inbox.New(store, inbox.Config{})
		done := make(chan error)
		go func() {
			done <- a.Once(t.Context(), "t/g", "1", func(context.Context) error {
				pass(time.Minute)
				return nil
			})
		}()
		pass(time.Second)
		began := time.Now()
		err := b.Once(t.Context(), "t/g", "1", func(context.Context) error {
			t.Error("handled twice")
			return nil
		})
		if took := time.Since(began); failure.CodeOf(err) != failure.Aborted || took < time.Second || took > 3*time.Second {
			t.Errorf("after %v: %v, want ABORTED after 2s", took, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A process that is gone between the effect and the mark is the one case in which claims let an effect happen twice.
func TestAClaimEndsWithItsProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(idempotency.Memory)
		cut := &cutStore{Store: store}
		a, b := inbox.New(cut, inbox.Config{Logger: slog.New(slog.DiscardHandler)}), inbox.New(store, inbox.Config{MaxWait: time.Minute})
		runs := 0
		if err := a.Once(t.Context(), "t/g", "1", func(context.Context) error {
			runs++
			cut.cut = true
			return nil
		}); err != nil {
			t.Error(err)
		}
		began := time.Now()
		if err := b.Once(t.Context(), "t/g", "1", func(context.Context) error { runs++; return nil }); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); runs != 2 || took > 6*time.Second {
			t.Errorf("%d runs, the second after %v", runs, took)
		}
	})
}

type cutStore struct {
	idempotency.Store
	cut bool
}

func (s *cutStore) Swap(ctx context.Context, id idempotency.ID, version uint64, data []byte, ttl time.Duration) (idempotency.Entry, bool, error) {
	if s.cut {
		return idempotency.Entry{}, false, failure.New(failure.Unavailable, "cut off")
	}
	return s.Store.Swap(ctx, id, version, data, ttl)
}

func TestKey(t *testing.T) {
	if _, ok := inbox.Key(t.Context()); ok {
		t.Error("a key without a message")
	}
	var keys []string
	for _, in := range []queue.Inbox{inbox.Keyed{}, inbox.Keyed{}, inbox.NewMemory(0, inbox.Config{})} {
		_ = in.Once(t.Context(), "t/g", "1", func(ctx context.Context) error {
			key, _ := inbox.Key(ctx)
			keys = append(keys, key)
			return nil
		})
	}
	if len(keys) != 3 || len(keys[0]) != 64 || keys[0] != keys[1] || keys[1] != keys[2] {
		t.Errorf("keys %q, want the same one of 64 characters three times", keys)
	}
	if inbox.KeyOf("a", "bc") == inbox.KeyOf("ab", "c") {
		t.Error("two messages have the same key")
	}
}
