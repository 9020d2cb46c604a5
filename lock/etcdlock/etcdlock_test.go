package etcdlock_test

import (
	"context"
	"flag"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/holdfast-go/holdfast/internal/etcdtest"
	"github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/lock/etcdlock"
	"github.com/holdfast-go/holdfast/lock/locktest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The cases wait for leases and compute little; more of them at once than there are processors is right.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// engine is an etcd of which each client has a way of its own.
type engine struct {
	t      *testing.T
	prefix string

	mu     sync.Mutex
	server *etcdtest.Server
	links  []*etcdtest.Proxy
}

func (e *engine) backend() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.server.Backend()
}

func (e *engine) Open(t testing.TB) (driver.Engine, locktest.Link) {
	t.Helper()
	link := etcdtest.NewProxy(t, e.backend)
	e.mu.Lock()
	e.links = append(e.links, link)
	e.mu.Unlock()
	return open(t, e.prefix, link.Addr()), link
}

func open(t testing.TB, prefix string, endpoints ...string) *etcdlock.Driver {
	t.Helper()
	d, err := etcdlock.Open(etcdlock.Config{Endpoints: endpoints, Prefix: prefix})
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

// each does something to all links, since connections through them have to break with the server.
func (e *engine) each(f func(*etcdtest.Proxy)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.links {
		f(l)
	}
}

func (e *engine) Restart() {
	e.each((*etcdtest.Proxy).Cut)
	e.server.Restart()
	e.each((*etcdtest.Proxy).Restore)
}

// Wipe puts an empty etcd in the place of the one there was, which to a client is the same as losing the disk.
func (e *engine) Wipe() {
	empty := etcdtest.Start(e.t)
	e.each((*etcdtest.Proxy).Cut)
	e.mu.Lock()
	e.server = empty
	e.mu.Unlock()
	e.each((*etcdtest.Proxy).Restore)
}

func (e *engine) EndSession(id string) {
	lease, err := strconv.ParseInt(id, 16, 64)
	if err != nil {
		e.t.Fatal(err)
	}
	e.admin(func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Revoke(ctx, clientv3.LeaseID(lease))
		return err
	})
}

func (e *engine) DeleteTickets(name string) {
	e.admin(func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Delete(ctx, e.prefix+"/locks/"+name+"/", clientv3.WithPrefix())
		return err
	})
}

// admin does something to etcd past the links.
func (e *engine) admin(f func(context.Context, *clientv3.Client) error) {
	e.t.Helper()
	c := client(e.t, e.backend())
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
	shared := etcdtest.Start(t)
	locktest.Run(t, locktest.Config{
		New: func(t *testing.T) locktest.Engine {
			e := &engine{t: t, prefix: t.Name(), server: shared}
			if strings.HasSuffix(t.Name(), "/Restarted") {
				e.server = etcdtest.Start(t)
			}
			return e
		},
		In: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		TTL: 5 * time.Second, Grants: 8 * time.Second, Within: 10 * time.Second,
	})
}
