// Package outboxtest is the suite that every outbox.Store must pass, and what tests of relays are made of.
package outboxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
)

// Config says how a store is tested.
type Config struct {
	// Open returns a store that is empty, and a function that adds events to it as one change, in their order.
	Open func(t *testing.T) (outbox.Store, func(ctx context.Context, topic string, messages ...*driver.Message) error)
	// Around runs each test, such as synctest.Test does. nil: they are run as they are.
	Around func(t *testing.T, test func(*testing.T))
}

// Run runs the suite.
func Run(t *testing.T, cfg Config) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, *box)
	}{
		{"EventsComeAsTheyWereAdded", asAdded},
		{"WhatIsDoneDoesNotComeAgain", done},
		{"AMarkIsOfANumberAndAnID", marks},
		{"LimitsAreKept", limits},
		{"WhatIsSkippedDoesNotCome", skips},
		{"NumbersGrowAndAreNotUsedAgain", numbers},
		{"WaitEndsWhenThereIsSomething", waits},
		{"CallsEndWithTheirContext", callsEnd},
		{"LagIsCounted", lag},
		{"ARelayLosesNothing", relayed},
	} {
		t.Run(c.name, func(t *testing.T) {
			test := func(t *testing.T) {
				store, add := cfg.Open(t)
				c.test(t, &box{store, add})
			}
			if cfg.Around == nil {
				test(t)
				return
			}
			cfg.Around(t, test)
		})
	}
}

// box is a store under test.
type box struct {
	outbox.Store
	put func(ctx context.Context, topic string, messages ...*driver.Message) error
}

func (b *box) add(t *testing.T, topic string, messages ...*driver.Message) {
	t.Helper()
	if err := b.put(t.Context(), topic, messages...); err != nil {
		t.Fatal(err)
	}
}

func (b *box) pending(t *testing.T, q outbox.Query) []outbox.Event {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 1000
	}
	if q.MaxBytes == 0 {
		q.MaxBytes = 1 << 20
	}
	events, err := b.Pending(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// ids are those of events, in order.
func ids(events []outbox.Event) string {
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = e.Message.ID
	}
	return strings.Join(out, " ")
}

// Message returns a message with an ID and a key.
func Message(id, key string) *driver.Message {
	return &driver.Message{ID: id, Key: key, Source: "test", Type: "test", Time: time.Unix(1_700_000_000, 0).UTC(), ContentType: "text/plain", Data: []byte("data of " + id)}
}

func asAdded(t *testing.T, b *box) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	want := []*driver.Message{
		{
			ID: "1", Key: "grüße 世界 '\"\\ %s", Source: "/shop?a=b", Type: "a.b.C", Time: time.Date(2031, 2, 3, 4, 5, 6, 123_456_000, time.UTC),
			ContentType: "application/json; charset=utf-8", Attributes: map[string]string{"traceparent": "00-1-2-01", "b": "line\nbreak \u0000 🌊"}, Data: all,
		},
		{ID: "2", Source: "s", Type: "t", Time: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)},
		{ID: "3 ", Key: " ", Source: "s", Type: "t", Time: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), Data: []byte("null")},
	}
	before := time.Now()
	b.add(t, "topic.one", want[:2]...)
	b.add(t, "topic-two_", want[2])
	got := b.pending(t, outbox.Query{})
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i, e := range got {
		m, w := e.Message, want[i]
		if m.ID != w.ID || m.Key != w.Key || m.Source != w.Source || m.Type != w.Type || !m.Time.Equal(w.Time) || m.ContentType != w.ContentType ||
			!maps.Equal(m.Attributes, w.Attributes) || !bytes.Equal(m.Data, w.Data) {
			t.Errorf("event %d\n %+v, want\n %+v", i, m, w)
		}
		if topic := []string{"topic.one", "topic.one", "topic-two_"}[i]; e.Topic != topic {
			t.Errorf("event %d is of topic %s, want %s", i, e.Topic, topic)
		}
		if e.Added.Before(before.Add(-time.Minute)) || e.Added.After(time.Now().Add(time.Minute)) {
			t.Errorf("event %d was added at %v", i, e.Added)
		}
	}
}

func done(t *testing.T, b *box) {
	b.add(t, "t", Message("1", "a"), Message("2", "a"), Message("3", ""), Message("4", "b"))
	events := b.pending(t, outbox.Query{})
	for range 2 {
		if err := b.Done(t.Context(), []uint64{events[1].Seq, events[2].Seq}); err != nil {
			t.Fatal(err)
		}
		if got := ids(b.pending(t, outbox.Query{})); got != "1 4" {
			t.Errorf("%s are pending, want 1 4", got)
		}
	}
	if err := errors.Join(b.Done(t.Context(), nil), b.Done(t.Context(), []uint64{events[3].Seq + 1000})); err != nil {
		t.Error(err)
	}
	if err := b.Done(t.Context(), []uint64{events[0].Seq, events[1].Seq, events[3].Seq}); err != nil {
		t.Fatal(err)
	}
	if got := b.pending(t, outbox.Query{}); len(got) > 0 {
		t.Errorf("%s are pending after all were done", ids(got))
	}
}

func marks(t *testing.T, b *box) {
	marker, ok := b.Store.(outbox.Marker)
	if !ok {
		return
	}
	odd := "i\"d, {}\\ 世界 '<&>"
	b.add(t, "t", Message("1", "a"), Message(odd, "a"), Message("3", ""), Message("4", "b"))
	events := b.pending(t, outbox.Query{})
	for range 2 {
		if err := marker.Mark(t.Context(), []outbox.Mark{
			{Seq: events[0].Seq, ID: "another"},
			{Seq: events[1].Seq, ID: odd},
			{Seq: events[2].Seq, ID: "4"},
			{Seq: events[3].Seq, ID: "3"},
			{Seq: events[3].Seq + 1000, ID: "1"},
		}); err != nil {
			t.Fatal(err)
		}
		if got := ids(b.pending(t, outbox.Query{})); got != "1 3 4" {
			t.Errorf("%s are pending, want 1 3 4", got)
		}
	}
	if err := marker.Mark(t.Context(), nil); err != nil {
		t.Error(err)
	}
	var all []outbox.Mark
	for _, e := range events {
		all = append(all, outbox.Mark{Seq: e.Seq, ID: e.Message.ID})
	}
	if err := marker.Mark(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if got := b.pending(t, outbox.Query{}); len(got) > 0 {
		t.Errorf("%s are pending after all were marked", ids(got))
	}
}

func limits(t *testing.T, b *box) {
	for i := range 10 {
		m := Message(fmt.Sprint(i), "")
		m.Data = make([]byte, 1000)
		b.add(t, "t", m)
	}
	for _, c := range []struct {
		limit, bytes int
		want         string
	}{{3, 1 << 20, "0 1 2"}, {1, 1 << 20, "0"}, {100, 2500, "0 1 2"}, {100, 1, "0"}, {2, 5000, "0 1"}, {100, 1 << 20, "0 1 2 3 4 5 6 7 8 9"}} {
		if got := ids(b.pending(t, outbox.Query{Limit: c.limit, MaxBytes: c.bytes})); got != c.want {
			t.Errorf("at most %d events, %d bytes: %s, want %s", c.limit, c.bytes, got, c.want)
		}
	}
}

func skips(t *testing.T, b *box) {
	odd := "ke\"y, {}\\ 世界 '"
	b.add(t, "t", Message("1", "a"), Message("2", odd), Message("3", ""), Message("4", "a"))
	b.add(t, "u", Message("5", "a"), Message("6", ""))
	events := b.pending(t, outbox.Query{})
	if len(events) != 6 {
		t.Fatalf("%d events", len(events))
	}
	for _, c := range []struct {
		skip outbox.Skip
		want string
	}{
		{outbox.Skip{Topics: []string{"t"}}, "5 6"},
		{outbox.Skip{Topics: []string{"u", "v"}}, "1 2 3 4"},
		{outbox.Skip{Topics: []string{"t", "u"}}, ""},
		{outbox.Skip{Keys: []outbox.Key{{Topic: "t", Key: "a"}}}, "2 3 5 6"},
		{outbox.Skip{Keys: []outbox.Key{{Topic: "t", Key: odd}, {Topic: "u", Key: odd}}}, "1 3 4 5 6"},
		{outbox.Skip{Seqs: []uint64{events[2].Seq, events[5].Seq, events[5].Seq + 77}}, "1 2 4 5"},
		{outbox.Skip{Topics: []string{"u"}, Keys: []outbox.Key{{Topic: "t", Key: "a"}}, Seqs: []uint64{events[1].Seq}}, "3"},
	} {
		if got := ids(b.pending(t, outbox.Query{Skip: c.skip})); got != c.want {
			t.Errorf("without %+v: %s, want %s", c.skip, got, c.want)
		}
		if got := ids(b.pending(t, outbox.Query{Skip: c.skip, Limit: 1})); got != strings.Split(c.want, " ")[0] {
			t.Errorf("the first without %+v: %s of %s", c.skip, got, c.want)
		}
	}
}

func numbers(t *testing.T, b *box) {
	last := uint64(0)
	for i := range 5 {
		b.add(t, "t", Message(fmt.Sprint(i, "a"), "k"), Message(fmt.Sprint(i, "b"), "k"))
		var seqs []uint64
		for _, e := range b.pending(t, outbox.Query{}) {
			if e.Seq <= last {
				t.Fatalf("number %d after %d", e.Seq, last)
			}
			last = e.Seq
			seqs = append(seqs, e.Seq)
		}
		if err := b.Done(t.Context(), seqs); err != nil { // the table is empty then
			t.Fatal(err)
		}
	}
}

func waits(t *testing.T, b *box) {
	for i := range 4 {
		if got := b.pending(t, outbox.Query{}); len(got) > 0 {
			t.Fatalf("%s are pending", ids(got))
		}
		go func() {
			if i > 1 {
				time.Sleep(300 * time.Millisecond) //nolint:forbidigo // it sleeps by then, if it ever does
			}
			if err := b.put(t.Context(), "t", Message(fmt.Sprint(i), "")); err != nil {
				t.Error(err)
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		var events []outbox.Event
		for len(events) == 0 {
			if err := b.Wait(ctx); err != nil {
				t.Fatalf("wait: %v", err)
			}
			events = b.pending(t, outbox.Query{})
		}
		cancel()
		if err := b.Done(t.Context(), []uint64{events[0].Seq}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	n := 0
	for ; ctx.Err() == nil; n++ {
		_ = b.Wait(ctx)
	}
	if n > 20 {
		t.Errorf("Wait was over %d times in 50ms although there was nothing", n)
	}
}

func callsEnd(t *testing.T, b *box) {
	b.add(t, "t", Message("1", ""))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Pending(over, outbox.Query{Limit: 1, MaxBytes: 1}); err == nil {
		t.Error("Pending with a context that is over")
	}
	if err := b.Wait(over); err == nil {
		t.Error("Wait with a context that is over")
	}
	if err := b.put(over, "t", Message("2", "")); err == nil {
		t.Error("an event was added with a context that is over")
	}
	if got := ids(b.pending(t, outbox.Query{})); got != "1" {
		t.Errorf("%s are pending, want 1", got)
	}
}

func lag(t *testing.T, b *box) {
	counter, ok := b.Store.(outbox.Counter)
	if !ok {
		return
	}
	if l, err := counter.Lag(t.Context()); err != nil || l.Pending != 0 || !l.Oldest.IsZero() {
		t.Errorf("%+v, %v of an empty store", l, err)
	}
	b.add(t, "t", Message("1", ""), Message("2", ""))
	events := b.pending(t, outbox.Query{})
	l, err := counter.Lag(t.Context())
	if err != nil || l.Pending != 2 || !l.Oldest.Equal(events[0].Added) {
		t.Errorf("%+v, %v; want 2 since %v", l, err, events[0].Added)
	}
}

// relayed: several add events, some of them of the same keys, while a relay publishes them.
func relayed(t *testing.T, b *box) {
	const adders, events = 4, 25
	pub := &Recorder{}
	relay := outbox.New(b.Store, pub, outbox.Config{Batch: 20})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- relay.Run(ctx) }()
	var wg sync.WaitGroup
	var keys []string
	for a := range adders {
		key := fmt.Sprint("key", a)
		keys = append(keys, key)
		wg.Go(func() {
			for i := range events {
				if err := b.put(t.Context(), "t", Message(fmt.Sprintf("%s-%04d", key, i), key), Message(fmt.Sprintf("%s none %d", key, i), "")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	deadline := time.Now().Add(30 * time.Second)
	for len(pub.Taken()) < 2*adders*events && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // a poll with a deadline
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, wrong := range pub.Ordered("t", keys, events) {
		t.Error(wrong)
	}
	first, doubles := pub.First()
	if len(first["t"]) != adders*events || doubles != 0 {
		t.Errorf("%d events without a key, want %d; %d doubles", len(first["t"]), adders*events, doubles)
	}
	if got := b.pending(t, outbox.Query{}); len(got) > 0 {
		t.Errorf("%d are pending after the relay has stopped: %.100s", len(got), ids(got))
	}
	if s := relay.Status(); s.Published != 2*adders*events || s.Marked != s.Published || s.Leading || !slices.Equal(s.Held, nil) {
		t.Errorf("%+v", s)
	}
}
