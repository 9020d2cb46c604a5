package control_test

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// fakeSystem is a control.System that records what it is told.
type fakeSystem struct {
	lines  []control.LogLine
	events chan control.Event
	block  chan struct{} // Restart waits for it, if not nil

	mu    sync.Mutex
	calls []string
	gone  map[string]bool // instances without a process
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (f *fakeSystem) Info() control.Info {
	return control.Info{
		System: "shop", State: control.Ready, Since: epoch, PID: 100, Version: "v0.1.0", Dir: "shop", Data: ".holdfast/shop",
		Services: []control.Service{
			{Name: "catalog", Replicas: 1, Ready: 1},
			{Name: "orders", Replicas: 2, Ready: 2},
			{Name: "mail", Replicas: 0},
		},
	}
}

func (f *fakeSystem) Instances() []control.Instance {
	var out []control.Instance
	for i, id := range []string{"control-1", "control-2", "catalog-1", "orders-1", "orders-2"} {
		service, _, _ := strings.Cut(id, "-")
		out = append(out, control.Instance{Service: service, ID: id, PID: 101 + i, Addr: "127.0.0.1:9", State: "ready", Since: epoch})
	}
	out[4].State = control.Frozen
	return out
}

func (f *fakeSystem) call(words ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone[words[1]] {
		return failure.New(failure.FailedPrecondition, "%s has no process", words[1])
	}
	f.calls = append(f.calls, strings.Join(words, " "))
	return nil
}

// called returns and forgets the calls so far.
func (f *fakeSystem) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

func (f *fakeSystem) Kill(_ context.Context, id string) error   { return f.call("kill", id) }
func (f *fakeSystem) Freeze(_ context.Context, id string) error { return f.call("freeze", id) }
func (f *fakeSystem) Thaw(_ context.Context, id string) error   { return f.call("thaw", id) }

func (f *fakeSystem) Restart(ctx context.Context, service string, ids []string) error {
	if f.block != nil {
		close(f.block)
		<-ctx.Done()
		return f.call("canceled", service)
	}
	return f.call(append([]string{"restart", service}, ids...)...)
}

func (f *fakeSystem) Scale(_ context.Context, service string, n int) error {
	return f.call("scale", service, string(rune('0'+n)))
}

func (f *fakeSystem) Autoscale(service string) error {
	if service != "orders" {
		return failure.New(failure.FailedPrecondition, "%s is not scaled by itself: there is no autoscale at it in the system file", service)
	}
	return f.call("autoscale", service)
}

func (f *fakeSystem) Down() { _ = f.call("down", "") }

func (f *fakeSystem) Logs(ctx context.Context, q control.LogQuery, emit func(control.LogLine) error) error {
	var lines []control.LogLine
	for _, l := range f.lines {
		if q.Service == "" || q.Service == l.Service || q.Service == l.Instance {
			lines = append(lines, l)
		}
	}
	if strings.Contains(q.Service, "-") && len(lines) == 0 && !slices.ContainsFunc(f.Instances(), func(i control.Instance) bool { return i.ID == q.Service }) {
		return failure.New(failure.NotFound, "no service or instance %q", q.Service)
	}
	for _, l := range lines[max(0, len(lines)-q.Lines):] {
		if err := emit(l); err != nil {
			return err
		}
	}
	if q.Follow {
		<-ctx.Done()
	}
	return nil
}

func (f *fakeSystem) Events(ctx context.Context, emit func(control.Event) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-f.events:
			if !ok {
				return failure.New(failure.Internal, "broken")
			}
			if err := emit(e); err != nil {
				return err
			}
		}
	}
}

// operator is the token of the servers of tests, as far as these need one by its name: clients find it by themselves.
const operator = "operator-0123456789-0123456789-0123456789"

// serve runs a server for f until the test ends.
func serve(t *testing.T, f control.System) (*control.Client, string) {
	t.Helper()
	srv := serveWith(t, f, control.Config{Token: operator})
	client := control.NewClient(srv.Addr())
	t.Cleanup(client.Close)
	return client, srv.Addr()
}

// serveWith runs a server for f until the test ends.
func serveWith(t *testing.T, f control.System, cfg control.Config) *control.Server {
	t.Helper()
	cfg.Addr = cmp.Or(cfg.Addr, "127.0.0.1:0")
	srv, err := control.NewServer(f, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil after a stop", err)
		}
	})
	return srv
}

// freeAddr is an address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s = %q, want %q", what, got, want)
	}
}

func (f *fakeSystem) Inject(_ context.Context, req control.FaultRequest) (control.Fault, error) {
	return control.Fault{ID: "f1", FaultRequest: req}, f.call("inject", string(req.Kind))
}

func (f *fakeSystem) Renew(_ context.Context, id string) (control.Fault, error) {
	return control.Fault{ID: id}, f.call("renew", id)
}

func (f *fakeSystem) Mend(_ context.Context, id string) error { return f.call("mend", id) }

func (f *fakeSystem) Faults() []control.Fault { return nil }

func (f *fakeSystem) Wipe(_ context.Context, ids []string) error {
	return f.call("wipe", strings.Join(ids, ","))
}

func (f *fakeSystem) Stats() control.Stats { return control.Stats{} }
