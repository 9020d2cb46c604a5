package broker

import (
	"context"
	"errors"
)

func (b *Broker) startKafka(context.Context, string, bool) error {
	return errors.New("kafka: not yet")
}

func (b *Broker) startRabbit(context.Context, string, bool) error {
	return errors.New("rabbit: not yet")
}
