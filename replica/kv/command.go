package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// How commands travel: one byte of the format's version, one of the kind, then fields in order. Numbers are unsigned
// varints, byte strings have their length in front. A command is decoded without copying: what it refers to is part of
// the log entry.

const commandVersion = 1

const (
	kindPut    = 1
	kindDelete = 2
	kindTxn    = 3
	kindExpire = 4
)

const (
	opPut    = 1
	opDelete = 2
	opGet    = 3
)

// maxTTL is the longest TTL in milliseconds: 292 years.
const maxTTL = uint64(1<<63-1) / uint64(time.Millisecond)

// maxOperations bounds the compares and the operations of each branch of a transaction.
const maxOperations = 1024

type command struct {
	kind byte
	// op, conditional and revision are of kindPut and kindDelete.
	op          operation
	conditional bool
	revision    uint64
	// The rest is of kindTxn.
	compares        []compare
	then, otherwise []operation
}

// operation is one of a transaction, or all of a put or delete.
type operation struct {
	kind       byte
	key, value []byte
	ttl        time.Duration
}

type compare struct {
	key      []byte
	target   target
	relation Relation
	number   uint64
	value    []byte // of targetValue
}

var errMalformed = errors.New("truncated, or longer than it says")

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendTTL writes whole milliseconds, rounded up: a key never ends early.
func appendTTL(b []byte, ttl time.Duration) []byte {
	ms := uint64(0)
	if ttl > 0 {
		ms = min(uint64((ttl-1)/time.Millisecond)+1, maxTTL)
	}
	return binary.AppendUvarint(b, ms)
}

func encodeSingle(kind byte, key string, value []byte, w *write) []byte {
	b := make([]byte, 0, 2+4*binary.MaxVarintLen32+len(key)+len(value)+binary.MaxVarintLen64)
	b = append(b, commandVersion, kind)
	if w.conditional {
		b = binary.AppendUvarint(append(b, 1), w.revision)
	} else {
		b = append(b, 0)
	}
	b = appendBytes(b, key)
	if kind == kindPut {
		b = appendTTL(b, w.ttl)
		b = appendBytes(b, value)
	}
	return b
}

func encodeExpire() []byte { return []byte{commandVersion, kindExpire} }

func encodeTxn(t Txn) []byte {
	b := []byte{commandVersion, kindTxn}
	b = binary.AppendUvarint(b, uint64(len(t.If)))
	for _, c := range t.If {
		b = append(b, byte(c.target), byte(c.relation))
		b = appendBytes(b, c.key)
		if c.target == targetValue {
			b = appendBytes(b, c.value)
		} else {
			b = binary.AppendUvarint(b, c.number)
		}
	}
	for _, branch := range [][]Op{t.Then, t.Else} {
		b = binary.AppendUvarint(b, uint64(len(branch)))
		for _, op := range branch {
			b = append(b, op.kind)
			b = appendBytes(b, op.key)
			if op.kind == opPut {
				b = appendTTL(b, op.ttl)
				b = appendBytes(b, op.value)
			}
		}
	}
	return b
}

// reader takes fields off the front of b. After the first that is not there, err is set and all others are zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() { r.b, r.err = nil, errMalformed }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

func (r *reader) ttl() time.Duration {
	ms := r.number()
	if ms > maxTTL {
		r.fail()
		return 0
	}
	return time.Duration(ms) * time.Millisecond //nolint:gosec // bounded above
}

// count reads how many follow, each of at least one byte.
func (r *reader) count() int {
	n := r.number()
	if n > maxOperations || n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n) //nolint:gosec // bounded above
}

func decodeCommand(b []byte) (command, error) {
	r := reader{b: b}
	if v := r.byte(); v > commandVersion {
		panic(fmt.Sprintf("kv: a command of format %d; this program knows those up to %d: it has to be upgraded before it can go on", v, commandVersion))
	} else if v == 0 {
		r.fail()
	}
	c := command{kind: r.byte()}
	switch c.kind {
	case kindPut, kindDelete:
		switch r.byte() {
		case 0:
		case 1:
			c.conditional, c.revision = true, r.number()
		default:
			r.fail()
		}
		c.op.kind = c.kind
		r.operation(&c.op)
	case kindTxn:
		r.txn(&c)
	case kindExpire:
	default:
		r.fail()
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail()
	}
	if r.err != nil {
		return command{}, r.err
	}
	return c, nil
}

func (r *reader) txn(c *command) {
	c.compares = make([]compare, r.count())
	for i := range c.compares {
		cmp := &c.compares[i]
		cmp.target, cmp.relation = target(r.byte()), Relation(r.byte())
		if !cmp.target.valid() || !cmp.relation.valid() {
			r.fail()
		}
		cmp.key = r.key()
		if cmp.target == targetValue {
			cmp.value = r.bytes()
		} else {
			cmp.number = r.number()
		}
	}
	for _, branch := range []*[]operation{&c.then, &c.otherwise} {
		*branch = make([]operation, r.count())
		for i := range *branch {
			op := &(*branch)[i]
			if op.kind = r.byte(); op.kind < opPut || op.kind > opGet {
				r.fail()
			}
			r.operation(op)
		}
	}
}

func (r *reader) operation(op *operation) {
	op.key = r.key()
	if op.kind == opPut {
		op.ttl = r.ttl()
		op.value = r.bytes()
	}
}

func (r *reader) key() []byte {
	k := r.bytes()
	if len(k) == 0 || len(k) > MaxKeyBytes {
		r.fail()
	}
	return k
}
