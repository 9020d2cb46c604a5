//go:build unix

package host

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/supervise"
	"github.com/holdfast-go/holdfast/platform/system"
)

func TestProgressCountsWhatIsReady(t *testing.T) {
	t0 := time.Unix(1000, 0)
	p := newProgress(&system.System{Name: "shop", Control: system.Control{Members: 1}, Services: []system.Service{
		{Name: "orders", Replicas: 2}, {Name: "idle"}, {Name: "gateway", Replicas: 1, Needs: []string{"orders"}},
	}}, t0)
	p.Services[1].Begun = t0
	state := func(service, id string, phase supervise.Phase, pid int) supervise.State {
		return supervise.State{Service: service, ID: id, State: phase, PID: pid, Reason: "exit status 1"}
	}
	p.see([]supervise.State{
		state("control", "control-1", supervise.Starting, 1),
		state("orders", "orders-1", supervise.Ready, 2),
		state("orders", "orders-2", supervise.Backoff, 0),
	}, t0.Add(1))
	orders := p.Services[1]
	if orders.Ready != 1 || orders.Running != 1 || orders.Trouble != "orders-2: exit status 1" || !orders.Done.IsZero() {
		t.Errorf("orders = %+v", orders)
	}
	// A rolling restart: for a while there is one more than wanted.
	p.see([]supervise.State{
		state("orders", "orders-1", supervise.Ready, 2), state("orders", "orders-2", supervise.Ready, 3), state("orders", "orders-3", supervise.Ready, 4),
	}, t0.Add(2))
	if orders = p.Services[1]; orders.Ready != 2 || orders.Running != 3 || orders.Trouble != "" || orders.Done != t0.Add(2) {
		t.Errorf("orders = %+v", orders)
	}
	p.see(nil, t0.Add(3))
	if orders = p.Services[1]; orders.Done != t0.Add(2) || orders.Ready != 0 {
		t.Errorf("orders = %+v", orders)
	}
	late := state("orders", "orders-1", supervise.Starting, 2)
	late.Late, late.Reason = true, "nothing listens"
	p.see([]supervise.State{late}, t0.Add(4))
	if orders = p.Services[1]; orders.Trouble != "orders-1: nothing listens" {
		t.Errorf("orders = %+v", orders)
	}
	if idle := p.Services[2]; !idle.Done.IsZero() {
		t.Errorf("a service is done before its wave: %+v", idle)
	}
}

func TestEventsInWords(t *testing.T) {
	e := func(phase supervise.Phase, restarts int) supervise.Event {
		return supervise.Event{Time: time.Unix(10, 0), State: supervise.State{
			ID: "orders-1", PID: 7, State: phase, Restarts: restarts, Reason: "killed by SIGKILL", RetryAt: time.Unix(14, 0),
		}}
	}
	late := e(supervise.Starting, 0)
	late.Late, late.Reason = true, "/healthz answers 503"
	for _, tc := range []struct {
		before supervise.Phase
		event  supervise.Event
		want   string
	}{
		{supervise.Starting, late, "orders-1 is not ready yet: /healthz answers 503"},
		{"", e(supervise.Starting, 0), "orders-1 starting (pid 7)"},
		{supervise.Starting, e(supervise.Ready, 0), "orders-1 ready (pid 7)"},
		{supervise.Starting, e(supervise.Ready, 1), "orders-1 ready again (pid 7, 1 restart)"},
		{supervise.Starting, e(supervise.Ready, 2), "orders-1 ready again (pid 7, 2 restarts)"},
		{supervise.Ready, e(supervise.Frozen, 2), "orders-1 frozen"},
		{supervise.Frozen, e(supervise.Ready, 2), "orders-1 thawed"},
		{supervise.Ready, e(supervise.Backoff, 2), "orders-1 died: killed by SIGKILL; starting it again"},
		{supervise.Ready, e(supervise.Looping, 5), "orders-1 keeps dying: killed by SIGKILL; next try in 4.0 s"},
		{supervise.Ready, e(supervise.Draining, 0), "orders-1 stopping"},
		{supervise.Draining, e(supervise.Stopped, 0), "orders-1 stopped"},
		{supervise.Ready, e("strange", 0), "orders-1 strange"},
	} {
		if got := describe(tc.before, tc.event); got != tc.want {
			t.Errorf("%s after %s = %q, want %q", tc.event.State.State, tc.before, got, tc.want)
		}
	}
}

// Why an instance is not ready yet is told once for each reason, and again of its next process.
func TestWhyAnInstanceIsNotReadyIsTold(t *testing.T) {
	h := &Host{feed: newFeed(), seen: make(map[string]supervise.Phase), pumped: make(chan struct{})}
	late := make(map[string]string)
	for _, e := range []struct {
		phase  supervise.Phase
		reason string // why it is late
	}{
		{supervise.Starting, ""},
		{supervise.Starting, ""}, // another of its ports was found
		{supervise.Starting, "nothing listens"},
		{supervise.Starting, "nothing listens"},
		{supervise.Starting, "answers 503"},
		{supervise.Backoff, ""},
		{supervise.Starting, ""},
		{supervise.Starting, "answers 503"},
		{supervise.Ready, ""},
	} {
		event := supervise.Event{State: supervise.State{ID: "a-1", PID: 7, State: e.phase, Late: e.reason != "", Reason: e.reason}}
		if event.Reason == "" {
			event.Reason = "exit status 1"
		}
		h.tellOf(event, late)
		h.saw(event)
	}
	var got []string
	for _, e := range h.feed.kept {
		got = append(got, e.Message)
		if why := strings.Contains(e.Message, "not ready yet"); why != (e.State == "") { // it is in no new state, which is what up shows
			t.Errorf("%+v", e)
		}
	}
	if want := []string{
		"a-1 starting (pid 7)", "a-1 is not ready yet: nothing listens", "a-1 is not ready yet: answers 503",
		"a-1 died: exit status 1; starting it again", "a-1 starting (pid 7)", "a-1 is not ready yet: answers 503", "a-1 ready (pid 7)",
	}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStatesOfTheSystemGoOneWay(t *testing.T) {
	h := &Host{feed: newFeed(), progress: Progress{System: "shop", State: control.Starting, Begun: time.Now()}}
	events, cancel := h.Subscribe()
	defer cancel()
	for _, state := range []control.State{control.Building, control.Starting, control.Ready, control.Ready, control.Stopping, control.Ready} {
		h.enter(state)
	}
	h.feed.close()
	var got []string
	for e := range events {
		got = append(got, e.State)
	}
	if want := "[building starting ready stopping]"; len(got) != 4 || got[3] != "stopping" {
		t.Errorf("states = %v, want %s", got, want)
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0 s", 1234 * time.Millisecond: "1.2 s", 12 * time.Second: "12 s", 125 * time.Second: "2 min 5 s", time.Hour: "60 min 0 s",
	} {
		if got := Seconds(d); got != want {
			t.Errorf("Seconds(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestMainAddr(t *testing.T) {
	for _, tc := range []struct {
		addrs map[string]string
		want  string
	}{
		{nil, ""},
		{map[string]string{"http": "h", "grpc": "g"}, "g"},
		{map[string]string{"http": "h", "admin": "a"}, "h"},
		{map[string]string{"etcd": "e", "peer": "p"}, "e"},
	} {
		if got := mainAddr(tc.addrs); got != tc.want {
			t.Errorf("mainAddr(%v) = %q, want %q", tc.addrs, got, tc.want)
		}
	}
}

// FuzzOpenDriver: a URL of an outside registry is opened or refused, whatever somebody wrote into the system file.
func FuzzOpenDriver(f *testing.F) {
	for _, seed := range []string{"etcd://127.0.0.1:1,127.0.0.1:2", "etcd://", "static:orders=127.0.0.1:1", "consul://x", "consul://127.0.0.1:1?tls=1&prefix=a", "", ":", "etcd:\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, url string) {
		d, err := openDriver(url, false, nil)
		if err == nil {
			if err := d.Close(); err != nil {
				t.Errorf("close of %q: %v", url, err)
			}
		}
	})
}
