package queuetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// env is what a case works with.
type env struct {
	Engine
	cfg   Config
	topic string
	log   *logBuffer
}

// logBuffer is what apps log, shown when a case fails.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newEnv(t *testing.T, cfg Config) *env {
	_, name, _ := strings.Cut(t.Name(), "/")
	e := &env{
		Engine: cfg.New(t), cfg: cfg, log: &logBuffer{},
		topic: fmt.Sprintf("%.60s-%s", strings.ReplaceAll(name, "/", "-"), strings.ToLower(rand.Text()[:8])),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", e.log)
		}
	})
	return e
}

// longest is how long anything may take in this engine.
func (e *env) longest() time.Duration { return 2*e.cfg.Hold + e.cfg.Within }

func (e *env) ctx(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e.longest())
	t.Cleanup(cancel)
	return ctx
}

// client is one with a way of its own to the engine.
type client struct {
	driver.Engine
	Link
}

func (e *env) client(t *testing.T) *client {
	t.Helper()
	d, link := e.Open(t)
	t.Cleanup(func() {
		link.Thaw()
		link.Restore()
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &client{d, link}
}

// declared is a client and the case's topic with these groups.
func (e *env) declared(t *testing.T, groups ...string) *client {
	t.Helper()
	c := e.client(t)
	e.declare(t, c, groups...)
	return c
}

func (e *env) declare(t *testing.T, c *client, groups ...string) {
	t.Helper()
	e.succeeds(t, "declare", func(ctx context.Context) error {
		return c.Declare(ctx, driver.Topic{Name: e.topic, Groups: groups, Replicas: 1})
	})
}

// succeeds tries until it does: an engine that was restarted a moment ago may say no.
func (e *env) succeeds(t *testing.T, what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx := e.ctx(t)
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// until polls.
func (e *env) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx := e.ctx(t)
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, e.longest())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// message is number n of a key.
func message(key string, n int) *driver.Message {
	return &driver.Message{
		ID: fmt.Sprintf("%s-%d-%s", key, n, rand.Text()[:8]), Source: "queuetest", Type: "test", Key: key, Time: time.Now().UTC().Truncate(time.Microsecond),
		ContentType: "text/plain", Data: fmt.Appendf(nil, "%s %d", key, n),
	}
}

func messages(n int) []*driver.Message {
	ms := make([]*driver.Message, n)
	for i := range ms {
		ms[i] = message("", i)
	}
	return ms
}

// publish returns when all are confirmed, at the first attempt.
func (e *env) publish(t *testing.T, c *client, ms ...*driver.Message) {
	t.Helper()
	if err := errors.Join(c.Publish(e.ctx(t), e.topic, ms)...); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

// receiver is one of a group.
type receiver struct {
	driver.Receiver
	e *env
	t *testing.T
}

func (e *env) subscribe(t *testing.T, c *client, group string, change ...func(*driver.Subscription)) *receiver {
	t.Helper()
	s := driver.Subscription{Topic: e.topic, Group: group, Instance: strings.ToLower(rand.Text()[:8]), Window: 100, Hold: e.cfg.Hold}
	for _, f := range change {
		f(&s)
	}
	var r driver.Receiver
	e.succeeds(t, "subscribe", func(ctx context.Context) (err error) {
		r, err = c.Subscribe(ctx, s)
		return err
	})
	t.Cleanup(func() {
		c.Thaw()
		c.Restore()
		if err := r.Close(); err != nil {
			t.Errorf("close the receiver: %v", err)
		}
	})
	return &receiver{r, e, t}
}

func window(n int) func(*driver.Subscription) { return func(s *driver.Subscription) { s.Window = n } }
func ordered(s *driver.Subscription)          { s.Ordered = true }

// gather receives until n deliveries are there or ctx ends. Errors are those of an engine that is not well now.
func (r *receiver) gather(ctx context.Context, n int) []*driver.Delivery {
	var out []*driver.Delivery
	for len(out) < n && ctx.Err() == nil {
		ds, err := r.Receive(ctx, n-len(out))
		out = append(out, ds...)
		switch {
		case errors.Is(err, driver.ErrStopped):
			return out
		case err != nil && ctx.Err() == nil:
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return out
}

// want receives n.
func (r *receiver) want(n int) []*driver.Delivery {
	r.t.Helper()
	ds := r.gather(r.e.ctx(r.t), n)
	if len(ds) != n {
		r.t.Fatalf("received %d of %d within %v", len(ds), n, r.e.longest())
	}
	return ds
}

// distinct receives and acks until n have come that are not those of known, and returns all of their data, sorted.
func (r *receiver) distinct(n int, known ...*driver.Delivery) []string {
	r.t.Helper()
	seen := make(map[string]bool)
	for _, d := range known {
		seen[string(d.Message.Data)] = true
	}
	ctx := r.e.ctx(r.t)
	for n += len(seen); len(seen) < n; {
		ds := r.gather(ctx, 1)
		if len(ds) == 0 {
			r.t.Fatalf("received %d of %d within %v", len(seen), n, r.e.longest())
		}
		r.ack(ds...)
		for _, d := range ds {
			seen[string(d.Message.Data)] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// nothing checks that nothing comes for a while.
func (r *receiver) nothing(d time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), d)
	defer cancel()
	if ds := r.gather(ctx, 1); len(ds) > 0 {
		r.t.Fatalf("received %s, delivery %d", ds[0].Message.Data, ds[0].Count)
	}
}

// wait is for what takes its time, such as a handler; nothing is expected to have happened after it.
func wait(d time.Duration) { <-time.After(d) }

// awhile is for what must not happen: long enough for it to be seen.
func (e *env) awhile() time.Duration { return min(e.cfg.Hold/2, time.Second) }

func (r *receiver) ack(ds ...*driver.Delivery) {
	r.t.Helper()
	if err := r.Ack(r.e.ctx(r.t), ds); err != nil {
		r.t.Fatalf("ack: %v", err)
	}
}

// settled waits until nothing of the group is left.
func (e *env) settled(t *testing.T, c *client, group string) {
	t.Helper()
	e.until(t, "nothing is left of group "+group, func() bool {
		lag, err := c.Lag(e.ctx(t), e.topic, group)
		return err == nil && lag.Waiting == 0 && lag.Unsettled == 0
	})
}

// same compares a message with what was published.
func same(t *testing.T, got, want *driver.Message) {
	t.Helper()
	type fields struct{ ID, Source, Type, Key, ContentType string }
	g := fields{got.ID, got.Source, got.Type, got.Key, got.ContentType}
	w := fields{want.ID, want.Source, want.Type, want.Key, want.ContentType}
	if g != w || !got.Time.Equal(want.Time) || !bytes.Equal(got.Data, want.Data) || !maps.Equal(got.Attributes, want.Attributes) {
		t.Errorf("received %+v %v %v and %d bytes, published %+v %v %v and %d bytes",
			g, got.Time, got.Attributes, len(got.Data), w, want.Time, want.Attributes, len(want.Data))
	}
}

// texts are the data of deliveries, sorted.
func texts(ds []*driver.Delivery) []string {
	out := make([]string, len(ds))
	for i, d := range ds {
		out[i] = string(d.Message.Data)
	}
	slices.Sort(out)
	return out
}

func sent(ms []*driver.Message) []string {
	out := make([]string, len(ms))
	for i, m := range ms {
		out[i] = string(m.Data)
	}
	slices.Sort(out)
	return out
}
