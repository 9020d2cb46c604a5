package etcdregistry_test

import (
	"context"
	"flag"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/holdfast-go/holdfast/internal/etcdtest"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/etcdregistry"
	"github.com/holdfast-go/holdfast/registry/registrytest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The cases wait for leases and compute little; more of them at once than there are processors is right.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// engine is a shared etcd seen through a proxy of its own: the faults of one case are not those of another.
type engine struct {
	*etcdtest.Proxy
	t *testing.T

	mu     sync.Mutex
	server *etcdtest.Server
	prefix string
}

func newEngine(t *testing.T, server *etcdtest.Server) *engine {
	e := &engine{t: t, server: server, prefix: t.Name()}
	e.Proxy = etcdtest.NewProxy(t, func() string {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.server.Backend()
	})
	return e
}

func (e *engine) Open(t testing.TB) driver.Registry { return open(t, e.prefix, e.Addr()) }

func open(t testing.TB, prefix string, endpoints ...string) *etcdregistry.Driver {
	t.Helper()
	d, err := etcdregistry.Open(etcdregistry.Config{Endpoints: endpoints, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close driver: %v", err)
		}
	})
	return d
}

func (e *engine) Down() { e.Cut() }
func (e *engine) Up()   { e.Restore() }

// Wipe puts an empty etcd in the place of the one there was, which to a client is the same as losing the disk.
func (e *engine) Wipe() {
	e.Cut()
	empty := etcdtest.Start(e.t)
	e.mu.Lock()
	e.server = empty
	e.mu.Unlock()
	e.Restore()
}

func (e *engine) key(service, id string) string { return e.prefix + "/" + service + "/" + id }

func (e *engine) ExpireLease(service, id string) {
	e.admin(func(ctx context.Context, c *clientv3.Client) error {
		got, err := c.Get(ctx, e.key(service, id))
		if err != nil || len(got.Kvs) == 0 {
			return err
		}
		_, err = c.Revoke(ctx, clientv3.LeaseID(got.Kvs[0].Lease))
		return err
	})
}

func (e *engine) DeleteKey(service, id string) {
	e.admin(func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Delete(ctx, e.key(service, id))
		return err
	})
}

func (e *engine) Corrupt(service, id string) {
	e.admin(func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Put(ctx, e.key(service, id), "garbage")
		return err
	})
}

// admin does something to etcd past the proxy.
func (e *engine) admin(f func(context.Context, *clientv3.Client) error) {
	e.t.Helper()
	c := client(e.t, e.server.Backend())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := f(ctx, c); err != nil {
		e.t.Error(err)
	}
}

// client returns a plain etcd client that closes with the test.
func client(t testing.TB, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestConformance(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	registrytest.Run(t, registrytest.Config{
		New: func(t *testing.T) registrytest.Engine { return newEngine(t, server) },
		In: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		TTL:         5 * time.Second, // three renewals, of which a starved machine makes one in time
		RelistEvery: 2 * time.Second,
		Within:      10 * time.Second,
	})
}
