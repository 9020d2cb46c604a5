package drill

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// toy is a system of two instances of web in virtual time: a control API, and the edge in front of them. A call that meets an
// instance that is away fails at once, or hangs with it if it is frozen.
type toy struct {
	mu     sync.Mutex
	away   map[string]time.Time // until when
	frozen map[string]bool
	faults map[string]control.FaultRequest
	calls  []string

	suffered uint64
	rng      *rand.Rand
	broken   error // of Inject
	events   chan control.Event
	status   int  // of answers; 0 is 200
	alone    bool // clients do not try another instance

	down    time.Duration  // how long a killed instance is away; 0 is a second
	restart time.Duration  // how long a restart takes; 0 is 3 s
	ended   time.Time      // when the platform ends; zero is never
	called  bool           // somebody calls what faults of the kind errors are about
	keys    map[string]int // how often each idempotency key came
	members int            // of the control plane
}

func newToy() *toy {
	return &toy{
		away: make(map[string]time.Time), frozen: make(map[string]bool), faults: make(map[string]control.FaultRequest),
		rng: rand.New(rand.NewPCG(1, 1)), events: make(chan control.Event, 100),
	}
}

func (y *toy) note(format string, args ...any) {
	y.calls = append(y.calls, fmt.Sprintf(format, args...))
}

func (y *toy) System(context.Context) (control.Info, error) {
	if !y.ended.IsZero() && time.Now().After(y.ended) {
		return control.Info{}, fmt.Errorf("%w at toy", control.ErrNotRunning)
	}
	return control.Info{System: "toy", State: control.Ready, Dir: "/nowhere", Services: []control.Service{{Name: "web", Replicas: 2, Ready: 2, HTTP: "edge:80"}}}, nil
}

func (y *toy) Instances(context.Context) (out []control.Instance, err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for i, id := range []string{"web-1", "web-2"} {
		state := "ready"
		if time.Now().Before(y.away[id]) {
			state = "starting"
		}
		out = append(out, control.Instance{Service: "web", ID: id, PID: 10 + i, State: state, Addrs: map[string]string{"http": id + ":80"}})
	}
	for i := range y.members {
		out = append(out, control.Instance{Service: control.ControlService, ID: fmt.Sprintf("control-%d", i+1), PID: 20 + i, State: "ready"})
	}
	return out, nil
}

func (y *toy) InstancesOf(ctx context.Context, _ string) ([]control.Instance, error) {
	return y.Instances(ctx)
}

func (y *toy) Kill(_ context.Context, id string, _ bool) ([]string, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.note("kill %s", id)
	y.away[id] = time.Now().Add(cmp.Or(y.down, time.Second))
	y.events <- control.Event{Time: time.Now(), Service: "web", Instance: id, State: "starting"}
	return nil, nil
}

func (y *toy) Restart(ctx context.Context, _ string) ([]string, error) {
	select {
	case <-time.After(cmp.Or(y.restart, 3*time.Second)):
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (y *toy) Wipe(context.Context, string) ([]string, error) { return nil, nil }

func (y *toy) Inject(_ context.Context, req control.FaultRequest) (control.Fault, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.broken != nil {
		return control.Fault{}, y.broken
	}
	id := fmt.Sprintf("f%d", len(y.calls))
	y.note("%s %s", req.Kind, strings.Join(req.Targets, " "))
	y.faults[id] = req
	for _, t := range req.Targets {
		y.frozen[t] = req.Kind == control.FaultFreeze
	}
	return control.Fault{ID: id}, nil
}

func (y *toy) Renew(context.Context, string) (control.Fault, error) { return control.Fault{}, nil }

func (y *toy) Mend(_ context.Context, id string) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	req, ok := y.faults[id]
	if !ok {
		return failure.New(failure.NotFound, "no fault %s", id)
	}
	y.note("mend %s", strings.Join(req.Targets, " "))
	delete(y.faults, id)
	for _, t := range req.Targets {
		delete(y.frozen, t)
	}
	return nil
}

func (y *toy) Faults(context.Context) ([]control.Fault, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	var out []control.Fault
	for id := range y.faults {
		out = append(out, control.Fault{ID: id, What: "web-1 is frozen"})
	}
	return out, nil
}

func (y *toy) Stats(context.Context) (control.Stats, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	one := control.InstanceStats{}
	if y.called && len(y.faults) > 0 {
		y.suffered++
	}
	one.Suffered = y.suffered
	return control.Stats{Instances: map[string]control.InstanceStats{"web-1": one, "web-2": one}}, nil
}

func (y *toy) Events(ctx context.Context, _ func(), emit func(control.Event) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-y.events:
			if err := emit(e); err != nil {
				return err
			}
		}
	}
}

// RoundTrip is a call of a user.
func (y *toy) RoundTrip(req *http.Request) (*http.Response, error) {
	answer := func(status int, text string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: req}, nil
	}
	y.mu.Lock()
	first := y.rng.IntN(2)
	if key := req.Header.Get("Idempotency-Key"); key != "" && y.keys != nil {
		y.keys[key]++
	}
	y.mu.Unlock()
	for attempt := 0; ; attempt++ {
		y.mu.Lock()
		id := []string{"web-1", "web-2"}[(first+attempt)%2]
		away, frozen := time.Now().Before(y.away[id]), y.frozen[id]
		alone := y.alone
		y.mu.Unlock()
		switch {
		case !away && !frozen:
			<-time.After(5 * ms)
			return answer(cmp.Or(y.status, 200), "hello")
		case away && (alone || attempt > 1):
			return answer(503, `{"title":"Service Unavailable","detail":"`+id+` is away"}`)
		case frozen && (alone || attempt > 1):
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
	}
}

func drilled(ctx context.Context, y *toy, sc Scenario) (*report.Report, []string) {
	var told []string
	if len(sc.Load.Calls) == 0 {
		sc.Load.Calls = []load.Call{{Name: "get", Weight: 1, Method: "GET", Path: "/", Timeout: time.Second}}
	}
	r := Run(ctx, &sc, Config{look: ours, Control: y, Seed: 1, Command: "again", HTTP: y, Progress: func(p Progress) {
		if p.Message != "" {
			told = append(told, fmt.Sprintf("%5.1f %s", p.At.Seconds(), p.Message))
		}
	}})
	return r, told
}

// ours are the processors of a machine of which nobody takes anything.
func ours() (processors, bool) { return processors{}, true }
