//go:build real && linux

package shop_test

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/kafkatest"
	"github.com/holdfast-go/holdfast/internal/rabbittest"
)

// broker is a real engine of messages in processes of its own.
type broker interface {
	URL() string
	Kill()
	Start(ctx context.Context) error
	Close()
}

// The same shop on other engines. Whoever publishes and handles messages is killed and frozen, and the engine itself is
// killed and started again meanwhile; the smoke program says whether every paid order was shipped once, and the others
// cancelled.
func TestShopOnOtherEngines(t *testing.T) {
	for _, engine := range []struct {
		name  string
		start func(ctx context.Context, dir string) (broker, error)
	}{
		{"kafka", func(ctx context.Context, dir string) (broker, error) {
			return kafkatest.Start(ctx, kafkatest.Config{Dir: dir})
		}},
		{"rabbitmq", func(ctx context.Context, dir string) (broker, error) {
			return rabbittest.Start(ctx, rabbittest.Config{Dir: dir})
		}},
	} {
		t.Run(engine.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			b, err := engine.start(ctx, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			site := newSite(t)
			site.queue = b.URL()
			site.writeSystem(t, site.programs)
			shop := site.up(t)

			smoke := exec.CommandContext(ctx, programs(t).path("smoke"), "-short", "-queue-only", "-edge", shop.edge(), "-control", site.control)
			smoke.Cancel = func() error { return smoke.Process.Signal(syscall.SIGTERM) }
			smoke.WaitDelay = 10 * time.Second
			broken, whole := context.WithCancel(ctx)
			done := make(chan struct{})
			go func() { defer close(done); breakBroker(broken, t, b) }()
			report, err := smoke.CombinedOutput()
			whole()
			<-done
			if err != nil {
				t.Errorf("smoke: %v\n%s\nwhat holdfast up printed:\n%s", err, report, shop.output())
			} else {
				t.Logf("smoke:\n%s", report)
			}
			shop.down(t)
		})
	}
}

// brokerAway is how long an engine is dead: clients try again after at most a second.
const brokerAway = 3 * time.Second

// breakBroker kills the engine twice, as soon as its queues are old enough to survive that, and starts it again.
func breakBroker(ctx context.Context, t *testing.T, b broker) {
	for _, after := range []time.Duration{10 * time.Second, 15 * time.Second} {
		select {
		case <-ctx.Done():
			t.Errorf("smoke was over before the engine was killed twice")
			return
		case <-time.After(after):
		}
		b.Kill()
		select { // until every client has tried in vain to come back, more than once
		case <-ctx.Done():
		case <-time.After(brokerAway):
		}
		if err := b.Start(context.WithoutCancel(ctx)); err != nil {
			t.Errorf("the engine does not start again: %v", err)
			return
		}
	}
}
