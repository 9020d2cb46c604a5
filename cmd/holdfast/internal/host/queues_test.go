//go:build unix

package host

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/resilience"
)

// measuring counts how often an engine is measured.
type measuring struct {
	driver.Engine
	times int
	err   error
}

func (m *measuring) Groups(ctx context.Context) ([]driver.Group, error) {
	m.times++
	if m.err != nil {
		return nil, m.err
	}
	return m.Engine.Groups(ctx)
}

// withQueues has a queue with a message and a dead letter in it.
func withQueues(t *testing.T, do func(q *queues, engine *measuring)) {
	synctest.Test(t, func(t *testing.T) {
		engine := &measuring{Engine: memqueue.New(memqueue.Config{})}
		q := newQueues("memory:", false)
		q.engine, q.queue = engine, queue.New(engine, queue.Config{Source: "test"})
		if err := engine.Declare(t.Context(), driver.Topic{Name: "orders.paid", Groups: []string{"mail"}}); err != nil {
			t.Fatal(err)
		}
		message := func(id string) *driver.Message {
			return &driver.Message{
				ID: id, Source: "test", Type: "paid", Data: []byte(`{"order": 1}`),
				Attributes: map[string]string{"traceparent": "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
			}
		}
		if err := errors.Join(engine.Publish(t.Context(), "orders.paid", []*driver.Message{message("a"), message("b")})...); err != nil {
			t.Fatal(err)
		}
		if err := engine.Bury(t.Context(), "orders.paid", "mail", message("c")); err != nil {
			t.Fatal(err)
		}
		do(q, engine)
		q.close()
	})
}

// Queues are measured while somebody looks, and not more often than that.
func TestQueuesAreMeasuredWhileSomebodyLooks(t *testing.T) {
	withQueues(t, func(q *queues, engine *measuring) {
		if got, missing := q.latest(); got != nil || missing != "" {
			t.Errorf("before anything was measured: %+v, %q", got, missing)
		}
		synctest.Wait()
		got, _ := q.latest()
		if len(got) != 1 || got[0].Lag != 2 || got[0].Waiting != 2 || got[0].Dead != 1 || got[0].Topic != "orders.paid" || got[0].Group != "mail" {
			t.Errorf("%+v", got)
		}
		for range 60 { // looks, over a minute
			q.latest()
			time.Sleep(time.Second) //nolint:forbidigo // in virtual time
		}
		if engine.times < 11 || engine.times > 13 {
			t.Errorf("measured %d times in a minute", engine.times)
		}
		before := engine.times
		time.Sleep(time.Hour) //nolint:forbidigo // in virtual time
		if engine.times != before {
			t.Errorf("nobody looks, and it was measured %d times", engine.times-before)
		}
		engine.err = errors.New("no server\nanswers")
		q.latest()
		synctest.Wait()
		if got, missing := q.latest(); len(got) != 1 || !strings.HasPrefix(missing, "queues: ") || strings.Contains(missing, "\n") {
			t.Errorf("while the engine is away: %+v, %q", got, missing)
		}
	})
}

func TestLettersOfGroups(t *testing.T) {
	withQueues(t, func(q *queues, _ *measuring) {
		letters, err := q.letters(t.Context(), "orders.paid", "mail")
		if err != nil {
			t.Fatal(err)
		}
		found, err := letters.List(t.Context(), "", 10)
		if err != nil || len(found) != 1 {
			t.Fatalf("%+v, %v", found, err)
		}
		l := letter(found[0])
		if l.ID != "c" || l.Data != `{"order": 1}` || l.Encoding != "text" || l.Size != 12 || l.Trace != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%+v", l)
		}
		_, err = q.letters(t.Context(), "orders.payd", "mail")
		if failure.CodeOf(err) != failure.NotFound || !strings.Contains(err.Error(), "did you mean orders.paid mail?") {
			t.Errorf("a slip: %v", err)
		}
	})
}

func TestLettersThatAreLargeOrNoText(t *testing.T) {
	text := letter(queue.DeadLetter{Message: &driver.Message{Data: []byte(strings.Repeat("ä", control.MaxDeadData))}})
	if len(text.Data) > control.MaxDeadData || text.Size != 2*control.MaxDeadData || strings.ContainsRune(text.Data, '\uFFFD') {
		t.Errorf("%d bytes of %d are shown", len(text.Data), text.Size)
	}
	binary := letter(queue.DeadLetter{Message: &driver.Message{Data: slices.Repeat([]byte{0xff}, control.MaxDeadData*2)}})
	if binary.Encoding != "base64" || len(binary.Data) > control.MaxDeadData {
		t.Errorf("%s of %d bytes", binary.Encoding, len(binary.Data))
	}
	for traceparent, want := range map[string]string{
		"": "", "00-x-y-01": "", "00-0af7651916cd43dd8448eb211c80319-b7-01": "", "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01": "",
	} {
		if got := traceOf(traceparent); got != want {
			t.Errorf("%q is of the trace %q", traceparent, got)
		}
	}
}

// What only processes know of is there too, and who receives.
func TestQueuesThatProcessesTellOf(t *testing.T) {
	got := known([]control.Queue{{Topic: "b", Group: "g", Lag: 4}}, said{
		"x-2": says(1, fault.State{Subscriptions: []fault.SubscriptionState{{Topic: "b", Group: "g", Lag: 9, Oldest: time.Minute, Slowed: true}, {Topic: "a", Group: "g", Lag: 3}}}),
		"x-1": says(1, fault.State{Subscriptions: []fault.SubscriptionState{{Topic: "b", Group: "g"}}}),
	})
	if len(got) != 2 || got[0].Topic != "a" || got[0].Lag != 3 || got[1].Lag != 4 || got[1].Oldest != time.Minute ||
		!slices.Equal(got[1].Slowed, []string{"x-2"}) || !slices.Equal(got[1].Subscribers, []string{"x-1", "x-2"}) {
		t.Errorf("%+v", got)
	}
	before := []control.Queue{{Topic: "a", Group: "g", Lag: 10, At: now}}
	if after := rates(before, []control.Queue{{Topic: "a", Group: "g", Lag: 0, At: now.Add(5 * time.Second)}}); after[0].Rate != -2 {
		t.Errorf("it changes by %v a second", after[0].Rate)
	}
}

// Each value of a policy comes from the last layer that says something.
func TestPoliciesInForce(t *testing.T) {
	file := policy.Service{Calls: policy.Calls{Policy: resilience.Policy{Timeout: 3 * time.Second, MaxAttempts: 5}}}
	p := inForce("orders", file, config.Entry{Revision: 7, Value: []byte("calls: {timeout: 1s, hedge: off}")}, "")
	got := make(map[string]control.PolicyValue)
	for _, v := range p.Values {
		got[v.Key] = v
	}
	for _, want := range []control.PolicyValue{
		{Key: "calls.timeout", Value: "1s", Source: control.SourceLive, Otherwise: "3s"},
		{Key: "calls.attempts", Value: "5", Source: control.SourceFile, Otherwise: "3"},
		{Key: "calls.hedge", Value: "off", Source: control.SourceLive},
		{Key: "calls.backoff.base", Value: "25ms", Source: control.SourceDefault},
	} {
		if got[want.Key] != want {
			t.Errorf("%+v, want %+v", got[want.Key], want)
		}
	}
	if p.Revision != 7 || p.Refused != nil {
		t.Errorf("%+v", p)
	}
	p = inForce("orders", file, config.Entry{Revision: 8, Value: []byte("calls: {timeout: 1, attemts: 2}")}, "") //nolint:misspell // that is what is wrong
	if len(p.Refused) != 2 || p.Values[0].Value != "3s" || p.Values[0].Source != control.SourceFile {
		t.Errorf("a policy that is wrong: %+v", p)
	}
}

// What programs say in their code is below file and live.
func TestPoliciesInCode(t *testing.T) {
	settings := func(of string) inCode {
		found, err := parseInCode([]byte(of))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	code := together([]string{"gateway", "orders", "mail"}, map[string]inCode{
		"gateway": settings(`{"policies": {"orders": [{"key": "calls.timeout", "value": "7s", "source": "code"}, {"key": "calls.attempts", "value": "5", "source": "file"},
			{"key": "calls.hedge", "value": "off", "source": "code"}, {"key": "serves.timeout", "value": "1ms", "source": "code"}]}}`),
		"orders": settings(`{"policies": {"orders": [{"key": "serves.timeout", "value": "9s", "source": "code"}]}}`),
		"mail":   settings(`{"policies": {"orders": [{"key": "calls.timeout", "value": "8s", "source": "code"}]}}`),
	})["orders"]
	got := make(map[string]control.PolicyValue)
	for _, v := range underneath(inForce("orders", policy.Service{}, config.Entry{}, "").Values, code) {
		got[v.Key] = v
	}
	for _, want := range []control.PolicyValue{
		{Key: "calls.timeout", Value: "7s", Source: control.SourceCode, Otherwise: "5s"},
		{Key: "calls.attempts", Value: "3", Source: control.SourceDefault},
		{Key: "calls.hedge", Value: "off", Source: control.SourceCode},
		{Key: "calls.hedge.share"},
		{Key: "serves.timeout", Value: "9s", Source: control.SourceCode, Otherwise: got["serves.timeout"].Otherwise},
	} {
		if want.Value == "" {
			if v, ok := got[want.Key]; ok {
				t.Errorf("%+v of what is off", v)
			}
		} else if got[want.Key] != want {
			t.Errorf("%+v, want %+v", got[want.Key], want)
		}
	}
	file := policy.Service{Calls: policy.Calls{Policy: resilience.Policy{Timeout: 3 * time.Second}}}
	if v := underneath(inForce("orders", file, config.Entry{}, "").Values, code)[0]; v.Value != "3s" || v.Source != control.SourceFile || v.Otherwise != "7s" {
		t.Errorf("%+v", v)
	}
}

func FuzzParseInCode(f *testing.F) {
	f.Add([]byte(`{"policies": {"orders": [{"key": "calls.timeout", "value": "7s", "source": "code"}]}}`))
	f.Add([]byte(`{"policies": 1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := parseInCode(b)
		for _, values := range found {
			for key, value := range values {
				if err != nil || key == "" || value == "" {
					t.Errorf("accepted %q: %q, %v", key, value, err)
				}
			}
		}
	})
}

// What is kept comes first, then what happens, without a gap and none twice.
func TestEventsThatAreKept(t *testing.T) {
	f := newFeed()
	for range 3 * control.MaxEvents {
		f.publish(control.Event{Message: "old"})
	}
	f.publish(control.Event{Message: "last"})
	kept, events, cancel := f.subscribeFrom(control.MaxEvents)
	defer cancel()
	f.publish(control.Event{Message: "new"})
	if len(kept) != control.MaxEvents || kept[len(kept)-1].Message != "last" || len(f.kept) > 2*control.MaxEvents {
		t.Errorf("%d kept, the last %q, of %d", len(kept), kept[len(kept)-1].Message, len(f.kept))
	}
	if e := <-events; e.Message != "new" || len(events) != 0 {
		t.Errorf("then %q", e.Message)
	}
	f.close()
	if kept, _, _ := f.subscribeFrom(1); len(kept) != 1 || kept[0].Message != "new" {
		t.Errorf("after the end: %+v", kept)
	}
}
