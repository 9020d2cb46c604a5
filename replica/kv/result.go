package kv

import (
	"encoding/binary"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// How results travel, in the manner of the commands. They come from members of another version, too, but are read only by
// the member that asked: what it does not know is an error there, never a difference between members.

func conflict(key []byte, at, wanted uint64) error {
	if at == 0 {
		return ErrConflict.With("key %q does not exist; revision %d was expected", key, wanted)
	}
	if wanted == 0 {
		return ErrConflict.With("key %q exists, at revision %d", key, at)
	}
	return ErrConflict.With("key %q is at revision %d, not %d", key, at, wanted)
}

func encodeRevision(revision uint64) []byte { return binary.AppendUvarint(nil, revision) }

func encodeDeleted(revision uint64, existed bool) []byte {
	b := encodeRevision(revision)
	if existed {
		return append(b, 1)
	}
	return append(b, 0)
}

// MaxResultBytes bounds the result of a transaction: all members keep it until the caller has it, or, with Once, for a long
// time. It has to be the same on all of them, since it decides what is applied: it changes only with commandVersion.
const MaxResultBytes = 4 << 20

// itemOverhead is more than an item takes in a result besides its key and value.
const itemOverhead = 64

// txnOp is what one operation of a transaction found: the item before it, or nil. Its value is returned if that was asked
// for, by a GetOp.
type txnOp struct {
	item  *Item
	value bool
}

func encodeTxnResult(succeeded bool, revision uint64, ops []txnOp) []byte {
	b := []byte{0}
	if succeeded {
		b[0] = 1
	}
	b = binary.AppendUvarint(b, revision)
	b = binary.AppendUvarint(b, uint64(len(ops)))
	for _, op := range ops {
		if op.item == nil {
			b = append(b, 0)
			continue
		}
		var value []byte
		if op.value {
			value = op.item.Value
		}
		b = appendItem(append(b, 1), op.item, value)
	}
	return b
}

func appendItem(b []byte, i *Item, value []byte) []byte {
	b = appendBytes(b, i.Key)
	b = appendBytes(b, value)
	b = binary.AppendUvarint(b, i.Created)
	b = binary.AppendUvarint(b, i.Revision)
	b = binary.AppendUvarint(b, i.Version)
	if i.Expires.IsZero() {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(i.Expires.UnixNano())) //nolint:gosec // as it was written
}

// item reads what appendItem wrote. Its Value is part of what is read.
func (r *reader) item() Item {
	i := Item{Key: string(r.key()), Value: r.bytes(), Created: r.number(), Revision: r.number(), Version: r.number()}
	if n := r.number(); n != 0 {
		i.Expires = time.Unix(0, int64(n)).UTC() //nolint:gosec // as it was written
	}
	return i
}

func (r *reader) bool() bool {
	c := r.byte()
	if c > 1 {
		r.fail()
	}
	return c == 1
}

func decodeRevision(b []byte) (uint64, error) {
	r := reader{b: b}
	revision := r.number()
	return revision, r.end("put")
}

func decodeDeleted(b []byte) (revision uint64, existed bool, err error) {
	r := reader{b: b}
	revision, existed = r.number(), r.bool()
	return revision, existed, r.end("delete")
}

func decodeTxnResult(b []byte) (TxnResult, error) {
	r := reader{b: b}
	out := TxnResult{Succeeded: r.bool(), Revision: r.number()}
	out.Before = make([]*Item, r.count())
	for i := range out.Before {
		if r.bool() {
			item := r.item()
			out.Before[i] = &item
		}
	}
	if err := r.end("transaction"); err != nil {
		return TxnResult{}, err
	}
	return out, nil
}

// end returns an error if what was read is not all there was. It may have been applied all the same.
func (r *reader) end(what string) error {
	if r.err == nil && len(r.b) > 0 {
		r.fail()
	}
	if r.err != nil {
		return failure.Wrap(r.err, failure.Internal, "the result of a %s cannot be read", what)
	}
	return nil
}
