package core

import (
	"encoding/binary"
	"errors"
	"time"
)

// The payload of an entry: entryVersion, then as uvarints the leader's time in ns, the seconds that keys are kept for
// and how many, then batches, each behind its length. The limits travel with the entry since what is forgotten must be
// the same on every member, whatever each was configured with.
//
// A batch: a session as uvarint. 0 asks for a session and is followed by the member and its nonce, 8 bytes each. Any
// other is followed by low (numbers below it are not asked for again), the number of the first command, then commands, each
// of the next number: the length of the key, the key, the length of the command, the command.
const entryVersion = 1

// The bounds of what one entry may carry; the same everywhere, since members must agree on what they refuse.
const (
	maxKey    = 1 << 10
	maxWindow = 1 << 16 // numbers of a session between the lowest that is not acknowledged and the highest
)

var errMalformed = errors.New("malformed payload")

// entryHeader is what stands before the batches of an entry.
type entryHeader struct {
	time    int64 // ns
	keyAge  time.Duration
	maxKeys int
}

func (h entryHeader) append(b []byte) []byte {
	b = append(b, entryVersion)
	b = binary.AppendUvarint(b, uint64(max(h.time, 0)))
	b = binary.AppendUvarint(b, uint64(max(h.keyAge, 0)/time.Second))
	return binary.AppendUvarint(b, uint64(max(h.maxKeys, 0)))
}

// entryHeaderSize is the most that append adds.
const entryHeaderSize = 1 + 3*binary.MaxVarintLen64

func parseEntryHeader(b []byte) (h entryHeader, rest []byte, err error) {
	if len(b) == 0 || b[0] != entryVersion {
		return h, nil, errMalformed
	}
	c := cursor{b: b[1:]}
	t, age, keys := c.uvarint(), c.uvarint(), c.uvarint()
	const maxAge = uint64(1<<63-1) / uint64(time.Second)
	if c.bad || t > 1<<63-1 || age > maxAge || keys > 1<<31 {
		return h, nil, errMalformed
	}
	return entryHeader{time: int64(t), keyAge: time.Duration(age) * time.Second, maxKeys: int(keys)}, c.b, nil
}

// batch is a parsed batch; commands are read one by one with next.
type batch struct {
	session, origin, nonce uint64
	low, seq               uint64
	cursor
}

// command is one command of a batch; its slices are parts of the batch's bytes.
type command struct {
	seq           uint64
	key, contents []byte
}

func parseBatch(b []byte) (batch, error) {
	p := batch{cursor: cursor{b: b}}
	if p.session = p.uvarint(); p.session == 0 {
		p.origin, p.nonce = p.fixed(), p.fixed()
		if p.bad || len(p.b) != 0 {
			return batch{}, errMalformed
		}
		return p, nil
	}
	p.low, p.seq = p.uvarint(), p.uvarint()
	if p.bad || p.low > p.seq || p.seq >= 1<<62 || len(p.b) == 0 {
		return batch{}, errMalformed
	}
	return p, nil
}

// next returns the next command; ok is false at the end or, with an error, where the batch is malformed.
func (p *batch) next() (c command, ok bool, err error) {
	if p.bad {
		return command{}, false, errMalformed
	}
	if len(p.b) == 0 {
		return command{}, false, nil
	}
	c.key = p.bytes(maxKey)
	c.contents = p.bytes(1 << 30)
	if p.bad {
		return command{}, false, errMalformed
	}
	c.seq = p.seq
	p.seq++
	return c, true, nil
}

// checkBatch reads a batch to its end: what is once in the log must be readable to all.
func checkBatch(b []byte) error {
	p, err := parseBatch(b)
	for ok := err == nil && p.session != 0; ok; {
		_, ok, err = p.next()
	}
	return err
}

// openBatch asks for a session.
func openBatch(origin, nonce uint64) []byte {
	b := []byte{0}
	b = binary.LittleEndian.AppendUint64(b, origin)
	return binary.LittleEndian.AppendUint64(b, nonce)
}

func appendBatchHeader(b []byte, session, low, first uint64) []byte {
	b = binary.AppendUvarint(b, session)
	b = binary.AppendUvarint(b, low)
	return binary.AppendUvarint(b, first)
}

func appendCommand(b []byte, key string, contents []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	b = binary.AppendUvarint(b, uint64(len(contents)))
	return append(b, contents...)
}

// cursor reads a payload from its front; bad stays set once something was missing.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uvarint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 { // most are small
		v := uint64(c.b[0])
		c.b = c.b[1:]
		return v
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) fixed() uint64 {
	if len(c.b) < 8 {
		c.bad, c.b = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint64(c.b)
	c.b = c.b[8:]
	return v
}

// bytes returns a length and that many bytes, at most limit. The result shares memory and cannot grow into the rest.
func (c *cursor) bytes(limit uint64) []byte {
	n := c.uvarint()
	if c.bad || n > limit || n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) str(limit uint64) string { return string(c.bytes(limit)) }
