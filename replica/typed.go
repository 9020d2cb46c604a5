package replica

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/failure"
)

// State is a Machine whose commands are of type C and whose results are of type R. What Machine says goes for it, too.
type State[C, R any] interface {
	Apply(at At, command C) (R, error)
	Snapshot() (Snapshot, error)
	Restore(r io.Reader) error
}

// At is the place of a command in the order; see Entry.
type At struct {
	Index uint64
	Time  time.Time
}

// Codec turns commands and results into bytes. Decode is given what Encode has made, perhaps in another version of the
// program. What it passes over, this member will not know and the others will: where that matters, as in what the state
// keeps, commands carry a format, and a member stops (it panics) at one that is newer than it knows.
type Codec[T any] interface {
	Encode(v T) ([]byte, error)
	Decode(b []byte) (T, error)
}

// Typed is a Group with typed commands and results over a state of type S.
type Typed[S State[C, R], C, R any] struct {
	group    *Group
	state    S
	commands Codec[C]
	results  Codec[R]
}

// NewTyped is Host.Group for a State. Commands and results are protobuf where they are protobuf messages, JSON otherwise.
func NewTyped[S State[C, R], C, R any](h *Host, name string, state S, cfg GroupConfig) (*Typed[S, C, R], error) {
	return NewTypedCodec(h, name, state, CodecOf[C](), CodecOf[R](), cfg)
}

// NewTypedCodec is NewTyped with codecs of one's own.
func NewTypedCodec[S State[C, R], C, R any](h *Host, name string, state S, commands Codec[C], results Codec[R], cfg GroupConfig) (*Typed[S, C, R], error) {
	m := &machineOf[C, R]{state, commands, results}
	g, err := h.Group(name, m, cfg)
	if err != nil {
		return nil, err
	}
	return &Typed[S, C, R]{g, state, commands, results}, nil
}

// Group returns the group underneath.
func (t *Typed[S, C, R]) Group() *Group { return t.group }

// Propose is Group.Propose.
func (t *Typed[S, C, R]) Propose(ctx context.Context, command C, opts ...ProposeOption) (R, error) {
	var none R
	b, err := t.commands.Encode(command)
	if err != nil {
		return none, failure.Wrap(err, failure.InvalidArgument, "the command cannot be encoded")
	}
	if b, err = t.group.Propose(ctx, b, opts...); err != nil {
		return none, err
	}
	r, err := t.results.Decode(b)
	if err != nil {
		return none, failure.Wrap(err, failure.Internal, "the result of %s cannot be decoded", t.group.name)
	}
	return r, nil
}

// Read is Group.Read.
func (t *Typed[S, C, R]) Read(ctx context.Context, level Level, fn func(S) error) error {
	return t.group.Read(ctx, level, func() error { return fn(t.state) })
}

// machineOf is a State as a Machine.
type machineOf[C, R any] struct {
	state    State[C, R]
	commands Codec[C]
	results  Codec[R]
}

// Apply implements Machine. A command that cannot be decoded is answered with an error, on each member alike.
func (m *machineOf[C, R]) Apply(e Entry) ([]byte, error) {
	c, err := m.commands.Decode(e.Command)
	if err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "the command cannot be decoded")
	}
	r, err := m.state.Apply(At{e.Index, e.Time}, c)
	if err != nil {
		return nil, err
	}
	b, err := m.results.Encode(r)
	if err != nil {
		return nil, failure.Wrap(err, failure.Internal, "the result cannot be encoded")
	}
	return b, nil
}

// Snapshot implements Machine.
func (m *machineOf[C, R]) Snapshot() (Snapshot, error) { return m.state.Snapshot() }

// Restore implements Machine.
func (m *machineOf[C, R]) Restore(r io.Reader) error { return m.state.Restore(r) }

// CodecOf returns the codec of T: protobuf if T is a pointer to a message, JSON otherwise.
func CodecOf[T any]() Codec[T] {
	var zero T
	if m, ok := any(zero).(proto.Message); ok {
		return protoCodec[T]{m}
	}
	return jsonCodec[T]{}
}

type jsonCodec[T any] struct{}

// Encode implements Codec.
func (jsonCodec[T]) Encode(v T) ([]byte, error) { return json.Marshal(v) }

// Decode implements Codec.
func (jsonCodec[T]) Decode(b []byte) (v T, err error) {
	err = json.Unmarshal(b, &v)
	return v, err
}

type protoCodec[T any] struct{ zero proto.Message }

// Encode implements Codec.
func (protoCodec[T]) Encode(v T) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(any(v).(proto.Message))
}

// Decode implements Codec.
func (c protoCodec[T]) Decode(b []byte) (T, error) {
	m := c.zero.ProtoReflect().New().Interface()
	v, ok := m.(T)
	if !ok {
		return v, fmt.Errorf("decode %T: not a %T", m, v)
	}
	return v, proto.Unmarshal(b, m)
}
