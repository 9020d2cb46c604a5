package natsqueue_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// A topic that is gone is made anew with the options it was declared with, whoever is first to notice.
func TestATopicMadeAnewHasItsOptions(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, e.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"g"}, Partitions: 3, Retention: 30 * 24 * time.Hour}))
	check(t, e.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"g"}})) // by somebody who does not say
	nc := s.dial()
	js, err := jetstream.New(nc)
	check(t, err)
	check(t, js.DeleteStream(ctx, "holdfast-t-t"))
	_, err = e.Subscribe(ctx, driver.Subscription{Topic: "t", Group: "g", Instance: "one", Window: 1})
	check(t, err)
	st, err := js.Stream(ctx, "holdfast-t-t")
	check(t, err)
	if c := st.CachedInfo().Config; c.Metadata["holdfast-lanes"] != "3" || c.MaxAge != 30*24*time.Hour {
		t.Errorf("made anew: %s lanes, kept for %v", c.Metadata["holdfast-lanes"], c.MaxAge)
	}
}

// What makes a message another one is its ID and its source, to the letter.
func TestSimilarIDsAreNotTheSame(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, e.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"g"}}))
	ids := [][2]string{{"a", "b c"}, {"a b", "c"}, {"s", "x"}, {"s", "x "}, {"s", "x\n"}, {"s", "x\ny"}, {"s", "x y"}, {"s", "ü"}}
	for range 2 {
		for _, id := range ids {
			check(t, errors.Join(e.Publish(ctx, "t", []*driver.Message{{Source: id[0], ID: id[1]}})...))
		}
	}
	lag, err := e.Lag(ctx, "t", "g")
	check(t, err)
	if lag.Waiting != int64(len(ids)) {
		t.Errorf("of %d messages, published twice, there are %+v", len(ids), lag)
	}
}
