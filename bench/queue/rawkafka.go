package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
)

// rawKafka is franz-go as its documentation uses it.
type rawKafka struct {
	addrs      []string
	client     *kgo.Client // an idempotent producer, acks of all in-sync replicas, no linger
	attributes bool
}

func openKafka(_ context.Context, b *broker.Broker, attributes bool) (side, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs...), kgo.ProducerLinger(0))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &rawKafka{b.Addrs, client, attributes}, nil
}

func (r *rawKafka) close() { r.client.Close() }

func (r *rawKafka) open(ctx context.Context, topic string) (stream, error) {
	made, err := kadm.NewClient(r.client).CreateTopic(ctx, partitions, 1, nil, topic)
	if err = errors.Join(err, made.Err); err != nil {
		return nil, fmt.Errorf("topic: %w", err)
	}
	return &kafkaStream{r, topic}, nil
}

type kafkaStream struct {
	*rawKafka
	topic string
}

func (s *kafkaStream) record(m message) *kgo.Record {
	id := newID()
	r := &kgo.Record{Topic: s.topic, Key: []byte(m.key), Value: m.data}
	if s.attributes {
		attributed(id, m, "ce_", "content-type", func(name, value string) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		})
	} else {
		r.Headers = []kgo.RecordHeader{{Key: "id", Value: []byte(id)}}
	}
	return r
}

func (s *kafkaStream) publish(ctx context.Context, m message) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.client.ProduceSync(ctx, s.record(m)).FirstErr() //nolint:wrapcheck // what is measured
}

func (s *kafkaStream) publishAll(ctx context.Context, ms []message) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	records := make([]*kgo.Record, len(ms))
	for i, m := range ms {
		records[i] = s.record(m)
	}
	return s.client.ProduceSync(ctx, records...).FirstErr() //nolint:wrapcheck // what is measured
}

// consume marks what is handled, and commits the marks in the background, as the library does by itself.
func (s *kafkaStream) consume(ctx context.Context, concurrency int, _ bool, handle func([]byte)) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.addrs...), kgo.ConsumeTopics(s.topic), kgo.ConsumerGroup(s.topic+"-"+group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitMarks(), kgo.AutoCommitInterval(250*time.Millisecond))
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	defer client.Close()
	for ctx.Err() == nil {
		records := client.PollRecords(ctx, window).Records()
		work := make(chan *kgo.Record, len(records))
		for _, r := range records {
			work <- r
		}
		close(work)
		// What is polled is handled before more is, so that marks have no gaps below them.
		var wg sync.WaitGroup
		for range min(concurrency, len(records)) {
			wg.Go(func() {
				for r := range work {
					handle(r.Value)
				}
			})
		}
		wg.Wait()
		client.MarkCommitRecords(records...)
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	return client.CommitMarkedOffsets(end) //nolint:wrapcheck // what is measured
}

func (s *kafkaStream) close() {}
