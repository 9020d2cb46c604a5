package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-go/holdfast/internal/rabbittest"
)

func (b *Broker) startKafka(context.Context, string, Config) error {
	return errors.New("kafka: not yet")
}

func (b *Broker) startRabbit(ctx context.Context, dir string, cfg Config) error {
	server, err := rabbittest.Start(ctx, rabbittest.Config{Dir: dir})
	if err != nil {
		return fmt.Errorf("rabbitmq: %w", err)
	}
	b.Servers = append(b.Servers, rabbit{server})
	b.closers = append(b.closers, server.Close)
	addr, err := b.proxy(server.Addr(), cfg.Proxies)
	if err != nil {
		return err
	}
	b.at("amqp", []string{addr})
	return nil
}

type rabbit struct{ *rabbittest.Broker }

func (r rabbit) Freeze() { _ = r.Broker.Freeze() } // it may have ended by itself just now
func (r rabbit) Thaw()   { _ = r.Broker.Thaw() }
