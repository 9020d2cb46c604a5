package control

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// piped is a listener in memory.
type piped struct {
	conns chan net.Conn
	over  chan struct{}
}

func (p *piped) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}
func (p *piped) Close() error   { close(p.over); return nil }
func (p *piped) Addr() net.Addr { return &net.TCPAddr{} }

// large is a system of which more can be read than fits in between.
type large struct{ still }

func (large) Instances() []Instance { return make([]Instance, 10_000) }

func (large) Logs(_ context.Context, _ LogQuery, emit func(LogLine) error) error {
	for {
		if err := emit(LogLine{Text: "a line"}); err != nil {
			return err
		}
	}
}

func (large) Events(ctx context.Context, _ func(Event) error) error {
	<-ctx.Done()
	return nil
}

// A client that asks and does not read would hold one of a bounded number of connections for ever.
func TestWhoDoesNotReadIsCutOff(t *testing.T) {
	for _, path := range []string{"/v1/instances", "/v1/logs?follow=true", "/v1/live"} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Server{keys: &keyring{}}
				l := &piped{make(chan net.Conn), make(chan struct{})}
				srv := &http.Server{Handler: newHandler(large{}, Config{Logger: slog.New(slog.DiscardHandler)}, s, true), ReadHeaderTimeout: headerTimeout}
				served := make(chan struct{})
				go func() {
					defer close(served)
					_ = srv.Serve(l)
				}()
				here, there := net.Pipe()
				l.conns <- there
				if _, err := io.WriteString(here, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(writeTimeout + time.Second) //nolint:forbidigo // in virtual time
				_ = here.SetReadDeadline(time.Now().Add(time.Second))
				if b, err := io.ReadAll(here); err != nil || len(b) > 0 {
					t.Errorf("the connection is still open: %d bytes, %v", len(b), err)
				}
				here.Close()
				_ = srv.Close()
				<-served
			})
		})
	}
}

// still is a system in which nothing runs.
type still struct{ idle }

func (still) Info() Info            { return Info{} }
func (still) Instances() []Instance { return nil }
func (still) Faults() []Fault       { return nil }
func (still) Stats() Stats          { return Stats{} }

// noNumber has a figure that JSON has no word for.
type noNumber struct{ Steering }

func (noNumber) Conditions() map[string]Condition { return nil }
func (noNumber) Groups() []Group                  { return nil }
func (noNumber) Locks() ([]Lock, string)          { return nil, "" }
func (noNumber) Queues() ([]Queue, string)        { return []Queue{{Rate: math.NaN()}}, "" }

// What cannot be said in JSON is an error and a line in the log, not an empty success.
func TestAnAnswerThatCannotBeWrittenIsAnError(t *testing.T) {
	var log bytes.Buffer
	h := newHandler(still{}, Config{Steering: noNumber{}, Logger: slog.New(slog.NewTextHandler(&log, nil))}, &Server{keys: &keyring{}}, true)
	for _, path := range []string{"/v1/snapshot", "/v1/queues"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "JSON") {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
		if !strings.Contains(log.String(), "NaN") {
			t.Errorf("log: %q", &log)
		}
		log.Reset()
	}
}

// Nor is it passed over in silence where it is pushed; it is said once, not once a second.
func TestALiveThatCannotBeWrittenIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		look := func() Live { return Live{Queues: []Queue{{Rate: math.NaN()}}} }
		h := newHub(look, (&watched{}).follow, slog.New(slog.NewTextHandler(&log, nil)))
		f := h.join()
		time.Sleep(5 * time.Second) //nolint:forbidigo // in virtual time
		h.leave(f)
		if n := strings.Count(log.String(), "NaN"); n != 1 {
			t.Errorf("said %d times: %q", n, &log)
		}
	})
}
