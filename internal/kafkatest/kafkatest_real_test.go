//go:build real && unix

package kafkatest_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/holdfast-go/holdfast/internal/kafkatest"
)

// TestRealBroker: a restart keeps the data, a frozen broker does not answer, an empty disk has nothing, the address stays.
func TestRealBroker(t *testing.T) {
	b, err := kafkatest.Start(t.Context(), kafkatest.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	admin := kadm.NewClient(c)
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	has := func() (bool, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		topics, err := admin.ListTopics(ctx)
		return topics.Has("t"), err
	}
	restart := func() {
		t.Helper()
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.Kill()
	restart()
	if ok, err := has(); !ok {
		t.Errorf("after a restart: %v", err)
	}
	if err := b.Freeze(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	if err := c.Ping(ctx); err == nil {
		t.Error("frozen, it answers")
	}
	cancel()
	if err := b.Thaw(); err != nil {
		t.Fatal(err)
	}
	b.Kill()
	if err := b.Wipe(); err != nil {
		t.Fatal(err)
	}
	restart()
	if ok, err := has(); ok || err != nil {
		t.Errorf("after a restart with an empty disk: %v, %v", ok, err)
	}
}
