//go:build real && linux

package shop_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

const (
	// answerLimit is how long a server may keep a connection open to which nothing more is sent; then it is left.
	answerLimit = 700 * time.Millisecond
	// sendLimit bounds the sending of what a server does not read.
	sendLimit = 3 * time.Second
)

// garbage is what a port is thrown at.
type garbage struct {
	name string
	send func(w io.Writer, r *random) error // an error means that the server has had enough
}

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frame is an HTTP/2 frame (RFC 9113, 4.1).
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := make([]byte, 0, 9+len(payload))
	b = append(b, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(b, payload...)
}

const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameContinuation = 0, 1, 3, 4, 6, 9

	endStream, endHeaders = 1, 4
)

// random draws numbers and bytes.
type random struct {
	*rand.Rand
	bytes *rand.ChaCha8
}

func newRandom(seed uint64) *random {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	source := rand.NewChaCha8(key)
	return &random{rand.New(source), source}
}

func noise(r *random, n int) []byte {
	b := make([]byte, n)
	_, _ = r.bytes.Read(b) // it never fails
	return b
}

// text sends what is the same every time.
func text(parts ...string) func(io.Writer, *random) error {
	return func(w io.Writer, _ *random) error {
		_, err := io.WriteString(w, strings.Join(parts, ""))
		return err
	}
}

// flood sends a piece again and again after a beginning.
func flood(begin, piece []byte, times int) func(io.Writer, *random) error {
	return func(w io.Writer, _ *random) error {
		if _, err := w.Write(begin); err != nil {
			return err
		}
		for range times {
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
		return nil
	}
}

// junk returns n bytes drawn from the connection's seed, after a beginning.
func junk(begin string, n int) func(io.Writer, *random) error {
	return func(w io.Writer, r *random) error {
		_, err := w.Write(append([]byte(begin), noise(r, n)...))
		return err
	}
}

// allGarbage is what every port gets. Each is sent over a connection of its own.
func allGarbage() []garbage {
	settings := preface + string(frame(frameSettings, 0, 0, nil))
	// A literal header field, never indexed, whose name and value are one byte each (RFC 7541, 6.2.3).
	field := []byte{0x10, 1, 'a', 1, 'b'}
	kilobytes := bytes.Repeat([]byte("x"), 64<<10)
	return []garbage{
		{"nothing", text()},
		{"random bytes", junk("", 64<<10)},
		{"more random bytes", junk("", 4<<20)},
		{"zeros", text(strings.Repeat("\x00", 64<<10))},
		{"line ends", text(strings.Repeat("\r\n", 32<<10))},
		{"a truncated TLS hello", text("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdef")},
		{"a TLS record of 64 KiB", junk("\x16\x03\x01\xff\xff", 64<<10)},
		{"HTTP/2, then random bytes", junk(preface, 64<<10)},
		{"HTTP/2, then frames of random bytes", func(w io.Writer, r *random) error {
			if _, err := io.WriteString(w, settings); err != nil {
				return err
			}
			for range 200 {
				b := frame(byte(r.IntN(12)), byte(r.Uint32()), r.Uint32N(9), noise(r, r.IntN(300)))
				if _, err := w.Write(b); err != nil {
					return err
				}
			}
			return nil
		}},
		{"HTTP/2, a frame of 16 MiB", flood([]byte(settings+"\xff\xff\xff\x00\x00\x00\x00\x00\x01"), kilobytes, 256)},
		{"HTTP/2, headers that are no HPACK", junk(settings+string(frame(frameHeaders, endHeaders|endStream, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})), 100)},
		{"HTTP/2, headers without an end", flood([]byte(settings+string(frame(frameHeaders, 0, 1, field))),
			frame(frameContinuation, 0, 1, bytes.Repeat(field, 3000)), 2000)},
		{"HTTP/2, streams opened and reset", func(w io.Writer, _ *random) error {
			if _, err := io.WriteString(w, settings); err != nil {
				return err
			}
			for stream := uint32(1); stream < 40_000; stream += 2 {
				b := append(frame(frameHeaders, endHeaders, stream, field), frame(frameReset, 0, stream, []byte{0, 0, 0, 8})...)
				if _, err := w.Write(b); err != nil {
					return err
				}
			}
			return nil
		}},
		{"HTTP/2, pings", flood([]byte(settings), frame(framePing, 0, 0, make([]byte, 8)), 50_000)},
		{"HTTP/2, settings", flood([]byte(preface), frame(frameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0}), 50_000)},
		{"HTTP/2, data on no stream", flood([]byte(settings), frame(frameData, 0, 77, make([]byte, 16<<10)), 500)},
		{"a request line of 16 MiB", flood([]byte("GET /"), kilobytes, 256)},
		{"a header line of 16 MiB", flood([]byte("GET / HTTP/1.1\r\nHost: x\r\nX: "), kilobytes, 256)},
		{"a million headers", flood([]byte("GET / HTTP/1.1\r\nHost: x\r\n"), bytes.Repeat([]byte("A: b\r\n"), 1000), 1000)},
		{"no HTTP version", text("GET /\r\n\r\n")},
		{"HTTP/9.9", text("GET / HTTP/9.9\r\nHost: x\r\n\r\n")},
		{"a strange method", text("\x01\x02 / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"a strange path", text("GET //\\..\\..%00%2e%2e/%ff HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"no host", text("GET / HTTP/1.1\r\n\r\n")},
		{"two lengths", text("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello")},
		{"a length and chunks", text("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n")},
		{"a negative length", text("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n")},
		{"a chunk of 2^64", text("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx")},
		{"a chunk that is none", text("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")},
		{"a body that ends early", text("POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: 1000\r\n\r\n{")},
		{"an upgrade to nothing", text("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n\r\n")},
		{"a hundred requests at once", text(strings.Repeat("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 100))},
	}
}

// throw sends one kind of garbage to addr, in each of the ways to end it, and takes what comes back. An error means that
// nobody accepted the connection.
func throw(ctx context.Context, addr string, g garbage, seed uint64) error {
	for _, hangUp := range []bool{false, true} {
		if err := throwOnce(ctx, addr, g, seed, hangUp); err != nil {
			return fmt.Errorf("%s (seed %d): %w", g.name, seed, err)
		}
	}
	return nil
}

func throwOnce(ctx context.Context, addr string, g garbage, seed uint64, hangUp bool) error {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(sendLimit)); err != nil {
		return err
	}
	if g.send(conn, newRandom(seed)) != nil || hangUp {
		return nil
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	// Whatever comes, and however it ends: a server need not be polite to this.
	_, _ = io.Copy(io.Discard, io.LimitReader(conn, 16<<20))
	return nil
}

// slow is a client that never gets to the end of its request.
type slow struct {
	addr, kind string
	conn       net.Conn
	closed     chan struct{} // by the server
}

// begin opens a connection, sends a beginning and then a byte now and then, until the server closes it or ctx ends.
func begin(ctx context.Context, addr, kind, beginning string) (*slow, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, beginning); err != nil {
		conn.Close()
		return nil, err
	}
	s := &slow{addr, kind, conn, make(chan struct{})}
	go func() { // ends with the connection
		defer close(s.closed)
		_, _ = io.Copy(io.Discard, conn)
	}()
	go func() {
		defer conn.Close()
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.closed:
				return
			case <-tick.C:
				_, _ = io.WriteString(conn, "x")
			}
		}
	}()
	return s, nil
}
