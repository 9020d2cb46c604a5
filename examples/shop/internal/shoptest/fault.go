package shoptest

import (
	"context"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
	"github.com/holdfast-go/holdfast/failure"
)

// Fault decides on what becomes of an operation. Nil is none.
type Fault func(op string) Fate

// Fate is what becomes of an operation.
type Fate int

// The fates of an operation.
const (
	Works Fate = iota
	// Lost: it does not happen, and fails.
	Lost
	// Unknown: it happens, and fails all the same.
	Unknown
)

// ErrFault is the error of what was made to fail.
var ErrFault = failure.New(failure.Unavailable, "made to fail")

func (f Fault) around(op string, do func() error) error {
	fate := Works
	if f != nil {
		fate = f(op)
	}
	switch fate {
	case Lost:
		return ErrFault
	case Unknown:
		if err := do(); err != nil {
			return err
		}
		return ErrFault
	case Works:
	}
	return do()
}

// Crash is a Fault of a process that dies at its nth operation, before it happens or right after, and does nothing any
// more from then on. n = 0 never dies.
func Crash(n int, after bool) Fault {
	var done atomic.Int64
	return func(string) Fate {
		at := int(done.Add(1))
		switch {
		case n == 0 || at < n:
			return Works
		case at == n && after:
			return Unknown
		}
		return Lost
	}
}

// KV is a store whose reads and writes fail as Fault says.
type KV struct {
	kv.KV
	Fault Fault
}

// Get implements kv.KV.
func (s KV) Get(ctx context.Context, keys ...string) (out []kv.Entry, err error) {
	err = s.Fault.around("get", func() error { out, err = s.KV.Get(ctx, keys...); return err })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// List implements kv.KV.
func (s KV) List(ctx context.Context, r kv.Range) (out kv.Page, err error) {
	err = s.Fault.around("list", func() error { out, err = s.KV.List(ctx, r); return err })
	return out, err
}

// Commit implements kv.KV.
func (s KV) Commit(ctx context.Context, tx kv.Txn) (revision int64, err error) {
	err = s.Fault.around("commit", func() error { revision, err = s.KV.Commit(ctx, tx); return err })
	if err != nil {
		return 0, err
	}
	return revision, nil
}

// Thawing is a store of which a member was frozen: the first write hangs there and is made again elsewhere, and Thaw carries it out.
type Thawing struct {
	kv.KV
	first *kv.Txn
}

// Commit implements kv.KV.
func (s *Thawing) Commit(ctx context.Context, tx kv.Txn) (int64, error) {
	if s.first == nil {
		s.first = &tx
	}
	return s.KV.Commit(ctx, tx)
}

// Thaw carries out what hung.
func (s *Thawing) Thaw(ctx context.Context) error {
	_, err := s.KV.Commit(ctx, *s.first)
	return err
}
