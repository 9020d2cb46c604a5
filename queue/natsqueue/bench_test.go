package natsqueue_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/queue/driver"
)

func benchMessage(i int) *driver.Message {
	return &driver.Message{
		ID: fmt.Sprint("id-", i), Source: "bench", Type: "t", Key: fmt.Sprint("k", i%100), Time: time.Unix(1, 0), ContentType: "text/plain",
		Data: make([]byte, 128),
	}
}

func BenchmarkPublish(b *testing.B) {
	s := startServer(b)
	e := open(b, nil, s.cfg.ClientAddr)
	check(b, e.Declare(context.Background(), driver.Topic{Name: "t"}))
	b.ReportAllocs()
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			m := benchMessage(i)
			m.ID = fmt.Sprintf("%p-%d", pb, i)
			if errs := e.Publish(context.Background(), "t", []*driver.Message{m}); errs != nil {
				b.Error(errs)
			}
		}
	})
}

func BenchmarkRawPublish(b *testing.B) {
	s := startServer(b)
	conn, err := nats.Connect("nats://"+s.cfg.ClientAddr, nats.Token(token))
	check(b, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	check(b, err)
	_, err = js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "t", Subjects: []string{"t.*"}})
	check(b, err)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			m := &nats.Msg{Subject: "t.1", Data: make([]byte, 128), Header: nats.Header{"Nats-Msg-Id": {fmt.Sprintf("%p-%d", pb, i)}}}
			if _, err := js.PublishMsg(context.Background(), m); err != nil {
				b.Error(err)
			}
		}
	})
}
