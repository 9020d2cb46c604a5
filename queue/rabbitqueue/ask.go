package rabbitqueue

import (
	"context"
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
)

// asker asks the broker things on a channel of its own. It is for one goroutine.
type asker struct {
	e    *Engine
	conn *connection
	ch   *amqp.Channel
}

// ask runs f on the connection that does not publish, and waits for it no longer than ctx. What it waits for then goes on
// until the broker answers or the connection ends, so f leaves alone what its caller has.
func (e *Engine) ask(ctx context.Context, f func(context.Context, *asker) error) error {
	conn, err := e.consume.get(ctx)
	if err != nil {
		return err
	}
	select {
	case e.asks <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	answer := make(chan error, 1)
	if !e.spawn(func() {
		defer func() { <-e.asks }()
		a := &asker{e: e, conn: conn}
		err := a.open()
		if err == nil {
			err = f(ctx, a)
		}
		answer <- explain(err)
		if a.ch != nil {
			_ = a.ch.Close() // also if it is closed already
		}
	}) {
		<-e.asks
		return errClosed
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// open opens a channel, in place of one that is closed. If that fails the closed one stays, and answers so.
func (a *asker) open() error {
	ch, err := a.conn.amqp.Channel()
	if err == nil {
		a.ch = ch
	}
	return err
}

// passive turns the answer to a question whether something exists into yes or no. The broker closes the channel with a no.
func (a *asker) passive(err error) (bool, error) {
	var e *amqp.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &e) && e.Server && e.Code == amqp.NotFound:
		return false, a.open()
	}
	return false, err
}

// queue asks whether a queue exists, and for what it has.
func (a *asker) queue(name string) (q amqp.Queue, ok bool, err error) {
	q, err = a.ch.QueueDeclarePassive(name, true, false, false, false, nil)
	ok, err = a.passive(err)
	return q, ok, err
}

// exchange asks whether an exchange exists.
func (a *asker) exchange(name string) (bool, error) {
	return a.passive(a.ch.ExchangeDeclarePassive(name, amqp.ExchangeDirect, true, false, false, false, nil))
}
