package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/work/workpb"
)

// streams are kept open, each opened again when it ends.
type streams struct {
	client workpb.WorkClient

	told    atomic.Int64 // ended by a server that said so
	cut     atomic.Int64 // ended without a word
	refused atomic.Int64 // not opened
	gap     atomic.Int64 // longest time between the end of one and the first tick of the next, in ns
}

func newStreams(client workpb.WorkClient) *streams { return &streams{client: client} }

// run keeps them open until enough is closed.
func (s *streams) run(ctx context.Context, enough <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range streaming {
		wg.Go(func() {
			ended := time.Now()
			for ctx.Err() == nil {
				ended = s.one(ctx, ended)
			}
		})
	}
	select {
	case <-enough:
	case <-ctx.Done():
	}
	cancel()
	wg.Wait()
}

// one opens a stream and reads it until it ends, and returns when that was. since is when the one before it ended.
func (s *streams) one(ctx context.Context, since time.Time) time.Time {
	in, err := s.client.Tick(ctx, &workpb.TickRequest{EveryMs: 200})
	if err != nil {
		s.count(ctx, &s.refused)
		pause(ctx)
		return since
	}
	opened, last := false, false
	for {
		tick, err := in.Recv()
		switch {
		case err == nil:
			if !opened {
				opened = true
				s.longest(time.Since(since))
			}
			last = tick.GetLast()
		case last && errors.Is(err, io.EOF):
			s.count(ctx, &s.told)
			return time.Now()
		case !opened:
			s.count(ctx, &s.refused)
			pause(ctx)
			return since
		default:
			s.count(ctx, &s.cut)
			return time.Now()
		}
	}
}

func (s *streams) count(ctx context.Context, n *atomic.Int64) {
	if ctx.Err() == nil {
		n.Add(1)
	}
}

func (s *streams) longest(d time.Duration) {
	for {
		was := s.gap.Load()
		if int64(d) <= was || s.gap.CompareAndSwap(was, int64(d)) {
			return
		}
	}
}

// pause keeps a stream that is refused from being opened as fast as the machine can.
func pause(ctx context.Context) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
}
