package outbox_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/queue/outbox/outboxtest"
)

func TestMemory(t *testing.T) {
	outboxtest.Run(t, outboxtest.Config{
		Around: synctest.Test,
		Open: func(*testing.T) (outbox.Store, func(context.Context, string, ...*driver.Message) error) {
			m := new(outboxtest.Memory)
			return m, func(ctx context.Context, topic string, messages ...*driver.Message) error {
				if ctx.Err() == nil {
					for _, message := range messages {
						m.Add(outbox.Event{Topic: topic, Message: message})
					}
				}
				return ctx.Err()
			}
		},
	})
}
