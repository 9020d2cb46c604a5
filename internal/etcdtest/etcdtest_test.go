package etcdtest_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/holdfast-go/holdfast/internal/etcdtest"
)

// TestServer shows that a restart keeps the data, an empty disk loses it, and the address stays.
func TestServer(t *testing.T) {
	s := etcdtest.Start(t)
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Addr()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := c.Put(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	if got := count(ctx, t, c); got != 1 {
		t.Errorf("after a restart: %d keys, want 1", got)
	}
	s.RestartEmpty()
	if got := count(ctx, t, c); got != 0 {
		t.Errorf("after a restart with an empty disk: %d keys, want 0", got)
	}
	s.Freeze()
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := c.Get(short, "k"); err == nil {
		t.Error("a frozen server answered")
	}
	s.Thaw()
	count(ctx, t, c)
}

func count(ctx context.Context, t *testing.T, c *clientv3.Client) int64 {
	t.Helper()
	// The first reads after a restart may still meet the broken connection.
	for {
		resp, err := c.Get(ctx, "k", clientv3.WithCountOnly())
		if err == nil {
			return resp.Count
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}
