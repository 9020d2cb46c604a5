package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/stopwatch"
	"github.com/holdfast-go/holdfast/platform/control"
)

// fakeSteering is a control.Steering that records what it is told.
type fakeSteering struct{ *fakeSystem }

func (fakeSteering) Conditions() map[string]control.Condition {
	return map[string]control.Condition{"orders-1": {Role: "leader of orders", Ejected: []string{"by gateway-1: 5 of 5 failed"}, RSS: 42}}
}

func (fakeSteering) Groups() []control.Group {
	return []control.Group{{Service: "orders", Name: "orders", Leader: "orders-1", Term: 3}}
}

func (fakeSteering) Locks() ([]control.Lock, string) {
	return []control.Lock{{Name: "report", Holder: "orders-1", Token: 7}}, ""
}

func (fakeSteering) Queues() ([]control.Queue, string) {
	return []control.Queue{{Topic: "orders.paid", Group: "mail", Lag: 3, Dead: 1}}, "queues: the engine does not answer"
}

func (f fakeSteering) Dead(_ context.Context, topic, group, after string, limit int) ([]control.DeadLetter, error) {
	if topic != "orders.paid" || group != "mail" {
		return nil, failure.New(failure.NotFound, "no group %q of %q", group, topic).WithReason(control.ReasonUnknown, control.Domain)
	}
	letters := []control.DeadLetter{{Position: "17", Reason: "no such order"}, {Position: "18"}}
	if after == "17" {
		letters = letters[1:]
	}
	return letters[:min(limit, len(letters))], nil
}

func (f fakeSteering) Replay(_ context.Context, topic, group string, positions ...string) (int, error) {
	return len(positions), f.call(append([]string{"replay", topic, group}, positions...)...)
}

func (f fakeSteering) Discard(_ context.Context, topic, group string, positions ...string) (int, error) {
	return len(positions), f.call(append([]string{"discard", topic, group}, positions...)...)
}

func (fakeSteering) Policies(_ context.Context, service string) ([]control.PolicyInForce, error) {
	return []control.PolicyInForce{{Service: service, Values: []control.PolicyValue{{Key: "calls.timeout", Value: "2s", Source: control.SourceLive}}}}, nil
}

func TestSnapshotPutsAllTogether(t *testing.T) {
	f := &fakeSystem{}
	srv := serveWith(t, f, control.Config{Steering: fakeSteering{f}})
	c := control.NewClient(srv.Addr())
	defer c.Close()
	live, err := c.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(live.Instances) != 5 || live.Info.System != "shop" || live.Groups[0].Leader != "orders-1" || live.Locks[0].Token != 7 || live.Queues[0].Dead != 1 {
		t.Errorf("%+v", live)
	}
	if i := live.Instances[3]; i.ID != "orders-1" || i.Role != "leader of orders" || len(i.Ejected) != 1 || i.RSS != 42 || i.State != "ready" {
		t.Errorf("%+v", i)
	}
	equal(t, "missing", live.Missing, []string{"queues: the engine does not answer"})
	if groups, err := c.Groups(t.Context()); err != nil || len(groups) != 1 {
		t.Errorf("%v, %v", groups, err)
	}
	if locks, missing, err := c.Locks(t.Context()); err != nil || len(locks) != 1 || missing != "" {
		t.Errorf("%v, %v, %v", locks, missing, err)
	}
	if queues, missing, err := c.Queues(t.Context()); err != nil || len(queues) != 1 || missing == "" {
		t.Errorf("%v, %v, %v", queues, missing, err)
	}
	if p, err := c.Policies(t.Context(), "orders"); err != nil || p[0].Service != "orders" {
		t.Errorf("%v, %v", p, err)
	}
	if _, err := c.Policies(t.Context(), "ordres"); failure.CodeOf(err) != failure.NotFound || !strings.Contains(err.Error(), "did you mean orders?") {
		t.Errorf("policies of a slip: %v", err)
	}
}

// A page has lists and no null to look at, also of a system of which nothing is known.
func TestSnapshotOfASystemThatTellsNothing(t *testing.T) {
	_, addr := serve(t, &fakeSystem{})
	text, err := rawGet(t, addr, "/v1/snapshot")
	if err != nil || strings.Contains(text, "null") {
		t.Errorf("%s, %v", text, err)
	}
	for _, path := range []string{"/v1/groups", "/v1/locks", "/v1/queues", "/v1/policies", "/v1/queues/a/b/dead"} {
		resp, body := request(t, http.MethodGet, "http://"+addr+path, "")
		if resp.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}

func TestDeadLetters(t *testing.T) {
	f := &fakeSystem{}
	srv := serveWith(t, f, control.Config{Steering: fakeSteering{f}, Token: operator})
	c := control.NewClient(srv.Addr())
	defer c.Close()
	letters, err := c.Dead(t.Context(), "orders.paid", "mail", "", 0)
	if err != nil || len(letters) != 2 {
		t.Errorf("%v, %v", letters, err)
	}
	if letters, err = c.Dead(t.Context(), "orders.paid", "mail", "17", 1); err != nil || len(letters) != 1 || letters[0].Position != "18" {
		t.Errorf("%v, %v", letters, err)
	}
	if _, err := c.Dead(t.Context(), "orders/paid?", "mail", "", 0); failure.CodeOf(err) != failure.NotFound || !strings.Contains(err.Error(), `"orders/paid?"`) {
		t.Errorf("a name of signs: %v", err)
	}
	_, body := request(t, http.MethodGet, "http://"+srv.Addr()+"/v1/queues/orders.paid/mail/dead?limit=1", "")
	if !strings.Contains(body, `"next":"17"`) {
		t.Errorf("where to go on is not said: %s", body)
	}
	if n, err := c.Replay(t.Context(), "orders.paid", "mail", "17", "18"); err != nil || n != 2 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := c.Discard(t.Context(), "orders.paid", "mail"); err != nil {
		t.Error(err)
	}
	equal(t, "calls", f.called(), []string{"replay orders.paid mail 17 18", "discard orders.paid mail"})
	path := "http://" + srv.Addr() + "/v1/queues/orders.paid/mail/replay"
	for _, body := range []string{`{}`, `{"all": true, "positions": ["17"]}`, `{"positions": [""]}`, `{"positions": [17]}`, `[]`} {
		if resp, answer := request(t, http.MethodPost, path, body, "Authorization: Bearer "+operator); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, resp.StatusCode, answer)
		}
	}
	for _, query := range []string{"limit=0", "limit=201", "limit=x", "after=" + strings.Repeat("x", 300)} {
		if resp, _ := request(t, http.MethodGet, "http://"+srv.Addr()+"/v1/queues/a/b/dead?"+query, ""); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%.30s: %d", query, resp.StatusCode)
		}
	}
	equal(t, "calls", f.called(), nil)
}

// What is sent is server-sent events: a Live at once, each event, and another Live soon after it.
func TestLive(t *testing.T) {
	f := &fakeSystem{events: make(chan control.Event, 1)}
	srv := serveWith(t, f, control.Config{Steering: fakeSteering{f}})
	c := control.NewClient(srv.Addr())
	defer c.Close()
	enough := errors.New("enough")
	var since func() time.Duration
	var events []string
	lives := 0
	err := c.Live(t.Context(), func(l control.Live) error {
		switch lives++; {
		case l.Info.System != "shop" || len(l.Instances) != 5:
			t.Errorf("%+v", l)
		case lives == 1:
			since = stopwatch.Start(t)
			f.events <- control.Event{Instance: "orders-1", State: "backoff", Message: "orders-1 died\n: it"}
		case len(events) > 0:
			return enough
		}
		return nil
	}, func(e control.Event) error {
		events = append(events, e.Message)
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("Live = %v", err)
	}
	equal(t, "events", events, []string{"orders-1 died\n: it"})
	if took := since(); took > 900*time.Millisecond {
		t.Errorf("the change was told after %s", took)
	}

	resp := send(t, srv.Addr(), "GET /v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Errorf("content type %s", ct)
	}
	b := make([]byte, 16<<10)
	n, _ := io.ReadAtLeast(resp.Body, b, 100)
	if !strings.HasPrefix(string(b[:n]), "retry: 1000\n\nevent: live\ndata: {\"at\":") {
		t.Errorf("frames begin %.100q", b[:n])
	}
	go close(f.events)
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 1<<20 {
		t.Errorf("the end of the system: %v", err)
	}
}

func TestLiveEndsWithTheSystemOrTheContext(t *testing.T) {
	f := &fakeSystem{events: make(chan control.Event)}
	c, _ := serve(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Live(ctx, func(control.Live) error { cancel(); return nil }, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Live = %v, want canceled", err)
	}
	close(f.events)
	if err := c.Live(t.Context(), func(control.Live) error { return nil }, nil); err != nil {
		t.Errorf("Live = %v, want nil at the end of the system", err)
	}
}

// The page is for browsers; what asks for nothing of the kind gets the list of what there is.
func TestConsoleIsServed(t *testing.T) {
	home(t)
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		_, _ = io.WriteString(w, "page "+r.URL.Path)
	})
	cert, _ := certificate(t)
	for _, cfg := range []control.Config{{Console: page}, {Console: page, Addr: "0.0.0.0:0", TLS: cert}} {
		srv := serveWith(t, &fakeSystem{}, cfg)
		base := strings.TrimSuffix(srv.Invite(control.View).URL[:strings.Index(srv.Invite(control.View).URL, "#")], "/")
		for _, tc := range []struct {
			path, accept, want string
		}{
			{"/", "text/html,application/xhtml+xml", "page /"},
			{"/", "*/*", "This is the control API"},
			{"/console/abc/app.js", "*/*", "page /console/abc/app.js"},
		} {
			resp, body := request(t, http.MethodGet, base+tc.path, "", "Accept: "+tc.accept)
			if !strings.HasPrefix(body, tc.want) || resp.StatusCode != http.StatusOK {
				t.Errorf("%s for %s: %d %.60q", tc.path, tc.accept, resp.StatusCode, body)
			}
			if csp := resp.Header.Get("Content-Security-Policy"); csp == "" || resp.Header.Get("X-Frame-Options") != "DENY" {
				t.Errorf("%s: the policy is %q", tc.path, csp)
			}
		}
	}
}

// keeper keeps events.
type keeper struct{ *fakeSystem }

func (k keeper) EventsOf(ctx context.Context, q control.EventQuery, begun func(), emit func(control.Event) error) error {
	begun()
	for i := range q.Last {
		if err := emit(control.Event{Message: "kept " + string(rune('0'+i))}); err != nil {
			return err
		}
	}
	if !q.Follow {
		return nil
	}
	return k.Events(ctx, emit)
}

func TestKeptEvents(t *testing.T) {
	c, addr := serve(t, keeper{&fakeSystem{}})
	var got []string
	err := c.EventsOf(t.Context(), control.EventQuery{Last: 2}, nil, func(e control.Event) error {
		got = append(got, e.Message)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	equal(t, "events", got, []string{"kept 0", "kept 1"})
	for _, query := range []string{"last=-1", "last=1001", "last=x", "follow=perhaps"} {
		if resp, body := request(t, http.MethodGet, "http://"+addr+"/v1/events?"+query, ""); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, resp.StatusCode, body)
		}
	}
	// A system that keeps none is asked for none.
	c, _ = serve(t, &fakeSystem{})
	if err := c.EventsOf(t.Context(), control.EventQuery{Last: 2}, nil, func(control.Event) error { return errors.New("an event") }); err != nil {
		t.Error(err)
	}
}

func TestALiveIsJSONWithoutLineBreaks(t *testing.T) {
	b, err := json.Marshal(control.Event{Message: "a\r\nb\u2028c"})
	if err != nil || bytes.ContainsAny(b, "\r\n") {
		t.Errorf("%q, %v", b, err)
	}
}
