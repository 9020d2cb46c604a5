package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// messageCases are about what becomes of a message on its way.
var messageCases = []testCase{
	{name: "Contents", run: contents},
	{name: "SizeIsBounded", run: sizeIsBounded},
	{name: "BatchKeepsOrder", run: batchKeepsOrder},
	{name: "NoSuchTopic", run: noSuchTopic},
	{name: "KnownIDs", run: knownIDs},
	{name: "DeadLetters", run: deadLetters},
	{name: "ManyDeadLetters", run: manyDeadLetters},
}

// contents: what is received is what was published, be it empty, foreign or long.
func contents(t *testing.T, e *env) {
	c := e.declared(t, "g")
	ms := []*driver.Message{
		message("plain", 0),
		{ID: "1", Source: "s", Type: "t", Time: time.Date(2001, 2, 3, 4, 5, 6, 789_000_000, time.UTC), ContentType: "application/json", Data: []byte("{}")},
		{ID: "2", Source: "s", Type: "t", Key: "", ContentType: "application/octet-stream", Data: []byte{}},
		{
			ID: "schlüssel/3 ?&=%20+\"", Source: "urn:søurce", Type: "тип", Key: "鍵 \r\n\t🗝", ContentType: "text/plain; charset=utf-8", Data: []byte("ünï ✓ 世界 🌍"),
			Attributes: map[string]string{"unicode": "Zürich, 東京\r\nX-Injected: yes", "empty": "", "blank": "  ", "percent": "100%41"},
		},
		{ID: "4", Source: "s", Type: "t", Data: []byte{0, 1, 0xff, 0xfe, '\n', 0}, Attributes: map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}},
		{
			ID: strings.Repeat("i", driver.MaxText), Source: strings.Repeat("s", driver.MaxText), Type: strings.Repeat("t", driver.MaxText),
			Key: strings.Repeat("k", driver.MaxKey), ContentType: "text/plain", Data: []byte("5"),
			Attributes: map[string]string{strings.Repeat("n", driver.MaxAttributeName): strings.Repeat("v", driver.MaxAttribute)},
		},
	}
	many := &driver.Message{ID: "6", Source: "s", Type: "t", Data: []byte("6"), Attributes: map[string]string{}}
	for i := range driver.MaxAttributes {
		many.Attributes[fmt.Sprintf("a%d", i)] = fmt.Sprint(i)
	}
	ms = append(ms, many)
	before := time.Now()
	e.publish(t, c, ms...)
	r := e.subscribe(t, c, "g")
	got := make(map[string]*driver.Delivery)
	ds := r.want(len(ms))
	for _, d := range ds {
		got[d.Message.ID] = d
	}
	for _, m := range ms {
		d := got[m.ID]
		if d == nil {
			t.Errorf("message %q did not come", m.ID)
			continue
		}
		same(t, d.Message, m)
		if !d.Stored.IsZero() && (d.Stored.Before(before.Add(-time.Minute)) || d.Stored.After(time.Now().Add(time.Minute))) {
			t.Errorf("stored at %v, published after %v", d.Stored, before)
		}
		if counts := c.Capabilities().Counts; d.Count != 1 && (counts || d.Count != 0) {
			t.Errorf("the first delivery has the count %d", d.Count)
		}
	}
	r.ack(ds...)
	e.settled(t, c, "g")
}

// sizeIsBounded: the largest message passes, a larger one is said to be too large, and others of its batch pass.
func sizeIsBounded(t *testing.T, e *env) {
	c := e.declared(t, "g")
	most := c.Capabilities().MaxMessage
	if most < 1<<10 {
		t.Fatalf("the engine takes %d bytes", most)
	}
	largest, larger, small := message("", 0), message("", 1), message("", 2)
	largest.Data = bytes.Repeat([]byte{'x'}, most)
	larger.Data = bytes.Repeat([]byte{'x'}, most+1)
	e.publish(t, c, largest)
	errs := c.Publish(e.ctx(t), e.topic, []*driver.Message{larger, small})
	if len(errs) != 2 || !errors.Is(errs[0], driver.ErrTooLarge) || errs[1] != nil {
		t.Fatalf("of one that is too large and one that is not: %v", errs)
	}
	want := []*driver.Message{largest, small}
	// What comes back from the dead letters may be somebody else's, and larger: it is taken whole or not at all.
	switch errs := c.PublishTo(e.ctx(t), e.topic, "g", []*driver.Message{larger}); {
	case errs == nil:
		want = []*driver.Message{larger, largest, small}
	case len(errs) != 1 || !errors.Is(errs[0], driver.ErrTooLarge):
		t.Errorf("to a group: %v", errs)
	}
	r := e.subscribe(t, c, "g")
	ds := r.want(len(want))
	slices.SortFunc(ds, func(a, b *driver.Delivery) int { return len(b.Message.Data) - len(a.Message.Data) })
	for i, m := range want {
		same(t, ds[i].Message, m)
	}
	r.ack(ds...)
	e.settled(t, c, "g")
}

// batchKeepsOrder: messages of one call with the same key come in the order of the call.
func batchKeepsOrder(t *testing.T, e *env) {
	c := e.declared(t, "g")
	if !c.Capabilities().Ordered {
		t.Log("the engine has no order")
		return
	}
	var ms []*driver.Message
	for i := range 200 {
		ms = append(ms, message(fmt.Sprintf("k%d", i%5), i/5))
	}
	e.publish(t, c, ms...)
	r := e.subscribe(t, c, "g", ordered, window(300))
	next := make(map[string]int)
	for _, d := range r.want(len(ms)) {
		if want := fmt.Sprintf("%s %d", d.Message.Key, next[d.Message.Key]); string(d.Message.Data) != want {
			t.Fatalf("received %s, want %s", d.Message.Data, want)
		}
		next[d.Message.Key]++
		r.ack(d)
	}
}

// noSuchTopic: publishing to what was not declared is an error after which declaring helps.
func noSuchTopic(t *testing.T, e *env) {
	c := e.client(t)
	m := message("", 0)
	errs := c.Publish(e.ctx(t), e.topic, []*driver.Message{m})
	if len(errs) != 1 || errs[0] == nil || errors.Is(errs[0], driver.ErrRefused) || errors.Is(errs[0], driver.ErrTooLarge) {
		t.Fatalf("published to a topic that does not exist: %v", errs)
	}
	e.declare(t, c, "g")
	e.publish(t, c, m)
	r := e.subscribe(t, c, "g")
	ds := r.want(1)
	same(t, ds[0].Message, m)
	r.ack(ds...)
}

// knownIDs: the same ID published again is one message, if the engine can, and is two to a group alone.
func knownIDs(t *testing.T, e *env) {
	c := e.declared(t, "g")
	m := message("", 0)
	e.publish(t, c, m)
	want := 1
	if c.Capabilities().Deduplicates > 0 {
		e.publish(t, c, m)
	}
	if errs := c.PublishTo(e.ctx(t), e.topic, "g", []*driver.Message{m}); errors.Join(errs...) != nil {
		t.Fatalf("to the group: %v", errs)
	}
	want++
	r := e.subscribe(t, c, "g")
	ds := r.want(want)
	for _, d := range ds {
		same(t, d.Message, m)
	}
	r.nothing(e.awhile())
	r.ack(ds...)
}

// deadLetters: they are there in order, seen without being changed, and gone when they are exhumed.
func deadLetters(t *testing.T, e *env) {
	c := e.declared(t, "g", "other")
	ms := []*driver.Message{message("a", 0), message("b", 1), message("", 2)}
	ms[1].Data = nil
	ms[1].Attributes = map[string]string{"reason": "täxt"}
	begun := time.Now()
	for _, m := range ms {
		if err := c.Bury(e.ctx(t), e.topic, "g", m); err != nil {
			t.Fatalf("bury: %v", err)
		}
	}
	list := func(after string, limit int) []driver.Dead {
		t.Helper()
		var ds []driver.Dead
		e.succeeds(t, "list the dead", func(ctx context.Context) (err error) {
			ds, err = c.Dead(ctx, e.topic, "g", after, limit)
			return err
		})
		return ds
	}
	for range 2 { // looking changes nothing
		ds := list("", 100)
		if len(ds) != len(ms) {
			t.Fatalf("%d letters of %d", len(ds), len(ms))
		}
		for i, d := range ds {
			same(t, d.Message, ms[i])
			if d.Position == "" || strings.ContainsAny(d.Position, " \t\n") {
				t.Errorf("position %q", d.Position)
			}
			if d.Buried.Before(begun.Add(-time.Minute)) || d.Buried.After(time.Now().Add(time.Minute)) {
				t.Errorf("buried at %v", d.Buried)
			}
		}
	}
	first := list("", 1)
	if len(first) != 1 {
		t.Fatalf("at most one: %d", len(first))
	}
	rest := list(first[0].Position, 100)
	if len(rest) != 2 {
		t.Fatalf("after the first: %d", len(rest))
	}
	same(t, first[0].Message, ms[0])
	same(t, rest[0].Message, ms[1])
	e.until(t, "the lag counts dead letters", func() bool {
		lag, err := c.Lag(e.ctx(t), e.topic, "g")
		return err == nil && lag.Dead == 3
	})
	if ds, err := c.Dead(e.ctx(t), e.topic, "other", "", 10); err != nil || len(ds) != 0 {
		t.Errorf("the other group has %d letters, %v", len(ds), err)
	}
	exhume := func(want int, positions ...string) {
		t.Helper()
		if n, err := c.Exhume(e.ctx(t), e.topic, "g", positions); err != nil || n != want {
			t.Errorf("exhumed %d, %v, want %d", n, err, want)
		}
	}
	exhume(1, rest[0].Position)
	exhume(0, rest[0].Position)
	left := list("", 100)
	if len(left) != 2 || left[0].Message.ID != ms[0].ID || left[1].Message.ID != ms[2].ID {
		t.Fatalf("left are %d", len(left))
	}
	exhume(2, left[0].Position, left[1].Position)
	if ds := list("", 100); len(ds) != 0 {
		t.Errorf("left are %d", len(ds))
	}
	r := e.subscribe(t, c, "g")
	r.nothing(e.awhile()) // a dead letter is no message of the group
}

// manyDeadLetters: they are listed page by page.
func manyDeadLetters(t *testing.T, e *env) {
	c := e.declared(t, "g")
	const n = 120
	for i := range n {
		if err := c.Bury(e.ctx(t), e.topic, "g", message("", i)); err != nil {
			t.Fatalf("bury: %v", err)
		}
	}
	var got []driver.Dead
	for after := ""; ; after = got[len(got)-1].Position {
		page, err := c.Dead(e.ctx(t), e.topic, "g", after, 50)
		if err != nil || len(page) > 50 {
			t.Fatalf("a page of %d, %v", len(page), err)
		}
		if len(page) == 0 {
			break
		}
		if got = append(got, page...); len(got) > n {
			t.Fatalf("more than %d", n)
		}
	}
	if len(got) != n {
		t.Fatalf("%d letters of %d", len(got), n)
	}
	for i, d := range got {
		if want := fmt.Sprintf(" %d", i); string(d.Message.Data) != want {
			t.Fatalf("letter %d is %q", i, d.Message.Data)
		}
	}
}
