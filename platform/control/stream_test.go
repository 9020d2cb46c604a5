package control_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

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
