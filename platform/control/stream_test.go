package control_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

func someLines(n int) []control.LogLine {
	var lines []control.LogLine
	for i := range n {
		service := []string{"orders", "catalog"}[i%2]
		lines = append(lines, control.LogLine{Time: epoch, Service: service, Instance: service + "-1", Text: fmt.Sprintf("line %d", i)})
	}
	return lines
}

func collect(lines *[]string) func(control.LogLine) error {
	return func(l control.LogLine) error {
		*lines = append(*lines, l.Instance+" "+l.Text)
		return nil
	}
}

func TestLogsWithoutFollowEnd(t *testing.T) {
	f := &fakeSystem{lines: someLines(6)}
	c, _ := serve(t, f)
	var got []string
	if err := c.Logs(t.Context(), control.LogQuery{Service: "orders", Lines: 2}, collect(&got)); err != nil {
		t.Fatal(err)
	}
	equal(t, "lines", got, []string{"orders-1 line 2", "orders-1 line 4"})
	if err := c.Logs(t.Context(), control.LogQuery{Service: "oders"}, collect(&got)); failure.CodeOf(err) != failure.NotFound {
		t.Errorf("Logs of an unknown service = %v, want NOT_FOUND", err)
	}
	if err := c.Logs(t.Context(), control.LogQuery{Service: "mail"}, collect(&got)); err != nil {
		t.Errorf("Logs of a service without instances = %v, want nil", err)
	}
}

// What an instance wrote is there for as long as its lines are kept, by its name, too.
func TestLogsOfAnInstanceThatIsGone(t *testing.T) {
	f := &fakeSystem{lines: append(someLines(2), control.LogLine{Time: epoch, Service: "orders", Instance: "orders-9", Text: "out of memory"})}
	c, _ := serve(t, f)
	var got []string
	if err := c.Logs(t.Context(), control.LogQuery{Service: "orders-9", Lines: 5}, collect(&got)); err != nil {
		t.Error(err)
	}
	equal(t, "lines", got, []string{"orders-9 out of memory"})
	for name, words := range map[string]string{"nobody-1": `no service "nobody-1"`, "orders-8": `no instance "orders-8"; orders has orders-1, orders-2`} {
		err := c.Logs(t.Context(), control.LogQuery{Service: name, Lines: 5}, collect(&got))
		if failure.CodeOf(err) != failure.NotFound || !strings.Contains(err.Error(), words) {
			t.Errorf("Logs of %s = %v, want NOT_FOUND", name, err)
		}
	}
}

func TestFollowedLogsEndWithTheContext(t *testing.T) {
	f := &fakeSystem{lines: someLines(1)}
	c, _ := serve(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Logs(ctx, control.LogQuery{Follow: true, Lines: 10}, func(control.LogLine) error {
		cancel() // the first line has come although the stream goes on: it was flushed
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Logs = %v, want canceled", err)
	}
}

func TestFollowedLogsEndWithTheConsumersError(t *testing.T) {
	f := &fakeSystem{lines: someLines(1)}
	c, _ := serve(t, f)
	full := errors.New("disk full")
	err := c.Logs(t.Context(), control.LogQuery{Follow: true, Lines: 10}, func(control.LogLine) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("Logs = %v, want %v", err, full)
	}
}

func TestEventsFollowTheSystemToItsEnd(t *testing.T) {
	f := &fakeSystem{events: make(chan control.Event, 1)}
	srv, err := control.NewServer(f, control.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	c := control.NewClient(srv.Addr())
	defer c.Close()
	err = c.Events(t.Context(), func() {
		f.events <- control.Event{Time: epoch, Instance: "orders-1", State: "backoff", Message: "orders-1 died"}
	}, func(e control.Event) error {
		if e.Message != "orders-1 died" || !e.Time.Equal(epoch) {
			t.Errorf("event = %+v", e)
		}
		cancel()
		return nil
	})
	if err != nil {
		t.Errorf("Events = %v, want nil when the system has ended", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestABrokenStreamIsNoCleanEnd(t *testing.T) {
	f := &fakeSystem{events: make(chan control.Event)}
	close(f.events)
	_, addr := serve(t, f)
	if _, err := rawGet(t, addr, "/v1/events"); err == nil {
		t.Error("the answer ended cleanly, want an aborted connection")
	}
}

// TestAStreamThatIsCutWithinALineIsNoCleanEnd, nor a line: whoever wrote it is gone.
func TestAStreamThatIsCutWithinALineIsNoCleanEnd(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "holdfast-control")
		_, _ = io.WriteString(w, `{"text":"whole"}`+"\n"+`{"text":"ha`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer srv.Close()
	c := control.NewClient(srv.Listener.Addr().String())
	defer c.Close()
	var got []string
	err := c.Logs(t.Context(), control.LogQuery{Follow: true}, func(l control.LogLine) error {
		got = append(got, l.Text)
		return nil
	})
	if !errors.Is(err, control.ErrGone) || !slices.Equal(got, []string{"whole"}) {
		t.Errorf("%v, %q", err, got)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	f := &fakeSystem{events: make(chan control.Event)}
	c, _ := serve(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const limit = 64
	open, ended := make(chan struct{}, limit), make(chan error, limit)
	for range limit {
		go func() {
			ended <- c.Events(ctx, func() { open <- struct{}{} }, func(control.Event) error { return nil })
		}()
	}
	for range limit {
		<-open
	}
	err := c.Events(t.Context(), nil, nil)
	if failure.CodeOf(err) != failure.ResourceExhausted || !strings.Contains(err.Error(), "64 streams") {
		t.Errorf("one stream too many = %v", err)
	}
	if _, err := c.System(t.Context()); err != nil {
		t.Errorf("other requests go on: %v", err)
	}
	cancel()
	for range limit {
		<-ended
	}
}

func TestAStreamEndsWithTheRightToIt(t *testing.T) {
	home(t)
	f := &fakeSystem{events: make(chan control.Event)}
	srv := serveWith(t, f, control.Config{})
	base := "http://" + srv.Addr()
	for _, path := range []string{"/v1/live", "/v1/events?follow=true"} {
		cookie, key := login(t, base, srv.Invite(control.View).Code)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		name, value, _ := strings.Cut(cookie, ": ")
		req.Header.Set(name, value)
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		resp, err := tr.RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(path, resp, err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}()
		if resp, _ := request(t, http.MethodDelete, base+"/v1/session", "", cookie, key); resp.StatusCode != http.StatusOK {
			t.Fatalf("logout: %d", resp.StatusCode)
		}
		<-ended
	}
}

// restarting is a system whose restarts go on until they are told, or given up.
type restarting struct {
	*fakeSystem
	began, goOn chan struct{}
	ended       chan error
}

func (r restarting) Restart(ctx context.Context, _ string, _ []string) error {
	r.began <- struct{}{}
	select {
	case <-r.goOn:
	case <-ctx.Done():
	}
	r.ended <- ctx.Err()
	return ctx.Err()
}

// Ctrl-C ends a restart that the command line has begun. A tab that is closed says nothing of the kind.
func TestARestartOutlivesThePageThatBeganIt(t *testing.T) {
	home(t)
	r := restarting{new(fakeSystem), make(chan struct{}), make(chan struct{}), make(chan error)}
	srv := serveWith(t, r, control.Config{Token: operator})
	base := "http://" + srv.Addr()
	restart := func(headers ...string) (leave func()) {
		ctx, cancel := context.WithCancel(t.Context())
		req := httptest.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/restart", strings.NewReader(`{"target": "orders-1"}`))
		for _, h := range append(headers, "Content-Type: application/json") {
			name, value, _ := strings.Cut(h, ": ")
			req.Header.Set(name, value)
		}
		go srv.Handler().ServeHTTP(httptest.NewRecorder(), req)
		<-r.began
		return cancel
	}

	restart("Authorization: Bearer " + operator)()
	if err := <-r.ended; err == nil {
		t.Error("the restart of a command that has ended goes on")
	}
	restart(login(t, base, srv.Invite(control.Operate).Code))()
	select {
	case r.goOn <- struct{}{}:
	case err := <-r.ended:
		t.Fatalf("the restart of a page that was closed ended: %v", err)
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

// slowInfo is a system that says what it is only when it is told to.
type slowInfo struct {
	*fakeSystem
	asked, goOn chan struct{}
}

func (s slowInfo) Info() control.Info {
	s.asked <- struct{}{}
	<-s.goOn
	return s.fakeSystem.Info()
}

// A right that ends between being let in and the first line is as void as one that ends later.
func TestAStreamEndsWithARightThatEndedBeforeItBegan(t *testing.T) {
	home(t)
	s := slowInfo{&fakeSystem{lines: someLines(1)}, make(chan struct{}), make(chan struct{})}
	cert, _ := certificate(t)
	srv := serveWith(t, s, control.Config{Addr: "0.0.0.0:0", TLS: cert})
	_, port, _ := net.SplitHostPort(srv.Addr())
	base := "https://127.0.0.1:" + port
	cookie, key := login(t, base, srv.Invite(control.View).Code)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/logs?service=orders&follow=true", http.NoBody)
		if err != nil {
			ended <- err
			return
		}
		name, value, _ := strings.Cut(cookie, ": ")
		req.Header.Set(name, value)
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
		resp, err := tr.RoundTrip(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		ended <- err
	}()
	<-s.asked
	if resp, _ := request(t, http.MethodDelete, base+"/v1/session", "", cookie, key); resp.StatusCode != http.StatusOK {
		t.Fatalf("logout: %d", resp.StatusCode)
	}
	close(s.goOn)
	err := <-ended
	if ctx.Err() != nil {
		t.Errorf("the stream goes on without a right: %v", err)
	}
}
