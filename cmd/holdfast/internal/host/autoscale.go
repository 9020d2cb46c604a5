//go:build unix

package host

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/autoscale"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/scale"
)

// openScaler makes what scales services by their load, if the system file says so of any.
func (h *Host) openScaler() (err error) {
	policies := make(map[string]scale.Policy)
	for _, s := range h.sys.Services {
		if s.Autoscale != nil {
			policies[s.Name] = *s.Autoscale
		}
	}
	if len(policies) == 0 {
		return nil
	}
	h.lags = &lags{url: h.queue, insecure: h.insecure()}
	h.scaler, err = autoscale.New(autoscale.Config{
		System: scaled{h}, Policies: policies, Lag: h.lags.ask, Logger: h.cfg.Logger,
		Tell: func(service, message string) {
			h.feed.publish(control.Event{Time: time.Now(), Service: service, Message: message})
		},
	})
	return err
}

// autoscale scales until ctx ends.
func (h *Host) autoscale(ctx context.Context) error {
	if h.scaler == nil {
		<-ctx.Done()
		return nil
	}
	defer h.lags.close()
	return h.scaler.Run(ctx)
}

// scaled is the host as its scaler needs it.
type scaled struct{ *Host }

// Replicas implements autoscale.System.
func (s scaled) Replicas(service string) int { return s.sup.Replicas(service) }

// Scale implements autoscale.System.
func (s scaled) Scale(ctx context.Context, service string, n int, why string) error {
	if s.sup.Busy(service) { // it would be refused, and is tried again: nothing to tell people of
		return failure.New(failure.Aborted, "%s is being restarted or scaled", service)
	}
	was := s.sup.Replicas(service)
	words := fmt.Sprintf("%s scaled %d → %d: %s", service, was, n, why)
	s.feed.publish(control.Event{Time: time.Now(), Service: service, State: control.EventScaling, Message: words})
	return s.resize(ctx, service, n, fmt.Sprintf("%s has %s", service, count(n, "instance")))
}

// Autoscale implements control.System.
func (h *Host) Autoscale(service string) error { return h.scaler.Resume(service) }

// scaling is how a service is scaled by its load, nil if it is not.
func (h *Host) scaling(service string) *control.Autoscale {
	s, ok := h.scaler.Status(service)
	if !ok {
		return nil
	}
	return &control.Autoscale{Min: s.Min, Max: s.Max, Wish: s.Wish, Why: s.Why, Waits: s.Waits, Paused: s.Paused}
}

// lags asks the engine for messages how far behind groups are. It connects when it is first asked.
type lags struct {
	url      string
	insecure bool

	mu     sync.Mutex
	engine driver.Engine
}

func (l *lags) ask(ctx context.Context, topic, group string) (int64, error) {
	engine, err := l.open()
	if err != nil {
		return 0, err
	}
	lag, err := engine.Lag(ctx, topic, group)
	return lag.Waiting + lag.Unsettled, err
}

func (l *lags) open() (driver.Engine, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.engine != nil {
		return l.engine, nil
	}
	opener, err := QueueOpener(l.url)
	if err != nil {
		return nil, err
	}
	engine, err := opener.OpenQueue(l.url, driver.OpenOptions{Name: "holdfast up", Insecure: l.insecure})
	if err != nil {
		return nil, err
	}
	l.engine = engine
	return engine, nil
}

func (l *lags) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.engine != nil {
		_ = l.engine.Close() // nothing was written
	}
}
