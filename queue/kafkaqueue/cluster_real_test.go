//go:build real && unix

package kafkaqueue_test

import (
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/kafkatest"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
)

// TestRealThreeBrokers: each of three is killed in turn and comes back; what was
// confirmed comes, and publishing goes on with two.
func TestRealThreeBrokers(t *testing.T) {
	brokers, err := kafkatest.StartCluster(t.Context(), t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(brokers.Close)
	d, err := kafkaqueue.Opener{}.OpenQueue(brokers.URL(), driver.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{Engine: d, t: t}
	t.Cleanup(func() { _ = d.Close() })
	if err := d.Declare(t.Context(), driver.Topic{Name: "t", Groups: []string{"g"}}); err != nil {
		t.Fatal(err)
	}
	r := c.subscribe("t", "i", 50)
	var l ledger
	done := make(chan struct{})
	go func() {
		defer close(done)
		handle(t.Context(), r, &l)
	}()
	n := 0
	publish := func(k int) {
		for range k {
			c.publish("t", message("k0", n))
			n++
		}
	}
	publish(50)
	for _, b := range brokers {
		b.Kill()
		begun := time.Now()
		publish(50)
		t.Logf("50 messages with two brokers of three took %v", time.Since(begun))
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		pause(5 * time.Second) // it catches up
	}
	for begun := time.Now(); l.distinct() < n && time.Since(begun) < time.Minute; {
		pause(50 * time.Millisecond)
	}
	r.Stop()
	<-done
	t.Logf("%d messages, %d came again", n, l.check(t, 1, n))
}
