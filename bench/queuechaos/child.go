package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
)

// The roles of processes.
const (
	publisherRole = "queuechaos-publisher"
	consumerRole  = "queuechaos-consumer"
)

const (
	topicName = "chaos"
	groupName = "effects"
)

// spec is what a process is to do.
type spec struct {
	// Name is that of the process, and of its files in Dir.
	Name, Dir string
	// Queue and Store are URLs.
	Queue, Store string
	// Messages are all that are published, as many of each of Keys, at Rate a second, by all publishers; 0: until there is a
	// file named enough in Dir. Index is which of the publishers this is.
	Messages, Keys, Rate, Index int
	// Deadline is that of one publication. What is not confirmed by then is published again.
	Deadline time.Duration
	// Workers is how many publish at once in this process.
	Workers int
}

// payload is a message: the Seq-th of a key.
type payload struct {
	Key, Seq int
	Pad      string
}

// id is its name, wherever it is published.
func (p payload) id() string { return fmt.Sprintf("%d-%d", p.Key, p.Seq) }

// child does what this process is for, if it is a publisher or a consumer, and does not return then.
func child() {
	var s spec
	for role, do := range map[string]func(context.Context, spec, *queue.Queue) error{publisherRole: publish, consumerRole: consume} {
		mine, err := broker.Role(role, &s)
		if !mine {
			continue
		}
		if err == nil {
			err = s.do(do)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

func (s spec) do(what func(context.Context, spec, *queue.Queue) error) error {
	log, err := appendTo(filepath.Join(s.Dir, s.Name+".log"))
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	engine, err := broker.Open(s.Queue, s.Name, logger)
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	q := queue.New(engine, queue.Config{Source: "queuechaos", Instance: s.Name, Logger: logger})
	return errors.Join(what(ctx, s, q), q.Close(), engine.Close())
}

// appendTo opens a file whose lines survive the process: each is one write.
func appendTo(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // below the directory of the run
	if err != nil {
		return nil, fmt.Errorf("diary: %w", err)
	}
	return f, nil
}

// share returns the keys of one of n, by its index.
func share(all, index, n int) (out []int) {
	for k := index; k < all; k += n {
		out = append(out, k)
	}
	return out
}

// publish publishes the messages of this process's keys: those of a key one after the other, each until it is confirmed.
func publish(ctx context.Context, s spec, q *queue.Queue) error {
	diary, err := appendTo(filepath.Join(s.Dir, s.Name+".published"))
	if err != nil {
		return err
	}
	topic, err := queue.NewTopic[payload](q, topicName, queue.Groups(groupName))
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	broker.Say()
	limit := rate.NewLimiter(rate.Limit(float64(s.Rate)/publishers), 10)
	mine := share(s.Keys, s.Index, publishers)
	each := s.Messages / s.Keys
	var wg sync.WaitGroup
	failed := make([]error, s.Workers)
	for i := range s.Workers {
		wg.Go(func() {
			for seq := 1; s.Messages == 0 || seq <= each; seq++ {
				for _, j := range share(len(mine), i, s.Workers) {
					if s.Messages == 0 && told(s.Dir) {
						return
					}
					p := payload{Key: mine[j], Seq: seq, Pad: "a message as others are, of about two hundred bytes in all, with its headers"}
					if failed[i] = limit.Wait(ctx); failed[i] == nil {
						failed[i] = confirmed(ctx, topic, p, s.Deadline, diary)
					}
					if failed[i] != nil {
						return
					}
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

// enough is the file that tells publishers to end.
const enough = "enough"

func told(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, enough))
	return err == nil
}

// confirmed publishes p until that is confirmed, and writes down what it was told.
func confirmed(ctx context.Context, topic *queue.Topic[payload], p payload, deadline time.Duration, diary *os.File) error {
	for {
		try, cancel := context.WithTimeout(ctx, deadline)
		var over atomic.Int64 // when the deadline was noticed: a machine that stands still notices it late
		stop := context.AfterFunc(try, func() { over.Store(time.Now().UnixNano()) })
		begun := time.Now()
		err := topic.Publish(try, p, queue.Key(fmt.Sprint("key-", p.Key)), queue.ID(p.id()))
		line := published{Payload: p, At: time.Now(), Took: time.Since(begun)}
		stop()
		cancel()
		if at := over.Load(); at != 0 {
			line.Late = max(0, line.At.Sub(time.Unix(0, at)))
		}
		if err != nil {
			line.Code = failure.CodeOf(err).String()
		}
		if _, err := diary.WriteString(line.String()); err != nil {
			return fmt.Errorf("diary: %w", err)
		}
		if err == nil || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// consume handles messages until the process is killed.
func consume(ctx context.Context, s spec, q *queue.Queue) error {
	diary, err := appendTo(filepath.Join(s.Dir, s.Name+".delivered"))
	if err != nil {
		return err
	}
	db, err := openStore(ctx, s.Store)
	if err != nil {
		return err
	}
	in, err := db.inbox(ctx)
	if err != nil {
		return err
	}
	handle := queue.Handle(func(ctx context.Context, m queue.Message[payload]) error {
		return db.effect(ctx, m.Value, s.Name)
	})
	sub, err := queue.NewSubscription(q, topicName, groupName, handle, queue.SubscriptionConfig{
		Ordered: true, Hold: hold, Inbox: counted{in, diary},
	})
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	broker.Say()
	return errors.Join(sub.Run(ctx), db.close())
}

// counted is an inbox that writes down what it is asked.
type counted struct {
	queue.Inbox
	diary *os.File
}
