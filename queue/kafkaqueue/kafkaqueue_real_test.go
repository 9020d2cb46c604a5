//go:build real && unix

package kafkaqueue_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/kafkatest"
	"github.com/holdfast-go/holdfast/internal/proxytest"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
	"github.com/holdfast-go/holdfast/queue/queuetest"
)

// broker is a real one, and its clients.
type broker struct {
	*kafkatest.Broker
	t testing.TB
}

func startBroker(t testing.TB, cfg kafkatest.Config) *broker {
	t.Helper()
	cfg.Dir = t.TempDir()
	b, err := kafkatest.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("broker: %s", b.Log())
		}
		b.Close()
	})
	return &broker{b, t}
}

// Open implements queuetest.Engine: each client has a proxy of its own, whatever address the broker tells it.
func (b *broker) Open(t testing.TB) (driver.Engine, queuetest.Link) {
	t.Helper()
	p := proxytest.New(t, b.Addr)
	cfg := kafkaqueue.Config{
		Brokers: []string{b.Addr()}, Session: realHold, RevokeWait: 4 * realHold,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.Addr())
		},
	}
	d, err := kafkaqueue.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d, p
}

// Restart implements queuetest.Engine.
func (b *broker) Restart() {
	b.Kill()
	if err := b.Start(context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

const realHold = 3 * time.Second

// TestRealConformance: one broker for the cases that leave it alone, one for those that restart it.
func TestRealConformance(t *testing.T) {
	shared := startBroker(t, kafkatest.Config{})
	broken := startBroker(t, kafkatest.Config{})
	queuetest.Run(t, queuetest.Config{
		New: func(t *testing.T) queuetest.Engine {
			b := shared
			if queuetest.Restarts(t.Name()) {
				b = broken
			}
			return &broker{b.Broker, t}
		},
		In:   func(t *testing.T, run func(*testing.T)) { run(t) },
		Hold: realHold, Within: 30 * time.Second,
	})
}
