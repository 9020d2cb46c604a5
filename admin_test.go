package holdfast_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// looked is a request for the admin listener of an instance.
func looked(t *testing.T, addr, path string, change func(*http.Request)) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := plain.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// looking makes an instance whose admin listener is the test's.
func looking(t *testing.T, engine driver.Registry, name, id string, change func(*holdfast.Config)) (*instance, string) {
	t.Helper()
	l := listener(t)
	i := newInstance(t, engine, name, id, func(c *holdfast.Config) {
		c.Admin.Listener = l
		if change != nil {
			change(c)
		}
	})
	return i, l.Addr().String()
}

func TestAProcessCanBeLookedAt(t *testing.T) {
	t.Parallel()
	engine := memregistry.New()
	a, addr := looking(t, engine, "alpha", "alpha-1", func(c *holdfast.Config) { c.Settings.Lock = "memory" })
	a.both(nil).run(t)
	newInstance(t, engine, "beta", "beta-1", nil).both(nil).run(t)
	ready(t, addr)
	if _, err := callGRPC(t.Context(), a.Dial("beta")); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t.Context(), a.HTTPClient(), "http://beta/id"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Lock("till").Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/healthz":   {"ok"},
		"/readyz":    {"ready"},
		"/":          {"alpha alpha-1", "/metrics"},
		"/buildinfo": {`"service": "alpha"`, `"go": "go1`},
		"/metrics": {
			"go_goroutines ", "process_start_time_seconds ", `holdfast_instances{service="beta",state="ready"} 2`, `holdfast_instances{service="beta",state="ejected"} 0`,
			`holdfast_admission_in_flight{protocol="grpc"} 0`, `holdfast_locks_held 1`, `rpc_client_call_duration_seconds_count`, `holdfast_telemetry_dropped_total{signal="traces"} 0`,
		},
		"/debug/pprof/":                  {"goroutine"},
		"/debug/pprof/goroutine?debug=1": {"goroutine profile"},
		"/debug/pprof/profile?seconds=1": {},
		"/settings":                      {`"HOLDFAST_INSTANCE"`},
		"/state":                         {`"service": "beta"`, `"protocol": "grpc"`, `"protocol": "http"`, `"state": "ready"`, `"till"`, `"goroutines"`},
	} {
		status, body := looked(t, addr, path, nil)
		if status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("%s: %s is not in\n%.3000s", path, w, body)
			}
		}
	}
	var st fault.State
	if _, body := looked(t, addr, "/state", nil); json.Unmarshal([]byte(body), &st) != nil || st.Admin != addr || st.RSS <= 0 || len(st.Locks) != 1 {
		t.Errorf("%+v", st)
	}
	if status, _ := looked(t, addr, "/debug/pprof/cmdline", nil); status != http.StatusNotFound {
		t.Errorf("the command line, with what is in it: %d", status)
	}
	if status, body := looked(t, addr, "/debug/pprof/profile?seconds=3600", nil); status != http.StatusBadRequest {
		t.Errorf("a profile of an hour: %d %s", status, body)
	}
}

// ready waits until the instance says that it is: it can be asked before that.
func ready(t *testing.T, addr string) {
	t.Helper()
	eventually(t, "it is ready", func() bool {
		status, _ := looked(t, addr, "/readyz", nil)
		return status == http.StatusOK
	})
}

func TestReadyBeforeAndAfter(t *testing.T) {
	t.Parallel()
	a, addr := looking(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) { c.Settings.DrainDelay = 3 * time.Second })
	a.both(nil).run(t)
	ready(t, addr)
	a.cancel()
	eventually(t, "it says that it drains", func() bool {
		status, body := looked(t, addr, "/readyz", nil)
		return status == http.StatusServiceUnavailable && strings.Contains(body, "draining")
	})
	if status, _ := looked(t, addr, "/healthz", nil); status != http.StatusOK {
		t.Errorf("it drains and is not dead: %d", status)
	}
	if status, body := looked(t, addr, "/state", nil); status != http.StatusOK || !strings.Contains(body, `"draining": true`) {
		t.Errorf("%d %s", status, body)
	}
}

// What ends by itself ends the Service, which drains all the same, and says so.
func TestNotReadyWhileItEndsByItself(t *testing.T) {
	t.Parallel()
	l := listener(t)
	a, addr := looking(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) {
		c.Settings.DrainDelay, c.HTTPServer.Listener = 3*time.Second, l
	})
	a.both(nil).run(t)
	ready(t, addr)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it says that it drains", func() bool {
		status, body := looked(t, addr, "/readyz", nil)
		return status == http.StatusServiceUnavailable && strings.Contains(body, "draining")
	})
	<-a.done
	if a.err == nil {
		t.Error("nobody is told why it has ended")
	}
	a.err = nil // as it should be
}

// Those who look for long do not have the process killed by whoever watches over it, nor do they blind Prometheus.
func TestProfilesLeaveRoomForHealth(t *testing.T) {
	t.Parallel()
	a, addr := looking(t, memregistry.New(), "alpha", "alpha-1", nil)
	a.both(nil).run(t)
	ctx, cancel := context.WithCancel(t.Context())
	var slow sync.WaitGroup
	defer slow.Wait()
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	full := func() bool {
		status, _ := looked(t, addr, "/state", nil)
		return status == http.StatusServiceUnavailable
	}
	for range 32 {
		slow.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/debug/pprof/goroutine?seconds=50", nil)
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := client.Do(req); err == nil {
				resp.Body.Close()
			}
		})
	}
	eventually(t, "all places are taken", full)
	ready(t, addr)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if status, body := looked(t, addr, path, nil); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

// That somebody else has the port costs the looking, and not the service.
func TestAdminListenerThatCannotListenStopsNobody(t *testing.T) {
	t.Parallel()
	taken := listener(t).Addr().String()
	a := newInstance(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) { c.Settings.AdminAddr = taken }).both(nil).run(t)
	if got, err := get(t.Context(), a.HTTPClient(), "http://alpha/id"); err != nil || got != "alpha-1" {
		t.Errorf("%q, %v", got, err)
	}
	if !strings.Contains(a.logs.String(), "address already in use") {
		t.Errorf("the log does not say so:\n%s", a.logs)
	}
}

// A listener on loopback is for loopback, whatever may be said in plaintext elsewhere.
func TestInsecureDoesNotOpenLoopbackToPages(t *testing.T) {
	t.Parallel()
	a, addr := looking(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) { c.Settings.Insecure = true })
	a.both(nil).run(t)
	for _, path := range []string{"/", "/healthz", "/metrics", "/state"} {
		if status, body := looked(t, addr, path, func(r *http.Request) { r.Host = "evil.example:80" }); status != http.StatusForbidden {
			t.Errorf("%s: %d %.200s", path, status, body)
		}
		if status, body := looked(t, addr, path, nil); status != http.StatusOK {
			t.Errorf("%s: %d %.200s", path, status, body)
		}
	}
}

// No page that a user's browser has open may look, whatever its address resolves to.
func TestPagesOfElsewhereDoNotLook(t *testing.T) {
	t.Parallel()
	a, addr := looking(t, memregistry.New(), "alpha", "alpha-1", nil)
	a.both(nil).run(t)
	header := func(kv ...string) func(*http.Request) {
		return func(r *http.Request) {
			for i := 0; i < len(kv); i += 2 {
				r.Header.Set(kv[i], kv[i+1])
			}
		}
	}
	for name, test := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"curl":                  {nil, 200},
		"localhost":             {func(r *http.Request) { r.Host = "localhost:1" }, 200},
		"IPv6":                  {func(r *http.Request) { r.Host = "[::1]:1" }, 200},
		"typed in":              {header("Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"), 200},
		"our own page":          {header("Sec-Fetch-Site", "same-origin"), 200},
		"our own, older":        {header("Origin", "http://"+addr), 200},
		"rebinding":             {func(r *http.Request) { r.Host = "evil.example:80" }, 403},
		"rebinding, with a dot": {func(r *http.Request) { r.Host = "127.0.0.1.evil.example" }, 403},
		"no host":               {func(r *http.Request) { r.Host = "." }, 403},
		"another site":          {header("Sec-Fetch-Site", "cross-site"), 403},
		"another port":          {header("Sec-Fetch-Site", "same-site"), 403},
		"a link":                {header("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"), 403},
		"another origin":        {header("Origin", "http://evil.example"), 403},
		"another port, older":   {header("Origin", "http://127.0.0.1:1"), 403},
		"a sandbox":             {header("Origin", "null"), 403},
		"a change":              {func(r *http.Request) { r.Method = http.MethodPost }, 405},
		"a preflight":           {func(r *http.Request) { r.Method = http.MethodOptions }, 405},
	} {
		for _, path := range []string{"/healthz", "/metrics", "/settings", "/debug/pprof/"} {
			if got, body := looked(t, addr, path, test.change); got != test.want {
				t.Errorf("%s, %s: %d, want %d\n%.200s", name, path, got, test.want, body)
			}
		}
	}
}

// Whoever plants a secret where one may be, in a setting, a variable or a policy's name, does not find it in what is shown.
func TestSecretsAreNotShown(t *testing.T) {
	const planted = "hunter2"
	for k, v := range map[string]string{
		"OTEL_EXPORTER_OTLP_HEADERS":        "authorization=Bearer " + planted,
		"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-api-key=" + planted,
		"OTEL_EXPORTER_OTLP_CLIENT_KEY":     "/" + planted,
		"OTEL_RESOURCE_ATTRIBUTES":          "team=blue,api.key=" + planted + ",password=" + planted,
		"OTEL_SOMETHING_ENDPOINT":           "http://user:" + planted + "@127.0.0.1:4318",
		"OTEL_OTHER_ENDPOINT":               "http://127.0.0.1:4318/?token=" + planted,
		"OTEL_SERVICE_NAME":                 "alpha",
		"HOLDFAST_QUEUE":                    "amqp://user:" + planted + "@127.0.0.1:1",
	} {
		t.Setenv(k, v)
	}
	a, addr := looking(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) {
		c.Settings.Lock = "memory"
		c.Settings.Config = "none"
		c.Settings.Registry = "etcd://root:" + planted + "@127.0.0.1:1" // not used, since there is an engine
		timeout := policy.Service{}
		timeout.Calls.Policy.Timeout = 7 * time.Second
		c.Policies = map[string]policy.Service{"beta": timeout}
	})
	a.both(nil).run(t)
	for _, path := range []string{"/settings", "/state", "/buildinfo", "/metrics", "/debug/pprof/", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline"} {
		if _, body := looked(t, addr, path, nil); strings.Contains(body, planted) {
			t.Errorf("%s shows it:\n%s", path, body)
		}
	}
	if strings.Contains(a.logs.String(), planted) {
		t.Errorf("the log has it:\n%s", a.logs)
	}
	_, body := looked(t, addr, "/settings", nil)
	var got struct {
		Settings, OTel []struct{ Key, Value, Source string }
		Policies       map[string][]struct{ Key, Value, Source string }
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, s := range append(got.Settings, got.OTel...) {
		found[s.Key] = s.Value + " from " + s.Source
	}
	for _, p := range got.Policies["beta"] {
		found[p.Key] = p.Value + " from " + p.Source
	}
	for k, want := range map[string]string{
		"HOLDFAST_INSTANCE": "alpha-1 from code", "HOLDFAST_LOG": "text from default", "HOLDFAST_QUEUE": "amqp://…@127.0.0.1:1 from environment",
		"HOLDFAST_REGISTRY": "etcd://…@127.0.0.1:1 from code", "OTEL_EXPORTER_OTLP_HEADERS": "… from environment", "OTEL_SERVICE_NAME": "alpha from environment",
		"OTEL_RESOURCE_ATTRIBUTES": "team=blue,api.key=…,password=… from environment", "calls.timeout": "7s from code",
	} {
		if found[k] != want {
			t.Errorf("%s is %q, want %q", k, found[k], want)
		}
	}
}

func TestAdminListenerIsForLoopback(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*holdfast.Config)
		want   string
	}{
		"plaintext beyond loopback": {func(c *holdfast.Config) { c.Settings.AdminAddr = "0.0.0.0:0" }, "plaintext is for loopback only"},
		"all addresses":             {func(c *holdfast.Config) { c.Settings.AdminAddr = ":0" }, "plaintext is for loopback only"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newInstance(t, memregistry.New(), "alpha", "alpha-1", test.change)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := s.Run(ctx); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	s := newInstance(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) { c.Settings.AdminAddr = "none" })
	s.both(nil).run(t)
	if strings.Contains(s.logs.String(), "admin=") {
		t.Errorf("it listens although it is not to:\n%s", s.logs)
	}
}

// net/http ends a request when its ReadTimeout is over, also one that was read long ago.
func TestAProfileLastsAsLongAsItWasAskedFor(t *testing.T) {
	t.Parallel()
	a, addr := looking(t, memregistry.New(), "alpha", "alpha-1", nil)
	a.both(nil).run(t)
	ready(t, addr)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/debug/pprof/goroutine?seconds=11", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%d %s %v", resp.StatusCode, body, err)
	}
}
