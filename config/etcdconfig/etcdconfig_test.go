package etcdconfig_test

import (
	"flag"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/config/configtest"
	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/config/etcdconfig"
	"github.com/holdfast-go/holdfast/internal/etcdtest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The cases wait for timers and compute little; more of them at once than there are processors is right.
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

func (e *engine) Open(t testing.TB) driver.Store {
	t.Helper()
	d, err := etcdconfig.Open(etcdconfig.Config{Endpoints: []string{e.Addr()}, Prefix: e.prefix})
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

func TestConformance(t *testing.T) {
	server := etcdtest.Start(t)
	configtest.Run(t, configtest.Config{
		New: func(t *testing.T) configtest.Engine { return newEngine(t, server) },
		In: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		RelistEvery: time.Second,
		Within:      15 * time.Second,
	})
}

func TestURL(t *testing.T) {
	for url, want := range map[string]string{
		"etcd://10.0.0.1:2379":             "etcd://10.0.0.1:2379",
		"etcd://10.0.0.1:2379/":            "etcd://10.0.0.1:2379",
		"etcd://a:1,b:2/shop/":             "etcd://a:1,b:2/shop-config",
		"etcd://[::1]:2379/teams/a/system": "etcd://[::1]:2379/teams/a/system-config",
	} {
		got := etcdconfig.OfRegistry(url)
		if got != want {
			t.Errorf("settings of %s: %s, want %s", url, got, want)
		}
		if _, err := etcdconfig.Parse(got); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
	for _, url := range []string{"", "consul://a:1", "etcd://", "etcd://a", "etcd://me:secret@a:1", "etcd://a:1,,b:2", "etcd://:1", "etcd://a:x"} {
		if c, err := etcdconfig.Parse(url); err == nil {
			t.Errorf("%q is %+v", url, c)
		}
	}
}

func TestOpenRefusesPlaintextBeyondLoopback(t *testing.T) {
	if _, err := etcdconfig.Open(etcdconfig.Config{Endpoints: []string{"10.0.0.1:2379"}}); err == nil {
		t.Error("plaintext beyond loopback was accepted")
	}
}

// TestLateWrites: what was given up, and comes to etcd after what was put or deleted since, changes nothing any more.
func TestLateWrites(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	late := etcdtest.NewLate(t, server)
	d, err := etcdconfig.Open(etcdconfig.Config{Client: late.Client, Prefix: "late"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	configtest.LateWrites(t, d, late.Freeze, late.Thaw)
}

// The copy on disk goes by it: the same etcd has the same one, and another prefix or cluster another one, without secrets.
func TestIdentity(t *testing.T) {
	of := func(prefix string, endpoints ...string) string {
		t.Helper()
		d, err := etcdconfig.Open(etcdconfig.Config{Endpoints: endpoints, Prefix: prefix})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		return d.Identity()
	}
	one := of("", "127.0.0.1:1", "127.0.0.1:2")
	if one != "etcd://127.0.0.1:1,127.0.0.1:2/holdfast/config" || of("/holdfast/config/", "http://127.0.0.1:2", "127.0.0.1:1") != one {
		t.Errorf("%s, or not the same for the same etcd", one)
	}
	if of("other", "127.0.0.1:1", "127.0.0.1:2") == one || of("", "127.0.0.1:1", "127.0.0.1:3") == one {
		t.Error("the same for another etcd")
	}
}
