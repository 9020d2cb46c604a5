//go:build unix

package cli_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/cli"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

var update = flag.Bool("update", false, "write what the tests see into testdata")

// fakeSystem is a running system without processes. What it is told becomes an event.
type fakeSystem struct {
	now    time.Time
	events chan control.Event
	down   chan struct{}
	config string // URL of the live settings
	queue  string // URL of the engine for messages
	faults []control.Fault
	kept   []control.Event
	traces []control.Trace

	mu    sync.Mutex
	calls []string
}

func (f *fakeSystem) Info() control.Info {
	return control.Info{System: "shop", State: control.Ready, Since: f.now, PID: 100, Dir: "examples/shop", Config: f.config, Queue: f.queue, Services: []control.Service{
		{Name: "catalog", Replicas: 1, Ready: 1}, {
			Name: "orders", Replicas: 2, Ready: 1,
			Autoscale: &control.Autoscale{Min: 2, Max: 8, Wish: 5, Why: "in-flight 45 per instance, target 20", Waits: "not for long enough yet"},
		}, {Name: "gateway", Replicas: 0, HTTP: "127.0.0.1:8080"},
	}}
}

func (f *fakeSystem) Instances() []control.Instance {
	ago := func(d time.Duration) time.Time { return f.now.Add(-d) }
	return []control.Instance{
		{Service: "control", ID: "control-1", PID: 101, Addr: "127.0.0.1:2379", State: "ready", Since: ago(3 * time.Hour)},
		{
			Service: "catalog", ID: "catalog-1", PID: 102, Addr: "127.0.0.1:4001", State: "ready", Since: ago(150 * time.Second),
			Addrs: map[string]string{"grpc": "127.0.0.1:4001", "http": "127.0.0.1:4002"},
		},
		{Service: "orders", ID: "orders-1", PID: 103, Addr: "127.0.0.1:4003", State: "frozen", Restarts: 1, Since: ago(30 * time.Second), Reason: "killed by SIGKILL"},
		{Service: "orders", ID: "orders-2", Addr: "127.0.0.1:4004", State: "backoff", Restarts: 12, Since: ago(0), Reason: "exit status 1"},
	}
}

func (f *fakeSystem) call(words ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, strings.Join(words, " "))
	return nil
}

func (f *fakeSystem) called() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return strings.Join(calls, "; ")
}

func (f *fakeSystem) event(service, instance, state, message string) {
	f.events <- control.Event{Time: f.now, Service: service, Instance: instance, State: state, Message: message}
}

func (f *fakeSystem) Kill(_ context.Context, id string) error   { return f.call("kill", id) }
func (f *fakeSystem) Freeze(_ context.Context, id string) error { return f.call("freeze", id) }
func (f *fakeSystem) Thaw(_ context.Context, id string) error   { return f.call("thaw", id) }

func (f *fakeSystem) Restart(_ context.Context, service string, ids []string) error {
	for _, id := range ids {
		f.event(service, id+"0", "starting", id+"0 starting (pid 200)")
		f.event("other", "other-1", "backoff", "other-1 died: exit status 1")
		f.event(service, id+"0", "ready", id+"0 ready (pid 200)")
		f.event(service, id, "stopped", id+" stopped")
	}
	f.event(service, "", control.EventRestarted, service+" restarted")
	return f.call("restart", service, strings.Join(ids, ","))
}

func (f *fakeSystem) Scale(_ context.Context, service string, n int) error {
	f.event(service, service+"-3", "ready", service+"-3 ready (pid 201)")
	f.event(service, "", control.EventScaled, service+" scaled")
	return f.call("scale", service, string(rune('0'+n)))
}

func (f *fakeSystem) Autoscale(service string) error {
	if service != "orders" {
		return failure.New(failure.FailedPrecondition, "%s is not scaled by itself: there is no autoscale at it in the system file", service)
	}
	return f.call("autoscale", service)
}

func (f *fakeSystem) Down() {
	_ = f.call("down")
	f.event("", "", "stopping", "stopping shop")
	f.event("orders", "orders-1", "stopped", "orders-1 stopped")
	close(f.events)
}

func (f *fakeSystem) Logs(ctx context.Context, q control.LogQuery, emit func(control.LogLine) error) error {
	_ = f.call("logs", q.Service)
	lines := []control.LogLine{
		{Time: f.now, Service: "orders", Instance: "orders-1", Text: "order o-1 placed"},
		{Time: f.now, Dropped: 7},
		{Time: f.now, Service: "orders", Instance: "orders-10", Text: "order o-2 placed"},
		{Time: f.now, Service: "orders", Instance: "orders-1", Text: "order o-3 placed"},
	}
	for _, l := range lines[:min(q.Lines, len(lines))] {
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
				close(f.down)
				return nil
			}
			if err := emit(e); err != nil {
				return err
			}
		}
	}
}

// EventsOf has kept events, and those that follow.
func (f *fakeSystem) EventsOf(ctx context.Context, q control.EventQuery, begun func(), emit func(control.Event) error) error {
	begun()
	for _, e := range f.kept[max(0, len(f.kept)-q.Last):] {
		if err := emit(e); err != nil {
			return err
		}
	}
	if !q.Follow {
		return nil
	}
	return f.Events(ctx, emit)
}

// fakeSight has the traces of a fake system.
type fakeSight struct{ f *fakeSystem }

func (s fakeSight) Traces(q control.TraceQuery) []control.TraceSummary {
	_ = s.f.call("traces", q.Status, q.Service, q.Text, q.Min.String(), strconv.Itoa(q.Limit))
	var out []control.TraceSummary
	for _, t := range s.f.traces {
		if (q.Status == "" || q.Status == t.Status) && len(out) < q.Limit {
			out = append(out, t.TraceSummary)
		}
	}
	return out
}

func (s fakeSight) Trace(id string) (control.Trace, error) {
	for _, t := range s.f.traces {
		if strings.HasPrefix(t.ID, id) {
			return t, nil
		}
	}
	return control.Trace{}, failure.New(failure.NotFound, "no trace %s is kept", id)
}

func (s fakeSight) Explain(id, lang string) (control.Explanation, error) {
	_ = s.f.call("explain", id, lang)
	t, err := s.Trace(id)
	return control.Explanation{Trace: t.ID, Lang: lang, Status: t.Status, Title: t.Root + " failed", Verdict: "Nobody was left to ask."}, err
}

func (s fakeSight) Graph() control.Graph { return control.Graph{} }

func (s fakeSight) Rates() map[string]control.InstanceRates {
	return map[string]control.InstanceRates{"orders-1": {Rate: 12, Errors: 3, P50: 2 * time.Millisecond, P99: 40 * time.Millisecond}}
}

func (s fakeSight) Series(control.SeriesQuery) []control.Series { return nil }

// serve runs the control API of a fake system until the test ends, and returns a command line that reaches it.
func serve(t *testing.T) (*fakeSystem, *line) {
	t.Helper()
	f := &fakeSystem{now: time.Now(), events: make(chan control.Event, 64), down: make(chan struct{})}
	srv, err := control.NewServer(f, control.Config{Addr: "127.0.0.1:0", Sight: fakeSight{f}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f, &line{env: map[string]string{"HOLDFAST_CONTROL": srv.Addr()}}
}

// line runs command lines with an environment.
type line struct {
	env        map[string]string
	in         string
	interrupts chan os.Signal
	out        buffer // of the last one
	err        buffer
}

// run runs "holdfast ARGS" and returns its exit code.
func (l *line) run(args ...string) int {
	l.out.Reset()
	l.err.Reset()
	return cli.Main(cli.Process{
		Args: append([]string{"holdfast"}, args...), In: strings.NewReader(l.in), Out: &l.out, Err: &l.err,
		Getenv: func(key string) string { return l.env[key] }, Environ: os.Environ, Interrupts: l.interrupts, SelfArgs: selfArgs,
	})
}

// buffer is a bytes.Buffer that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Reset()
}

// golden compares got with a file in testdata, or writes the file if the test was told to.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew). got:\n%s\nwant:\n%s", path, got, want)
	}
}

func (f *fakeSystem) Inject(_ context.Context, req control.FaultRequest) (control.Fault, error) {
	return control.Fault{ID: "f1", FaultRequest: req}, f.call("inject", string(req.Kind))
}

func (f *fakeSystem) Renew(_ context.Context, id string) (control.Fault, error) {
	return control.Fault{ID: id}, f.call("renew", id)
}

func (f *fakeSystem) Mend(_ context.Context, id string) error { return f.call("mend", id) }

func (f *fakeSystem) Faults() []control.Fault { return f.faults }

func (f *fakeSystem) Wipe(_ context.Context, ids []string) error {
	return f.call("wipe", strings.Join(ids, ","))
}

func (f *fakeSystem) Stats() control.Stats { return control.Stats{} }
