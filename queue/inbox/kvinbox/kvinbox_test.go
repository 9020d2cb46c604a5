package kvinbox_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/idempotency/idempotencytest"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/inbox"
	"github.com/holdfast-go/holdfast/queue/inbox/inboxtest"
	"github.com/holdfast-go/holdfast/queue/inbox/kvinbox"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start returns a map of one member.
func start(t *testing.T) *kv.Store {
	t.Helper()
	host, err := replica.NewHost(replica.Config{Name: "a", Dir: t.TempDir(), Members: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	store, err := kv.New(host, "test", kv.Config{})
	if err != nil {
		t.Fatal(errors.Join(err, host.Close()))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- host.Run(ctx) }()
	go func() { done <- store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestStore(t *testing.T) {
	store := start(t)
	idempotencytest.Run(t, idempotencytest.Config{
		Open: func(*testing.T) (a, b idempotency.Store) {
			return kvinbox.NewStore(store, ""), kvinbox.NewStore(store, "")
		},
		TTL: 300 * time.Millisecond, Late: 500 * time.Millisecond,
	})
}

func TestClaims(t *testing.T) {
	store := start(t)
	inboxtest.Run(t, inboxtest.Config{Open: func(*testing.T) (a, b queue.Inbox) {
		return inbox.New(kvinbox.NewStore(store, ""), inbox.Config{}), inbox.New(kvinbox.NewStore(store, ""), inbox.Config{})
	}})
}

// count reads the effect of add.
func count(ctx context.Context, store *kv.Store, name string) (n int, item kv.Item, err error) {
	item, ok, err := store.Get(ctx, replica.Linearizable, "effects/"+name)
	if err == nil && ok {
		n, err = strconv.Atoi(string(item.Value))
	}
	return n, item, err
}

// add counts up what is under name, in the transaction of the message.
func add(ctx context.Context, store *kv.Store, name string) error {
	for {
		n, item, err := count(ctx, store, name)
		if err != nil {
			return err
		}
		res, err := kvinbox.Do(ctx, kv.Txn{
			If:   []kv.Compare{kv.Revision("effects/"+name, kv.Equal, item.Revision)},
			Then: []kv.Op{kv.PutOp("effects/"+name, []byte(strconv.Itoa(n+1)), 0)},
		})
		if err != nil || res.Succeeded {
			return err
		}
	}
}

func TestAtomic(t *testing.T) {
	store := start(t)
	inboxtest.Run(t, inboxtest.Config{
		Open: func(*testing.T) (a, b queue.Inbox) {
			return kvinbox.NewAtomic(store, kvinbox.Config{}), kvinbox.NewAtomic(store, kvinbox.Config{})
		},
		Effect: func(ctx context.Context, name string) error { return add(ctx, store, name) },
		Count: func(t *testing.T, name string) int {
			n, _, err := count(t.Context(), store, name)
			if err != nil {
				t.Error(err)
			}
			return n
		},
		Commits: true,
	})
}

func TestDoIsForHandlers(t *testing.T) {
	store := start(t)
	put := kv.Txn{Then: []kv.Op{kv.PutOp("a", nil, 0)}}
	if _, err := kvinbox.Do(t.Context(), put); failure.CodeOf(err) != failure.FailedPrecondition {
		t.Errorf("outside of a handler: %v", err)
	}
	in := kvinbox.NewAtomic(store, kvinbox.Config{})
	err := in.Once(t.Context(), "t/g", "1", func(ctx context.Context) error {
		if _, err := kvinbox.Do(ctx, kv.Txn{Else: put.Then}); failure.CodeOf(err) != failure.InvalidArgument {
			t.Errorf("with Else: %v", err)
		}
		if res, err := kvinbox.Do(ctx, kv.Txn{If: []kv.Compare{kv.Exists("b")}, Then: put.Then}); err != nil || res.Succeeded {
			t.Errorf("with what is not true: %+v, %v", res, err)
		}
		res, err := kvinbox.Do(ctx, kv.Txn{Then: []kv.Op{kv.GetOp("a"), put.Then[0]}})
		if err != nil || !res.Succeeded || len(res.Before) != 2 || res.Before[0] != nil {
			t.Errorf("%+v, %v", res, err)
		}
		if _, err := kvinbox.Do(ctx, put); failure.CodeOf(err) != failure.FailedPrecondition {
			t.Errorf("a second time: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
