package etcdguard_test

import (
	"errors"
	"math"
	"strconv"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/holdfast-go/holdfast/internal/etcdtest"
	"github.com/holdfast-go/holdfast/lock/guard"
	"github.com/holdfast-go/holdfast/lock/guard/etcdguard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{etcdtest.Start(t).Addr()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestDo: a token may be used any number of times until a larger one was, and what is refused changes nothing.
func TestDo(t *testing.T) {
	c := client(t)
	var want string
	for i, use := range []struct {
		token uint64
		stale bool
	}{
		{5, false},
		{5, false},
		{10, false},
		{9, true},
		{5, true},
		{10, false},
		{math.MaxInt64, false},
		{11, true},
		{math.MaxUint64, false},
		{math.MaxUint64, false},
		{math.MaxInt64, true},
	} {
		value := strconv.Itoa(i)
		resp, err := etcdguard.Do(t.Context(), c, "guard", use.token, clientv3.OpPut("data", value), clientv3.OpGet("data"))
		if errors.Is(err, guard.ErrStale) != use.stale || (err == nil) == use.stale {
			t.Errorf("%d: %v, want stale %v", use.token, err, use.stale)
		}
		if err == nil {
			want = value
			if len(resp.Responses) != 2 || string(resp.Responses[1].GetResponseRange().Kvs[0].Value) != value {
				t.Errorf("%d: answered %v", use.token, resp.Responses)
			}
		}
		got, err := c.Get(t.Context(), "data")
		if err != nil || string(got.Kvs[0].Value) != want {
			t.Errorf("%d: data is %v, %v", use.token, got, err)
		}
	}
}

// TestDoInOrder: whoever writes at once, no write comes after one with a larger token.
func TestDoInOrder(t *testing.T) {
	c := client(t)
	var wg sync.WaitGroup
	for token := range uint64(8) {
		wg.Go(func() {
			for range 10 {
				_, err := etcdguard.Do(t.Context(), c, "guard", token+1, clientv3.OpPut("data", strconv.FormatUint(token+1, 10)))
				if err != nil && !errors.Is(err, guard.ErrStale) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// Every version there was, in order.
	last, now := 0, int64(0)
	for rev := int64(1); ; rev++ {
		got, err := c.Get(t.Context(), "data", clientv3.WithRev(rev))
		if err != nil {
			break // the future
		}
		if len(got.Kvs) == 0 || got.Kvs[0].ModRevision == now {
			continue
		}
		now = got.Kvs[0].ModRevision
		token, err := strconv.Atoi(string(got.Kvs[0].Value))
		if err != nil || token < last {
			t.Errorf("a write with %d after one with %d, %v", token, last, err)
		}
		last = token
	}
	if last != 8 {
		t.Errorf("the last write is %d's", last)
	}
}
