package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
)

// rawRabbit is amqp091-go as its documentation uses it: one connection, a channel that many publish on, deferred
// confirmations.
type rawRabbit struct {
	conn       *amqp.Connection
	attributes bool
}

func openRabbit(_ context.Context, b *broker.Broker, attributes bool) (side, error) {
	conn, err := amqp.Dial(b.URL)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &rawRabbit{conn, attributes}, nil
}

func (r *rawRabbit) close() { _ = r.conn.Close() }

func (r *rawRabbit) open(_ context.Context, topic string) (stream, error) {
	c, err := r.conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("channel: %w", err)
	}
	if err = c.Confirm(false); err == nil {
		err = c.ExchangeDeclare(topic, amqp.ExchangeFanout, true, false, false, false, nil)
	}
	if err == nil {
		_, err = c.QueueDeclare(topic, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	}
	if err == nil {
		err = c.QueueBind(topic, "", topic, false, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("declare: %w", err)
	}
	return &rabbitStream{r, topic, c}, nil
}

type rabbitStream struct {
	*rawRabbit
	topic   string
	channel *amqp.Channel
}

func (s *rabbitStream) send(ctx context.Context, m message) (*amqp.DeferredConfirmation, error) {
	p := amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: newID(), Body: m.data}
	if s.attributes {
		p.Headers = amqp.Table{}
		attributed(p.MessageId, m, "cloudEvents_", "", func(name, value string) { p.Headers[name] = value })
	} else {
		p.Headers = amqp.Table{"key": m.key}
	}
	return s.channel.PublishWithDeferredConfirmWithContext(ctx, s.topic, m.key, true, false, p) //nolint:wrapcheck // what is measured
}

var errNack = errors.New("nack")

func wait(ctx context.Context, c *amqp.DeferredConfirmation) error {
	ok, err := c.WaitContext(ctx)
	if err == nil && !ok {
		err = errNack
	}
	return err //nolint:wrapcheck // what is measured
}

func (s *rabbitStream) publish(ctx context.Context, m message) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := s.send(ctx, m)
	if err != nil {
		return err
	}
	return wait(ctx, c)
}

func (s *rabbitStream) publishAll(ctx context.Context, ms []message) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	confirms := make([]*amqp.DeferredConfirmation, len(ms))
	for i, m := range ms {
		var err error
		if confirms[i], err = s.send(ctx, m); err != nil {
			return err
		}
	}
	for _, c := range confirms {
		if err := wait(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// consume acknowledges each message by itself.
func (s *rabbitStream) consume(ctx context.Context, concurrency int, _ bool, handle func([]byte)) error {
	c, err := s.conn.Channel()
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	defer c.Close() //nolint:errcheck // it is not used again
	if err := c.Qos(window, 0, false); err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	deliveries, err := c.Consume(s.topic, group, false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Cancel(group, false) })
	defer stop()
	var wg sync.WaitGroup
	failed := make([]error, concurrency)
	for i := range concurrency {
		wg.Go(func() {
			for d := range deliveries {
				handle(d.Body)
				if err := d.Ack(false); err != nil {
					failed[i] = err
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

func (s *rabbitStream) close() { _ = s.channel.Close() }
