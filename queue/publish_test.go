package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/resilience"
)

// reason returns the reason of an error.
func reason(err error) string { return failure.From(err).Reason }

// TestPublishRetries with the same ID until the engine has confirmed.
func TestPublishRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		w.engine.Faults().LoseConfirms(3)
		ok(t, w.q.Publish(t.Context(), "orders", 1))
		if lag := w.lag("orders", "g"); lag.Waiting != 1 {
			t.Errorf("after lost confirmations the group has %+v", lag)
		}
		w.engine.Faults().Down()
		go func() {
			pass(5 * time.Second)
			w.engine.Faults().Up()
		}()
		begun := time.Now()
		ok(t, w.q.Publish(t.Context(), "orders", 2)) // within the 10 seconds that are the default
		if took := time.Since(begun); took < 5*time.Second || took > 8*time.Second {
			t.Errorf("it took %v", took)
		}
		w.engine.Faults().Freeze()
		go func() {
			pass(3 * time.Second)
			w.engine.Faults().Thaw()
		}()
		ok(t, w.q.Publish(t.Context(), "orders", 3))
		if lag := w.lag("orders", "g"); lag.Waiting != 3 {
			t.Errorf("the group has %+v", lag)
		}
	})
}

// declares keeps what an engine is asked to declare, and takes every message.
type declares struct {
	driver.Engine
	mu   sync.Mutex
	last map[string]driver.Topic
	many map[string]int
}

func (d *declares) Declare(_ context.Context, topic driver.Topic) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[topic.Name] = topic
	d.many[topic.Name]++
	return nil
}

func (d *declares) Publish(context.Context, string, []*driver.Message) []error { return nil }

// TestGroupsAmongManyTopics: what a program says of a topic is kept however many names came from outside before. Those are declared once
// as long as there is room for them, and then for each publication.
func TestGroupsAmongManyTopics(t *testing.T) {
	w := newWorld(t)
	d := &declares{Engine: w.engine, last: make(map[string]driver.Topic), many: make(map[string]int)}
	q := queue.New(d, queue.Config{Logger: w.logger()})
	publish := func(topic string) {
		t.Helper()
		ok(t, q.Publish(t.Context(), topic, []byte{}))
	}
	const room = 4096
	for i := range room {
		publish(fmt.Sprint("x", i))
	}
	for _, name := range []string{"late", "x0"} { // new, and known
		topic, err := queue.NewTopic[[]byte](q, name, queue.Groups("mail"), queue.Retention(time.Hour))
		ok(t, err)
		ok(t, topic.Publish(t.Context(), []byte{}))
		publish(name)
		if got := d.last[name]; !slices.Equal(got.Groups, []string{"mail"}) || got.Retention != time.Hour {
			t.Errorf("%s is declared as %+v", name, got)
		}
	}
	for _, name := range []string{"x1", "y", "y", "z", "z"} { // x0 is not one of them any more: there is room for y
		publish(name)
	}
	for name, want := range map[string]int{"late": 1, "x0": 2, "x1": 1, "y": 1, "z": 2} {
		if d.many[name] != want {
			t.Errorf("%s is declared %d times, want %d", name, d.many[name], want)
		}
	}
}

// TestPublishGivesUp with an error that says what is known.
func TestPublishGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		try := func(d time.Duration) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			begun := time.Now()
			err := w.q.Publish(ctx, "orders", 1)
			return time.Since(begun), err
		}
		w.engine.Faults().Down()
		took, err := try(3 * time.Second)
		if failure.CodeOf(err) != failure.Unavailable || reason(err) != queue.ReasonUnconfirmed || !strings.Contains(err.Error(), "the engine is down") || took > 3*time.Second {
			t.Errorf("down: %v after %v", err, took)
		}
		w.engine.Faults().Up()
		w.engine.Faults().Freeze()
		if took, err = try(time.Second); failure.CodeOf(err) != failure.DeadlineExceeded || reason(err) != queue.ReasonUnconfirmed || took > time.Second {
			t.Errorf("frozen: %v after %v", err, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := w.q.Publish(ctx, "orders", 1); failure.CodeOf(err) != failure.Canceled {
			t.Errorf("canceled: %v", err)
		}
		w.engine.Faults().Thaw()
		ok(t, w.q.Close())
		if err := w.q.Publish(t.Context(), "orders", 1); !errors.Is(err, queue.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

// TestPublishRefuses at once what will never be taken.
func TestPublishRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.engine = memqueue.New(memqueue.Config{MaxMessage: 100, MaxBytes: 2000})
		w.q = queue.New(w.engine, queue.Config{Logger: w.logger(), PublishTimeout: time.Second})
		begun := time.Now()
		for name, c := range map[string]struct {
			err    error
			code   failure.Code
			reason string
		}{
			"size":      {w.q.Publish(t.Context(), "orders", bytes.Repeat([]byte("x"), 101)), failure.InvalidArgument, queue.ReasonTooLarge},
			"value":     {w.q.Publish(t.Context(), "orders", make(chan int)), failure.InvalidArgument, ""},
			"nil":       {w.q.Publish(t.Context(), "orders", (*grpc_testing.SimpleRequest)(nil)), failure.InvalidArgument, ""},
			"topic":     {w.q.Publish(t.Context(), "no topic", 1), failure.InvalidArgument, ""},
			"ID":        {w.q.Publish(t.Context(), "orders", 1, queue.ID(strings.Repeat("x", 256))), failure.InvalidArgument, ""},
			"key":       {w.q.Publish(t.Context(), "orders", 1, queue.Key("\xff")), failure.InvalidArgument, ""},
			"attribute": {w.q.Publish(t.Context(), "orders", 1, queue.Attribute("Color", "red")), failure.InvalidArgument, ""},
			"its own":   {w.q.Publish(t.Context(), "orders", 1, queue.Attribute("id", "red")), failure.InvalidArgument, ""},
			"ours":      {w.q.Publish(t.Context(), "orders", 1, queue.Attribute("holdfastreplays", "1")), failure.InvalidArgument, ""},
			"time":      {w.q.Publish(t.Context(), "orders", 1, queue.Time(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))), failure.InvalidArgument, ""},
		} {
			if failure.CodeOf(c.err) != c.code || reason(c.err) != c.reason {
				t.Errorf("%s: %v, reason %q", name, c.err, reason(c.err))
			}
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v", took)
		}
		w.declare("orders", "g")
		var err error
		for range 10 {
			err = errors.Join(err, w.q.Publish(t.Context(), "orders", bytes.Repeat([]byte("x"), 100)))
		}
		if failure.CodeOf(err) != failure.ResourceExhausted || reason(err) != queue.ReasonFull {
			t.Errorf("full: %v", err)
		}
	})
}

// TestRequired: what the engine lacks is an error when it is asked for.
func TestRequired(t *testing.T) {
	engine := without{memqueue.New(memqueue.Config{})}
	q := queue.New(engine, queue.Config{Require: driver.Capabilities{Retains: true, Deduplicates: time.Hour, MaxMessage: 2 << 20}})
	_, err := queue.NewTopic[int](q, "orders")
	_, err2 := queue.NewSubscription(q, "orders", "g", queue.Handle(func(context.Context, queue.Message[int]) error { return nil }), queue.SubscriptionConfig{})
	for _, err := range []error{err, err2, q.Publish(t.Context(), "orders", 1)} {
		if failure.CodeOf(err) != failure.FailedPrecondition || reason(err) != queue.ReasonUnsupported || !errors.Is(err, driver.ErrUnsupported) ||
			!strings.Contains(err.Error(), "before a group existed") || !strings.Contains(err.Error(), "1h0m0s") || !strings.Contains(err.Error(), "2097152 bytes") {
			t.Errorf("got %v", err)
		}
	}
	q = queue.New(engine, queue.Config{})
	h := queue.Handle(func(context.Context, queue.Message[int]) error { return nil })
	if _, err := queue.NewSubscription(q, "orders", "g", h, queue.SubscriptionConfig{Ordered: true}); reason(err) != queue.ReasonUnsupported {
		t.Errorf("ordered: %v", err)
	}
	for name, cfg := range map[string]queue.SubscriptionConfig{
		"Hold": {Hold: time.Millisecond}, "Window": {Window: 3, Concurrency: 4}, "Attempts": {Retry: queue.Retry{Attempts: -1}}, "Timeout": {Timeout: -1},
	} {
		if _, err := queue.NewSubscription(q, "orders", "g", h, cfg); failure.CodeOf(err) != failure.InvalidArgument || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// without is an engine that can do little.
type without struct{ driver.Engine }

func (without) Capabilities() driver.Capabilities { return driver.Capabilities{MaxMessage: 1 << 20} }

// flaky is an engine without a sequence in its batches, some of whose messages fail at first.
type flaky struct {
	driver.Engine
	mu       sync.Mutex
	fail     map[string]int // how often, by data
	taken    []string
	declared int
}

func (f *flaky) Capabilities() driver.Capabilities {
	c := f.Engine.Capabilities()
	c.Sequenced = false
	return c
}

func (f *flaky) Declare(ctx context.Context, t driver.Topic) error {
	f.mu.Lock()
	f.declared++
	f.mu.Unlock()
	return f.Engine.Declare(ctx, t)
}

func (f *flaky) Publish(ctx context.Context, topic string, ms []*driver.Message) []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := make([]error, len(ms))
	for i, m := range ms {
		if f.fail[string(m.Data)] != 0 {
			f.fail[string(m.Data)]--
			errs[i] = errBroken
			continue
		}
		if errs[i] = errors.Join(f.Engine.Publish(ctx, topic, []*driver.Message{m})...); errs[i] == nil {
			f.taken = append(f.taken, string(m.Data))
		}
	}
	return errs
}

// TestBatchKeepsOrder: a message that fails is not overtaken by those behind it with its key; others go on.
func TestBatchKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		f := &flaky{Engine: w.engine, fail: map[string]int{`"a0"`: 2, `"b1"`: 1000, `"c"`: 1}}
		q := queue.New(f, queue.Config{Logger: w.logger(), PublishTimeout: 5 * time.Second})
		topic, err := queue.NewTopic[string](q, "orders", queue.Groups("g"))
		ok(t, err)
		err = topic.PublishAll(t.Context(), []string{"a0", "b0", "a1", "b1", "a2", "b2", "c", "d"}, func(s string) []queue.PublishOption {
			if len(s) == 1 {
				return nil
			}
			return []queue.PublishOption{queue.Key(s[:1])}
		})
		if code := failure.CodeOf(err); code != failure.Unavailable {
			t.Errorf("got %v", err)
		}
		at := func(s string) int { return slices.Index(f.taken, fmt.Sprintf("%q", s)) }
		if len(f.taken) != 6 || at("a0") > at("a1") || at("a1") > at("a2") || at("b0") < 0 || at("c") < 0 || at("d") < 0 {
			t.Errorf("taken %v", f.taken)
		}
		if f.declared < 3 {
			t.Errorf("declared %d times although things failed", f.declared)
		}
	})
}

// TestPublishMessages: errors stand where their messages do.
func TestPublishMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		m := func(id, key string) *driver.Message {
			return &driver.Message{ID: id, Source: "s", Key: key, Data: []byte(id)}
		}
		if errs := w.q.PublishMessages(t.Context(), "orders", []*driver.Message{m("1", "a"), m("2", "")}); errs != nil {
			t.Errorf("all are valid: %v", errs)
		}
		errs := w.q.PublishMessages(t.Context(), "orders", []*driver.Message{m("3", "a"), m("", "b"), m("4", "b"), m("5", ""), m("", ""), m("6", "")})
		if len(errs) != 6 || errs[0] != nil || failure.CodeOf(errs[1]) != failure.InvalidArgument || failure.CodeOf(errs[2]) != failure.Aborted ||
			errs[3] != nil || failure.CodeOf(errs[4]) != failure.InvalidArgument || errs[5] != nil {
			t.Errorf("got %v", errs)
		}
		if lag := w.lag("orders", "g"); lag.Waiting != 5 {
			t.Errorf("lag %+v", lag)
		}
	})
}

// TestWipedEngine: topics and their groups are declared again.
func TestWipedEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		topic, err := queue.NewTopic[int](w.q, "orders", queue.Groups("g"))
		ok(t, err)
		ok(t, topic.Publish(t.Context(), 1))
		w.engine.Faults().Wipe()
		ok(t, w.q.Publish(t.Context(), "orders", 2)) // not through the Topic
		if lag := w.lag("orders", "g"); lag.Waiting != 1 {
			t.Errorf("lag %+v", lag)
		}
	})
}

// TestEncodings: what goes in comes out, whatever it is.
func TestEncodings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "proto", "bytes", "json")
		w.declare("bytes", "g")
		w.declare("json", "g")
		var got journal
		pb := &grpc_testing.SimpleRequest{ResponseSize: 7, FillUsername: true}
		w.run(w.q, "orders", "g", queue.Handle(func(_ context.Context, m queue.Message[*grpc_testing.SimpleRequest]) error {
			got.add(fmt.Sprint(m.Type, " ", m.Value.GetResponseSize(), m.Value.GetFillUsername()))
			return nil
		}), queue.SubscriptionConfig{Concurrency: 1})
		ok(t, w.q.Publish(t.Context(), "orders", pb))
		ok(t, w.q.Publish(t.Context(), "orders", &grpc_testing.SimpleRequest{})) // no bytes at all
		for _, err := range w.engine.Publish(t.Context(), "orders", []*driver.Message{{
			ID: "1", Source: "s", ContentType: "application/json; charset=utf-8", Data: []byte(`{"responseSize":9,"unknown":1}`),
		}}) {
			ok(t, err)
		}
		w.run(w.q, "bytes", "g", queue.Handle(func(_ context.Context, m queue.Message[[]byte]) error {
			got.add(fmt.Sprintf("%q", m.Value))
			return nil
		}), queue.SubscriptionConfig{Concurrency: 1})
		buffer := []byte{0, 0xff}
		ok(t, w.q.Publish(t.Context(), "bytes", buffer))
		buffer[0] = 1 // the caller's again
		ok(t, w.q.Publish(t.Context(), "bytes", []byte(nil)))
		w.run(w.q, "json", "g", queue.Handle(func(_ context.Context, m queue.Message[struct{ A []int }]) error {
			got.add(fmt.Sprint(m.Value))
			return nil
		}), queue.SubscriptionConfig{Concurrency: 1})
		ok(t, w.q.Publish(t.Context(), "json", struct{ A []int }{[]int{1, 2}}))
		ok(t, w.q.Publish(t.Context(), "json", pb)) // which is no JSON
		synctest.Wait()
		want := []string{"grpc.testing.SimpleRequest 7 true", "grpc.testing.SimpleRequest 0 false", " 9 false", `"\x00\xff"`, `""`, "{[1 2]}"}
		for i, s := range want {
			want[i] = strings.ReplaceAll(s, " ", "")
		}
		var all []string
		for _, s := range got.all() {
			all = append(all, strings.ReplaceAll(s, " ", ""))
		}
		slices.Sort(want)
		slices.Sort(all)
		for i, s := range all {
			all[i] = strings.ReplaceAll(s, "{[12]}", "{[12]}")
		}
		if !slices.Equal(all, want) {
			t.Errorf("handled %q, want %q", all, want)
		}
		if letters := w.dead("json", "g"); len(letters) != 1 || !strings.Contains(letters[0].LastError, "application/protobuf") {
			t.Errorf("letters %+v", letters)
		}
	})
}

// TestPropagation: what is published in a handler belongs to the trace, the tenant and the criticality of what it handles.
func TestPropagation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const parent, state = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=1"
		w := newWorld(t)
		w.declare("first", "g")
		w.declare("second", "g")
		w.run(w.q, "first", "g", queue.Handle(func(ctx context.Context, _ queue.Message[int]) error {
			return w.q.Publish(ctx, "second", 2)
		}), queue.SubscriptionConfig{})
		var got journal
		w.run(w.q, "second", "g", queue.Handle(func(ctx context.Context, m queue.Message[int]) error {
			p, s := queue.TraceParent(ctx)
			r, incoming := resilience.RequestOf(ctx)
			got.add(fmt.Sprint(p, s, r.Criticality, r.Tenant, incoming, len(m.Attributes)))
			return nil
		}), queue.SubscriptionConfig{})
		ctx := queue.WithTraceParent(resilience.WithTenant(resilience.WithCriticality(t.Context(), resilience.Sheddable), "acme"), parent, state)
		ok(t, w.q.Publish(ctx, "first", 1))
		synctest.Wait()
		if all := got.all(); !slices.Equal(all, []string{fmt.Sprint(parent, state, resilience.Sheddable, "acme", true, 2)}) {
			t.Errorf("handled %v", all)
		}
	})
}

// TestReplayTwice: of letters that fail again each is replayed once.
func TestReplayTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.declare("orders", "g")
		w.run(w.q, "orders", "g", queue.Handle(func(context.Context, queue.Message[int]) error { return queue.Reject(errBroken) }), queue.SubscriptionConfig{})
		for i := range 130 {
			ok(t, w.q.Publish(t.Context(), "orders", i))
		}
		synctest.Wait()
		letters := w.q.DeadLetters("orders", "g")
		if n, err := letters.ReplayAll(t.Context()); n != 130 || err != nil {
			t.Errorf("replayed %d, %v", n, err)
		}
		synctest.Wait()
		all := w.dead("orders", "g")
		if len(all) != 130 || slices.ContainsFunc(all, func(l queue.DeadLetter) bool { return l.Replays != 1 }) {
			t.Errorf("%d letters", len(all))
		}
		if n, err := letters.Replay(t.Context(), all[3].Position, "999999"); n != 1 || failure.CodeOf(err) != failure.NotFound {
			t.Errorf("replayed %d, %v", n, err)
		}
		synctest.Wait()
		if n, err := letters.DiscardAll(t.Context()); n != 130 || err != nil {
			t.Errorf("discarded %d, %v", n, err)
		}
		if _, err := w.q.DeadLetters("a b", "g").List(t.Context(), "", 1); failure.CodeOf(err) != failure.InvalidArgument {
			t.Errorf("a name with a space: %v", err)
		}
	})
}

// TestSilentEngine: everybody who publishes to an engine that does not answer gives up at its own deadline.
func TestSilentEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.engine.Faults().Freeze()
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				own := time.Duration(i+1) * 300 * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), own)
				defer cancel()
				begun := time.Now()
				err := w.q.Publish(ctx, "orders", 1)
				if took := time.Since(begun); failure.CodeOf(err) != failure.DeadlineExceeded || took > own {
					t.Errorf("%v after %v, and had %v", err, took, own)
				}
			})
		}
		wg.Wait()
	})
}
