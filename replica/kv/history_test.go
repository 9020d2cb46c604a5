package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAWatchHasEveryChangeOnce(t *testing.T) {
	m := NewMachine(Config{})
	put(t, m, 0, "a", "1")
	w := m.Watch("a", 1)
	put(t, m, 0, "b", "2")
	put(t, m, 0, "a", "3", TTL(time.Second))
	do(t, m, Txn{Then: []Op{PutOp("a2", nil, 0), DeleteOp("a2"), DeleteOp("b")}})
	if _, err := apply(m, time.Second, encodeExpire()); err != nil {
		t.Fatal(err)
	}
	events, err := w.Next(t.Context())
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%d %s %s=%s", e.Revision(), e.Type, e.Item.Key, e.Item.Value))
	}
	if s := strings.Join(got, ", "); err != nil || s != "3 put a=3, 4 put a2=, 4 delete a2=, 5 expire a=3" {
		t.Errorf("%s, %v", s, err)
	}
	if w.Revision() != 5 {
		t.Errorf("the watch is at %d", w.Revision())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if events, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", events, err)
	}
}

func TestAWatchThatComesTooLateIsTold(t *testing.T) {
	m := NewMachine(Config{HistoryEvents: 3})
	slow, quick := m.Watch("", 0), m.Watch("", 0)
	for i := range 5 {
		put(t, m, 0, "a", fmt.Sprint(i))
		if events, err := quick.Next(t.Context()); err != nil || len(events) != 1 {
			t.Errorf("%v, %v", events, err)
		}
	}
	if _, err := slow.Next(t.Context()); !errors.Is(err, ErrCompacted) {
		t.Errorf("from the beginning: %v", err)
	}
	if _, err := m.Watch("", 1).Next(t.Context()); !errors.Is(err, ErrCompacted) {
		t.Errorf("after 1: %v", err)
	}
	if events, err := m.Watch("", 2).Next(t.Context()); err != nil || len(events) != 3 {
		t.Errorf("after 2: %v, %v", events, err)
	}
	// A transaction larger than the history is seen whole by whoever keeps up.
	var txn Txn
	for i := range 10 {
		txn.Then = append(txn.Then, PutOp(fmt.Sprint(i), nil, 0))
	}
	do(t, m, txn)
	if events, err := quick.Next(t.Context()); err != nil || len(events) != 10 {
		t.Errorf("%v, %v", events, err)
	}
	// What a restored member went through on the way is not known to it.
	s, _ := m.Snapshot()
	var b bytes.Buffer
	if err := errors.Join(s.Write(&b), m.Restore(&b)); err != nil {
		t.Fatal(err)
	}
	if _, err := quick.Next(t.Context()); !errors.Is(err, ErrCompacted) {
		t.Errorf("after a restore: %v", err)
	}
	late := m.Watch("", m.Stats().Revision)
	put(t, m, 0, "a", "")
	if events, err := late.Next(t.Context()); err != nil || len(events) != 1 {
		t.Errorf("a watch from the restored revision on: %v, %v", events, err)
	}
}

// A list on one member, and a watch from there on another one that is behind.
func TestAWatchFromARevisionThatIsNotReachedYetBeginsAfterIt(t *testing.T) {
	m := NewMachine(Config{})
	for i := range 3 {
		put(t, m, 0, "a", fmt.Sprint(i+1))
	}
	w := m.Watch("", 5)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if events, err := w.Next(ctx); !errors.Is(err, context.Canceled) { // it has begun
		t.Errorf("%v, %v", events, err)
	}
	for i := range 4 {
		put(t, m, 0, "a", fmt.Sprint(i+4))
	}
	events, err := w.Next(t.Context())
	if err != nil || len(events) != 2 || events[0].Revision() != 6 || events[1].Revision() != 7 || w.Revision() != 7 {
		t.Errorf("%v, %v, at %d", events, err, w.Revision())
	}
	if events, err := m.Watch("", 9).Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", events, err)
	}
}

func TestAHistoryIsBoundedInBytes(t *testing.T) {
	m := NewMachine(Config{HistoryBytes: 10_000})
	for range 100 {
		put(t, m, 0, "a", strings.Repeat("x", 1000))
	}
	if n := m.history.next - m.history.first; m.history.bytes > 10_000 || n != 8 {
		t.Errorf("%d bytes in %d events", m.history.bytes, n)
	}
}
