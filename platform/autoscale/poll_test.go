package autoscale

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/scale"
)

func TestLagIsAskedForAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		p := &lagPoll{
			answers: answers{fresh: lagFresh}, target: scale.Target{Topic: "orders.placed", Group: "shipping"},
			ask: func(_ context.Context, topic, group string) (int64, error) {
				if broken.Load() || topic != "orders.placed" || group != "shipping" {
					return 0, errors.New("broken")
				}
				return 42, nil
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.run(ctx) }()
		synctest.Wait()
		if v, ok := p.value("", time.Now()); v != 42 || !ok {
			t.Errorf("%v, %t", v, ok)
		}
		pass(time.Second)
		broken.Store(true)
		pass(5 * time.Second)
		if _, ok := p.value("", time.Now()); !ok {
			t.Error("forgotten at the first error")
		}
		pass(10 * time.Second)
		if v, ok := p.value("", time.Now()); ok {
			t.Errorf("%v is still believed", v)
		}
		cancel()
		<-done
	})
}

func TestCustomIsANumber(t *testing.T) {
	for body, want := range map[string]float64{"17": 17, " 1.5\n": 1.5, "0": 0, "1e3": 1000, "": -1, "-1": -1, "NaN": -1, "Inf": -1, "12 apples": -1, strings.Repeat("1", 200): -1} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/load" {
				http.NotFound(w, r)
			}
			_, _ = w.Write([]byte(body))
		}))
		p := &customPoll{path: "/load", client: newClient()}
		addr := srv.Listener.Addr().String()
		if v, err := p.ask(t.Context(), addr); err == nil != (want >= 0) || err == nil && v != want {
			t.Errorf("%q: %v, %v", body, v, err)
		}
		p.path = "/other"
		if v, err := p.ask(t.Context(), addr); err == nil {
			t.Errorf("404 is %v", v)
		}
		srv.Close()
	}
}

func TestCustomAsksThoseWhoServe(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("3")) }))
	defer srv.Close()
	at := map[string]string{"http": srv.Listener.Addr().String()}
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{}, 100)
	p := &customPoll{answers: answers{fresh: fresh}, service: "web", path: "/", client: newClient(), instances: func() []control.Instance {
		asked <- struct{}{}
		return []control.Instance{
			{Service: "web", ID: "web-1", State: ready, Addrs: at},
			{Service: "web", ID: "web-2", State: starting, Addrs: at},
			{Service: "web", ID: "web-3", State: ready},
			{Service: "other", ID: "other-1", State: ready, Addrs: at},
		}
	}}
	done := make(chan struct{})
	go func() { defer close(done); p.run(ctx) }()
	<-asked
	<-asked // so the first round is over
	cancel()
	<-done
	for id, want := range map[string]bool{"web-1": true, "web-2": false, "web-3": false, "other-1": false} {
		if v, ok := p.value(id, time.Now()); ok != want || ok && v != 3 {
			t.Errorf("%s: %v, %t", id, v, ok)
		}
	}
}

func TestProcessorTimeOfThisProcess(t *testing.T) {
	used, ok := processorTime(os.Getpid())
	if ok && (used < 0 || used > 24*time.Hour) {
		t.Errorf("%s", used)
	}
	if _, ok := processorTime(-1); ok {
		t.Error("no process has used some")
	}
}

func FuzzParseNumber(f *testing.F) {
	f.Add("1.5")
	f.Add("-0x1p-2")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := parseNumber(s); err == nil && !(v >= 0 && v <= math.MaxFloat64) {
			t.Errorf("%q is %v", s, v)
		}
	})
}
