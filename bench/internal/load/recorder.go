package load

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/stats"
)

// Recorder records calls and, as a grpc stats.Handler of the clients that make them, the attempts they are made of. The
// zero value is ready. Safe for concurrent use.
type Recorder struct {
	once  sync.Once
	start time.Time

	mu       sync.Mutex
	calls    Calls
	attempts Attempts
}

// Attempt is one attempt that was handed to a transport.
type Attempt struct {
	At   time.Duration
	Addr string
}

// Attempts are attempts in the order in which they were made.
type Attempts []Attempt

// Between returns the attempts made in [from, to).
func (a Attempts) Between(from, to time.Duration) Attempts {
	by := func(at Attempt, t time.Duration) int { return cmp.Compare(at.At, t) }
	i, _ := slices.BinarySearchFunc(a, from, by)
	j, _ := slices.BinarySearchFunc(a, to, by)
	return a[i:max(i, j)]
}

// Share returns the share of the attempts that went to addr; 0 if there are none.
func (a Attempts) Share(addr string) float64 {
	if len(a) == 0 {
		return 0
	}
	n := 0
	for _, at := range a {
		if at.Addr == addr {
			n++
		}
	}
	return float64(n) / float64(len(a))
}

// Start starts the clock, the first time.
func (r *Recorder) Start() { r.once.Do(func() { r.start = time.Now() }) }

// Now returns the time since the start.
func (r *Recorder) Now() time.Duration {
	r.Start()
	return time.Since(r.start)
}

// Until waits until the clock shows at, and reports whether it did so before ctx was done.
func (r *Recorder) Until(ctx context.Context, at time.Duration) bool {
	if d := at - r.Now(); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// Attempts returns the attempts until now.
func (r *Recorder) Attempts() Attempts {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.attempts)
	slices.SortStableFunc(out, func(a, b Attempt) int { return cmp.Compare(a.At, b.At) })
	return out
}

func (r *Recorder) add(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
}

// Calls returns the calls that have ended, in the order in which they were due.
func (r *Recorder) Calls() Calls {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.calls)
	slices.SortStableFunc(out, func(a, b Call) int { return cmp.Compare(a.Due, b.Due) })
	return out
}

// tally counts the attempts of one call.
type tally struct{ attempts, hedges, flying atomic.Int32 }

type tallyKey struct{}

func withTally(ctx context.Context) (context.Context, *tally) {
	t := new(tally)
	return context.WithValue(ctx, tallyKey{}, t), t
}

// TagRPC implements stats.Handler.
func (r *Recorder) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler. grpc-go reports each attempt as an RPC of its own.
func (r *Recorder) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.Begin:
		if t, ok := ctx.Value(tallyKey{}).(*tally); ok {
			t.attempts.Add(1)
			if t.flying.Add(1) > 1 { // while another is still under way
				t.hedges.Add(1)
			}
		}
	case *stats.OutHeader:
		if s.RemoteAddr != nil {
			r.mu.Lock()
			r.attempts = append(r.attempts, Attempt{r.Now(), s.RemoteAddr.String()})
			r.mu.Unlock()
		}
	case *stats.End:
		if t, ok := ctx.Value(tallyKey{}).(*tally); ok {
			t.flying.Add(-1)
		}
	}
}

// TagConn implements stats.Handler.
func (r *Recorder) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (r *Recorder) HandleConn(context.Context, stats.ConnStats) {}
