package shoptest

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

// Group is replicated state with one member that forgets nothing: what a *replica.Typed is to the services. Commands,
// results and errors are copied as they would be on their way; after each command the state may be written and read
// again, as after a restart.
type Group[S replica.State[C, R], C, R any] struct {
	shared *shared[S]
	fault  Fault
	// Restart makes every command be followed by a snapshot and its restoration.
	Restart bool
}

type shared[S any] struct {
	mu    sync.Mutex
	state S
	index uint64
}

// NewGroup returns a group of state.
func NewGroup[S replica.State[C, R], C, R any](state S) *Group[S, C, R] {
	return &Group[S, C, R]{shared: &shared[S]{state: state}}
}

// With returns the same group for a process that meets f.
func (g *Group[S, C, R]) With(f Fault) *Group[S, C, R] {
	return &Group[S, C, R]{shared: g.shared, fault: f, Restart: g.Restart}
}

// Propose is that of a replica.Typed.
func (g *Group[S, C, R]) Propose(_ context.Context, command C, _ ...replica.ProposeOption) (result R, err error) {
	var sent C
	if err := copyJSON(&sent, command); err != nil {
		return result, err
	}
	err = g.fault.around("propose", func() error {
		s := g.shared
		s.mu.Lock()
		defer s.mu.Unlock()
		s.index++
		r, err := s.state.Apply(replica.At{Index: s.index, Time: time.Now()}, sent)
		if g.Restart {
			if err := g.restart(); err != nil {
				return err
			}
		}
		if err != nil {
			return failure.FromStatus(failure.Status(err))
		}
		return copyJSON(&result, r)
	})
	if err != nil {
		var none R
		return none, err
	}
	return result, nil
}

// Read is that of a replica.Typed.
func (g *Group[S, C, R]) Read(_ context.Context, _ replica.Level, fn func(S) error) error {
	return g.fault.around("read", func() error {
		g.shared.mu.Lock()
		defer g.shared.mu.Unlock()
		return fn(g.shared.state)
	})
}

// restart writes the state down and reads it again.
func (g *Group[S, C, R]) restart() error {
	snapshot, err := g.shared.state.Snapshot()
	if err != nil {
		return err
	}
	defer snapshot.Release()
	var b bytes.Buffer
	if err := snapshot.Write(&b); err != nil {
		return err
	}
	return g.shared.state.Restore(&b)
}

func copyJSON(to, from any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return failure.Wrap(err, failure.Internal, "encode")
	}
	return json.NewDecoder(bytes.NewReader(b)).Decode(to)
}
