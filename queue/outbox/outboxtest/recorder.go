package outboxtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// Recorder is a Publisher that remembers what it confirmed, and keeps the contract of queue.Queue.PublishMessages: after a
// message that failed none of its key is taken. Its zero value takes everything.
type Recorder struct {
	// Fail, if not nil, says what becomes of a message: nil takes it. It may block.
	Fail func(ctx context.Context, topic string, m *driver.Message) error
	// After, if not nil, is called when a batch was taken, before PublishMessages returns: errors are returned instead, though
	// all was taken.
	After func(ctx context.Context, topic string) error

	mu    sync.Mutex
	taken []Taken
}

// Taken is a message that was taken.
type Taken struct {
	Topic, Key, ID string
	Message        *driver.Message
}

// PublishMessages implements outbox.Publisher.
func (r *Recorder) PublishMessages(ctx context.Context, topic string, messages []*driver.Message) []error {
	errs := make([]error, len(messages))
	failed := false
	behind := make(map[string]bool)
	for i, m := range messages {
		switch {
		case ctx.Err() != nil:
			errs[i] = ctx.Err()
		case m.Key != "" && behind[m.Key]:
			errs[i] = failure.New(failure.Aborted, "not tried, since an earlier message with its key is not confirmed")
		case r.Fail != nil:
			errs[i] = r.Fail(ctx, topic, m)
		}
		if errs[i] != nil {
			failed = true
			behind[m.Key] = true
			continue
		}
		r.mu.Lock()
		r.taken = append(r.taken, Taken{topic, m.Key, m.ID, m})
		r.mu.Unlock()
	}
	if r.After != nil {
		if err := r.After(ctx, topic); err != nil {
			for i := range errs {
				errs[i] = err
			}
			return errs
		}
	}
	if !failed {
		return nil
	}
	return errs
}

// Taken returns what was taken, in order.
func (r *Recorder) Taken() []Taken {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Taken(nil), r.taken...)
}

// First returns the IDs of each topic and key in the order in which they were first taken, and how many were taken again. Those
// without a key are under their topic alone.
func (r *Recorder) First() (ids map[string][]string, doubles int) {
	ids = make(map[string][]string)
	seen := make(map[string]bool)
	for _, t := range r.Taken() {
		if seen[t.ID] {
			doubles++
			continue
		}
		seen[t.ID] = true
		name := t.Topic
		if t.Key != "" {
			name += "/" + t.Key
		}
		ids[name] = append(ids[name], t.ID)
	}
	return ids, doubles
}

// Ordered returns what is wrong with the first deliveries of keys whose IDs are "KEY-0000", "KEY-0001" and so on, n of each.
func (r *Recorder) Ordered(topic string, keys []string, n int) []string {
	var wrong []string
	first, _ := r.First()
	for _, key := range keys {
		got := first[topic+"/"+key]
		if len(got) != n {
			wrong = append(wrong, fmt.Sprintf("%d events of key %s were published, want %d", len(got), key, n))
		}
		for i, id := range got {
			if want := fmt.Sprintf("%s-%04d", key, i); id != want {
				wrong = append(wrong, fmt.Sprintf("key %s: the event number %d was %s", key, i, id))
				break
			}
		}
	}
	return wrong
}
