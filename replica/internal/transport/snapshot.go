package transport

import (
	"context"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
)

// A snapshot's stream: the offer, its answer (from which offset), the chunks, and an answer when all of it is durable.

const (
	// chunkBytes is a part of a snapshot.
	chunkBytes = 256 << 10
	// offerBytes is an offer without the message: an Address, a snap.ID less its group, the size.
	offerBytes = 4*8 + 4*8
	// maxPause bounds the wait after a chunk was written.
	maxPause = 250 * time.Millisecond
	// stallTimeout is how long one chunk may take.
	stallTimeout = 30 * time.Second
	// offerTimeout is how long the answer to an offer may take: what the other side has of the file is read and written
	// once more before.
	offerTimeout = 5 * time.Minute
)

// chunks are buffers for parts of snapshots: a new one for each would be as much garbage as there is state.
var chunks = mem.NewTieredBufferPool(chunkBytes)

// offer is what announces a snapshot.
type offer struct {
	address Address
	id      snap.ID
	size    int64
	body    []byte // the message that follows the file
}

func (o offer) append(b []byte) []byte {
	b = appendAddress(b, o.address)
	for _, v := range [...]uint64{o.id.Index, o.id.Term, o.id.Nonce, uint64(o.size)} { //nolint:gosec // a size is not negative
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return append(b, o.body...)
}

func parseOffer(b []byte) (offer, error) {
	if len(b) < offerBytes {
		return offer{}, fmt.Errorf("offer of a snapshot: %w", errTruncated)
	}
	o := offer{address: parseAddress(b)}
	b = b[4*8:]
	o.id = snap.ID{
		Group: o.address.Group, Index: binary.LittleEndian.Uint64(b), Term: binary.LittleEndian.Uint64(b[8:]),
		Nonce: binary.LittleEndian.Uint64(b[16:]),
	}
	size := binary.LittleEndian.Uint64(b[24:])
	if size == 0 || size > 1<<50 {
		return offer{}, fmt.Errorf("offer of a snapshot: size %d", size)
	}
	o.size, o.body = int64(size), b[32:]
	return o, nil
}

// SendSnapshot sends a snapshot and the message that announces it, and returns how many bytes went when the other side
// has both. It goes on where an attempt before it has stopped.
func (t *Transport) SendSnapshot(ctx context.Context, name string, a Address, id snap.ID, message encoding.BinaryAppender) (int64, error) {
	conn, err := t.conn(name)
	if err != nil {
		return 0, failure.Wrap(err, failure.Unavailable, "%s cannot be sent a snapshot", name)
	}
	raw, err := t.cfg.Store.Raw(id)
	if err != nil {
		return 0, err
	}
	defer raw.Close()
	body, err := message.AppendBinary(nil)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, t.greeting(name)))
	defer cancel()
	s, err := conn.NewStream(ctx, &snapshotDesc, snapshotMethod, callOptions...)
	if err != nil {
		return 0, fmt.Errorf("send a snapshot to %s: %w", name, err)
	}
	o := offer{address: a, id: id, size: raw.Size(), body: body}
	sent, err := t.sendSnapshot(ctx, cancel, s, o, raw)
	if err != nil {
		return sent, fmt.Errorf("send a snapshot to %s: %w", name, err)
	}
	return sent, nil
}

func (t *Transport) sendSnapshot(ctx context.Context, cancel context.CancelFunc, s grpc.ClientStream, o offer, raw snap.Raw) (sent int64, err error) {
	stall := time.AfterFunc(offerTimeout, cancel)
	defer stall.Stop()
	if err := s.SendMsg(&packet{out: mem.SliceBuffer(o.append(nil))}); err != nil {
		return 0, ended(s, err)
	}
	var answer packet
	if err := s.RecvMsg(&answer); err != nil {
		return 0, err
	}
	if len(answer.in) != 8 {
		return 0, fmt.Errorf("answer to an offer: %d bytes", len(answer.in))
	}
	offset := int64(binary.LittleEndian.Uint64(answer.in)) //nolint:gosec // checked below
	if offset < 0 || offset > o.size {
		return 0, fmt.Errorf("answer to an offer of %d bytes: offset %d", o.size, offset)
	}
	stall.Reset(stallTimeout)
	for offset < o.size {
		n := min(chunkBytes, o.size-offset)
		if t.limiter != nil {
			if err := t.limiter.WaitN(ctx, int(n)); err != nil {
				return sent, err
			}
		}
		chunk := chunks.Get(int(n))
		if _, err := raw.ReadAt(*chunk, offset); err != nil && !errors.Is(err, io.EOF) {
			return sent, err
		}
		if err := s.SendMsg(&packet{out: mem.NewBuffer(chunk, chunks)}); err != nil {
			return sent, ended(s, err)
		}
		offset += n
		sent += n
		stall.Reset(stallTimeout)
	}
	if err := s.CloseSend(); err != nil {
		return sent, err
	}
	if err := s.RecvMsg(&answer); err != nil {
		return sent, err
	}
	return sent, nil
}

// ended returns why a stream has ended whose SendMsg says only that it has.
func ended(s grpc.ClientStream, err error) error {
	if errors.Is(err, io.EOF) {
		return s.RecvMsg(new(packet))
	}
	return err
}

func serveSnapshot(srv any, s grpc.ServerStream) error {
	t := srv.(*Transport)
	from, err := t.caller(s.Context())
	if err != nil {
		return err
	}
	var first packet
	if err := s.RecvMsg(&first); err != nil {
		return err
	}
	o, err := parseOffer(first.in)
	if err != nil {
		return failure.Wrap(err, failure.InvalidArgument, "not an offer of a snapshot")
	}
	if err := t.cfg.Handler.Accept(from, o.address, o.id); err != nil {
		return err
	}
	if !t.beginReceiving(o.id.Group) {
		return failure.New(failure.Aborted, "a snapshot of this group is being received already")
	}
	defer t.endReceiving(o.id.Group)
	if err := t.receiveSnapshot(s, o); err != nil {
		return err
	}
	if err := t.cfg.Handler.Installed(from, o.address, o.id, o.body); err != nil {
		return err
	}
	return s.SendMsg(&packet{out: mem.SliceBuffer(nil)})
}

func (t *Transport) beginReceiving(group uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.receiving[group] {
		return false
	}
	t.receiving[group] = true
	t.work.Add(1)
	return true
}

func (t *Transport) endReceiving(group uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.receiving, group)
	t.work.Done()
}

func (t *Transport) receiveSnapshot(s grpc.ServerStream, o offer) error {
	r, err := t.cfg.Store.Receive(o.id, o.size)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // what was not committed is kept for the next attempt, or not
	offset := r.Offset()
	if err := s.SendMsg(&packet{out: mem.SliceBuffer(binary.LittleEndian.AppendUint64(nil, uint64(offset)))}); err != nil { //nolint:gosec // not negative
		return err
	}
	chunks, errs := make(chan []byte), make(chan error, 1)
	done := make(chan struct{})
	defer close(done)
	go func() { // ends with the stream, which ends with this call
		for {
			var p packet
			if err := s.RecvMsg(&p); err != nil {
				errs <- err
				return
			}
			select {
			case chunks <- p.in:
			case <-done:
				return
			}
		}
	}()
	stall := time.NewTimer(stallTimeout)
	defer stall.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return failure.New(failure.Unavailable, "this host stops")
		case <-stall.C:
			return failure.New(failure.DeadlineExceeded, "nothing came for %v", stallTimeout)
		case c := <-chunks:
			if offset += int64(len(c)); offset > o.size {
				return failure.New(failure.InvalidArgument, "more than the %d bytes that were offered", o.size)
			}
			began := time.Now()
			if _, err := r.Write(c); err != nil {
				return err
			}
			// Half of a slow disk stays for the log.
			backoff.Pause(t.ctx, min(time.Since(began), maxPause))
			stall.Reset(stallTimeout)
		case err := <-errs:
			if !errors.Is(err, io.EOF) {
				return err
			}
			if offset != o.size {
				return failure.New(failure.Aborted, "%d of %d bytes came", offset, o.size)
			}
			return r.Commit()
		}
	}
}
