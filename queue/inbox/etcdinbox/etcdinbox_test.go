package etcdinbox_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency/etcdidempotency"
	"github.com/holdfast-go/holdfast/internal/etcdtest"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/inbox"
	"github.com/holdfast-go/holdfast/queue/inbox/etcdinbox"
	"github.com/holdfast-go/holdfast/queue/inbox/inboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, addr string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// add counts up what is under name, in the transaction of the message.
func add(ctx context.Context, c *clientv3.Client, name string) error {
	for {
		got, err := c.Get(ctx, "effects/"+name)
		if err != nil {
			return err
		}
		n, revision := 0, int64(0)
		if len(got.Kvs) > 0 {
			n, _ = strconv.Atoi(string(got.Kvs[0].Value))
			revision = got.Kvs[0].ModRevision
		}
		resp, err := etcdinbox.Do(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision("effects/"+name), "=", revision)},
			clientv3.OpPut("effects/"+name, strconv.Itoa(n+1)))
		if err != nil || resp.Succeeded {
			return err
		}
	}
}

func TestAtomic(t *testing.T) {
	addr := etcdtest.Start(t).Addr()
	c := client(t, addr)
	inboxtest.Run(t, inboxtest.Config{
		Open: func(t *testing.T) (a, b queue.Inbox) {
			return etcdinbox.NewAtomic(c, etcdinbox.Config{}), etcdinbox.NewAtomic(client(t, addr), etcdinbox.Config{})
		},
		Effect: func(ctx context.Context, name string) error {
			if len(name) > 1000 {
				name = name[:1000]
			}
			return add(ctx, c, name)
		},
		Count: func(t *testing.T, name string) int {
			got, err := c.Get(t.Context(), "effects/"+name)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Kvs) == 0 {
				return 0
			}
			n, _ := strconv.Atoi(string(got.Kvs[0].Value))
			return n
		},
		Commits: true,
	})
}

func TestClaims(t *testing.T) {
	addr := etcdtest.Start(t).Addr()
	inboxtest.Run(t, inboxtest.Config{Open: func(t *testing.T) (a, b queue.Inbox) {
		return inbox.New(etcdidempotency.New(client(t, addr), ""), inbox.Config{}), inbox.New(etcdidempotency.New(client(t, addr), ""), inbox.Config{})
	}})
}

// An etcd that comes back without its data has neither marks nor leases: messages go on to be handled.
func TestEtcdThatLostEverything(t *testing.T) {
	etcd := etcdtest.Start(t)
	in := etcdinbox.NewAtomic(client(t, etcd.Addr()), etcdinbox.Config{})
	handle := func(id string) (ran bool) {
		t.Helper()
		if err := in.Once(t.Context(), "t/g", id, func(context.Context) error { ran = true; return nil }); err != nil {
			t.Fatal(err)
		}
		return ran
	}
	if !handle("1") || handle("1") {
		t.Error("not handled once")
	}
	etcd.RestartEmpty()
	if !handle("2") || handle("2") {
		t.Error("not handled once by an etcd that is new")
	}
}

// Handlers that need a lease at the same time share one: each that is asked for stays for as long as marks do.
func TestMarksShareALease(t *testing.T) {
	c := client(t, etcdtest.Start(t).Addr())
	in := etcdinbox.NewAtomic(c, etcdinbox.Config{})
	var wg, ready sync.WaitGroup
	ready.Add(32)
	for i := range 32 {
		wg.Go(func() {
			if err := in.Once(t.Context(), "t/g", strconv.Itoa(i), func(context.Context) error {
				ready.Done()
				ready.Wait()
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if leases, err := c.Leases(t.Context()); err != nil || len(leases.Leases) != 1 {
		t.Errorf("%d leases, %v; want 1", len(leases.Leases), err)
	}
}

// etcd removes all marks of a lease at once when it ends, and does nothing else meanwhile: no lease has many, however fast they come.
func TestALeaseHasNotManyMarks(t *testing.T) {
	const messages, most = 2200, 1000
	c := client(t, etcdtest.Start(t).Addr())
	in := etcdinbox.NewAtomic(c, etcdinbox.Config{})
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for i := g; i < messages; i += 20 {
				if err := in.Once(t.Context(), "t/g", strconv.Itoa(i), func(context.Context) error { return nil }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	leases, err := c.Leases(t.Context())
	if err != nil || len(leases.Leases) != 3 {
		t.Fatalf("%d leases, %v; want 3", len(leases.Leases), err)
	}
	sum := 0
	for _, l := range leases.Leases {
		got, err := c.TimeToLive(t.Context(), l.ID, clientv3.WithAttachedKeys())
		if err != nil || len(got.Keys) > most {
			t.Errorf("%d marks of a lease, %v; want %d at most", len(got.Keys), err, most)
		}
		sum += len(got.Keys)
	}
	if sum != messages {
		t.Errorf("%d marks, want %d", sum, messages)
	}
}

// What is wrong with a transaction is INVALID_ARGUMENT: it will not get better by trying again.
func TestATransactionThatCannotBe(t *testing.T) {
	c := client(t, etcdtest.Start(t).Addr())
	in := etcdinbox.NewAtomic(c, etcdinbox.Config{})
	many := make([]clientv3.Op, 1000)
	for i := range many {
		many[i] = clientv3.OpPut("many/"+strconv.Itoa(i), "")
	}
	for name, ops := range map[string][]clientv3.Op{
		"too many":    many,
		"a key twice": {clientv3.OpPut("a", "1"), clientv3.OpPut("a", "2")},
		"no key":      {clientv3.OpPut("", "1")},
		"too large":   {clientv3.OpPut("a", strings.Repeat("a", 1900<<10))},
	} {
		err := in.Once(t.Context(), "t/g", name, func(ctx context.Context) error {
			_, err := etcdinbox.Do(ctx, nil, ops...)
			return err
		})
		if failure.CodeOf(err) != failure.InvalidArgument {
			t.Errorf("%s: %v, want INVALID_ARGUMENT", name, err)
		}
	}
}

func TestDoIsForHandlers(t *testing.T) {
	c := client(t, etcdtest.Start(t).Addr())
	if _, err := etcdinbox.Do(t.Context(), nil, clientv3.OpPut("a", "")); failure.CodeOf(err) != failure.FailedPrecondition {
		t.Errorf("outside of a handler: %v", err)
	}
	in := etcdinbox.NewAtomic(c, etcdinbox.Config{})
	err := in.Once(t.Context(), "t/g", "1", func(ctx context.Context) error {
		exists := clientv3.Compare(clientv3.CreateRevision("b"), ">", 0)
		if resp, err := etcdinbox.Do(ctx, []clientv3.Cmp{exists}, clientv3.OpPut("a", "")); err != nil || resp.Succeeded {
			t.Errorf("with what is not true: %v, %v", resp, err)
		}
		resp, err := etcdinbox.Do(ctx, nil, clientv3.OpGet("a"), clientv3.OpPut("a", ""))
		if err != nil || !resp.Succeeded || len(resp.Responses) != 2 || resp.Responses[0].GetResponseRange().GetCount() != 0 {
			t.Errorf("%v, %v", resp, err)
		}
		if _, err := etcdinbox.Do(ctx, nil, clientv3.OpPut("a", "")); failure.CodeOf(err) != failure.FailedPrecondition {
			t.Errorf("a second time: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
