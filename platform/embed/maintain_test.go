package embed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/holdfast-go/holdfast/internal/ports"
)

// small is a quota that is soon used up.
const small = 16 << 20

// A cluster whose databases were full takes writes again, by itself, once keys were deleted.
func TestAFullDatabaseComesBack(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			c, log := smallCluster(ctx, t, n)
			written := 0
			for err := write(ctx, c, "k0"); !full(err); err = write(ctx, c, fmt.Sprint("k", written)) {
				if ctx.Err() != nil {
					t.Fatalf("it is not full: %v", err)
				}
				if err == nil {
					written++
				}
			}
			if _, err := c.Delete(ctx, "k1", clientv3.WithRange("l")); err != nil {
				t.Fatal(err)
			}
			for err := write(ctx, c, "after"); err != nil; err = write(ctx, c, "after") {
				if ctx.Err() != nil {
					t.Fatalf("it stays full after %d MiB: %v\n%s", written, err, log.String())
				}
			}
			for _, key := range []string{"k0", "after"} {
				if got, err := c.Get(ctx, key); err != nil || got.Count != 1 {
					t.Errorf("%s is lost: %v", key, err)
				}
			}
			if got := log.String(); !strings.Contains(got, "comes near its quota") {
				t.Errorf("nobody was warned:\n%s", got)
			}
		})
	}
}

// full reports whether a write was refused for want of space.
func full(err error) bool {
	return errors.Is(err, rpctypes.ErrNoSpace)
}

// write puts 1 MiB.
func write(ctx context.Context, c *clientv3.Client, key string) error {
	_, err := c.Put(ctx, key, strings.Repeat("x", 1<<20))
	return err
}

// smallCluster runs members that look at their databases all the time, until the test ends.
func smallCluster(ctx context.Context, t *testing.T, n int) (*clientv3.Client, *lines) {
	t.Helper()
	r, err := ports.Reserve(2 * n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Release)
	log, peers := &lines{}, make(map[string]string)
	for i := range n {
		peers[fmt.Sprint("m", i)] = r.Addr(i)
	}
	dir := t.TempDir()
	running, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	t.Cleanup(func() { stop(); ended.Wait() })
	var endpoints []string
	var members []*Etcd
	for i := range n {
		name := fmt.Sprint("m", i)
		e := NewEtcd(EtcdConfig{
			Name: name, DataDir: filepath.Join(dir, name), ClientAddr: r.Addr(n + i), PeerAddr: peers[name], Cluster: peers,
			QuotaBytes: small, Logger: slog.New(slog.NewTextHandler(log, nil)),
		})
		e.upkeep = 50 * time.Millisecond
		members, endpoints = append(members, e), append(endpoints, r.Addr(n+i))
		ended.Go(func() {
			if err := e.Run(running); err != nil {
				t.Error(err)
			}
		})
	}
	for _, e := range members {
		select {
		case <-e.Ready():
		case <-ctx.Done():
			t.Fatal("a member is not ready")
		}
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, log
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A warning comes each time that the database comes near its quota, and once.
func TestAWarningOfTheQuota(t *testing.T) {
	log := &lines{}
	u := &upkeep{quota: 1000, log: slog.New(slog.NewTextHandler(log, nil))}
	for i, c := range []struct {
		size int64
		want int
	}{{699, 0}, {700, 1}, {999, 1}, {699, 1}, {800, 2}} {
		u.warn(c.size, 10)
		if got := strings.Count(log.String(), "level=WARN"); got != c.want {
			t.Errorf("%d, with %d bytes: %d warnings, want %d", i, c.size, got, c.want)
		}
	}
}

// A database is defragmented where that gives something back, and not again and again where it does not.
func TestWorthIt(t *testing.T) {
	const quota = 1000
	for _, c := range []struct {
		size, used    int64
		alarmed, want bool
	}{
		{500, 10, false, false},
		{501, 249, false, true},
		{501, 251, false, false},
		{1000, 799, false, false},
		{1000, 799, true, true},
		{1000, 800, true, false},
		{899, 799, true, false},
		{600, 200, true, true},
	} {
		if got := worthIt(c.size, c.used, quota, c.alarmed); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

// Members have their turns one after another, the leader last.
func TestTurns(t *testing.T) {
	members := []uint64{10, 20, 30}
	for leader, want := range map[uint64][]uint64{0: {10, 20, 30}, 10: {20, 30, 10}, 20: {10, 30, 20}, 30: {10, 20, 30}} {
		got := make([]uint64, len(members))
		for _, m := range members {
			rank := 0
			for _, other := range members {
				if first(other, m, leader) {
					rank++
				}
			}
			got[rank] = m
		}
		if !slices.Equal(got, want) {
			t.Errorf("leader %d: %d", leader, got)
		}
	}
}
