//go:build real

package consulregistry_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/consulagent"
	"github.com/holdfast-go/holdfast/internal/consultest"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/consulregistry"
	"github.com/holdfast-go/holdfast/registry/driver"
)

const ttl = 5 * time.Second

func instance(id string) registry.Instance {
	return registry.Instance{Service: "orders", ID: id, Endpoints: map[string]string{"grpc": "10.0.0.1:1", "http": "10.0.0.1:2"}, Zone: "here"}
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// newRegistry returns a Registry on the agents.
func newRegistry(t *testing.T, relist time.Duration, agents ...string) *registry.Registry {
	t.Helper()
	r := registry.New(open(t, consulregistry.Config{Agents: agents}), registry.Config{
		TTL: ttl, RelistEvery: relist, Logger: slog.New(slog.NewTextHandler(logger{t}, nil)),
	})
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// logger shows the log of a test that fails.
type logger struct{ t *testing.T }

func (l logger) Write(p []byte) (int, error) {
	if l.t.Context().Err() == nil { // cleaning up may be too late
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// announce keeps an instance announced until the test ends or stop is called.
func announce(t *testing.T, r *registry.Registry, inst registry.Instance) (a *registry.Announcement, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a = r.Announce(inst)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	ended := false
	stop = func() {
		cancel()
		if !ended {
			ended = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	select {
	case <-a.Registered():
	case <-bounded(t).Done():
		t.Fatal("not registered")
	}
	return a, stop
}

// follow reads sets until one is as wanted; no set on the way may lack one of the ids.
func follow(t *testing.T, w *registry.Watch, what string, always []string, want func(registry.Set) bool) registry.Set {
	t.Helper()
	for {
		s, err := w.Next(bounded(t))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, id := range always {
			if !slices.ContainsFunc(s.Instances, func(i registry.Instance) bool { return i.ID == id }) {
				t.Errorf("%s: a set without %s: %+v", what, id, s)
			}
		}
		if want(s) {
			return s
		}
	}
}

func live(ids ...string) func(registry.Set) bool {
	return func(s registry.Set) bool {
		return s.Source == registry.Live && len(s.Suspect) == 0 &&
			slices.EqualFunc(s.Instances, ids, func(i registry.Instance, id string) bool { return i.ID == id && !i.Draining })
	}
}

// registered polls until an agent's servers have exactly these instances as candidates.
func registered(t *testing.T, d *consulregistry.Driver, ids ...string) {
	t.Helper()
	poll(t, "registration of "+strings.Join(ids, ", "), func() bool {
		l, err := d.List(bounded(t), "orders")
		if err != nil || len(l.Records) != len(ids) {
			return false
		}
		for _, r := range l.Records {
			if !slices.Contains(ids, r.ID) {
				return false
			}
		}
		return true
	})
}

// TestRealAgentRestarts: an agent that keeps its data, and one that forgets everything, is killed and comes back after
// longer than the TTL. Nobody misses an instance, and all are registered again.
func TestRealAgentRestarts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		start   func(testing.TB) *consultest.Server
		restart func(*consultest.Server)
	}{
		"dev":    {consultest.Start, (*consultest.Server).Restart},
		"data":   {consultest.StartLasting, (*consultest.Server).Restart},
		"wiped":  {consultest.StartLasting, (*consultest.Server).RestartEmpty},
		"frozen": {consultest.StartLasting, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := c.start(t)
			for _, id := range []string{"1", "2", "3"} {
				announce(t, newRegistry(t, time.Hour, server.Addr()), instance(id))
			}
			w := newRegistry(t, time.Hour, server.Addr()).Watch("orders")
			defer w.Stop()
			all := []string{"1", "2", "3"}
			follow(t, w, "all", nil, live(all...))
			if c.restart == nil {
				if err := server.Freeze(); err != nil {
					t.Fatal(err)
				}
			} else {
				server.Kill()
			}
			follow(t, w, "stale", all, func(s registry.Set) bool { return s.Source == registry.Stale })
			<-time.After(ttl + time.Second)
			if c.restart == nil {
				if err := server.Thaw(); err != nil {
					t.Fatal(err)
				}
			} else {
				c.restart(server)
			}
			registered(t, open(t, consulregistry.Config{Agents: []string{server.Addr()}}), all...)
			follow(t, w, "live again", all, live(all...))
		})
	}
}

// TestRealLeaderLost: of three servers the leader is killed, with a service and a consumer on each of the others. No
// instance is missed, none becomes a suspect, and what is new is seen.
func TestRealLeaderLost(t *testing.T) {
	t.Parallel()
	cluster := consultest.StartCluster(t, 3)
	leader, others, err := cluster.Leader(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	announce(t, newRegistry(t, 2*time.Second, others[0].Addr()), instance("1"))
	_, stop := announce(t, newRegistry(t, 2*time.Second, others[1].Addr()), instance("2"))
	w := newRegistry(t, time.Hour, others[0].Addr()).Watch("orders")
	defer w.Stop()
	follow(t, w, "both", nil, live("1", "2"))
	leader.Kill()
	begun := time.Now()
	announce(t, newRegistry(t, 2*time.Second, others[1].Addr()), instance("3"))
	follow(t, w, "a third", []string{"1", "2"}, live("1", "2", "3"))
	t.Logf("what is new was seen %v after the leader was killed", time.Since(begun).Round(time.Millisecond))
	stop()
	follow(t, w, "the second left", []string{"1", "3"}, live("1", "3"))
}

// TestRealAgentsInTurn: of three agents each one in turn is frozen, then killed. Registrations move to another one,
// watches too, and what was left behind goes away.
func TestRealAgentsInTurn(t *testing.T) {
	t.Parallel()
	cluster := consultest.StartCluster(t, 3)
	// The agents that registrations are at are clients, so that it is they who are lost and not the servers.
	var clients consulagent.Cluster
	for _, name := range []string{"client-1", "client-2"} {
		a, err := consulagent.Start(bounded(t), consulagent.Config{Dir: t.TempDir(), Name: name, Client: true, Join: []string{cluster[0].Gossip()}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		clients = append(clients, a)
	}
	addrs := clients.Addrs()
	announce(t, newRegistry(t, time.Hour, addrs...), instance("1"))
	w := newRegistry(t, time.Hour, addrs...).Watch("orders")
	defer w.Stop()
	follow(t, w, "the instance", nil, live("1"))
	node := func() (nodes []string) {
		for _, l := range health(t, cluster[0].Addr(), "orders?passing") {
			nodes = append(nodes, l.Node.Node)
		}
		return nodes
	}
	for _, round := range []string{"frozen", "killed", "frozen"} {
		var from []string
		poll(t, "the record stands at one agent", func() bool { from = node(); return len(from) == 1 })
		at := clients[slices.IndexFunc(clients, func(a *consulagent.Agent) bool { return strings.HasPrefix(from[0], a.Name()) })]
		if round == "frozen" {
			if err := at.Freeze(); err != nil {
				t.Fatal(err)
			}
		} else {
			at.Kill()
		}
		poll(t, "the record moves", func() bool { return slices.ContainsFunc(node(), func(n string) bool { return n != from[0] }) })
		still(t, w, round, "1")
		if round == "frozen" {
			if err := at.Thaw(); err != nil {
				t.Fatal(err)
			}
		} else if err := at.Start(bounded(t)); err != nil {
			t.Fatal(err)
		}
		poll(t, "the agent is back in its cluster", func() bool {
			b, err := try(at.Addr(), http.MethodGet, "/v1/catalog/nodes", nil)
			return err == nil && strings.Contains(string(b), at.Name())
		})
	}
	poll(t, "only one record is left", func() bool { return len(node()) == 1 })
	still(t, w, "in the end", "1")
}

// still reads sets for a while; each of them must have the instance.
func still(t *testing.T, w *registry.Watch, what, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ttl)
	defer cancel()
	for {
		s, err := w.Next(ctx)
		if err != nil {
			return
		}
		if !slices.ContainsFunc(s.Instances, func(i registry.Instance) bool { return i.ID == id }) {
			t.Errorf("%s: a set without %s: %+v", what, id, s)
		}
	}
}

// TestRealCheckAndServiceLost: somebody deregisters the check, the service, or the service from the servers' catalog;
// fails the check; or the agent loses it. Each is put right.
func TestRealCheckAndServiceLost(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	r := newRegistry(t, time.Hour, server.Addr())
	announce(t, r, instance("1"))
	d := open(t, consulregistry.Config{Agents: []string{server.Addr()}})
	id := "orders:1"
	checks := func() (ids []string, created uint64) {
		for _, l := range health(t, server.Addr(), "orders") {
			for _, c := range l.Checks {
				if c.ServiceID == id && c.Status == "passing" {
					ids = append(ids, c.CheckID)
				}
			}
			created = l.Service.CreateIndex
		}
		return ids, created
	}
	for _, way := range []string{"check", "service", "catalog", "critical"} {
		before, created := checks()
		if len(before) != 1 {
			t.Fatalf("checks: %v", before)
		}
		check := url.PathEscape(before[0])
		switch way {
		case "check":
			call(t, server.Addr(), http.MethodPut, "/v1/agent/check/deregister/"+check, nil)
		case "service":
			call(t, server.Addr(), http.MethodPut, "/v1/agent/service/deregister/"+url.PathEscape(id), nil)
		case "catalog":
			call(t, server.Addr(), http.MethodPut, "/v1/catalog/deregister", map[string]string{"Node": "node", "ServiceID": id})
		case "critical":
			call(t, server.Addr(), http.MethodPut, "/v1/agent/check/fail/"+check, nil)
		}
		poll(t, way+": it is noticed", func() bool {
			now, index := checks()
			switch {
			case len(now) != 1:
				return false
			case way == "critical":
				return true
			case way == "catalog": // by us, or by the agent if it happens to look just then
				return index > created
			}
			return now[0] != before[0]
		})
		registered(t, d, "1")
	}
}

// TestRealDuplicateOnTwoAgents: the same ID on two nodes, which Consul itself takes for two services. The later process
// has it, and the earlier one is back when that has left.
func TestRealDuplicateOnTwoAgents(t *testing.T) {
	t.Parallel()
	cluster := consultest.StartCluster(t, 3)
	first, second := instance("1"), instance("1")
	first.Version, second.Version = "first", "second"
	announce(t, newRegistry(t, time.Hour, cluster[0].Addr()), first)
	_, stop := announce(t, newRegistry(t, time.Hour, cluster[1].Addr()), second)
	w := newRegistry(t, 2*time.Second, cluster[2].Addr()).Watch("orders")
	defer w.Stop()
	is := func(version string) func(registry.Set) bool {
		return func(s registry.Set) bool {
			return len(s.Instances) == 1 && s.Instances[0].Version == version && !s.Instances[0].Draining
		}
	}
	follow(t, w, "the later one", []string{"1"}, is("second"))
	poll(t, "the earlier one's record is gone", func() bool { return len(health(t, cluster[2].Addr(), "orders")) == 1 })
	quiet, cancel := context.WithTimeout(t.Context(), 2*ttl)
	defer cancel()
	for {
		s, err := w.Next(quiet)
		if err != nil {
			break
		}
		if !is("second")(s) {
			t.Errorf("they fight: %+v", s)
		}
	}
	stop()
	follow(t, w, "the earlier one", nil, is("first"))
}

// TestRealToken: with Consul's ACLs on, a token is needed and enough; without it, a service is never empty; one that is
// replaced in its file is taken from there; it is in no error.
func TestRealToken(t *testing.T) {
	t.Parallel()
	const root = "11111111-2222-3333-4444-555555555555"
	server := consultest.StartLocked(t, root)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(root+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, consulregistry.Config{Agents: []string{server.Addr()}, TokenFile: file})
	poll(t, "the token is known", func() bool { _, err := d.List(bounded(t), "orders"); return err == nil })
	held, err := d.Register(bounded(t), driver.Record{Instance: instance("1"), Owner: "me"}, time.Minute, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Renew(bounded(t)); err != nil {
		t.Error(err)
	}
	registered(t, d, "1")
	for what, cfg := range map[string]consulregistry.Config{
		"none": {}, "wrong": {Token: "66666666-2222-3333-4444-555555555555"},
	} {
		cfg.Agents = []string{server.Addr()}
		d := open(t, cfg)
		l, err := d.List(bounded(t), "orders")
		if err == nil {
			t.Errorf("%s: List = %+v", what, l)
		}
		_, err = d.Register(bounded(t), driver.Record{Instance: instance("2"), Owner: "me"}, time.Minute, true)
		if err == nil || strings.Contains(err.Error(), "66666666") {
			t.Errorf("%s: Register = %v", what, err)
		}
	}
	if err := held.Deregister(bounded(t)); err != nil {
		t.Error(err)
	}
}

// TestRealOperatorsMaintenance: what an operator takes out with Consul's own means is draining, to all consumers, and is
// not put back by heartbeats and updates; neither is it suspected.
func TestRealOperatorsMaintenance(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	r := newRegistry(t, time.Hour, server.Addr())
	a, _ := announce(t, r, instance("1"))
	w := r.Watch("orders")
	defer w.Stop()
	follow(t, w, "the instance", nil, live("1"))
	maintenance := func(on string) {
		call(t, server.Addr(), http.MethodPut, "/v1/agent/service/maintenance/orders:1?enable="+on+"&reason=look", nil)
	}
	maintenance("true")
	draining := func(s registry.Set) bool { return len(s.Instances) == 1 && s.Instances[0].Draining }
	follow(t, w, "maintenance", []string{"1"}, draining)
	if err := a.Update(func(i *registry.Instance) { i.Weight = 9 }); err != nil {
		t.Fatal(err)
	}
	follow(t, w, "an update in maintenance", []string{"1"}, func(s registry.Set) bool { return draining(s) && s.Instances[0].Weight == 9 })
	maintenance("false")
	follow(t, w, "back", []string{"1"}, live("1"))
}
