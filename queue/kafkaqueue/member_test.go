package kafkaqueue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
)

const memberEnv = "KAFKAQUEUE_TEST_MEMBER"

// member is what a process of a service is: an instance of all groups.
type member struct {
	Name, Broker, Dir string
	Topics            int
}

// beMember is what a process does that is one. It ends with its standard input.
func beMember(text string) error {
	var m member
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(m.Dir, m.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	seen, err := os.OpenFile(filepath.Join(m.Dir, m.Name+".seen"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	logger.Info("begins", "pid", os.Getpid())
	d, err := kafkaqueue.Open(kafkaqueue.Config{Brokers: []string{m.Broker}, Logger: logger, Partitions: 4})
	if err != nil {
		return err
	}
	q := queue.New(d, queue.Config{Source: "test", Instance: m.Name, Logger: logger})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); cancel() }()
	var all sync.WaitGroup
	for i := range m.Topics {
		topic := "t" + strconv.Itoa(i)
		h := queue.Handle(func(_ context.Context, msg queue.Message[[]byte]) error {
			_, err := fmt.Fprintln(seen, topic+"/"+msg.ID, time.Now().UnixNano())
			return err
		})
		sub, err := queue.NewSubscription(q, topic, "g", h, queue.SubscriptionConfig{})
		if err != nil {
			return err
		}
		all.Go(func() { _ = sub.Run(ctx) })
	}
	all.Wait()
	return nil
}
