package holdfast_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/config"
	configdriver "github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/config/memconfig"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/registry/staticregistry"
)

func TestTwoServicesFindEachOther(t *testing.T) {
	t.Parallel()
	engine := memregistry.New()
	a := newInstance(t, engine, "alpha", "alpha-1", nil).both(nil).run(t)
	b := newInstance(t, engine, "beta", "beta-1", nil).both(nil).run(t)
	for _, call := range []struct {
		from *instance
		to   string
	}{{a, "beta"}, {b, "alpha"}, {a, "alpha"}} {
		if got, err := callGRPC(t.Context(), call.from.Dial(call.to)); err != nil || got != call.to+"-1" {
			t.Errorf("gRPC from %s to %s: %q, %v", call.from.Name(), call.to, got, err)
		}
		if got, err := get(t.Context(), call.from.HTTPClient(), "http://"+call.to+"/id"); err != nil || got != call.to+"-1" {
			t.Errorf("HTTP from %s to %s: %q, %v", call.from.Name(), call.to, got, err)
		}
	}
	if a.Dial("beta") != a.Dial("beta") {
		t.Error("Dial makes a new connection each time")
	}
}

func TestRedirectsStayWithinTheService(t *testing.T) {
	t.Parallel()
	engine := memregistry.New()
	a := newInstance(t, engine, "alpha", "alpha-1", nil).both(nil)
	a.HandleFunc("GET /here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/id", http.StatusFound) })
	a.HandleFunc("GET /away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://beta/id", http.StatusFound)
	})
	a.run(t)
	b := newInstance(t, engine, "beta", "beta-1", nil).both(nil).run(t)

	if got, err := get(t.Context(), b.HTTPClient(), "http://alpha/here"); err != nil || got != "alpha-1" {
		t.Errorf("within the service: %q, %v", got, err)
	}
	resp, err := b.HTTPClient().Get("http://alpha/away")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		t.Errorf("to another service: %s, want the redirect itself", resp.Status)
	}
}

func TestStaticRegistry(t *testing.T) {
	t.Parallel()
	l := listener(t)
	engine := staticregistry.New(map[string][]registry.Instance{"alpha": {{Endpoints: map[string]string{"grpc": l.Addr().String()}}}})
	a := newInstance(t, engine, "alpha", "alpha-1", func(c *holdfast.Config) { c.RPCServer.Listener = l })
	a.both(nil).run(t)
	if got, err := callGRPC(t.Context(), a.Dial("alpha")); err != nil || got != "alpha-1" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestHealthPathOfTheUser(t *testing.T) {
	t.Parallel()
	engine := memregistry.New()
	a := newInstance(t, engine, "alpha", "alpha-1", nil)
	a.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "mine") })
	a.run(t)
	if got, err := get(t.Context(), plain, "http://"+a.http+"/healthz"); err != nil || got != "mine" {
		t.Errorf("%q, %v", got, err)
	}
	eventually(t, "announced for HTTP alone", func() bool {
		list, err := engine.List(t.Context(), "alpha")
		return err == nil && len(list.Records) == 1 && len(list.Records[0].Endpoints) == 1 && list.Records[0].Endpoints["http"] == a.http
	})
}

// TestWhoTakesEverythingIsNotAskedForTheHealth: what it forwards to may be away, and that instance is well.
func TestWhoTakesEverythingIsNotAskedForTheHealth(t *testing.T) {
	t.Parallel()
	engine := memregistry.New()
	away := func(w http.ResponseWriter, r *http.Request) { http.Error(w, r.URL.Path, http.StatusBadGateway) }
	for i, c := range []struct {
		pattern string
		handler http.Handler
		want    string
	}{
		{"GET /", http.HandlerFunc(away), "200 OK"},
		{"/", http.HandlerFunc(away), "200 OK"},
		{"GET /{name}", http.HandlerFunc(away), "200 OK"},
		{"/healthz", http.HandlerFunc(away), "502 Bad Gateway"},
		{"/", struct{ http.Handler }{http.HandlerFunc(away)}, "502 Bad Gateway"}, // a router
	} {
		a := newInstance(t, engine, "alpha", fmt.Sprint("alpha-", i+1), nil)
		a.Handle(c.pattern, c.handler)
		a.run(t)
		resp, err := plain.Get("http://" + a.http + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.Status != c.want {
			t.Errorf("%s: %s, want %s", c.pattern, resp.Status, c.want)
		}
	}
}

func dialPlain(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestAPanicInAHandlerIsAnAnswer(t *testing.T) {
	t.Parallel()
	engine := memregistry.New()
	var panics atomic.Bool
	panics.Store(true)
	a := newInstance(t, engine, "alpha", "alpha-1", nil).both(func(context.Context) error {
		if panics.Load() {
			panic("secret plan")
		}
		return nil
	}).run(t)
	_, err := callGRPC(t.Context(), a.Dial("alpha"))
	if failure.CodeOf(err) != failure.Unknown && failure.CodeOf(err) != failure.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("gRPC answers %v", err)
	}
	if body, err := get(t.Context(), plain, "http://"+a.http+"/id"); err == nil || err.Error() != "500 Internal Server Error" || strings.Contains(body, "secret") {
		t.Errorf("HTTP answers %v, %s", err, body)
	}
	eventually(t, "both panics are in the log with their stacks", func() bool {
		return strings.Count(a.logs.String(), "secret plan") >= 2 && strings.Contains(a.logs.String(), "TestAPanicInAHandlerIsAnAnswer")
	})
	panics.Store(false)
	if got, err := callGRPC(t.Context(), a.Dial("alpha")); err != nil || got != "alpha-1" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

func TestStartWithTheRegistryDown(t *testing.T) {
	t.Parallel()
	engine := memregistry.New()
	engine.Down()
	a := newInstance(t, engine, "alpha", "alpha-1", nil).both(nil).run(t)
	b := newInstance(t, engine, "beta", "beta-1", nil).both(nil).run(t)
	// It serves whoever knows where it is.
	eventually(t, "serves without a registry", func() bool {
		got, err := get(t.Context(), plain, "http://"+a.http+"/id")
		return err == nil && got == "alpha-1"
	})
	if got, err := callGRPC(t.Context(), dialPlain(t, a.grpc)); err != nil || got != "alpha-1" {
		t.Errorf("%q, %v", got, err)
	}
	conn, client := b.Dial("alpha"), b.HTTPClient()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := callGRPC(ctx, conn); err == nil {
		t.Error("found without a registry")
	}
	// And everybody else once the registry is back.
	engine.Up()
	eventually(t, "found once the registry is up", func() bool {
		one, err1 := callGRPC(t.Context(), conn)
		two, err2 := get(t.Context(), client, "http://alpha/id")
		return err1 == nil && err2 == nil && one == "alpha-1" && two == "alpha-1"
	})
	// Nor does a registry that is gone keep anybody from stopping.
	engine.Freeze()
	defer engine.Thaw()
	begin := time.Now()
	a.stop(t)
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("stopping with a frozen registry took %v", took)
	}
}

func TestWithoutAListener(t *testing.T) {
	engine := memregistry.New()
	a := newInstance(t, engine, "worker", "worker-1", func(c *holdfast.Config) { c.Settings.DrainDelay = time.Minute })
	var runs atomic.Int32
	ended := make(chan struct{})
	a.Go("reindex", func(ctx context.Context) error {
		if runs.Add(1) < 3 {
			panic("no index yet")
		}
		<-ctx.Done()
		close(ended)
		return nil
	})
	a.run(t)
	eventually(t, "restarted twice", func() bool { return runs.Load() == 3 })
	if st := a.Tasks(); len(st) != 1 || st[0].Name != "reindex" || st[0].Restarts != 2 || !st[0].Running {
		t.Errorf("tasks are %+v", st)
	}
	begin := time.Now()
	a.stop(t)
	<-ended
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("stopped after %v: nobody was to be told", took)
	}
	list, err := engine.List(t.Context(), "worker")
	if err != nil || len(list.Records) != 0 || strings.Contains(a.logs.String(), "registered") {
		t.Errorf("announced without an address: %+v, %v", list, err)
	}
}

func TestAnnounced(t *testing.T) {
	t.Parallel()
	engine := memregistry.New()
	a := newInstance(t, engine, "alpha", "alpha-1", func(c *holdfast.Config) {
		c.Settings.Zone, c.Settings.Version, c.Settings.Advertise = "eu-1", "v7", "alpha.example.org"
	}).both(nil).run(t)
	var got registry.Instance
	eventually(t, "registered", func() bool {
		list, err := engine.List(t.Context(), "alpha")
		if err != nil || len(list.Records) != 1 {
			return false
		}
		got = list.Records[0].Instance
		return true
	})
	_, port, _ := net.SplitHostPort(a.grpc)
	if got.ID != "alpha-1" || got.Zone != "eu-1" || got.Version != "v7" || len(got.Endpoints) != 2 || got.Endpoints["grpc"] != "alpha.example.org:"+port {
		t.Errorf("announced as %+v", got)
	}
	a.stop(t)
	if list, err := engine.List(t.Context(), "alpha"); err != nil || len(list.Records) != 0 {
		t.Errorf("still announced after the stop: %+v, %v", list, err)
	}
}

func TestWhatTheMuxAnswers(t *testing.T) {
	t.Parallel()
	a := newInstance(t, memregistry.New(), "alpha", "alpha-1", nil)
	a.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.PathValue("id")) })
	a.HandleFunc("/dir/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "dir") })
	a.run(t)
	if got, err := get(t.Context(), plain, "http://"+a.http+"/items/7"); err != nil || got != "7" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := get(t.Context(), plain, "http://"+a.http+"/dir"); err != nil || got != "dir" {
		t.Errorf("redirected to %q, %v", got, err)
	}
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
		detail       string
	}{
		{"GET", "/nothing", 404, "", "there is nothing at /nothing"},
		{"POST", "/items/7", 405, "GET, HEAD", "/items/7 does not take POST, only GET, HEAD"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+a.http+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := plain.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var p failure.Problem
		err = json.NewDecoder(resp.Body).Decode(&p)
		resp.Body.Close()
		if err != nil || resp.StatusCode != test.status || resp.Header.Get("Content-Type") != failure.ProblemType ||
			resp.Header.Get("Allow") != test.allow || p.Detail != test.detail || p.Status != test.status || p.Instance != test.path {
			t.Errorf("%s %s: %s %v %+v, %v", test.method, test.path, resp.Status, resp.Header, p, err)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	t.Setenv("HOLDFAST_LOG", "xml")
	t.Setenv("HOLDFAST_DRAIN_DELAY", "soon")
	svc := holdfast.New("no/name")
	grpc_testing.RegisterTestServiceServer(svc, &server{})
	grpc_testing.RegisterTestServiceServer(svc, &server{})
	svc.Handle("GET", http.NotFoundHandler())
	svc.Handle("/twice", http.NotFoundHandler())
	svc.Handle("/twice", http.NotFoundHandler())
	_, callErr := callGRPC(t.Context(), svc.Dial("not a name"))
	if failure.CodeOf(callErr) != failure.FailedPrecondition {
		t.Errorf("a call to nobody: %v", callErr)
	}
	err := svc.Run(t.Context())
	var settings *holdfast.SettingsError
	if !errors.As(err, &settings) || len(settings.Problems) != 2 {
		t.Errorf("settings: %v", settings)
	}
	for _, want := range []string{
		`HOLDFAST_LOG: "xml" is neither text nor json`, `HOLDFAST_DRAIN_DELAY: "soon" is not a duration`,
		"no/name", "grpc.testing.TestService: registered twice", `handle "GET"`, `handle "/twice"`, `dial "not a name"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%v", want, err)
		}
	}
}

func TestPortTaken(t *testing.T) {
	taken := listener(t).Addr().String()
	a := newInstance(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) {
		c.RPCServer.Listener, c.RPCServer.Addr = nil, taken
		c.HTTPServer.Listener, c.HTTPServer.Addr = nil, taken
	}).both(nil)
	err := a.Run(t.Context())
	if err == nil || strings.Count(err.Error(), taken) < 2 {
		t.Errorf("got %v", err)
	}
}

// What was listening for a Service that is stopped before it serves is closed, too.
func TestStoppedBeforeItServes(t *testing.T) {
	t.Parallel()
	a := newInstance(t, memregistry.New(), "alpha", "alpha-1", nil).both(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Run(ctx); err != nil {
		t.Error(err)
	}
	for _, addr := range []string{a.grpc, a.http} {
		if !refusing(addr) {
			t.Errorf("%s is still listened on", addr)
		}
	}
}

func TestOnceAndTooLate(t *testing.T) {
	t.Parallel()
	a := newInstance(t, memregistry.New(), "alpha", "alpha-1", nil).both(nil).run(t)
	eventually(t, "serves", func() bool { _, err := callGRPC(t.Context(), a.Dial("alpha")); return err == nil })
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("second Run: %v", err)
	}
	grpc_testing.RegisterTestServiceServer(a, &server{})
	a.Handle("/late", http.NotFoundHandler())
	if got := strings.Count(a.logs.String(), "too late"); got != 2 {
		t.Errorf("%d complaints:\n%s", got, a.logs)
	}
	a.stop(t)
	if _, err := callGRPC(t.Context(), a.Dial("gamma")); failure.CodeOf(err) != failure.FailedPrecondition {
		t.Errorf("Dial after the end: %v", err)
	}
	if _, err := get(t.Context(), a.HTTPClient(), "http://alpha/id"); err == nil {
		t.Error("the HTTP client works after the end")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// hung is an engine of live settings on a file system that hangs: it answers nobody, whatever their context.
type hung struct {
	configdriver.Store
	asked, thaw chan struct{}
}

func (h *hung) List(context.Context, string) (configdriver.Listing, error) {
	h.asked <- struct{}{}
	<-h.thaw
	return configdriver.Listing{}, errors.New("too late")
}

// TestCloseLeavesBehindWhatHangs: who is told to end ends, and says what did not.
func TestCloseLeavesBehindWhatHangs(t *testing.T) {
	t.Parallel()
	engine := &hung{memconfig.New(), make(chan struct{}), make(chan struct{})}
	i := newInstance(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) { c.Store = engine })
	config.Follow(i.Live(), "x/", func(string, []byte) (int, error) { return 0, nil })
	<-engine.asked
	closed := make(chan error, 1)
	go func() { closed <- i.Close() }()
	select {
	case err := <-closed:
		if err != nil || !strings.Contains(i.logs.String(), `what="live settings"`) {
			t.Errorf("Close: %v", err)
		}
	case <-time.After(patience):
		t.Error("Close waits for a file system that hangs")
	}
	close(engine.thaw)
}
