package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
)

// ackers is how many acks wait for their confirmation at once: with half as many as may be unsettled the pull requests do
// not run dry.
const ackers = window / 2

// rawNATS is nats.go as its documentation uses it.
type rawNATS struct {
	conn       *nats.Conn
	js         jetstream.JetStream
	replicas   int
	attributes bool
	plain      bool // acks are not confirmed
}

func openNATS(_ context.Context, b *broker.Broker, attributes bool) (side, error) {
	conn, err := nats.Connect(b.URL)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &rawNATS{conn: conn, js: js, replicas: len(b.Servers), attributes: attributes}, nil
}

func (r *rawNATS) close() { r.conn.Close() }

func (r *rawNATS) open(ctx context.Context, topic string) (stream, error) {
	s, err := r.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: topic, Subjects: []string{topic}, Storage: jetstream.FileStorage, Replicas: r.replicas, Duplicates: 2 * time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: group, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxAckPending: window,
	})
	if err != nil {
		return nil, fmt.Errorf("consumer: %w", err)
	}
	// The replicas of a new stream have a leader a little later, and the first message a little after that.
	for {
		_, err := r.js.Publish(ctx, topic, nil)
		if err == nil {
			return &natsStream{r, topic, c}, s.Purge(ctx)
		}
		if !errors.Is(err, jetstream.ErrNoStreamResponse) && !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return nil, fmt.Errorf("first message: %w", err)
		}
	}
}

type natsStream struct {
	*rawNATS
	topic    string
	consumer jetstream.Consumer
}

func (s *natsStream) message(m message) (*nats.Msg, string) {
	id := newID()
	out := &nats.Msg{Subject: s.topic, Data: m.data, Header: nats.Header{}}
	if s.attributes {
		attributed(id, m, "ce-", "content-type", func(name, value string) { out.Header[name] = []string{value} })
	} else {
		out.Header["key"] = []string{m.key}
	}
	return out, id
}

func (s *natsStream) publish(ctx context.Context, m message) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	msg, id := s.message(m)
	_, err := s.js.PublishMsg(ctx, msg, jetstream.WithMsgID(id))
	return err //nolint:wrapcheck // what is measured
}

func (s *natsStream) publishAll(ctx context.Context, ms []message) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	acks := make([]jetstream.PubAckFuture, len(ms))
	for i, m := range ms {
		msg, id := s.message(m)
		var err error
		if acks[i], err = s.js.PublishMsgAsync(msg, jetstream.WithMsgID(id)); err != nil {
			return err //nolint:wrapcheck // what is measured
		}
	}
	for _, a := range acks {
		select {
		case <-a.Ok():
		case err := <-a.Err():
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (s *natsStream) consume(ctx context.Context, concurrency int, _ bool, handle func([]byte)) error {
	messages, err := s.consumer.Messages(jetstream.PullMaxMessages(window))
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	work, done := make(chan jetstream.Msg, concurrency), make(chan jetstream.Msg, window)
	var wg, acks sync.WaitGroup
	failed := make([]error, ackers)
	// Acks are confirmed, as Holdfast's are, beside the handlers, so that these do not wait for them.
	for i := range ackers {
		acks.Go(func() {
			for m := range done {
				if err := m.DoubleAck(context.WithoutCancel(ctx)); err != nil {
					failed[i] = err
				}
			}
		})
	}
	plain := make([]error, concurrency)
	var ended error
	for i := range concurrency {
		wg.Go(func() {
			for m := range work {
				handle(m.Data())
				if !s.plain {
					done <- m
					continue
				}
				if err := m.Ack(); err != nil {
					plain[i] = err
				}
			}
		})
	}
	for {
		m, err := messages.Next()
		if err != nil {
			if !errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				ended = err
			}
			break
		}
		work <- m
	}
	close(work)
	wg.Wait()
	close(done)
	acks.Wait()
	return errors.Join(errors.Join(failed...), errors.Join(plain...), ended, s.conn.Flush())
}

func (s *natsStream) close() {}
