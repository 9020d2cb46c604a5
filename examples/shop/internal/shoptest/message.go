package shoptest

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// Handle hands a message to a handler as a subscription would, once.
func Handle[T proto.Message](ctx context.Context, m *driver.Message, handler func(context.Context, queue.Message[T]) error) error {
	var none T
	value, ok := none.ProtoReflect().New().Interface().(T)
	if !ok {
		panic("a message is not of its own type")
	}
	if err := proto.Unmarshal(m.Data, value); err != nil {
		return err
	}
	return handler(ctx, queue.Message[T]{ID: m.ID, Source: m.Source, Type: m.Type, Key: m.Key, Time: m.Time, Value: value, Attempt: 1})
}
