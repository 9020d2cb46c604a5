package kafkaqueue

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// pump asks the broker for as much as there is room for.
func (r *receiver) pump() {
	defer func() {
		r.mu.Lock()
		r.pumping = false
		r.pass()
		r.mu.Unlock()
	}()
	for {
		r.mu.Lock()
		r.pass()
		room := r.s.Window - r.inHand - len(r.ready)
		if r.stopped || r.life.Err() != nil {
			r.mu.Unlock()
			return
		}
		if room <= 0 {
			r.mu.Unlock()
			select {
			case <-r.pumped:
			case <-r.life.Done():
			}
			continue
		}
		ctx, cancel := context.WithCancel(r.life)
		r.endPoll = cancel
		client := r.client
		r.mu.Unlock()
		fetches := client.PollRecords(ctx, room)
		ended := ctx.Err() != nil
		cancel()
		if !r.sort(client, fetches) && !ended {
			r.rest()
		}
	}
}

func (r *receiver) pass() {
	for _, b := range r.barriers {
		close(b)
	}
	r.barriers = nil
}

// rest is after a poll that brought nothing but errors.
func (r *receiver) rest() {
	t := time.NewTimer(100*time.Millisecond + rand.N(200*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.pumped: // by a barrier, or by an ack: then it is once more at least
	case <-r.life.Done():
	}
}

// sort makes deliveries of records, and reports whether there were any, or no error.
func (r *receiver) sort(client *kgo.Client, fetches kgo.Fetches) bool {
	n := fetches.NumRecords()
	items := make([]item, 0, n)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != client {
		return true
	}
	now := time.Now()
	fetches.EachRecord(func(rec *kgo.Record) {
		items = r.take(items, rec, now)
	})
	if r.stopped {
		r.ready, r.held = nil, nil
	}
	if len(r.ready) > 0 || len(r.held) > 0 {
		signal(r.wake)
	}
	for _, f := range fetches.Errors() {
		switch {
		case errors.Is(f.Err, context.Canceled):
		case errors.Is(f.Err, kerr.FencedInstanceID):
			r.work.Go(func() { r.outdone(client) })
			return n > 0
		case unknown(f.Err), kerr.IsRetriable(f.Err): // the client goes on by itself, or watch sees to it
			return n > 0
		default:
			r.trouble = wrong(r.life, f.Err, "receive from %s for %s", r.s.Topic, r.s.Group)
			signal(r.wake)
			return n > 0
		}
	}
	return true
}

// take makes a delivery of a record of a partition that is ours and was not settled before. The end of a transaction is none.
func (r *receiver) take(items []item, rec *kgo.Record, now time.Time) []item {
	at := place{rec.Topic, rec.Partition}
	p := r.parts[at]
	if p == nil || p.leaving {
		return items
	}
	number, ok := p.track(rec.Offset)
	if !ok { // the log was cut back: these are other messages than those before
		r.drop(p)
		delete(r.past, at)
		p = r.add(at)
		number, _ = p.track(rec.Offset)
	}
	for len(p.skip) > 0 && p.skip[0].end <= rec.Offset {
		p.skip = p.skip[1:]
	}
	if rec.Attrs.IsControl() || len(p.skip) > 0 && p.skip[0].first <= rec.Offset {
		p.settle(number)
		p.version++
		signal(r.commits)
		return items
	}
	if p.ahead() >= maxAhead && !p.paused {
		p.paused = true
		r.client.PauseFetchPartitions(map[string][]int32{at.topic: {at.partition}})
	}
	items = append(items, item{p: p, number: number})
	it := &items[len(items)-1]
	it.Delivery = driver.Delivery{Message: r.reader.message(rec), Stored: rec.Timestamp, Revoked: p.revoked, Ref: it}
	if rec.Topic == r.again {
		it.due = due(rec)
	}
	if it.due.After(now) {
		r.hold(it)
	} else {
		r.ready = append(r.ready, it)
	}
	return items
}
