package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/holdfast-go/holdfast/internal/kafkatest"
	"github.com/holdfast-go/holdfast/internal/rabbittest"
)

func (b *Broker) startKafka(ctx context.Context, dir string, cfg Config) error {
	// Clients go where the broker tells them to, so it has to know of the proxy.
	var advertise string
	var err error
	if cfg.Proxies {
		if advertise, err = freeAddr(); err != nil {
			return err
		}
	}
	server, err := kafkatest.Start(ctx, kafkatest.Config{Dir: dir, Advertise: advertise})
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	b.Servers = append(b.Servers, kafka{server})
	b.closers = append(b.closers, server.Close)
	if !cfg.Proxies {
		b.at("kafka", []string{server.Addr()})
		return nil
	}
	b.at("kafka", []string{advertise})
	return b.proxyAt(advertise, server.Addr())
}

// Empty removes all that was published, where that is to be had more cheaply than by an engine that is new.
func (b *Broker) Empty(ctx context.Context) error {
	if b.Kind != Kafka {
		return nil
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs...))
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer c.Close()
	admin := kadm.NewClient(c)
	topics, err := admin.ListTopics(ctx)
	if err == nil {
		_, err = admin.DeleteTopics(ctx, topics.Names()...)
	}
	if err != nil {
		return fmt.Errorf("kafka: delete topics: %w", err)
	}
	return nil
}

type kafka struct{ *kafkatest.Broker }

func (k kafka) Freeze() { _ = k.Broker.Freeze() } // it may have ended by itself just now
func (k kafka) Thaw()   { _ = k.Broker.Thaw() }

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
