package inject_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// fakeControl is a control API that keeps leases, and fails as it is told.
type fakeControl struct {
	mu     sync.Mutex
	calls  []string
	faults map[string]time.Time // until when
	fail   map[string]error     // by call, once each
	addrs  map[string]string
	last   control.FaultRequest
}

func newSystem() *fakeControl {
	return &fakeControl{faults: make(map[string]time.Time), fail: make(map[string]error), addrs: make(map[string]string)}
}

func (s *fakeControl) call(format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := fmt.Sprintf(format, args...)
	s.calls = append(s.calls, c)
	err := s.fail[c]
	delete(s.fail, c)
	return err
}

func (s *fakeControl) called() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.calls) // several are hit at once
	return strings.Join(s.calls, "; ")
}

func (s *fakeControl) InstancesOf(_ context.Context, target string) ([]control.Instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []control.Instance{{ID: target, Addrs: map[string]string{"http": s.addrs[target]}}}, nil
}

func (s *fakeControl) Kill(_ context.Context, target string, _ bool) ([]string, error) {
	return nil, s.call("kill %s", target)
}

func (s *fakeControl) Restart(_ context.Context, target string) ([]string, error) {
	return nil, s.call("restart %s", target)
}

func (s *fakeControl) Wipe(_ context.Context, target string) ([]string, error) {
	return nil, s.call("wipe %s", target)
}

func (s *fakeControl) Inject(_ context.Context, req control.FaultRequest) (control.Fault, error) {
	if err := s.call("inject %s", req.Kind); err != nil {
		return control.Fault{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = req
	s.faults["f1"] = time.Now().Add(req.TTL)
	return control.Fault{ID: "f1", FaultRequest: req}, nil
}

func (s *fakeControl) Renew(_ context.Context, id string) (control.Fault, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until, ok := s.faults[id]; !ok || time.Now().After(until) {
		return control.Fault{}, failure.New(failure.NotFound, "no fault %s", id)
	}
	if err := s.fail["renew"]; err != nil {
		return control.Fault{}, err
	}
	s.faults[id] = time.Now().Add(s.last.TTL)
	return control.Fault{}, nil
}

func (s *fakeControl) Mend(_ context.Context, id string) error {
	if err := s.call("mend %s", id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if until, ok := s.faults[id]; !ok || time.Now().After(until) {
		return failure.New(failure.NotFound, "no fault %s", id)
	}
	delete(s.faults, id)
	return nil
}

func resolved(t *testing.T, f inject.Fault) inject.Resolved {
	t.Helper()
	r, err := inject.Resolve(f, world(), draw(1))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatTheSystemIsAsked(t *testing.T) {
	for _, tc := range []struct {
		fault inject.Fault
		want  string
	}{
		{inject.Fault{Kind: inject.Freeze, Target: []string{"mail"}}, `{"kind":"freeze","targets":["mail-1"]}`},
		{inject.Fault{Kind: inject.SlowCPU, Target: []string{"mail"}, Share: 0.1}, `{"kind":"slow-cpu","targets":["mail-1"],"share":0.1}`},
		{inject.Fault{Kind: inject.Scale, Target: []string{"mail"}, Replicas: 2}, `{"kind":"scale","targets":["mail"],"replicas":2}`},
		{inject.Fault{Kind: inject.Partition, From: []string{"mail"}}, `{"kind":"net","links":[{"from":["mail-1"],"to":["*"],"cut_out":true,"cut_in":true}]}`},
		{inject.Fault{Kind: inject.Partition, From: []string{"mail"}, Way: "out"}, `{"kind":"net","links":[{"from":["mail-1"],"to":["*"],"cut_out":true}]}`},
		{inject.Fault{Kind: inject.Partition, From: []string{"mail"}, Way: "in"}, `{"kind":"net","links":[{"from":["mail-1"],"to":["*"],"cut_in":true}]}`},
		{
			inject.Fault{Kind: inject.Latency, From: []string{"mail"}, To: []string{"queue"}, Delay: 2, Jitter: 1},
			`{"kind":"net","links":[{"from":["mail-1"],"to":["queue"],"delay":2,"jitter":1}]}`,
		},
		{inject.Fault{Kind: inject.Bandwidth, From: []string{"mail"}, Rate: 7}, `{"kind":"net","links":[{"from":["mail-1"],"to":["*"],"rate":7}]}`},
		{inject.Fault{Kind: inject.Loss, From: []string{"mail"}, Share: 0.5}, `{"kind":"net","links":[{"from":["mail-1"],"to":["*"],"loss":0.5}]}`},
		{inject.Fault{Kind: inject.Reset, From: []string{"mail"}, Every: 3}, `{"kind":"net","links":[{"from":["mail-1"],"to":["*"],"reset":true,"reset_every":3}]}`},
		{inject.Fault{Kind: inject.Errors, Target: []string{"mail"}}, `{"kind":"calls","targets":["mail-1"],"calls":[{"share":1,"code":"UNAVAILABLE"}]}`},
		{
			inject.Fault{Kind: inject.Errors, Target: []string{"mail"}, Share: 0.5, Code: "none", Delay: 9, Methods: []string{"GET /"}},
			`{"kind":"calls","targets":["mail-1"],"calls":[{"methods":["GET /"],"share":0.5,"delay":9}]}`,
		},
		{inject.Fault{Kind: inject.Disk, Target: []string{"mail"}, Mode: "full"}, `{"kind":"disk","targets":["mail-1"],"disk":{"full":true}}`},
		{inject.Fault{Kind: inject.Disk, Target: []string{"mail"}, Mode: "failing"}, `{"kind":"disk","targets":["mail-1"],"disk":{"fail_sync":true}}`},
		{inject.Fault{Kind: inject.Disk, Target: []string{"mail"}, Mode: "slow", Delay: 5}, `{"kind":"disk","targets":["mail-1"],"disk":{"slow_sync":5}}`},
		{inject.Fault{Kind: inject.Memory, Target: []string{"mail"}, Bytes: 7}, `{"kind":"memory","targets":["mail-1"],"bytes":7}`},
		{inject.Fault{Kind: inject.Clock, Target: []string{"mail"}, Jump: -7}, `{"kind":"clock","targets":["mail-1"],"jump":-7}`},
		{inject.Fault{Kind: inject.Registry, Mode: "down"}, `{"kind":"net","links":[{"from":["*"],"to":["registry"],"cut_out":true,"cut_in":true}]}`},
		{inject.Fault{Kind: inject.Broker, Mode: "slow", Delay: 4}, `{"kind":"net","links":[{"from":["*"],"to":["queue"],"delay":4}]}`},
	} {
		t.Run(tc.want, func(t *testing.T) {
			s := newSystem()
			active, err := (&inject.Applier{Control: s, Note: "drill x"}).Begin(t.Context(), resolved(t, tc.fault))
			if err != nil {
				t.Fatal(err)
			}
			if err := active.End(t.Context()); err != nil {
				t.Error(err)
			}
			if s.last.TTL == 0 || s.last.Note != "drill x" {
				t.Errorf("no lease, or no note: %+v", s.last)
			}
			req := s.last
			req.TTL, req.Note = 0, ""
			if err := req.Validate(); err != nil {
				t.Errorf("the system would refuse it: %v", err)
			}
			if got, _ := json.Marshal(req); string(got) != tc.want {
				t.Errorf("asked for %s", got)
			}
		})
	}
}

func TestWhatDoesNotLast(t *testing.T) {
	for _, tc := range []struct {
		fault inject.Fault
		calls string
	}{
		{inject.Fault{Kind: inject.Kill, Target: []string{"gateway/all", "mail"}}, "kill gateway-1; kill gateway-2; kill mail-1"},
		{inject.Fault{Kind: inject.Restart, Target: []string{"gateway/all"}}, "restart gateway-1; restart gateway-2"},
		{inject.Fault{Kind: inject.Registry, Mode: "wiped"}, "wipe control"},
	} {
		s := newSystem()
		active, err := (&inject.Applier{Control: s}).Begin(t.Context(), resolved(t, tc.fault))
		if err != nil || active.End(t.Context()) != nil || s.called() != tc.calls {
			t.Errorf("%v: %q, %v; want %q", tc.fault, s.called(), err, tc.calls)
		}
	}
}

// A lease outlives whatever the renewal meets, for as long as the fault lasts.
func TestALeaseIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem()
		active, err := (&inject.Applier{Control: s}).Begin(t.Context(), resolved(t, inject.Fault{Kind: inject.Freeze, Target: []string{"mail"}}))
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		s.mu.Lock()
		s.fail["renew"] = errors.New("busy")
		s.mu.Unlock()
		<-time.After(3 * time.Second)
		s.mu.Lock()
		delete(s.fail, "renew")
		s.mu.Unlock()
		<-time.After(time.Minute)
		if err := active.End(t.Context()); err != nil || len(s.faults) != 0 {
			t.Errorf("End = %v, left %v", err, s.faults)
		}
	})
}

func TestALeaseThatIsLostIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem()
		active, err := (&inject.Applier{Control: s}).Begin(t.Context(), resolved(t, inject.Fault{Kind: inject.Freeze, Target: []string{"mail"}}))
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.fail["renew"] = errors.New("busy")
		s.mu.Unlock()
		<-time.After(time.Minute)
		if err := active.End(t.Context()); err == nil || !strings.Contains(err.Error(), "ended by itself") {
			t.Errorf("End = %v", err)
		}
	})
}

// An instance that is just being started is waited for; a process that will never suffer it is not.
func TestWhoIsWaitedFor(t *testing.T) {
	kill := inject.Fault{Kind: inject.Kill, Target: []string{"mail"}}
	synctest.Test(t, func(t *testing.T) {
		s := newSystem()
		s.fail["kill mail-1"] = failure.New(failure.FailedPrecondition, "mail-1 has no process")
		if _, err := (&inject.Applier{Control: s}).Begin(t.Context(), resolved(t, kill)); err != nil || s.called() != "kill mail-1; kill mail-1" {
			t.Errorf("Begin = %v after %s", err, s.called())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSystem()
		s.fail["kill mail-1"] = failure.New(failure.Internal, "broken")
		if _, err := (&inject.Applier{Control: s}).Begin(t.Context(), resolved(t, kill)); err == nil || s.called() != "kill mail-1" {
			t.Errorf("Begin = %v after %s", err, s.called())
		}
		s = newSystem()
		s.fail["inject memory"] = failure.New(failure.FailedPrecondition, "mail-1 does not follow").WithReason(control.ReasonDoesNotFollow, control.Domain)
		memory := inject.Fault{Kind: inject.Memory, Target: []string{"mail"}, Bytes: 1}
		begun := time.Now()
		if _, err := (&inject.Applier{Control: s}).Begin(t.Context(), resolved(t, memory)); err == nil || time.Since(begun) > 0 {
			t.Errorf("Begin = %v after %v", err, time.Since(begun))
		}
	})
}

func TestRequestsToADependency(t *testing.T) {
	var mu sync.Mutex
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Method+" "+r.URL.Path+" "+string(b)+" "+r.Header.Get("Content-Type"))
		if r.URL.Path == "/broken" {
			failure.WriteProblem(w, failure.New(failure.Internal, "I am broken"))
		}
	}))
	defer server.Close()
	s := newSystem()
	s.addrs["mail-1"] = strings.TrimPrefix(server.URL, "http://")
	var guarded []inject.Undo
	undone := 0
	a := &inject.Applier{Control: s, Guard: func(u inject.Undo) (func(), error) {
		guarded = append(guarded, u)
		return func() { undone++ }, nil
	}}
	f := inject.Fault{
		Kind: inject.HTTP, Target: []string{"mail"}, For: time.Second,
		Request: &inject.Request{Method: "PUT", Path: "/slow", Body: `{"by":"1s"}`}, Mend: &inject.Request{Method: "DELETE", Path: "/slow"},
	}
	active, err := a.Begin(t.Context(), resolved(t, f))
	if err != nil {
		t.Fatal(err)
	}
	if undone != 0 || len(guarded) != 1 || guarded[0].Requests[0] != server.URL || guarded[0].Request.Method != http.MethodDelete {
		t.Errorf("the guard knows %+v", guarded)
	}
	if err := active.End(t.Context()); err != nil || undone != 1 {
		t.Errorf("End = %v, undone %d times", err, undone)
	}
	// What fails is undone as far as it was done.
	f.Request.Path = "/broken"
	if _, err := a.Begin(t.Context(), resolved(t, f)); err == nil || !strings.Contains(err.Error(), "I am broken") || undone != 2 {
		t.Errorf("Begin = %v, undone %d times", err, undone)
	}
	want := `PUT /slow {"by":"1s"} application/json|DELETE /slow  |PUT /broken {"by":"1s"} application/json|DELETE /slow  `
	if text := strings.Join(got, "|"); text != want {
		t.Errorf("asked %q, want %q", text, want)
	}
}

// Whoever undoes a command when the drill has been killed gives it what it knew of the system, and no other of its environment.
func TestWhoUndoesKnowsTheSystem(t *testing.T) {
	var got inject.Undo
	a := &inject.Applier{
		Control: newSystem(), Dir: t.TempDir(), Env: []string{"SECRET=x", "HOLDFAST_EDGE=http://edge"},
		Guard: func(u inject.Undo) (func(), error) { got = u; return func() {}, nil },
	}
	active, err := a.Begin(t.Context(), resolved(t, inject.Fault{Kind: inject.Command, For: time.Second, Run: "true", Undo: "true"}))
	if err != nil || len(got.Env) != 1 || got.Env[0] != "HOLDFAST_EDGE=http://edge" {
		t.Errorf("%v, guarded with %q", err, got.Env)
	}
	if err := active.End(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	a := &inject.Applier{Control: newSystem(), Dir: dir, Env: append(os.Environ(), "WHO=me")}
	f := inject.Fault{Kind: inject.Command, For: time.Second, Run: `echo "$WHO" > broken`, Undo: "rm broken"}
	active, err := a.Begin(t.Context(), resolved(t, f))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "broken")); string(b) != "me\n" {
		t.Errorf("%q, %v", b, err)
	}
	if err := active.End(t.Context()); err != nil {
		t.Error(err)
	}
	if err := active.End(t.Context()); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("a command that fails: %v", err)
	}
	f.Run = "echo why >&2; exit 3"
	f.Undo = "touch undone"
	if _, err := a.Begin(t.Context(), resolved(t, f)); err == nil || !strings.Contains(err.Error(), "exit status 3: why") {
		t.Errorf("Begin = %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "undone")); err != nil {
		t.Errorf("what failed half-way was not undone: %v", err)
	}
}
