package kafkaqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// producing are the options of the producer: idempotent, and confirmed by all replicas that are in sync, as is the client's
// default. Records wait for each other only as long as a request is under way.
func (d *Driver) producing() []kgo.Opt {
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0), kgo.ProduceRequestTimeout(produceTimeout),
		kgo.RecordDeliveryTimeout(deliveryTimeout), kgo.UnknownTopicRetries(2), kgo.ProducerBatchMaxBytes(int32(d.batch())), //nolint:gosec // Validate bounds it
		kgo.MaxBufferedRecords(maxBuffered / perRecord),
	}
}

// perRecord is what a message takes beside its data.
const perRecord = 64

// Publish implements driver.Engine.
func (d *Driver) Publish(ctx context.Context, topic string, messages []*driver.Message) []error {
	if err := checkTopic(topic); err != nil {
		return same(err, len(messages))
	}
	return d.send(ctx, topic, messages, nil, nil)
}

// PublishTo implements driver.Engine.
func (d *Driver) PublishTo(ctx context.Context, topic, group string, messages []*driver.Message) []error {
	return d.sendTo(ctx, topic, group, messages, nil)
}

func (d *Driver) sendTo(ctx context.Context, topic, group string, messages []*driver.Message, extra []kgo.RecordHeader) []error {
	if err := d.ensureGroup(ctx, topic, group); err != nil {
		return same(wrong(ctx, err, "publish to group %s of %s", group, topic), len(messages))
	}
	return d.send(ctx, againTopic(topic, group), messages, extra, nil)
}

// Bury implements driver.Engine. Each letter has a key of its own, so that exhuming one leaves a later one of the same
// message alone. What came from elsewhere may be larger than what we send, since brokers measure batches that are compressed:
// cut is better than handled for ever.
func (d *Driver) Bury(ctx context.Context, topic, group string, m *driver.Message) error {
	if err := d.ensureGroup(ctx, topic, group); err != nil {
		return wrong(ctx, err, "bury a letter of group %s of %s", group, topic)
	}
	key := []byte(rand.Text())
	for room := min(len(m.Data), d.cfg.MaxMessage); ; room /= 2 {
		err := errors.Join(d.send(ctx, deadTopic(topic, group), []*driver.Message{driver.CutTo(m, room)}, nil, key)...)
		if room == 0 || !errors.Is(err, driver.ErrTooLarge) {
			return err
		}
	}
}

func same(err error, n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// sending is one call under way. It is used again when all of its records are confirmed; if the caller gave up, or one of
// them failed, the client may still have a hold of it.
type sending struct {
	records  []kgo.Record
	written  writer                     // their keys and headers
	promises []func(*kgo.Record, error) // by index
	size     int64
	done     chan struct{} // has room for one

	mu      sync.Mutex
	left    int
	pending []bool
	errs    []error // nil while none failed
	release func(int64)
}

func (s *sending) promise(i int) func(*kgo.Record, error) {
	for len(s.promises) <= i {
		n := len(s.promises)
		s.promises = append(s.promises, func(_ *kgo.Record, err error) { s.finish(n, err) })
	}
	return s.promises[i]
}

func (s *sending) finish(i int, err error) {
	s.mu.Lock()
	s.pending[i] = false
	if err != nil {
		if s.errs == nil {
			s.errs = make([]error, len(s.pending))
		}
		s.errs[i] = err
	}
	s.left--
	last, release, size := s.left == 0, s.release, s.size
	s.mu.Unlock()
	if last {
		release(size)
		s.done <- struct{}{}
	}
}

// send returns when all are confirmed or ctx ends. The context of the caller is not that of the records: the client would
// fail all that wait for the same partition when the first of them is given up.
func (d *Driver) send(ctx context.Context, topic string, messages []*driver.Message, extra []kgo.RecordHeader, key []byte) []error {
	if len(messages) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return same(wrong(ctx, err, "publish to %s", topic), len(messages))
	}
	var size int64
	for _, m := range messages {
		size += int64(len(m.Data)) + perRecord
	}
	size = min(size, maxBuffered)
	if err := d.buffered.Acquire(ctx, size); err != nil {
		return same(wrong(ctx, fmt.Errorf("%w: too many messages wait to be confirmed", driver.ErrFull), "publish to %s", topic), len(messages))
	}
	s, ok := d.sendings.Get().(*sending)
	if !ok {
		s = &sending{done: make(chan struct{}, 1)}
	}
	n := len(messages)
	s.left, s.size, s.errs, s.release = n, size, nil, d.buffered.Release
	s.records = slices.Grow(s.records[:0], n)[:n]
	s.pending = slices.Grow(s.pending[:0], n)[:n]
	s.promise(n - 1)
	for i, m := range messages {
		s.pending[i] = true
		s.records[i] = kgo.Record{Topic: topic, Value: m.Data, Headers: s.written.write(m, extra)}
		switch {
		case key != nil:
			s.records[i].Key = key
		case m.Key != "":
			s.records[i].Key = s.written.bytes(m.Key)
		}
		if m.Data == nil {
			s.records[i].Value = []byte{} // none at all would be a tombstone
		}
	}
	for i, m := range messages {
		if len(m.Data) > d.cfg.MaxMessage {
			s.finish(i, fmt.Errorf("%w: %d bytes, %d is the most", driver.ErrTooLarge, len(m.Data), d.cfg.MaxMessage))
			continue
		}
		d.producer.TryProduce(context.Background(), &s.records[i], s.promise(i))
	}
	select {
	case <-s.done:
		return d.sent(ctx, topic, s)
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, n)
	for i := range errs {
		switch {
		case s.pending[i]:
			errs[i] = wrong(ctx, ctx.Err(), "publish to %s: not confirmed", topic)
		case s.errs != nil:
			errs[i] = wrong(ctx, s.errs[i], "publish to %s", topic)
		}
	}
	return errs
}

// sent is the outcome of records that are all done.
func (d *Driver) sent(ctx context.Context, topic string, s *sending) []error {
	if s.errs == nil {
		clear(s.records)
		s.written.clear()
		d.sendings.Put(s)
		return nil
	}
	for i, err := range s.errs {
		if err == nil {
			continue
		}
		if unknown(err) {
			d.lost(topic)
		}
		s.errs[i] = wrong(ctx, err, "publish to %s", topic)
	}
	return s.errs
}

// dueAt is the header of a message that is to be delivered later.
func dueAt(after time.Duration) []kgo.RecordHeader {
	if after <= 0 {
		return nil
	}
	return []kgo.RecordHeader{{Key: dueHeader, Value: strconv.AppendInt(nil, time.Now().Add(after).UnixMilli()+1, 10)}}
}
