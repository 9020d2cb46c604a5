//go:build real && unix

package rabbitqueue_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/proxytest"
	"github.com/holdfast-go/holdfast/internal/rabbittest"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/queuetest"
	"github.com/holdfast-go/holdfast/queue/rabbitqueue"
)

// engine is a broker that each client has a way of its own to.
type engine struct {
	t      *testing.T
	broker *rabbittest.Broker

	mu    sync.Mutex
	links []*proxytest.Proxy
}

func (e *engine) Open(t testing.TB) (driver.Engine, queuetest.Link) {
	t.Helper()
	link := e.broker.Proxy(t)
	e.mu.Lock()
	e.links = append(e.links, link)
	e.mu.Unlock()
	return open(t, link.Addr()), link
}

func (e *engine) Restart() {
	if err := e.broker.Restart(context.Background()); err != nil {
		e.t.Error(err)
	}
}

func open(t testing.TB, endpoint string) *rabbitqueue.Engine {
	t.Helper()
	d, err := rabbitqueue.Open(rabbitqueue.Config{Endpoints: []string{endpoint}, Name: t.Name(), Heartbeat: 4 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	return d
}

func TestRealConformance(t *testing.T) {
	shared := rabbittest.New(t, rabbittest.Config{})
	queuetest.Run(t, queuetest.Config{
		New: func(t *testing.T) queuetest.Engine {
			e := &engine{t: t, broker: shared}
			if queuetest.Restarts(t.Name()) {
				e.broker = rabbittest.New(t, rabbittest.Config{})
			}
			return e
		},
		In:   func(t *testing.T, run func(*testing.T)) { run(t) },
		Hold: 8 * time.Second, Within: 30 * time.Second,
	})
}
