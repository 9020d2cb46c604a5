package etcdregistry_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/holdfast-go/holdfast/internal/etcdtest"
	"github.com/holdfast-go/holdfast/internal/stopwatch"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/etcdregistry"
)

func record(id string) driver.Record {
	return driver.Record{
		Instance: driver.Instance{Service: "orders", ID: id, Endpoints: map[string]string{"grpc": "10.0.0.1:1"}},
		Owner:    "me",
	}
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// TestFrozenMember: of three members each one in turn is frozen for a while. Calls go on within about a second, and a
// watch sees what is new within about three.
func TestFrozenMember(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	// Three ways to one server: what matters is that a member falls silent and others do not.
	var members []*etcdtest.Proxy
	var addrs []string
	for range 3 {
		p := etcdtest.NewProxy(t, server.Backend)
		members, addrs = append(members, p), append(addrs, p.Addr())
	}
	d := open(t, "", addrs...)
	reg := registry.New(d, registry.Config{RelistEvery: time.Hour})
	defer reg.Close()
	w := reg.Watch("orders")
	if _, err := w.Next(bounded(t)); err != nil {
		t.Fatal(err)
	}
	held, err := d.Register(bounded(t), record("0"), time.Minute, true)
	if err != nil {
		t.Fatal(err)
	}
	direct := open(t, "", server.Addr())
	for i, id := range []string{"1", "2", "3"} {
		members[i].Freeze()
		took := stopwatch.Start(t)
		for {
			err := held.Renew(bounded(t))
			if took() > 2*time.Second {
				t.Errorf("Renew with a frozen member: %v after %v", err, took())
			} else if err != nil {
				continue
			}
			break
		}
		if _, err := direct.Register(bounded(t), record(id), time.Minute, true); err != nil {
			t.Fatal(err)
		}
		took = stopwatch.Start(t)
		for {
			s, err := w.Next(bounded(t))
			if err != nil {
				t.Fatal(err)
			}
			if s.Source != registry.Live {
				t.Errorf("the source became %v with two of three members", s.Source)
			}
			if slices.ContainsFunc(s.Instances, func(inst registry.Instance) bool { return inst.ID == id }) {
				break
			}
		}
		if took() > 5*time.Second {
			t.Errorf("the watch on a frozen member was left after %v", took())
		}
		members[i].Thaw()
	}
}

// TestDeadMember: with a member that refuses connections first in the list, calls hardly notice.
func TestDeadMember(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	dead := etcdtest.NewProxy(t, server.Backend)
	dead.Cut()
	for range 6 { // it is tried first in about half of these
		d := open(t, "", dead.Addr(), server.Addr())
		took := stopwatch.Start(t)
		if _, err := d.List(bounded(t), "orders"); err != nil || took() > time.Second {
			t.Errorf("List with a dead member: %v after %v", err, took())
		}
		if _, err := d.Watch(bounded(t), "orders", 0); err != nil {
			t.Error(err)
		}
	}
}

// TestOpenWhileDead: opening needs no etcd, with a password neither, and the calls fail in time and say where.
func TestOpenWhileDead(t *testing.T) {
	t.Parallel()
	for name, freeze := range map[string]bool{"dead": false, "frozen": true} {
		for _, password := range []string{"", "secret"} {
			p := etcdtest.NewProxy(t, func() string { return "" })
			if freeze {
				p.Freeze()
			} else {
				p.Cut()
			}
			cfg := etcdregistry.Config{Endpoints: []string{p.Addr()}, Password: password}
			if password != "" {
				cfg.Username = "holdfast"
			}
			took := stopwatch.Start(t)
			d, err := etcdregistry.Open(cfg)
			if err != nil || took() > 500*time.Millisecond {
				t.Fatalf("%s: Open = %v after %v", name, err, took())
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			_, err = d.List(ctx, "orders")
			cancel()
			if err == nil || !strings.Contains(err.Error(), p.Addr()) || took() > 2*time.Second {
				t.Errorf("%s: List = %v after %v", name, err, took())
			}
			if err := d.Close(); err != nil {
				t.Errorf("%s: Close = %v", name, err)
			}
			if _, err := d.List(t.Context(), "orders"); err == nil {
				t.Errorf("%s: List after Close succeeded", name)
			}
			p.Thaw()
		}
	}
}

// TestCompaction: a watch from a revision that is compacted is an error, and a consumer that was cut off over a
// compaction lists again and misses nothing.
func TestCompaction(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	way := etcdtest.NewProxy(t, server.Backend)
	direct := open(t, "", server.Addr())
	reg := registry.New(open(t, "", way.Addr()), registry.Config{RelistEvery: time.Hour})
	defer reg.Close()
	w := reg.Watch("orders")
	if _, err := w.Next(bounded(t)); err != nil {
		t.Fatal(err)
	}
	way.Cut()
	for _, id := range []string{"1", "2", "3"} {
		if _, err := direct.Register(bounded(t), record(id), time.Minute, true); err != nil {
			t.Fatal(err)
		}
	}
	c := client(t, server.Addr())
	got, err := c.Get(bounded(t), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compact(bounded(t), got.Header.Revision); err != nil {
		t.Fatal(err)
	}
	watch, err := direct.Watch(bounded(t), "orders", 1)
	if err == nil {
		_, err = watch.Next(bounded(t))
	}
	if err == nil || !strings.Contains(err.Error(), "compacted") {
		t.Errorf("watch from a compacted revision = %v", err)
	}
	way.Restore()
	for {
		s, err := w.Next(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Instances) == 3 {
			return
		}
	}
}

// TestPassword: with etcd's authentication on, everything works, also after the tokens were lost with a restart or
// have expired, and a wrong password is an error that says so.
func TestPassword(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, func(c *embed.Config) { c.AuthTokenTTL = 1 })
	c := client(t, server.Addr())
	ctx := bounded(t)
	for _, step := range []func() error{
		func() error { _, err := c.RoleAdd(ctx, "registry"); return err },
		func() error {
			_, err := c.RoleGrantPermission(ctx, "registry", "holdfast/", clientv3.GetPrefixRangeEnd("holdfast/"),
				clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := c.RoleAdd(ctx, "root"); return err },
		func() error { _, err := c.UserAdd(ctx, "root", "root"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.UserAdd(ctx, "shop", "secret"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "shop", "registry"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	login := func(password string) *etcdregistry.Driver {
		d, err := etcdregistry.Open(etcdregistry.Config{Endpoints: []string{server.Addr()}, Username: "shop", Password: password})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	wrong := login("wrong")
	_, err := wrong.List(ctx, "orders")
	for errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil { // the driver's own, of a call that etcd has not answered yet
		_, err = wrong.List(ctx, "orders")
	}
	if err == nil || !strings.Contains(err.Error(), "authentication failed") {
		t.Errorf("List with a wrong password = %v", err)
	}

	d := login("secret")
	reg := registry.New(d, registry.Config{TTL: 5 * time.Second, RelistEvery: 2 * time.Second})
	defer reg.Close()
	w := reg.Watch("orders")
	run, stop := context.WithCancel(ctx)
	a := reg.Announce(record("1").Instance)
	done := make(chan error, 1)
	go func() { done <- a.Run(run) }()
	var last registry.Set
	until := func(what string, want func(registry.Set) bool) {
		t.Helper()
		for {
			s, err := w.Next(bounded(t))
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if len(s.Instances) > 1 {
				t.Fatalf("%s: %+v", what, s)
			}
			if last = s; want(s) {
				return
			}
		}
	}
	until("registered", func(s registry.Set) bool { return len(s.Instances) == 1 })
	server.Stop()
	until("restarting", func(s registry.Set) bool { return s.Source == registry.Stale })
	server.Restart()
	sure := func(s registry.Set) bool {
		return len(s.Instances) == 1 && s.Source == registry.Live && len(s.Suspect) == 0
	}
	until("restarted", sure)
	// Longer than the tokens last, and than the record would without renewals.
	quiet, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	for {
		s, err := w.Next(quiet)
		if err != nil {
			break
		}
		if last = s; len(s.Instances) != 1 {
			t.Fatalf("it was lost when the tokens expired: %+v", s)
		}
	}
	if !sure(last) { // etcd was slow to answer, which passes
		until("sure again", sure)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	until("deregistered", func(s registry.Set) bool { return len(s.Instances) == 0 })
}

// TestGivenClient: a client of the user's is used and left open.
func TestGivenClient(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	c := client(t, server.Addr())
	d, err := etcdregistry.Open(etcdregistry.Config{Client: c})
	if err != nil {
		t.Fatal(err)
	}
	held, err := d.Register(bounded(t), record("1"), time.Minute, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Renew(bounded(t)); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	got, err := c.Get(bounded(t), "holdfast/services/orders/1")
	if err != nil || len(got.Kvs) != 1 {
		t.Errorf("with the client after Close: %+v, %v", got, err)
	}
}

// TestLateUpdate: a change that was given up, and comes to etcd after a later one, changes nothing any more.
func TestLateUpdate(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t)
	late := etcdtest.NewLate(t, server)
	d, err := etcdregistry.Open(etcdregistry.Config{Client: late.Client})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx := t.Context()
	rec := record("1")
	held, err := d.Register(ctx, rec, time.Minute, true)
	if err != nil {
		t.Fatal(err)
	}
	rec.Weight = 1
	late.Freeze()
	if err := held.Update(ctx, rec); err == nil {
		t.Fatal("changed, although the member is frozen")
	}
	rec.Weight = 10
	if err := held.Update(ctx, rec); err != nil {
		t.Fatal(err)
	}
	if err := late.Thaw(); err != nil {
		t.Fatal(err)
	}
	l, err := d.List(ctx, "orders")
	if err != nil || len(l.Records) != 1 || l.Records[0].Weight != 10 {
		t.Errorf("there is %+v, %v, want a weight of 10", l.Records, err)
	}
}

// TestTLS: an etcd that is reached by TLS only.
func TestTLS(t *testing.T) {
	t.Parallel()
	certFile, keyFile, pool := certificate(t)
	server := etcdtest.Start(t, func(c *embed.Config) {
		c.ListenClientUrls = []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
		c.ClientTLSInfo.CertFile, c.ClientTLSInfo.KeyFile = certFile, keyFile
	})
	for _, scheme := range []string{"", "https://"} {
		d, err := etcdregistry.Open(etcdregistry.Config{
			Endpoints: []string{scheme + server.Addr()}, TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Register(bounded(t), record("1"), time.Minute, true); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := open(t, "", server.Addr()).List(ctx, "orders"); err == nil {
		t.Error("plaintext was accepted")
	}
}

// certificate writes a self-signed one for 127.0.0.1.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, b := range map[string][]byte{certFile: cert, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return certFile, keyFile, pool
}

// TestConfigReportsAll: every problem is in the error.
func TestConfigReportsAll(t *testing.T) {
	for want, cfg := range map[string]etcdregistry.Config{
		"no endpoints":               {},
		"not host:port":              {Endpoints: []string{"nonsense"}},
		`scheme "ftp"`:               {Endpoints: []string{"ftp://127.0.0.1:1"}},
		"plaintext beyond":           {Endpoints: []string{"10.0.0.1:2379"}},
		"http, but TLS":              {Endpoints: []string{"http://127.0.0.1:1"}, TLS: &tls.Config{MinVersion: tls.VersionTLS12}},
		"go together":                {Endpoints: []string{"127.0.0.1:1"}, Username: "u"},
		`"a": not`:                   {Endpoints: []string{"10.0.0.1:2379", "a"}},
		`"10.0.0.1:2379": plaintext`: {Endpoints: []string{"10.0.0.1:2379", "a"}},
	} {
		d, err := etcdregistry.Open(cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%+v) = %v, want %q", cfg, err, want)
		}
		if d != nil {
			t.Errorf("Open(%+v) returned a driver with an error", cfg)
		}
	}
	for _, endpoints := range [][]string{{"localhost:2379"}, {"[::1]:2379"}, {"http://127.0.0.1:2379"}, {"https://10.0.0.1:2379"}} {
		d, err := etcdregistry.Open(etcdregistry.Config{Endpoints: endpoints})
		if err != nil {
			t.Errorf("Open(%q) = %v", endpoints, err)
			continue
		}
		d.Close()
	}
}

// TestWatchStartsRightAfterList: the very next write is the first that a watch delivers. (In the conformance suite
// other cases write in between.)
func TestWatchStartsRightAfterList(t *testing.T) {
	t.Parallel()
	d := open(t, "", etcdtest.Start(t).Addr())
	l, err := d.List(bounded(t), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Register(bounded(t), record("1"), time.Minute, true); err != nil {
		t.Fatal(err)
	}
	w, err := d.Watch(bounded(t), "orders", l.Revision)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	u, err := w.Next(bounded(t))
	if err != nil || len(u.Changes) != 1 || u.Changes[0].ID != "1" {
		t.Errorf("first update = %+v, %v", u, err)
	}
}
