package holdfast_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/config/memconfig"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

func put(t *testing.T, d *memconfig.Driver, key, document string) {
	t.Helper()
	if _, err := d.Put(t.Context(), key, []byte(document)); err != nil {
		t.Fatal(err)
	}
}

// timeoutOf is what is in force for calls of a service.
func timeoutOf(s *holdfast.Service, name string) time.Duration {
	if p, _ := s.Policies().Service(name); p != nil {
		return p.Calls.Policy.Timeout
	}
	return 0
}

func TestPoliciesOfTheStoreGoOverTheFileAndThatOverCode(t *testing.T) {
	engine, store := memregistry.New(), memconfig.New()
	file := filepath.Join(t.TempDir(), "policies.yaml")
	if err := os.WriteFile(file, []byte("beta: {calls: {timeout: 2s, attempts: 2}}\ngamma: {calls: {timeout: 2s}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, store, "policies/beta", "calls: {timeout: 3s}")
	a := newInstance(t, engine, "alpha", "alpha-1", func(c *holdfast.Config) {
		c.Policies = map[string]policy.Service{"beta": {Calls: policy.Calls{Policy: resilience.Policy{
			Timeout: time.Second, MaxAttempts: 1, MaxInFlight: 7,
		}}}}
		c.Settings.Policies = file
		c.Store = store
	})
	if got := timeoutOf(a.Service, "beta"); got != 2*time.Second {
		t.Errorf("before Run: %v, want that of the file", got)
	}
	a.run(t)
	eventually(t, "that of the store", func() bool { return timeoutOf(a.Service, "beta") == 3*time.Second })
	p, version := a.Policies().Service("beta")
	if got := p.Calls.Policy; got.MaxAttempts != 2 || got.MaxInFlight != 7 {
		t.Errorf("attempts %d, in flight %d; want the file's 2 and code's 7", got.MaxAttempts, got.MaxInFlight)
	}
	put(t, store, "policies/gamma", "calls: {timeout: 4s}")
	eventually(t, "another one", func() bool { return timeoutOf(a.Service, "gamma") == 4*time.Second })
	if _, v := a.Policies().Service("beta"); v != version {
		t.Error("what stays the same has another version")
	}
	if _, err := store.Delete(t.Context(), "policies/beta"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that of the file again", func() bool { return timeoutOf(a.Service, "beta") == 2*time.Second })
	put(t, store, "policies/delta", "{}")
	eventually(t, "a policy that nobody else has", func() bool { p, _ := a.Policies().Service("delta"); return p != nil })
	if _, err := store.Delete(t.Context(), "policies/delta"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "and its end", func() bool { p, _ := a.Policies().Service("delta"); return p == nil })
	a.stop(t)
}

func TestAPolicyIsAppliedToARunningClientAndARunningServer(t *testing.T) {
	engine, store := memregistry.New(), memconfig.New()
	live := func(c *holdfast.Config) { c.Store = store }
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	b := newInstance(t, engine, "beta", "beta-1", live).both(hang).run(t)
	a := newInstance(t, engine, "alpha", "alpha-1", live).both(nil).run(t)
	conn := a.Dial("beta")
	eventually(t, "beta is there", func() bool {
		_, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
		return err == nil
	})
	took := func() time.Duration {
		t.Helper()
		begun := time.Now()
		if _, err := callGRPC(t.Context(), conn); status.Code(err) != codes.DeadlineExceeded {
			t.Fatalf("a call that hangs: %v", err)
		}
		return time.Since(begun)
	}
	put(t, store, "policies/beta", "calls: {timeout: 100ms}")
	eventually(t, "in force", func() bool { return timeoutOf(a.Service, "beta") == 100*time.Millisecond })
	if got := took(); got > 2*time.Second {
		t.Errorf("with a timeout of 100ms a call took %v", got)
	}
	put(t, store, "policies/beta", "calls: {timeout: 700ms}")
	eventually(t, "in force", func() bool { return timeoutOf(a.Service, "beta") == 700*time.Millisecond })
	if got := took(); got < 600*time.Millisecond || got > 3*time.Second {
		t.Errorf("with a timeout of 700ms a call took %v", got)
	}
	put(t, store, "policies/beta", "calls: {timeout: 100ms}\nserves: {quotas: {acme: {rate: 0.001, burst: 1}}}")
	eventually(t, "the quota in force", func() bool {
		p, _ := b.Policies().Service("beta")
		return p != nil && len(p.Serves.Admission.Quotas) == 1
	})
	quota := func() bool {
		_, err := callGRPC(resilience.WithTenant(t.Context(), "acme"), conn)
		var refused *failure.Error
		return errors.As(err, &refused) && refused.Reason == failure.ReasonQuota
	}
	eventually(t, "a tenant beyond its quota is refused", quota)
	a.stop(t)
	b.stop(t)
}

func TestAWrongLivePolicyIsRefusedAndTheOldOneStays(t *testing.T) {
	store := memconfig.New()
	put(t, store, "policies/beta", "calls: {timeout: 1s}")
	a := newInstance(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) {
		c.Store = store
		c.RPCClient.Policy.Backoff.Max = 100 * time.Millisecond
	}).run(t)
	eventually(t, "in force", func() bool { return timeoutOf(a.Service, "beta") == time.Second })
	for document, why := range map[string]string{
		"calls: {timeout: 3, backof: {}}":              "policies/beta:1:18: timeout: want a duration",
		"calls: {timeout: 5s, backoff: {base: 200ms}}": "over what code says",
		"":                       "the file is empty",
		"\xff\xfe\x00garbage: [": "not YAML",
		"calls: " + strings.Repeat("{calls: ", 10_000):        "policies/beta",
		"serves: {admission: {min_limit: 5, max_limit: 2}}\n": "above MaxLimit",
	} {
		put(t, store, "policies/beta", document)
		eventually(t, "the reason in the log: "+why, func() bool {
			log := a.logs.String()
			return strings.Contains(log, "refused") && strings.Contains(log, why)
		})
		if got := timeoutOf(a.Service, "beta"); got != time.Second {
			t.Errorf("%.60q: now %v is in force", document, got)
		}
	}
	put(t, store, "policies/beta", "calls: {timeout: 2s}")
	eventually(t, "the next good one", func() bool { return timeoutOf(a.Service, "beta") == 2*time.Second })
	a.stop(t)
}

// A policy that a client would refuse over what code says must not be in force for the server.
func TestAPolicyThatOneClientWouldRefuseIsRefusedAsAWhole(t *testing.T) {
	store := memconfig.New()
	a := newInstance(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) {
		c.Store = store
		c.RPCClient.Methods = map[string]rpc.MethodPolicy{"/a.B/": {AttemptTimeout: 4 * time.Second}}
		c.HTTPClient.Methods = map[string]policy.Method{"GET /slow": {AttemptTimeout: 3 * time.Second}}
		c.HTTPClient.Balance.Ejection.MaxProbe = time.Second
		c.Policies = map[string]policy.Service{"alpha": {
			Calls: policy.Calls{Methods: map[string]policy.Method{"/a.B/Held": {AttemptTimeout: 2 * time.Second}}},
		}}
	}).run(t)
	put(t, store, "policies/alpha", "serves: {timeout: 7s}")
	served := func() time.Duration { p, _ := a.Policies().Service("alpha"); return p.Serves.Timeout }
	eventually(t, "in force", func() bool { return served() == 7*time.Second })
	for document, why := range map[string]string{
		"calls: {methods: {/a.B/C: {timeout: 3500ms}}}": "/a.B/C: policy AttemptTimeout: 4s",
		"calls: {methods: {GET /slow: {timeout: 1s}}}":  "GET /slow: policy AttemptTimeout: 3s",
		"calls: {balance: {ejection: {probe: 2s}}}":     "Ejection.Probe",
		"calls: {methods: {/a.B/Held: {timeout: 1s}}}":  "/a.B/Held: policy AttemptTimeout: 2s",
	} {
		put(t, store, "policies/alpha", document+"\nserves: {timeout: 9s}")
		eventually(t, "the reason in the log: "+why, func() bool {
			log := a.logs.String()
			return strings.Contains(log, "refused") && strings.Contains(log, why)
		})
		if got := served(); got != 7*time.Second {
			t.Fatalf("%s: half of it is in force: %v", document, got)
		}
	}
	a.stop(t)
}

func TestPoliciesSurviveTheirEngine(t *testing.T) {
	store, dir := memconfig.New(), t.TempDir()
	start := func() *instance {
		return newInstance(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) {
			c.Store, c.Settings.DataDir = store, dir
		}).run(t)
	}
	put(t, store, "policies/beta", "calls: {timeout: 1s}")
	a := start()
	eventually(t, "in force", func() bool { return timeoutOf(a.Service, "beta") == time.Second })
	store.Down()
	store.Wipe()
	store.Up()
	eventually(t, "the log of the wipe", func() bool { return strings.Contains(a.logs.String(), "stays in force until that is sure") })
	if got := timeoutOf(a.Service, "beta"); got != time.Second {
		t.Errorf("after the engine was wiped: %v", got)
	}
	a.stop(t)
	store.Down()
	a = start()
	eventually(t, "in force from the disk", func() bool { return timeoutOf(a.Service, "beta") == time.Second })
	a.stop(t)
}

func TestWrongPoliciesAreProblems(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policies.yaml")
	if err := os.WriteFile(file, []byte("beta: {calls: {timout: 2s}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*holdfast.Config){
		":1:16: unknown field timout; did you mean timeout?": func(c *holdfast.Config) { c.Settings.Policies = file },
		"no such file": func(c *holdfast.Config) { c.Settings.Policies = file + "x" },
		"policy of beta": func(c *holdfast.Config) {
			c.Policies = map[string]policy.Service{"beta": {Calls: policy.Calls{Policy: resilience.Policy{MaxAttempts: 99}}}}
		},
		"live settings: \"etcd://h\" has a member": func(c *holdfast.Config) { c.Settings.Config = "etcd://h" },
		"consulconfig.Opener{}":                    func(c *holdfast.Config) { c.Settings.Config = "consul://h:1" },
		"live settings: \"file:\" names no":        func(c *holdfast.Config) { c.Settings.Config = "file:" },
		"plaintext beyond loopback needs Insecure": func(c *holdfast.Config) { c.Settings.Config = "etcd://10.255.255.1:1" },
	} {
		svc := holdfast.New("alpha", change)
		if err := svc.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
