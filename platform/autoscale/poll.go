package autoscale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/scale"
)

const (
	lagEvery    = 2 * time.Second
	lagTimeout  = 5 * time.Second
	lagFresh    = 10 * time.Second
	customEvery = time.Second
	// customTimeout is below fresh, so that one endpoint that hangs does not make the others unknown.
	customTimeout = time.Second
	// maxNumber bounds what is read of a custom metric.
	maxNumber = 128
)

// poll is a metric that has to be asked for.
type poll interface {
	// run asks until ctx ends.
	run(ctx context.Context)
	// value is what was answered last for an instance, or for "" about the whole service, if that is not too old.
	value(id string, now time.Time) (float64, bool)
}

// pollsOf returns what is to be polled for the targets of a service, nil for those that are not.
func (s *Scaler) pollsOf(name string, p scale.Policy) []poll {
	polls := make([]poll, len(p.Targets))
	for i, t := range p.Targets {
		switch t.Metric {
		case scale.Lag:
			polls[i] = &lagPoll{answers: answers{fresh: lagFresh}, target: t, ask: s.cfg.Lag}
		case scale.Custom:
			polls[i] = &customPoll{answers: answers{fresh: fresh}, service: name, path: t.Path, instances: s.cfg.System.Instances, client: newClient()}
		case scale.InFlight, scale.Limiter, scale.CPU:
		}
	}
	return polls
}

// answers are the last answers, by instance.
type answers struct {
	fresh time.Duration

	mu   sync.Mutex
	last map[string]answer
}

type answer struct {
	at    time.Time
	value float64
}

func (a *answers) set(id string, v float64, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil {
		a.last = make(map[string]answer)
	}
	for other, old := range a.last { // those that are gone
		if now.Sub(old.at) > a.fresh {
			delete(a.last, other)
		}
	}
	a.last[id] = answer{now, v}
}

func (a *answers) value(id string, now time.Time) (float64, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, ok := a.last[id]
	return last.value, ok && now.Sub(last.at) <= a.fresh
}

// every calls do now and then, until ctx ends.
func every(ctx context.Context, d time.Duration, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lagPoll asks the engine of messages.
type lagPoll struct {
	answers
	target scale.Target
	ask    func(ctx context.Context, topic, group string) (int64, error)
}

func (p *lagPoll) run(ctx context.Context) {
	if p.ask == nil {
		return
	}
	every(ctx, lagEvery, func() {
		ctx, cancel := context.WithTimeout(ctx, lagTimeout)
		defer cancel()
		if n, err := p.ask(ctx, p.target.Topic, p.target.Group); err == nil {
			p.set("", float64(n), time.Now())
		} // otherwise it is unknown before long, which is said
	})
}

// customPoll asks each instance.
type customPoll struct {
	answers
	service, path string
	instances     func() []control.Instance
	client        *http.Client
}

// newClient returns a client for instances: each request is a connection of its own, so that none is left when they go.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: customTimeout}).DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a number is wanted, not a journey
		},
	}
}

func (p *customPoll) run(ctx context.Context) {
	every(ctx, customEvery, func() {
		ctx, cancel := context.WithTimeout(ctx, customTimeout)
		defer cancel()
		var asked sync.WaitGroup
		for _, i := range p.instances() {
			addr := i.Addrs["http"]
			if i.Service != p.service || i.State != ready || addr == "" {
				continue
			}
			asked.Go(func() {
				if v, err := p.ask(ctx, addr); err == nil {
					p.set(i.ID, v, time.Now())
				}
			})
		}
		asked.Wait()
	})
}

func (p *customPoll) ask(ctx context.Context, addr string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+p.path, http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s answers %s", p.path, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxNumber+1))
	if err != nil {
		return 0, err
	}
	return parseNumber(string(b))
}

// parseNumber reads a number that is not negative, as text, alone.
func parseNumber(s string) (float64, error) {
	if len(s) > maxNumber {
		return 0, errors.New("more than a number")
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	switch {
	case err != nil:
		return 0, err
	case !(v >= 0) || math.IsInf(v, 0):
		return 0, errors.New("not a number from 0")
	}
	return v, nil
}
