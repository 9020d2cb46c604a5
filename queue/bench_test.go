package queue_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/memqueue"
)

// BenchmarkPublish is one confirmed message of 128 bytes on an engine in memory; raw is the engine alone.
func BenchmarkPublish(b *testing.B) {
	value := make([]byte, 128)
	b.Run("topic", func(b *testing.B) {
		engine := memqueue.New(memqueue.Config{})
		topic, err := queue.NewTopic[[]byte](queue.New(engine, queue.Config{Logger: slog.New(slog.DiscardHandler)}), "bench")
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := topic.Publish(b.Context(), value); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw", func(b *testing.B) {
		engine := memqueue.New(memqueue.Config{})
		if err := engine.Declare(b.Context(), driver.Topic{Name: "bench"}); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			m := &driver.Message{ID: strconv.Itoa(i), Source: "s", Data: value}
			if errs := engine.Publish(b.Context(), "bench", []*driver.Message{m}); errs != nil {
				b.Fatal(errs)
			}
		}
	})
}

// BenchmarkConsume is one message of 128 bytes handled and settled, on an engine in memory; raw is the engine alone.
func BenchmarkConsume(b *testing.B) {
	fill := func(b *testing.B, engine *memqueue.Engine, n int) {
		if err := engine.Declare(b.Context(), driver.Topic{Name: "bench", Groups: []string{"g"}}); err != nil {
			b.Fatal(err)
		}
		for i := range n {
			m := &driver.Message{ID: strconv.Itoa(i), Source: "s", ContentType: "application/octet-stream", Data: make([]byte, 128)}
			if errs := engine.PublishTo(b.Context(), "bench", "g", []*driver.Message{m}); errs != nil {
				b.Fatal(errs)
			}
		}
	}
	b.Run("subscription", func(b *testing.B) {
		engine := memqueue.New(memqueue.Config{MaxBytes: 1 << 40})
		fill(b, engine, b.N)
		var wg sync.WaitGroup
		wg.Add(b.N)
		s, err := queue.NewSubscription(queue.New(engine, queue.Config{Logger: slog.New(slog.DiscardHandler)}), "bench", "g",
			queue.Handle(func(context.Context, queue.Message[[]byte]) error { wg.Done(); return nil }), queue.SubscriptionConfig{})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		b.ReportAllocs()
		b.ResetTimer()
		go func() { done <- s.Run(ctx) }()
		wg.Wait()
		b.StopTimer()
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	b.Run("raw", func(b *testing.B) {
		engine := memqueue.New(memqueue.Config{MaxBytes: 1 << 40})
		fill(b, engine, b.N)
		r, err := engine.Subscribe(b.Context(), driver.Subscription{Topic: "bench", Group: "g", Window: 128, Hold: 30e9})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		for n := 0; n < b.N; {
			ds, err := r.Receive(b.Context(), 128)
			if err != nil {
				b.Fatal(err)
			}
			if err := r.Ack(b.Context(), ds); err != nil {
				b.Fatal(err)
			}
			n += len(ds)
		}
		b.StopTimer()
		_ = r.Close()
	})
}
