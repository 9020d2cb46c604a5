package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/broker"

	"github.com/holdfast-go/holdfast/bench/internal/rounds"
)

// patience is how long a message may not come before something is wrong.
const patience = 30 * time.Second

// sideResults are the rounds of one side.
type sideResults struct {
	name   string
	rounds []rounds.Result
}

// keys are what messages are ordered by.
var keys = sync.OnceValue(func() []string {
	out := make([]string, 1000)
	for i := range out {
		out[i] = fmt.Sprint("key-", i)
	}
	return out
})

// noise is what messages are cut from: clients that compress gain nothing.
var noise = sync.OnceValue(func() []byte {
	b := make([]byte, 4<<20)
	seed := [32]byte{1}
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	return b
})

// data returns size bytes, others for each i. They are not to be changed.
func data(i, size int) []byte {
	at := i * 61 % (len(noise()) - size)
	return noise()[at : at+size : at+size]
}

// cell measures one mode on an engine that has nothing else to do, all sides in turn, each round in another order.
func cell(ctx context.Context, s settings, b *broker.Broker, size int, m mode) ([]sideResults, error) {
	names, openers := sides(b.Kind, s.only)
	if len(names) == 0 {
		return nil, fmt.Errorf("-only %s: no such side", s.only)
	}
	results := make([]sideResults, len(names))
	opened := make([]side, len(names))
	for i, open := range openers {
		var err error
		if opened[i], err = open(ctx, b); err != nil {
			return nil, fmt.Errorf("%s: %w", names[i], err)
		}
		defer opened[i].close()
		results[i].name = names[i]
	}
	for round := range s.rounds {
		for i := range names {
			j := (i + round) % len(names)
			r, err := measure(ctx, s, opened[j], b, newTopic(names[j]), size, m)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", names[j], err)
			}
			results[j].rounds = append(results[j].rounds, r)
			if err := b.Empty(ctx); err != nil {
				return nil, err //nolint:wrapcheck // says it all
			}
		}
	}
	return results, nil
}

// topics makes their names, of which none comes twice.
var topics atomic.Int64

func newTopic(side string) string {
	return fmt.Sprintf("%s-%d", strings.NewReplacer("+", "-", " ", "", ",", "-").Replace(side), topics.Add(1))
}

// engine runs do with an engine that is new, in a directory of its own. With noSync NATS confirms what is not on disk: where
// it is to be filled, and is measured by what comes out.
func engine(ctx context.Context, kind string, noSync bool, do func(*broker.Broker) error) error {
	dir, err := os.MkdirTemp("", "holdfast-queue-")
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the temporary directory
	b, err := broker.Start(ctx, broker.Config{Kind: kind, Dir: dir, NoSync: noSync})
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	defer b.Close()
	return do(b)
}

func measure(ctx context.Context, s settings, side side, b *broker.Broker, topic string, size int, m mode) (rounds.Result, error) {
	st, err := side.open(ctx, topic)
	if err != nil {
		return rounds.Result{}, err
	}
	defer st.close()
	switch {
	case m.rate > 0:
		return onTheWay(ctx, s, st, b, size, m)
	case m.publishers > 0:
		// A short round gets topic, timers, pools and connections going.
		if _, err := publish(ctx, st, b, size, m, s.round/5); err != nil {
			return rounds.Result{}, err
		}
		return publish(ctx, st, b, size, m, s.round)
	default:
		return consume(ctx, s, st, b, size, m)
	}
}

// meter is what the process and the engine had used when it was started.
type meter struct {
	b       *broker.Broker
	begun   time.Time
	mem     runtime.MemStats
	cpu     time.Duration
	engines time.Duration
}

func newMeter(b *broker.Broker) *meter {
	m := &meter{b: b}
	runtime.GC()
	runtime.ReadMemStats(&m.mem)
	m.engines = b.CPU()
	m.cpu, _ = rounds.Used()
	m.begun = time.Now()
	return m
}

// per returns what was used since, a message.
func (m *meter) per(n int) rounds.Result {
	took, engines := time.Since(m.begun), m.b.CPU()-m.engines
	cpu, _ := rounds.Used()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	return rounds.Result{
		Rate: float64(n) / took.Seconds(), CPU: (cpu - m.cpu) / time.Duration(n), Engine: engines / time.Duration(n),
		Allocs: float64(now.Mallocs-m.mem.Mallocs) / float64(n), Bytes: float64(now.TotalAlloc-m.mem.TotalAlloc) / float64(n),
	}
}

// publish publishes for d.
func publish(ctx context.Context, st stream, b *broker.Broker, size int, m mode, d time.Duration) (rounds.Result, error) {
	var wg sync.WaitGroup
	each := max(1, m.batch)
	failed, latencies := make([]error, m.publishers), make([][]time.Duration, m.publishers)
	for i := range latencies {
		// Room for all, so that the measuring allocates nothing.
		latencies[i] = make([]time.Duration, 0, int(d.Seconds()*200_000)/m.publishers+1000)
	}
	meter := newMeter(b)
	end := meter.begun.Add(d)
	for i := range m.publishers {
		wg.Go(func() {
			batch := make([]message, each)
			next := i * 7
			for now := time.Now(); now.Before(end); {
				for j := range batch {
					batch[j] = message{keys()[next%len(keys())], data(next, size)}
					next++
				}
				var err error
				if m.batch > 0 {
					err = st.publishAll(ctx, batch)
				} else {
					err = st.publish(ctx, batch[0])
				}
				if err != nil {
					failed[i] = err
					return
				}
				then := now
				now = time.Now()
				latencies[i] = append(latencies[i], now.Sub(then))
			}
		})
	}
	wg.Wait()
	all := slices.Concat(latencies...)
	r := meter.per(max(1, len(all)*each))
	if err := errors.Join(failed...); err != nil {
		return rounds.Result{}, err
	}
	r.P50, r.P99 = quantiles(all)
	return r, nil
}

func quantiles(all []time.Duration) (p50, p99 time.Duration) {
	slices.Sort(all)
	if n := len(all); n > 0 {
		p50, p99 = all[n/2], all[n*99/100]
	}
	return p50, p99
}

// fill publishes so many messages as fast as may be.
func fill(ctx context.Context, st stream, n, size int) error {
	var wg sync.WaitGroup
	const at = 4
	failed := make([]error, at)
	var taken atomic.Int64
	for i := range at {
		wg.Go(func() {
			for failed[i] == nil {
				first := int(taken.Add(100)) - 100
				if first >= n {
					return
				}
				batch := make([]message, min(100, n-first))
				for j := range batch {
					batch[j] = message{keys()[(first+j)%len(keys())], data(first+j, size)}
				}
				failed[i] = st.publishAll(ctx, batch)
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

// consume fills the topic, and measures from the first message that is handled to the last: joining a group is not
// counted.
func consume(ctx context.Context, s settings, st stream, b *broker.Broker, size int, m mode) (rounds.Result, error) {
	total := s.messages
	if b.Kind == broker.Kafka && !s.short && m.wait == 0 {
		total *= max(2, min(10, 4*1024/size)) // its client fetches many megabytes before it hands out the first message
	}
	if err := fill(ctx, st, total, size); err != nil {
		return rounds.Result{}, fmt.Errorf("fill: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var handled atomic.Int64
	var meter *meter
	n := int64(total)
	first, last := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- st.consume(ctx, m.handlers, m.ordered, func([]byte) {
			if m.wait > 0 {
				time.Sleep(m.wait)
			}
			switch handled.Add(1) {
			case 1:
				meter = newMeter(b)
				close(first)
			case n:
				close(last)
			default:
				<-first
			}
		})
	}()
	if err := await(ctx, last, ended, &handled); err != nil {
		return rounds.Result{}, err
	}
	r := meter.per(total)
	cancel()
	if err := <-ended; err != nil {
		return rounds.Result{}, err
	}
	if twice := handled.Load() - n; twice > 0 {
		return rounds.Result{}, fmt.Errorf("%d messages came twice", twice)
	}
	return r, nil
}

// await waits until done is closed, as long as messages come.
func await(ctx context.Context, done <-chan struct{}, ended <-chan error, handled *atomic.Int64) error {
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for was := int64(0); ; was = handled.Load() {
		select {
		case <-done:
			return nil
		case err := <-ended:
			return fmt.Errorf("ended after %d messages: %w", handled.Load(), err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if handled.Load() == was {
				return fmt.Errorf("no message came for %v after %d", patience, was)
			}
		}
	}
}

// onTheWay publishes at a rate that is easy and measures how long each message takes until its handler begins, from the
// moment at which it was to be published.
func onTheWay(ctx context.Context, s settings, st stream, b *broker.Broker, size int, m mode) (rounds.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n := max(10, int(2*s.round.Seconds()*float64(m.rate)))
	latencies := make([]time.Duration, n)
	var handled atomic.Int64
	first, last := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	// The first message shows that the consumer is there. Its time is 0.
	if err := st.publish(ctx, message{keys()[0], make([]byte, size)}); err != nil {
		return rounds.Result{}, err
	}
	go func() {
		ended <- st.consume(ctx, m.handlers, m.ordered, func(data []byte) {
			sent := int64(binary.BigEndian.Uint64(data)) //nolint:gosec // a time
			if sent == 0 {
				close(first)
				return
			}
			i := handled.Add(1)
			if int(i) <= n {
				latencies[i-1] = time.Duration(time.Now().UnixNano() - sent)
			}
			if int(i) == n {
				close(last)
			}
		})
	}()
	if err := await(ctx, first, ended, &handled); err != nil {
		return rounds.Result{}, err
	}
	meter := newMeter(b)
	failed := make(chan error, n)
	for i := range n {
		due := meter.begun.Add(time.Duration(i) * time.Second / time.Duration(m.rate))
		time.Sleep(time.Until(due))
		body := make([]byte, size)
		binary.BigEndian.PutUint64(body, uint64(due.UnixNano())) //nolint:gosec // a time
		go func() { failed <- st.publish(ctx, message{keys()[i%len(keys())], body}) }()
	}
	for range n {
		if err := <-failed; err != nil {
			return rounds.Result{}, err
		}
	}
	if err := await(ctx, last, ended, &handled); err != nil {
		return rounds.Result{}, err
	}
	r := meter.per(n)
	cancel()
	if err := <-ended; err != nil {
		return rounds.Result{}, err
	}
	r.P50, r.P99 = quantiles(latencies)
	return r, nil
}
