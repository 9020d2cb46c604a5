package rpc

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// hedge is the second attempt of a call beside the one under way. It runs in a goroutine of its own, and shares nothing
// with the other attempt but the request, which both only read: grpc-go writes the reply and what some options point to
// until the very end of an attempt.
//
// Which of the two counts is decided with the call's mutex held, by the one that ends first with an answer. The other
// one is cancelled then, and waited for: nothing of a call goes on when it has returned.
type hedge struct {
	attempt attempt
	reply   proto.Message
	header  metadata.MD
	trailer metadata.MD
	peer    peer.Peer

	done chan struct{} // closed when the attempt is over and all the fields are final

	// Guarded by the call's mutex.
	ended  bool
	lost   bool // the other one was answered
	result result
}

// result is how an attempt has ended.
type result struct {
	attempt *attempt
	now     time.Time
	err     *failure.Error // nil: it is the answer
	next    resilience.Decision
}

// beside is called when a has not been answered in the time that most calls take. It does not wait for anything.
func (c *call) beside(a *attempt) {
	if h := c.startHedge(a); h != nil {
		go c.runHedge(h)
	}
}

func (c *call) runHedge(h *hedge) {
	err := c.invoke(&h.attempt, h.reply, h.options(c.opts))
	c.mu.Lock()
	other := c.endHedge(h, err)
	c.mu.Unlock()
	close(h.done)
	if other != nil {
		other.cancel(context.Canceled)
	}
}

// startHedge returns the hedge of a, or nil if there is to be none.
func (c *call) startHedge(a *attempt) *hedge {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.primary != a || a.node == nil || a.alone {
		return nil
	}
	tried := append(c.tried, a.node) //nolint:gocritic // becomes c.tried if there is a hedge
	if !a.view.Untried(now, tried...) {
		return nil
	}
	plan, ok := c.loop.Hedge(now, rand.Uint64()) //nolint:gosec // not a secret
	if !ok {
		return nil
	}
	h := &hedge{reply: c.kind.New().Interface(), done: make(chan struct{})}
	c.tried = tried // which is not where it is to go
	c.begin(&h.attempt, plan, now)
	c.hedge = h
	return h
}

// endHedge decides what the end of h means, with the mutex held. It returns the other attempt if that is over now.
func (c *call) endHedge(h *hedge, err error) (lost *attempt) {
	h.ended = true
	if h.lost {
		return nil
	}
	h.result = c.end(&h.attempt, err)
	if h.result.next.Pending || c.primary == nil {
		return nil // the other one decides, or has left it to this one
	}
	c.won = true
	return c.lose(h.result.now)
}

// lose gives up the attempt under way that is no hedge, with the mutex held.
func (c *call) lose(now time.Time) *attempt {
	a := c.primary
	c.primary = nil
	a.lost = true
	a.worth = c.loop.Lost(now, a.plan)
	return a
}

// options returns the options of the call as they are for the hedge: what writes something writes it here.
func (h *hedge) options(of []grpc.CallOption) []grpc.CallOption {
	opts := make([]grpc.CallOption, len(of))
	for i, o := range of {
		switch o.(type) {
		case grpc.HeaderCallOption:
			o = grpc.Header(&h.header)
		case grpc.TrailerCallOption:
			o = grpc.Trailer(&h.trailer)
		case grpc.PeerCallOption:
			o = grpc.Peer(&h.peer)
		}
		opts[i] = o
	}
	return opts
}

// await waits for the end of h, which counts, and makes it that of the call.
func (h *hedge) await() result {
	<-h.done
	c := h.attempt.call
	h.adopt(c.reply, c.opts)
	return h.result
}

// adopt makes what the hedge got that of the call. The call's own attempt is over.
func (h *hedge) adopt(reply any, opts []grpc.CallOption) {
	if m, ok := reply.(proto.Message); ok && h.result.err == nil {
		proto.Reset(m)
		proto.Merge(m, h.reply)
	}
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			*o.HeaderAddr = h.header
		case grpc.TrailerCallOption:
			*o.TrailerAddr = h.trailer
		case grpc.PeerCallOption:
			*o.PeerAddr = h.peer
		}
	}
}

// withoutOnFinish returns opts without those that are told when the call is over, and these. An attempt is not a call.
func withoutOnFinish(opts []grpc.CallOption) (rest []grpc.CallOption, finish []func(error)) {
	for i, o := range opts {
		if _, ok := o.(grpc.OnFinishCallOption); !ok {
			continue
		}
		rest = append(rest, opts[:i]...)
		for _, o := range opts[i:] {
			if f, ok := o.(grpc.OnFinishCallOption); ok {
				finish = append(finish, f.OnFinish)
			} else {
				rest = append(rest, o)
			}
		}
		return rest, finish
	}
	return opts, nil
}
